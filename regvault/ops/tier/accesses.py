"""What is known of accesses, whoever tells of it: the audit statistics, or a history in a file.

It comes in two streams, so that millions of contents take little memory: what was accessed, then
when. What nobody tells of is unknown, and unknown is not cold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np

from regvault.errors import UsageError
from regvault.ops.tier.trace import LONGEST_DAYS, PUSHED, READ
from regvault.policy.access_counts import DAY_US
from regvault.policy.coverage import Coverage, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.ops.audit.access.view import AccessView
    from regvault.ops.tier.trace import Reads
    from regvault.policy.tiering.history import Floats, Ints

__all__ = ["Accesses", "KnownTime", "NothingKnown", "Target", "TraceAccesses", "ViewAccesses"]

_BATCH = 20_000
_SKEW_US = 3600 * 10**6


class Target(NamedTuple):
    """Something that was pulled or pushed.

    Attributes:
        number: by which `reads` calls it.
        digest: of it; "" where only a tag is known.
        repository, tag: where there is no digest.
        last, pushed: when it was pulled and pushed last, microseconds since the epoch; 0: never.
    """

    number: int
    digest: str
    repository: str
    tag: str
    last: int
    pushed: int


class Accesses(Protocol):
    """What is known of accesses."""

    @property
    def coverage(self) -> Coverage:
        """For which time it is known what happened."""

    @property
    def notes(self) -> list[str]:
        """What a person should know of it."""

    def tags(self) -> frozenset[tuple[str, str]]:
        """Return the repositories and tags that were pulled, and nobody knows what they were."""

    def targets(self) -> Iterator[list[Target]]:
        """Yield what was pulled or pushed, some at once."""

    def reads(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield, some at once: numbers of targets, microseconds since the epoch, and how often."""


