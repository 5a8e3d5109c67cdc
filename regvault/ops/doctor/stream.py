"""Look at where audit events go: the topic, and the spool. Nothing of either is written."""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import datetime
from typing import TYPE_CHECKING

from regvault.audit.kafka.producer import LARGEST
from regvault.audit.spool import Reader, Spool
from regvault.audit.spool.files import sync_directory
from regvault.errors import NotFoundError, RegvaultError, TemporaryError
from regvault.model.doctor import Archived, Asked, SpoolFacts, ask, unasked
from regvault.ops.audit.status import chain_statuses, spool_status
from regvault.policy.doctor import stream
from regvault.policy.doctor.check import failed, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.kafka.topics import Topics
    from regvault.model.doctor import TopicFacts
    from regvault.ops.doctor.subjects import DoctorOptions, SpoolSubject, TopicSubject
    from regvault.policy.doctor.check import Check

__all__ = ["examine_spool", "examine_topic"]

_PROBE_BYTES = 4096


def examine_topic(subject: TopicSubject, options: DoctorOptions) -> Iterator[Check]:
    """Yield the checks of a topic."""
    opened = ask(subject.open)
    if opened.value is None:
        yield failed("brokers", opened)
        unknown: Asked[TopicFacts] = unasked("the cluster cannot be asked")
        yield from stream.judge_topic(
            unknown, options.stream_role, brokers=0, every_s=options.every_s, largest=LARGEST
        )
        yield stream.judge_dead_letters(unknown, options.stream_role)
        yield skipped("archive-lag", unknown.why)
        return
    with opened.value as topics:
        cluster = ask(topics.cluster)
        if cluster.value is None:
            yield failed("brokers", cluster)
            number, name = 0, ""
        else:
            name, number = cluster.value
            yield ok("brokers", f"{number} of cluster {name}")
        facts = ask(lambda: topics.facts(subject.topic))
        yield from stream.judge_topic(
            facts, options.stream_role, brokers=number, every_s=options.every_s, largest=LARGEST
        )
        dead = ask(lambda: topics.facts(subject.dead_letters))
        yield stream.judge_dead_letters(dead, options.stream_role)
        yield stream.judge_archived(
            _archived(subject, topics, name, facts.value),
            None if facts.value is None else facts.value.settings,
            every_s=options.every_s,
        )


def _archived(
    subject: TopicSubject, topics: Topics, cluster: str, facts: TopicFacts | None
) -> Asked[Archived]:
    """Compare the offsets of a topic with those of its chain."""
    if facts is None:
        return unasked("the topic cannot be looked at")
    if subject.vault is None:
        return unasked("no vault of the archive is named")
    try:
        chains, _ = chain_statuses(subject.vault())
    except RegvaultError as problem:
        return unasked(f"the archive cannot be read: {problem.message}")
    # Where that is sealed nobody here knows of what a chain is.
    if any(chain.problem or (chain.links and not chain.stream) for chain in chains):
        return unasked("a chain of the archive cannot be read, or is sealed")
    wanted = {"kind": "kafka", "cluster": cluster, "topic": subject.topic}
    chain = next((each for each in chains if each.stream == wanted), None)
    offsets = ask(lambda: topics.offsets(subject.topic, facts.partitions))
    if offsets.value is None:
        return unasked(offsets.why)
    known = {} if chain is None else chain.positions
    gone = waiting = 0
    for partition, (first, last) in offsets.value.items():
        at = known.get(partition, 0)
        gone += max(0, first - at) if chain is not None else 0
        waiting += max(0, last - max(at, first))
    age = 0.0 if chain is None or chain.received is None else _age(chain.received)
    return Asked(Archived(chain is not None, gone, waiting, age))


def examine_spool(subject: SpoolSubject, options: DoctorOptions) -> Iterator[Check]:
    """Yield the checks of a spool, all of which is read."""
    facts = ask(lambda: _spool(subject))
    yield from stream.judge_spool(facts)
    if facts.value is None:
        yield skipped("spool-durable", "the spool cannot be looked at")
    elif not options.write:
        yield skipped("spool-durable", "--no-write: nothing is written")
    else:
        yield stream.judge_sync(ask(lambda: _sync(subject.directory)))


def _spool(subject: SpoolSubject) -> SpoolFacts:
    if not os.path.isfile(os.path.join(subject.directory, "spool.json")):
        raise NotFoundError(
            f"there is no spool in {subject.directory}",
            hint="`regvault audit serve` makes it; is the path right, and its disk mounted?",
        )
    disk = subject.look().disk
    more = {} if subject.limit is None else {"limit": subject.limit}
    opened = Spool(subject.directory, **more)
    try:
        status = spool_status(opened)
    finally:
        opened.close()
    return SpoolFacts(
        nbytes=status.nbytes,
        limit=status.limit,
        free_bytes=disk.free_bytes,
        kind=disk.kind,
        consumers=tuple(
            (each["name"], each["lag"], _waits(subject.directory, each["next"]))
            for each in status.consumers
        ),
        damage=len(status.damage),
    )


def _waits(directory: str, number: int) -> float:
    """Return for how many seconds the event of a number, or the next after it, is in a spool."""
    reader = Reader(directory, max(number, 0))
    try:
        found = reader.read(1)
    finally:
        reader.close()
    return _age(json.loads(found[0].data)["received"]) if found else 0.0


def _age(received: str) -> float:
    return max(0.0, time.time() - datetime.fromisoformat(received).timestamp())


def _sync(directory: str) -> float:
    """Return how many seconds it takes until a new file is durable. Raises TemporaryError."""
    started = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix="doctor-") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
            sync_directory(directory)
            return time.perf_counter() - started
    except OSError as problem:
        raise TemporaryError(
            f"{directory}: a file cannot be written and synced: {problem.strerror}",
            hint="Events are refused as long as that is so. Look at the disk, and at its mode.",
        ) from problem
