"""Puts records of one request together, and counts them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.audit.joining import WINDOW_S, Waiting
from regvault.ops.audit.access.tables import Record
from regvault.policy.access_counts import DAY_US, HASH_BYTES, bucket_of, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.audit.joining import Group
    from regvault.ops.audit.access.tables import Tables

__all__ = ["count_alone", "settle"]

_FLUSH_AT = 20_000
_FIELDS = Record._fields


@dataclass
class _Target:
    """What is to be added to one target."""

    kind: int = 0
    pulls: int = 0
    first: int | None = None
    last: int | None = None
    pushed: int | None = None
    days: dict[int, int] = field(default_factory=dict)
    clients: dict[str, set[bytes]] = field(default_factory=dict)


class _Counter:
    """Counts requests, and writes what they add up to.

    Attributes:
        learns: it learns what tags are; else it leaves all open that only a tag is known of.
    """

    def __init__(self, tables: Tables, *, learns: bool) -> None:
        self.learns = learns
        self._tables = tables
        self._db = tables.db
        self._newest = tables.newest_us() // DAY_US
        self._targets: dict[tuple[str, str, str], _Target] = {}
        self._tags: dict[tuple[str, str], tuple[str, int, str]] = {}
        self._learnt: set[tuple[str, str]] = set()

    def push(self, record: Record) -> None:
        """Count a push: what is new is not idle since ever."""
        if record.digest is None:
            return
        target = self._target(record.digest, record.repository or "", "")
        target.kind = max(target.kind, record.kind)
        target.pushed = max(target.pushed or 0, record.time)
        if record.tag is not None and record.repository is not None:
            self._learn(record.repository, record.tag, record.digest, record.time)
        if len(self._targets) >= _FLUSH_AT:
            self.flush()

    def pull(self, records: list[Record]) -> None:
        """Count one request, of which these are the records; the first knows most."""
        time = records[0].time
        repository = _first(record.repository for record in records)
        digest = _first(record.digest for record in records)
        tag = _first(record.tag for record in records)
        if digest is not None and tag is not None and repository is not None:
            self._learn(repository, tag, digest, time)
        if any(record.ignored for record in records):
            return
        if digest is None:
            if tag is None or repository is None:
                return
            digest = self._resolve(repository, tag, time)
        target = self._target(digest or "", repository or "", "" if digest else tag or "")
        target.kind = max(target.kind, *(record.kind for record in records))
        target.pulls += 1
        target.first = time if target.first is None else min(target.first, time)
        target.last = time if target.last is None else max(target.last, time)
        bucket = bucket_of(time // DAY_US, self._newest)
        target.days[bucket] = target.days.get(bucket, 0) + 1
        client = _client(records)
        if client is not None:
            target.clients.setdefault(records[0].month, set()).add(client)
        if len(self._targets) >= _FLUSH_AT:
            self.flush()

    def _target(self, digest: str, repository: str, tag: str) -> _Target:
        name = (digest, repository, tag)
        found = self._targets.get(name)
        if found is None:
            found = self._targets[name] = _Target()
        return found

    # Tags

    def _tag(self, repository: str, tag: str) -> tuple[str, int, str]:
        """Return what a tag is, since when, and what it was before."""
        found = self._tags.get((repository, tag))
        if found is None:
            row = self._db.execute(
                "SELECT digest, since, before FROM tags WHERE repository = ? AND tag = ?",
                (repository, tag),
            ).fetchone()
            found = self._tags[repository, tag] = row or ("", 0, "")
        return found

    def _learn(self, repository: str, tag: str, digest: str, time: int) -> None:
        if not self.learns:
            return
        known, since, _ = self._tag(repository, tag)
        if digest != known and time >= since:
            self._tags[repository, tag] = (digest, time, known)
            self._learnt.add((repository, tag))

    def _resolve(self, repository: str, tag: str, time: int) -> str | None:
        if not self.learns:
            return None
        digest, since, before = self._tag(repository, tag)
        return (digest if time >= since else before) or None

    # Writing

    def flush(self) -> None:
        """Write what was counted."""
        for (digest, repository, tag), target in self._targets.items():
            number = self._number(digest, repository, tag, target)
            self._db.executemany(
                "INSERT INTO days VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET pulls = pulls + excluded.pulls",
                [(number, day, pulls) for day, pulls in target.days.items()],
            )
            for month, hashes in target.clients.items():
                row = self._db.execute(
                    "SELECT sketch FROM clients WHERE target = ? AND month = ?", (number, month)
                ).fetchone()
                sketch = merged(row[0] if row else b"", hashes)
                self._db.execute(
                    "INSERT OR REPLACE INTO clients VALUES (?, ?, ?)", (number, month, sketch)
                )
        self._targets.clear()
        self._db.executemany(
            "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?)",
            [(*name, *self._tags[name]) for name in self._learnt],
        )
        self._learnt.clear()
        self._tags.clear()

    def _number(self, digest: str, repository: str, tag: str, target: _Target) -> int:
        self._db.execute(
            "INSERT INTO targets (digest, repository, tag, kind, first, last, pulls, pushed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " kind = max(kind, excluded.kind), pulls = pulls + excluded.pulls,"
            " first = min(coalesce(first, excluded.first), coalesce(excluded.first, first)),"
            " last = max(coalesce(last, excluded.last), coalesce(excluded.last, last)),"
            " pushed = max(coalesce(pushed, excluded.pushed), coalesce(excluded.pushed, pushed))",
            (
                digest,
                repository,
                tag,
                target.kind,
                target.first,
                target.last,
                target.pulls,
                target.pushed,
            ),
        )
        (number,) = self._db.execute(
            "SELECT id FROM targets WHERE digest = ? AND repository = ? AND tag = ?",
            (digest, repository, tag),
        ).fetchone()
        return int(number)


def settle(tables: Tables, before: int | None) -> None:
    """Count the records that wait and of whose requests no more come.

    Args:
        tables: where they wait.
        before: the time from which on records may still come; None: none may, count all.
    """
    db = tables.db
    where = "" if before is None else " WHERE time < ?"
    told = () if before is None else (before,)
    names = ", ".join(_FIELDS)
    rows = db.execute(f"SELECT {names} FROM pending{where} ORDER BY time, id", told)  # noqa: S608
    counter = _Counter(tables, learns=True)
    waiting = Waiting()
    for record in map(Record._make, rows):
        for group in _taken(waiting, counter, record):
            counter.pull(_records(group))
    rest = list(waiting.until(float("inf")))
    if before is None:
        for group in rest:
            counter.pull(_records(group))
    counter.flush()
    db.execute(f"DELETE FROM pending{where}", told)  # noqa: S608 (only marks)
    if before is not None:
        # Of these requests there may be more behind `before`: they are begun anew then.
        tables.wait(record for group in rest for record in _records(group))
        tables.set_meta("settled", before)


def count_alone(tables: Tables, records: list[Record]) -> None:
    """Count records that came too late to wait for others; they are of one link.

    What tags were is not known of that time any more: what only tells a tag stays open.
    """
    counter = _Counter(tables, learns=False)
    waiting = Waiting()
    for record in sorted(records):
        for group in _taken(waiting, counter, record):
            counter.pull(_records(group))
    for group in waiting.until(float("inf")):
        counter.pull(_records(group))
    counter.flush()


def _taken(waiting: Waiting, counter: _Counter, record: Record) -> Iterator[Group]:
    """Take one record; yield the requests that are complete."""
    moment = record.time / 1e6
    yield from waiting.until(moment - WINDOW_S)
    if record.push:
        counter.push(record)
    else:
        waiting.take(_event(record), moment)


def _event(record: Record) -> dict[str, Any]:
    """Return what is looked at of a record to put it together with others."""
    month = record.month  # with another one's key the same client has another hash
    return {
        "action": "pull",
        "method": "GET",
        "repository": record.repository,
        "tag": record.tag,
        "digest": record.digest,
        "status": record.status,
        "source": record.source,
        "request_id": record.request_id,
        "raw": None,
        "actor": None if record.actor is None else (month, record.actor),
        "address": None if record.address is None else (month, record.address),
        "useragent": None if record.agent is None else (month, record.agent),
        "record": record,
    }


def _records(group: Group) -> list[Record]:
    return [event["record"] for event in group.by_rank()]


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _client(records: list[Record]) -> bytes | None:
    """Return the hash of the client of a request, or None where nothing tells who it was."""
    month = records[0].month
    same = [record for record in records if record.month == month]
    actor = next((record.actor for record in same if record.actor is not None), b"")
    address = next((record.address for record in same if record.address is not None), b"")
    if not actor and not address:
        return None
    data = b"%d %b%b" % (len(actor), actor, address)
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()
