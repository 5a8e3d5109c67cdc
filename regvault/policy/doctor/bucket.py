"""Judged: how a bucket is configured, and what its server makes sure of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.model.doctor import FINDING, Credentials
from regvault.policy.doctor import lifecycle
from regvault.policy.doctor.access import judge_deleting_versions
from regvault.policy.doctor.check import Check, State, error, failed, ok, size, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regvault.model.doctor import Asked, BucketFacts, BucketTrials, LifecycleRule, Lock, Spool

__all__ = ["judge_bucket", "judge_bucket_trials", "judge_spool"]

_ASK = {
    "versioning": "s3:GetBucketVersioning",
    "object-lock": "s3:GetBucketObjectLockConfiguration",
    "lifecycle-expiration": "s3:GetLifecycleConfiguration",
}
#: What a server does about unfinished uploads without a rule, by its name for itself.
_ABORTS_BY_ITSELF = {
    "minio": "MinIO deletes unfinished uploads by itself, after 24 h unless it is set otherwise",
}


def judge_bucket(
    facts: BucketFacts,
    role: Credentials,
    *,
    names: Sequence[str],
    cold: Sequence[str],
    harmless: Sequence[str],
) -> Iterator[Check]:
    """Judge the configuration of a bucket.

    Args:
        facts: what it says of itself.
        role: what the credentials are for.
        names: of everything in a vault (`vault.json`, `blobs/`, ...).
        cold: those of them that hold layers.
        harmless: beginnings of keys that mean nothing.
    """
    yield _judge_versioning(facts.versioning, facts.lock, role)
    yield _judge_lock(facts.lock)
    rules = facts.lifecycle
    if rules.value is None:
        yield from _judge_unread_rules(rules, role)
        return
    yield _judge_expirations(rules.value, facts.prefix, names, harmless)
    yield _judge_transitions(rules.value, facts.prefix, names, cold)
    yield _judge_aborts(rules.value, facts)
    yield _judge_noncurrent(rules.value, facts)


def _unread(check: str, asked: Asked[Any]) -> Check:
    """Skip what may not be read, or what the server does not know: both say nothing."""
    if asked.denied:
        return skipped(check, f"these credentials may not read it: allow {_ASK[check]}")
    if asked.exit_code == FINDING:
        return skipped(check, asked.why)
    return failed(check, asked)


def _judge_versioning(asked: Asked[str], lock: Asked[Lock], role: Credentials) -> Check:
    check = "versioning"
    if asked.value is None:
        return _unread(check, asked)
    if asked.value == "Enabled":
        return ok(check, "on: what is overwritten or deleted is kept as an old version")
    if role is Credentials.WRITER and not (lock.value and lock.value.enabled):
        return warning(
            check,
            "off: whoever takes over the backup's host can overwrite every snapshot for good",
            "Turn on versioning, with a lifecycle rule that deletes old versions after, say, 30 "
            "days; or keep a second copy that this host cannot write: regvault copy.",
        )
    state = "suspended" if asked.value else "off"
    return ok(check, f"{state}: what is overwritten or deleted is gone")


def _judge_lock(asked: Asked[Lock]) -> Check:
    check = "object-lock"
    if asked.value is None:
        return _unread(check, asked)
    lock = asked.value
    if not lock.enabled:
        return ok(check, "off")
    if not lock.mode:
        return ok(check, "on, without a default retention: nothing is locked by itself")
    return ok(
        check,
        f"on, {lock.mode} for {lock.period} by default: what is written cannot be deleted for "
        "good until then, not even by prune; and no month of archived events can be erased "
        "(audit erase) before",
    )


def _judge_unread_rules(
    asked: Asked[tuple[LifecycleRule, ...]], role: Credentials
) -> Iterator[Check]:
    check = "lifecycle-expiration"
    if asked.denied and role is not Credentials.READER:
        yield warning(
            check,
            "not known: these credentials may not read the lifecycle rules, and one that deletes "
            "objects by their age would destroy the vault",
            f"Allow {_ASK[check]}, which only reads; or run doctor once with an administrator's "
            "credentials.",
        )
    else:
        yield _unread(check, asked)
    for other in ("lifecycle-transition", "lifecycle-abort", "lifecycle-noncurrent"):
        yield skipped(other, "the lifecycle rules are not known")


def _judge_expirations(
    rules: Sequence[LifecycleRule], prefix: str, names: Sequence[str], harmless: Sequence[str]
) -> Check:
    check = "lifecycle-expiration"
    found = lifecycle.expirations(rules, prefix, names, harmless)
    if not found:
        return ok(
            check,
            "no lifecycle rule deletes what belongs to the vault"
            if rules
            else "the bucket has no lifecycle rules",
        )
    text = "; ".join(f"rule {harm.rule!r} deletes {harm.reach} {harm.when}" for harm in found)
    return error(
        check,
        text,
        "Disable it now, or give it a prefix beside the vault. Age says nothing here: what a new "
        "snapshot needs may be years old. Deleting is the affair of regvault forget and prune.",
    )


def _judge_transitions(
    rules: Sequence[LifecycleRule], prefix: str, names: Sequence[str], cold: Sequence[str]
) -> Check:
    check = "lifecycle-transition"
    found = lifecycle.moves(rules, prefix, names, cold)
    archived = [move for move in found if move.storage_class in lifecycle.ARCHIVES]
    if archived:
        return error(
            check,
            _moves(archived),
            "Disable it, or limit it to another prefix: what is in an archive class cannot be "
            "read before it is restored, which takes hours. What is there already has to be "
            "restored first.",
        )
    unknown = [move for move in found if move.storage_class not in lifecycle.INSTANT]
    if unknown:
        return warning(
            check,
            _moves(unknown),
            "Make sure that this class can be read at once; if it cannot, neither a backup nor a "
            "restore works.",
        )
    hot = [move for move in found if move.hot]
    if hot:
        return warning(
            check,
            _moves(hot),
            f"Limit it to {' and '.join(cold)}: everything else is read by every command, in "
            "small objects, which cost more in such a class.",
        )
    if found:
        return ok(check, f"{_moves(found)}, which can be read at once")
    return ok(check, "no lifecycle rule moves what belongs to the vault")


def _moves(found: Sequence[lifecycle.Transition]) -> str:
    return "; ".join(
        f"rule {move.harm.rule!r} moves {move.harm.reach} to {move.storage_class} {move.harm.when}"
        for move in found
    )


def _judge_aborts(rules: Sequence[LifecycleRule], facts: BucketFacts) -> Check:
    check = "lifecycle-abort"
    when = lifecycle.aborts(rules, facts.prefix)
    if when:
        return ok(check, f"unfinished uploads are deleted {when}")
    by_itself = _ABORTS_BY_ITSELF.get(facts.server.lower())
    if by_itself:
        return ok(check, by_itself)
    return warning(
        check,
        "no lifecycle rule deletes unfinished uploads: what a killed backup had uploaded of a "
        "large layer stays, is billed, and shows in no listing",
        "Add a rule for the vault's prefix with AbortIncompleteMultipartUpload after 7 days.",
    )


def _judge_noncurrent(rules: Sequence[LifecycleRule], facts: BucketFacts) -> Check:
    check = "lifecycle-noncurrent"
    if facts.versioning.value is None:
        return skipped(check, "whether the bucket keeps versions is not known")
    if not facts.versioning.value:
        return ok(check, "the bucket keeps no old versions")
    when = lifecycle.drops_old_versions(rules, facts.prefix)
    if when:
        return ok(check, f"old versions are deleted {when}")
    return warning(
        check,
        "no lifecycle rule deletes old versions: what prune deletes is never freed",
        "Add a rule for the vault's prefix with NoncurrentVersionExpiration, for as long as "
        "something that was deleted should stay recoverable, such as 30 days.",
    )


def judge_bucket_trials(
    trials: BucketTrials, role: Credentials, lock: Asked[Lock]
) -> Iterator[Check]:
    """Judge what became of writes that only a bucket knows."""
    locked = lock.value is not None and bool(lock.value.mode)
    yield judge_deleting_versions(trials.delete_versions, role, locked=locked)
    yield _judge_checksums(trials.checksums)
    yield _judge_multipart(trials)


def _judge_checksums(asked: Asked[bool]) -> Check:
    check = "checksums"
    if asked.value is None:
        return failed(check, asked)
    if asked.value:
        return ok(check, "an object whose bytes are not its SHA-256 is refused")
    return warning(
        check,
        "an object whose bytes are not its SHA-256 is accepted: regvault hashes what it sends, "
        "but what is damaged on the way is only found later",
        "Reach the store over HTTPS, and run `regvault verify --read-data` after a first full.",
    )


def _judge_multipart(trials: BucketTrials) -> Check:
    check = "multipart"
    begun = trials.multipart
    if begun.value is None:
        found = failed(check, begun)
        if found.state is State.ERROR:
            text = f"layers of more than 1 GiB cannot be stored: {found.found}"
            return found._replace(found=text)
        return found
    if not trials.aborted.value:
        return warning(
            check,
            f"an upload in parts works, but cannot be given up ({trials.aborted.why})",
            "Allow s3:AbortMultipartUpload, which deletes nothing that was stored.",
        )
    return ok(check, "an upload in parts works, and can be given up")


def judge_spool(asked: Asked[Spool], *, needed: int, usual: int) -> Check:
    """Judge the space of the directory in which objects wait to be uploaded.

    Args:
        asked: the space.
        needed: bytes without which no snapshot works.
        usual: bytes that many threads take on a slow line.
    """
    check = "temporary-space"
    if asked.value is None:
        return failed(check, asked)
    found = f"{size(asked.value.free_bytes)} free in {asked.value.path}"
    hint = "Packs wait there until they are uploaded. Free some space, or set TMPDIR."
    if asked.value.free_bytes < needed:
        return error(check, found, hint, 6)
    if asked.value.free_bytes < usual:
        return warning(check, f"{found}; a snapshot may take {size(usual)}", hint)
    return ok(check, found)