class NothingKnown:
    """What is known on the first day."""

    coverage = Coverage()
    notes: ClassVar[list[str]] = []

    def tags(self) -> frozenset[tuple[str, str]]:
        """Return none."""
        return frozenset()

    def targets(self) -> Iterator[list[Target]]:
        """Yield none."""
        return iter(())

    def reads(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield none."""
        return iter(())


class ViewAccesses:
    """What the audit statistics of a vault know."""

    def __init__(self, view: AccessView, named: dict[str, list[tuple[str, str]]]) -> None:
        """Take them.

        Args:
            view: of the statistics.
            named: digest -> repositories and tags that named it, as snapshots know.
        """
        self._view = view
        self._named: dict[tuple[str, str], list[str]] = {}
        for digest, tags in named.items():
            for tag in tags:
                self._named.setdefault(tag, []).append(digest)

    @property
    def coverage(self) -> Coverage:
        """For which time it is known what happened."""
        return self._view.coverage

    @property
    def notes(self) -> list[str]:
        """What a person should know of it: nothing that `audit access` does not tell."""
        return []

    def tags(self) -> frozenset[tuple[str, str]]:
        """Return the tags of which nothing but pulls is known."""
        return frozenset(self._view.open_tags())

    def targets(self) -> Iterator[list[Target]]:
        """Yield what was pulled or pushed; a tag as each digest that it may have been, too."""
        for rows in self._view.every_target(_BATCH):
            found: list[Target] = []
            for number, digest, repository, tag, last, pushed in rows:
                target = Target(number, digest, repository, tag, last or 0, pushed or 0)
                found.append(target)
                if not digest:
                    named = self._named.get((repository, tag), [])
                    digests = {*named, *self._view.digests_of_tag(repository, tag)}
                    found += [target._replace(digest=each) for each in sorted(digests)]
            yield found

    def reads(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield on which day what was pulled how often; a day counts as its middle."""
        for rows in self._view.every_day(_BATCH):
            table = np.array(rows, dtype=np.int64).reshape(-1, 3)
            yield table[:, 0], table[:, 1] * DAY_US + DAY_US // 2, table[:, 2]


class TraceAccesses:
    """What a history in a file tells, from its first read to its last line."""

    def __init__(self, reads: Reads, now_us: int) -> None:
        """Take a history whose lines have times.

        Args:
            reads: of it.
            now_us: microseconds since the epoch. What a wrong clock tells of later is of now.

        Raises:
            UsageError: its times are none that such a history may have.
        """
        self._reads = reads
        self._now_us = now_us
        self._whats = np.frombuffer(reads.whats, dtype=np.int8)
        self._contents = np.frombuffer(reads.contents, dtype=np.int64)
        times = np.frombuffer(reads.times)
        self._timed = np.isfinite(times)
        latest = float(np.max(times, where=self._timed, initial=0.0))
        if latest * 1e6 > now_us + LONGEST_DAYS * DAY_US:
            raise UsageError(
                f"the history goes on until {latest:.0f} seconds since 1970",
                hint="Are these milliseconds?",
            )
        whole = np.where(self._timed, times, 0) * 1e6
        self._times = np.clip(whole, 0, now_us).astype(np.int64)

    @property
    def coverage(self) -> Coverage:
        """For which time it is known what happened."""
        some = self._timed & (self._whats == READ)
        if not some.any():
            return Coverage()
        last = min(self._reads.last * 1e6, self._now_us)
        return Coverage(int(self._times[some].min()), int(last), self._ahead())

    def _ahead(self) -> tuple[Span, ...]:
        """Return a gap up to now where a line tells of what has not been yet.

        Nobody knows then when the last lines were written.
        """
        ahead = self._reads.last * 1e6 > self._now_us + _SKEW_US
        return (Span(self._now_us - 1, self._now_us),) if ahead else ()

    @property
    def notes(self) -> list[str]:
        """Return how many lines say nothing that can be used."""
        found = []
        for count, what in (
            (self._reads.untimed + int((~self._timed).sum()), "had no time that can be read"),
            (self._reads.unreadable, "said nothing"),
        ):
            if count:
                found.append(f"{count} lines of the history {what}: what they told is not known")
        if self._ahead():
            found.append("a line of the history is of a time that has not been yet")
        return found

    def tags(self) -> frozenset[tuple[str, str]]:
        """Return the tags that were pulled by their names."""
        return frozenset(
            (repository, tag)
            for repository, colon, tag in (
                name.rpartition(":") for name in self._reads.names if not _is_digest(name)
            )
            if colon
        )

    def targets(self) -> Iterator[list[Target]]:
        """Yield what was read or written."""
        names = self._reads.names
        last, pushed = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        for what, times in ((READ, last), (PUSHED, pushed)):
            some = self._timed & (self._whats == what)
            np.maximum.at(times, self._contents[some], self._times[some])
        for begin in range(0, len(names), _BATCH):
            found: list[Target] = []
            for number, name in enumerate(names[begin : begin + _BATCH], begin):
                digest, (repository, _, tag) = name, ("", "", "")
                if not _is_digest(name):
                    digest, (repository, _, tag) = "", name.rpartition(":")
                told = int(last[number]), int(pushed[number])
                found.append(Target(number, digest, repository, tag, *told))
            yield found

    def reads(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Yield all reads."""
        some = self._timed & (self._whats == READ)
        yield self._contents[some], self._times[some], np.ones(int(some.sum()), dtype=np.int64)


def _is_digest(name: str) -> bool:
    return name.startswith(("sha256:", "sha512:"))


class KnownTime:
    """Time of which it is known what happened, without that before it and without gaps: days.

    Attributes:
        days: all of it.
    """

    def __init__(self, coverage: Coverage) -> None:
        self._start = coverage.start
        self._end = coverage.end
        self._firsts = np.array([gap.first for gap in coverage.gaps], dtype=np.int64)
        lengths = np.array([gap.last - gap.first for gap in coverage.gaps], dtype=np.int64)
        self._lengths = lengths
        self._before = np.concatenate(([0], np.cumsum(lengths)))
        self.days = float(self.at(np.array([self._end], dtype=np.int64))[0])

    def at(self, times: Ints) -> Floats:
        """Return on which day of the known time a time is; 0 of what is before.

        Args:
            times: microseconds since the epoch.
        """
        times = np.clip(times, self._start, self._end)
        place = np.searchsorted(self._firsts, times, side="right")
        missing = self._before[place]
        inside = place > 0
        if inside.any():
            # Within a gap no time passes.
            gap = place[inside] - 1
            passed = times[inside] - self._firsts[gap]
            missing = missing.copy()
            missing[inside] -= np.maximum(0, self._lengths[gap] - passed)
        found: Floats = (times - self._start - missing) / DAY_US
        return found
