"""Answers of access statistics: what was pulled when, how often, by how many, and what is idle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.model.event import time_text
from regvault.policy.access_counts import (
    DAY_US,
    HALF_LIVES,
    clients_in,
    decayed,
    first_day,
    merged,
    within,
)
from regvault.policy.coverage import Coverage, covered_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.ops.audit.access.tables import Tables

__all__ = ["Access", "AccessView"]

_KINDS = {1: "manifest", 2: "blob"}


@dataclass
class Access:
    """What is known of the pulls of one thing.

    Attributes:
        digest: of a manifest or a blob; None where only the tag is known that was asked for.
        repository: in which; None where nobody knows, and of all repositories together.
        tag: where there is no digest.
        kind: `manifest`, `blob` or None.
        first, last: when it was pulled first and last, microseconds since the epoch, or None.
        pushed: when it was pushed last, or None.
        pulls: how often it was pulled.
        days: how often on which day; what is older, in which 32 days.
        clients: month -> hashes of clients.
    """

    digest: str | None
    repository: str | None
    tag: str | None
    kind: str | None
    first: int | None = None
    last: int | None = None
    pushed: int | None = None
    pulls: int = 0
    days: dict[int, int] = field(default_factory=dict)
    clients: dict[str, bytes] = field(default_factory=dict)

    def add(self, other: Access) -> None:
        """Add what is known of the same thing in another repository, or by a tag."""
        self.kind = self.kind or other.kind
        self.first = _least(self.first, other.first)
        self.last = _most(self.last, other.last)
        self.pushed = _most(self.pushed, other.pushed)
        self.pulls += other.pulls
        for day, pulls in other.days.items():
            self.days[day] = self.days.get(day, 0) + pulls
        for month, sketch in other.clients.items():
            self.clients[month] = merged(self.clients.get(month, b""), _hashes(sketch))


class AccessView:
    """Answers, as long as the view is open.

    Attributes:
        coverage: for which time it is known what happened.
    """

    def __init__(self, tables: Tables, aside: frozenset[str], unknown: Iterable[str] = ()) -> None:
        """Look at tables in which all is counted.

        Args:
            tables: where nothing waits.
            aside: chains on which `coverage` does not depend.
            unknown: chains of which nothing could be counted: with one there is no coverage.
        """
        self._tables = tables
        self._db = tables.db
        self._newest = tables.newest_us() // DAY_US
        spans = {name: each for name, each in tables.spans().items() if name not in aside}
        self.chains = spans
        self.coverage = Coverage() if set(unknown) - aside else covered_by(spans.values())

    def targets(
        self, repos: Callable[[str], bool] | None = None, digests: Iterable[str] = ()
    ) -> Iterator[Access]:
        """Yield all that was pulled or pushed, by digest, repository and tag.

        Args:
            repos: whether a repository is asked for; None: any is, and none too.
            digests: only these; none: any.
        """
        order = "ORDER BY digest, repository, tag"
        some = sorted(set(digests))
        queries: list[tuple[str, tuple[str, ...]]]
        queries = [(f"{_SELECT} WHERE digest = ? {order}", (digest,)) for digest in some]
        for query, values in queries or [(f"{_SELECT} {order}", ())]:
            for row in self._db.execute(query, values):
                if repos is None or repos(row[2]):
                    yield self._access(row)

    def of_digest(self, digest: str, tags: Iterable[tuple[str, str]] = ()) -> Access:
        """Return what is known of a digest, in all repositories together.

        Args:
            digest: of a manifest or a blob.
            tags: repositories and tags that have named it, as snapshots know. Pulls of which only
                the tag is known may have been of it, and count; so do those of the tags that
                events tell of.
        """
        found = Access(digest, None, None, None)
        for row in self._db.execute(f"{_SELECT} WHERE digest = ?", (digest,)).fetchall():
            found.add(self._access(row))
        named = self._db.execute(
            "SELECT repository, tag FROM tags WHERE digest = ?1"
            " UNION SELECT repository, tag FROM tags WHERE before = ?1",
            (digest,),
        )
        for repository, tag in sorted({*named.fetchall(), *tags}):
            for row in self._db.execute(
                f"{_SELECT} WHERE digest = '' AND repository = ? AND tag = ?", (repository, tag)
            ).fetchall():
                found.add(self._access(row))
        return found

    def open_tags(self) -> list[tuple[str, str]]:
        """Return the repositories and tags that were pulled, and nobody knows what they were."""
        rows = self._db.execute(
            "SELECT repository, tag FROM targets WHERE digest = '' ORDER BY repository, tag"
        )
        return list(rows.fetchall())

    def digests_of_tag(self, repository: str, tag: str) -> list[str]:
        """Return what a tag is, and what it was before, as far as events tell."""
        rows = self._db.execute(
            "SELECT digest, before FROM tags WHERE repository = ? AND tag = ?", (repository, tag)
        )
        return [digest for row in rows.fetchall() for digest in row if digest]

    def every_target(self, count: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield so many at once: number, digest, repository, tag, last pull, last push.

        Digest and tag are "" where there is none, times are microseconds since the epoch or None.
        """
        query = "SELECT id, digest, repository, tag, last, pushed FROM targets ORDER BY id"
        rows = self._db.execute(query)
        while some := rows.fetchmany(count):
            yield some

    def every_day(self, count: int) -> Iterator[list[tuple[int, int, int]]]:
        """Yield so many at once: number of a target, day since the epoch, pulls on it.

        What is old is told of a day in the middle of its block.
        """
        cut = first_day(self._newest)
        query = (
            "SELECT target, CASE WHEN day < ? THEN day + 16 ELSE day END, pulls FROM days"
            " ORDER BY target, day"
        )
        rows = self._db.execute(query, (cut,))
        while some := rows.fetchmany(count):
            yield some

    def _access(self, row: tuple[Any, ...]) -> Access:
        number, digest, repository, tag, kind, first, last, pulls, pushed = row
        days = self._db.execute("SELECT day, pulls FROM days WHERE target = ?", (number,))
        clients = self._db.execute("SELECT month, sketch FROM clients WHERE target = ?", (number,))
        return Access(
            digest or None,
            repository or None,
            tag or None,
            _KINDS.get(kind),
            first,
            last,
            pushed,
            pulls,
            dict(days.fetchall()),
            dict(sorted(clients.fetchall())),
        )

    # What follows from it

    def since(self, access: Access) -> int:
        """Return since when something was not used, as far as is known: microseconds."""
        return max(access.last or 0, access.pushed or 0, self.coverage.start)

    def idle_us(self, access: Access) -> int:
        """Return for how long it is known that something was not used, microseconds.

        Of the time since it was pulled or pushed last only that counts of which it is known what
        happened: never that before the beginning, and not that of gaps.
        """
        return self.coverage.idle_us(self.since(access))

    def frozen_us(self, access: Access) -> int:
        """Return how much of the time since it was used last is unknown, microseconds."""
        return self.coverage.frozen_us(self.since(access))

    def knows(self, access: Access, since: int) -> bool:
        """Return whether it is certain that something was not used since a time.

        Args:
            access: what is known of it.
            since: microseconds since the epoch.
        """
        return self.coverage.is_whole(since) and max(access.last or 0, access.pushed or 0) < since

    def to_json(self, access: Access, whole: Access | None = None) -> dict[str, Any]:
        """Return it as `docs/audit.md` says.

        Args:
            access: what is told.
            whole: the same in all repositories together, by which it is idle or not.
        """
        whole = whole or access
        days = access.days
        return {
            "digest": access.digest,
            "repository": access.repository,
            "tag": access.tag,
            "kind": access.kind,
            "last_pull": _time(access.last),
            "first_pull": _time(access.first),
            "last_push": _time(access.pushed),
            "pulls": access.pulls,
            "windows": {f"{n}d": self.within(days, n) for n in HALF_LIVES},
            "decayed": {f"{n}d": round(self.decayed(days, n), 6) for n in HALF_LIVES},
            "clients": {month: clients_in(sketch) for month, sketch in access.clients.items()},
            "known_since": _time(self.coverage.start or None),
            "idle_s": self.idle_us(whole) / 1e6,
            "frozen_s": self.frozen_us(whole) / 1e6,
        }

    def within(self, days: dict[int, int], count: int) -> int:
        """Return the pulls of the last days. See `policy.access_counts.within`."""
        return within(days, self._newest, count, self._newest)

    def decayed(self, days: dict[int, int], half_life: int) -> float:
        """Return the pulls that decayed. See `policy.access_counts.decayed`."""
        return decayed(days, self._newest, half_life, self._newest)

    def coverage_json(self) -> dict[str, Any]:
        """Return for which time it is known what happened."""
        return {
            "since": _time(self.coverage.start) if self.coverage.end else None,
            "until": _time(self.coverage.end or None),
            "gaps": [[_time(first), _time(last)] for first, last in self.coverage.gaps],
            "chains": {
                name: {"since": _time(span.first), "until": _time(span.last)}
                for name, (span, _) in sorted(self.chains.items())
            },
        }


_SELECT = "SELECT id, digest, repository, tag, kind, first, last, pulls, pushed FROM targets"


def _time(us: int | None) -> str | None:
    return None if us is None else time_text(us * 1000)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _hashes(sketch: bytes) -> Iterator[bytes]:
    from regvault.policy.access_counts import HASH_BYTES

    return (sketch[at : at + HASH_BYTES] for at in range(0, len(sketch), HASH_BYTES))
