"""Judged: the topic that audit events go to, and the spool that they wait in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.model.doctor import StreamRole
from regvault.policy.doctor.check import Check, error, failed, ok, size, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regvault.model.doctor import Archived, Asked, SpoolFacts, TopicFacts

__all__ = ["judge_archived", "judge_dead_letters", "judge_spool", "judge_sync", "judge_topic"]

OF_SETTINGS = (
    "topic-in-sync",
    "topic-unclean-election",
    "topic-cleanup",
    "topic-retention",
    "topic-record-size",
)
_REPLICAS = 3
_FULL_BYTES = 64 << 20
_NEARLY = 0.9
#: An event of this size is refused.
_ONE_MORE = 1 << 20
_LATE_S = 3600.0
_SLOW_S = 1.0
_MEMORY = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
_ALTER = "kafka-configs.sh --alter --topic TOPIC --add-config"


def judge_topic(
    asked: Asked[TopicFacts], role: StreamRole, *, brokers: int, every_s: float, largest: int
) -> Iterator[Check]:
    """Judge a topic of events.

    Args:
        asked: what the cluster says of it.
        role: what the credentials are for.
        brokers: of the cluster.
        every_s: seconds between two runs of the archive.
        largest: bytes of the largest record that is sent.
    """
    facts = asked.value
    if facts is None:
        yield failed("topic", asked)
        for check in ("topic-rights", "topic-replication", *OF_SETTINGS):
            yield skipped(check, "the topic cannot be looked at")
        return
    yield _judge_leaders(facts)
    yield _judge_rights(facts.rights, role)
    yield _judge_replication(facts, brokers)
    if facts.settings is None:
        for check in OF_SETTINGS:
            yield skipped(check, "this user may not read the topic's settings (DESCRIBE_CONFIGS)")
        return
    yield _judge_in_sync(_number(facts.settings, "min.insync.replicas", 1), facts.replication)
    yield _judge_election(facts.settings)
    yield _judge_cleanup(facts.settings)
    yield _judge_retention(facts.settings, every_s)
    yield _judge_record_size(_number(facts.settings, "max.message.bytes", largest), largest)


def _judge_leaders(facts: TopicFacts) -> Check:
    found = f"{facts.partitions} partitions"
    if facts.leaderless:
        return error(
            "topic",
            f"{found}, of which {facts.leaderless} have no leader: nothing can be written to them",
            "Look at the brokers: those that have them are down.",
            6,
        )
    return ok("topic", found)


def _judge_rights(rights: frozenset[str] | None, role: StreamRole) -> Check:
    check = "topic-rights"
    if rights is None:
        return skipped(check, "this cluster does not say what a user may do")
    named = ", ".join(sorted(rights & {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}))
    needed = {StreamRole.SHIP: {"WRITE"}, StreamRole.ARCHIVE: {"READ"}}.get(role, set())
    missing = needed - rights
    if not needed and not rights & {"READ", "WRITE"}:
        return error(
            check,
            f"this user may neither write to it nor read it ({named or 'nothing'})",
            "Grant WRITE to who ships, READ to who archives.",
            12,
        )
    if missing:
        return error(
            check,
            f"this user has no right to {min(missing)} ({named or 'none'})",
            f"Grant {min(missing)} on the topic.",
            12,
        )
    return ok(check, named)


def _judge_replication(facts: TopicFacts, brokers: int) -> Check:
    check = "topic-replication"
    count = facts.replication
    found = f"{count} replicas on {brokers} brokers" if count != 1 else "one replica"
    if facts.behind and count >= _REPLICAS:
        return warning(
            check,
            f"{found}; of {facts.behind} partitions some are not in sync",
            "Look at the brokers: one is down, or too slow.",
        )
    if count >= _REPLICAS:
        return ok(check, found)
    if brokers < _REPLICAS:
        return warning(
            check,
            f"{found}, and the cluster has {brokers} of 3 brokers",
            "What is lost with a broker that does not come back is in the spool only until it is "
            "acknowledged: archive often.",
        )
    return error(
        check,
        f"{found}, of a cluster with {brokers} brokers",
        "Give it 3 replicas: kafka-reassign-partitions.sh",
    )


def _judge_in_sync(least: int, replication: int) -> Check:
    check = "topic-in-sync"
    found = f"min.insync.replicas is {least}"
    if replication == 1:
        if least > 1:
            return error(
                check, f"{found}, and there is one replica: nothing can be written", _IN_SYNC
            )
        return warning(check, f"{found}: what is acknowledged is on one broker alone", _IN_SYNC)
    if least >= replication:
        return error(
            check,
            f"{found}, of {replication} replicas: nothing can be written while one broker is down",
            _IN_SYNC,
        )
    if least < 2:
        return error(check, f"{found}: what is acknowledged may be on one broker alone", _IN_SYNC)
    return ok(check, f"{found} of {replication}")


_IN_SYNC = f"3 replicas, of which 2 acknowledge: {_ALTER} min.insync.replicas=2"


def _judge_election(settings: Mapping[str, str]) -> Check:
    check = "topic-unclean-election"
    if settings.get("unclean.leader.election.enable", "false") == "true":
        return error(
            check,
            "a broker that was not in sync may become leader, and forget acknowledged events",
            f"{_ALTER} unclean.leader.election.enable=false",
        )
    return ok(check, "only who has all acknowledged events becomes leader")


def _judge_cleanup(settings: Mapping[str, str]) -> Check:
    check = "topic-cleanup"
    policy = settings.get("cleanup.policy", "delete")
    if "compact" in policy:
        return error(
            check,
            f"cleanup.policy is {policy}: of each repository only the newest event is kept",
            f"{_ALTER} cleanup.policy=delete",
        )
    return ok(check, f"cleanup.policy is {policy}")


def _judge_retention(settings: Mapping[str, str], every_s: float) -> Check:
    check = "topic-retention"
    kept_ms = _number(settings, "retention.ms", -1)
    nbytes = _number(settings, "retention.bytes", -1)
    found = "kept without a limit of time" if kept_ms < 0 else f"kept for {_span(kept_ms / 1000)}"
    longer = f"{_ALTER} retention.ms=604800000, or archive more often."
    if 0 <= kept_ms < every_s * 1000:
        return error(
            check, f"{found}, and archived every {_span(every_s)}: events are lost between", longer
        )
    if 0 <= kept_ms < 2 * every_s * 1000:
        return warning(
            check, f"{found}, and archived every {_span(every_s)}: one run may not fail", longer
        )
    if nbytes >= 0:
        return warning(
            check,
            f"{found}, but {size(nbytes)} of each partition at most, however young",
            f"{_ALTER} retention.bytes=-1, if the disks have room for the time.",
        )
    return ok(check, found)


def _judge_record_size(takes: int, largest: int) -> Check:
    check = "topic-record-size"
    found = f"records of up to {takes:,} bytes"
    if takes < largest:
        return warning(
            check,
            f"{found}; events of up to {largest:,} are sent",
            "What is larger goes to the dead letters, without what came (raw): "
            f"{_ALTER} max.message.bytes={largest + 12}",
        )
    return ok(check, found)


def judge_dead_letters(asked: Asked[TopicFacts], role: StreamRole) -> Check:
    """Judge the topic of what the other does not take."""
    check = "dead-letter-topic"
    if role is StreamRole.ARCHIVE:
        return skipped(check, "who archives does not write to it")
    facts = asked.value
    if facts is None:
        if not asked.tried:
            return skipped(check, asked.why)
        return warning(
            check,
            asked.why,
            "Make it: the first event that the topic does not take holds up all behind it.",
        )
    if facts.rights is not None and "WRITE" not in facts.rights:
        return warning(check, "this user may not write to it", "Grant WRITE on it.")
    return ok(check, f"{facts.partitions} partitions")


def judge_archived(
    asked: Asked[Archived], settings: Mapping[str, str] | None, *, every_s: float
) -> Check:
    """Judge how far the archive is, against how long the topic keeps records.

    Args:
        asked: how far it is.
        settings: of the topic; None: they are not known.
        every_s: seconds between two runs of the archive.
    """
    check = "archive-lag"
    found = asked.value
    if found is None:
        return skipped(check, asked.why)
    if found.gone:
        return error(
            check,
            f"{found.gone:,} records are gone from the topic, and were never archived",
            "Archive more often, or keep records for longer.",
        )
    if not found.waiting:
        return ok(check, "all of the topic is archived")
    waiting = f"{found.waiting:,} records are not archived"
    if not found.begun:
        return warning(check, f"{waiting}: nothing of this topic is", "Run: regvault audit archive")
    since = f"{waiting}, the newest that is came in {_span(found.age_s)} ago"
    kept_ms = _number(settings or {}, "retention.ms", -1)
    if 0 <= kept_ms <= 2000 * found.age_s:
        return error(
            check,
            f"{since}; the topic keeps them for {_span(kept_ms / 1000)}",
            "Run it now, before they are gone: regvault audit archive",
        )
    if found.age_s > 2 * every_s:
        return warning(check, since, "Is it still run? regvault audit archive")
    return ok(check, since)


def judge_spool(asked: Asked[SpoolFacts]) -> Iterator[Check]:
    """Judge a spool of events."""
    facts = asked.value
    if facts is None:
        yield failed("spool", asked)
        for check in ("spool-space", "spool-file-system", "spool-consumers", "spool-damage"):
            yield skipped(check, "the spool cannot be looked at")
        return
    yield _judge_fill(facts)
    yield _judge_room(facts)
    yield _judge_kind(facts.kind)
    yield _judge_consumers(facts)
    if facts.damage:
        yield error(
            "spool-damage",
            f"{facts.damage} places are no events: something is wrong with the disk",
            "Look at the kernel's log. What else is there is delivered, with an event of action "
            "`gap` for each place: regvault audit status",
        )
    else:
        yield ok("spool-damage", "none")


def _judge_fill(facts: SpoolFacts) -> Check:
    check = "spool"
    found = f"{size(facts.nbytes)} of {size(facts.limit)}"
    hint = "Is what takes events from it at work? regvault audit status"
    if facts.limit - facts.nbytes < _ONE_MORE:
        return error(check, f"{found}: it is full, and events are refused", hint, 6)
    if facts.nbytes >= _NEARLY * facts.limit:
        return warning(check, f"{found}: it is nearly full, and then events are refused", hint)
    return ok(check, found)


def _judge_room(facts: SpoolFacts) -> Check:
    check = "spool-space"
    found = f"{size(facts.free_bytes)} free"
    if facts.free_bytes < _FULL_BYTES:
        return error(check, found, "Free some space: no event can be taken without.", 6)
    if facts.free_bytes < facts.limit - facts.nbytes:
        return warning(
            check,
            f"{found}, and the spool may take {size(facts.limit - facts.nbytes)} more",
            "The disk is full before the spool is. Free some, or lower --spool-size.",
        )
    return ok(check, found)


def _judge_kind(kind: str) -> Check:
    check = "spool-file-system"
    if kind in _MEMORY:
        return warning(
            check,
            f"{kind}: events that were taken are gone with the next restart",
            "Keep the spool on a disk; in a container, on a volume.",
        )
    return ok(check, kind or "of a type that is not known")


def _judge_consumers(facts: SpoolFacts) -> Check:
    check = "spool-consumers"
    if not facts.consumers:
        if not facts.nbytes:
            return ok(check, "none yet, and no event")
        return warning(
            check, "nobody takes events from it", "Run: regvault audit ship, or archive --spool"
        )
    late = [each for each in facts.consumers if each[2] > _LATE_S]
    found = ", ".join(f"{name}: {lag:,} events to go" for name, lag, _ in facts.consumers)
    if late:
        name, _, waits = max(late, key=lambda each: each[2])
        return warning(
            check,
            f"{found}; the oldest for {name} waits for {_span(waits)}",
            "Is it at work, and what does it say? Nothing is deleted before it has taken it.",
        )
    return ok(check, found)


def judge_sync(asked: Asked[float]) -> Check:
    """Judge how long the disk of a spool takes to make a file durable, in seconds."""
    check = "spool-durable"
    if asked.value is None:
        return failed(check, asked)
    found = f"{asked.value * 1000:.1f} ms"
    if asked.value > _SLOW_S:
        return warning(
            check, f"{found}: registries give up waiting for an answer", "Use a faster disk."
        )
    return ok(check, found)


def _number(settings: Mapping[str, str], name: str, otherwise: int) -> int:
    try:
        return int(settings.get(name, otherwise))
    except ValueError:
        return otherwise


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
