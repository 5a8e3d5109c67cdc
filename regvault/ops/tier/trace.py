"""Reads a history of accesses: CSV with a header, or JSON lines; also events as `audit query` has.

Any of the fields `time, client, method, uri, status, bytes, useragent` will do, `uri` alone too:
then the order of the lines is time. A line of an event has `digest` and `repository` instead. What
nginx and HAProxy call these fields is known, and nginx's own times are.

What comes out does not depend on the order of lines of the same time.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regvault.errors import UsageError
from regvault.ops.tier.lines import (
    BLOB,
    MANIFEST,
    NOWHERE,
    OPAQUE,
    Place,
    bytes_of,
    number_of,
    place_of_uri,
    time_of,
    trace_rows,
)
from regvault.policy.tiering.history import grouped, make_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from regvault.policy.access import AccessRules
    from regvault.policy.tiering.history import Floats, History, Ints

__all__ = [
    "ASSUMED_BYTES",
    "ASSUMED_MANIFEST_BYTES",
    "DELETED",
    "LONGEST_DAYS",
    "PUSHED",
    "READ",
    "Reads",
    "Trace",
    "read_accesses",
    "read_trace",
]

ASSUMED_BYTES = 4 << 20
"""Of a blob whose size nobody tells: about the mean of layers in published studies."""

ASSUMED_MANIFEST_BYTES = 4 << 10
"""Likewise of a manifest."""

LONGEST_DAYS = 20 * 365.25
"""A history is no longer: its times are wrong then."""

_DAY = 86_400.0
_WRITES = {"PUT", "POST", "PATCH"}

READ, PUSHED, DELETED = range(3)
"""What a line says that was done."""


class Trace(NamedTuple):
    """A history that was read.

    Attributes:
        history: of all content, from day 0, that of the first read.
        families: of each group of it (a repository), the number of its family (a project).
        days: how long it is.
        begin: when day 0 began, seconds since 1970; None: lines have no time.
        lines: that were read.
        ignored: that are no access of a client: scanners, HEAD, failures, lists.
        unreadable: that say nothing.
        untimed: without a time, among others that have one; or with one that is none.
        unread: blobs that only the sizes tell of.
        assumed: how many sizes were.
    """

    history: History
    families: Ints
    days: float
    begin: float | None
    lines: int
    ignored: int
    unreadable: int
    untimed: int
    unread: int
    assumed: int


class Reads(NamedTuple):
    """The lines of a history, as columns.

    Attributes:
        names: of contents: digests, or `repository:tag`.
        whats: of each line that counts, what was done.
        contents: the number of what it was done to.
        times: seconds since 1970; NaN where a line has none.
        last: the latest time of any line.
        lines, ignored, unreadable, untimed: see `Trace`.
    """

    names: list[str]
    whats: array[int]
    contents: array[int]
    times: array[float]
    last: float
    lines: int
    ignored: int
    unreadable: int
    untimed: int


def read_accesses(lines: Iterable[str], *, rules: AccessRules) -> Reads:
    """Read a history of something that is there, whose sizes are known.

    Args:
        lines: of the file.
        rules: who is no client whose reads count.

    Raises:
        UsageError: it is none.
    """
    reader = _Reader(rules)
    for row in trace_rows(lines):
        reader.take(row)
    reader.places.clear()
    return Reads(
        reader.names,
        reader.whats,
        reader.contents,
        reader.times,
        reader.last,
        reader.lines,
        reader.ignored,
        reader.unreadable,
        reader.untimed,
    )


def read_trace(
    lines: Iterable[str],
    *,
    rules: AccessRules,
    sizes: Mapping[str, int] | None = None,
    horizon: float | None = None,
    default_days: float = 730.5,
) -> Trace:
    """Read a history.

    Args:
        lines: of the file.
        rules: who is no client whose reads count.
        sizes: digest -> bytes, where the lines do not tell.
        horizon: days from the first read on that are looked at; None: all.
        default_days: how long it is taken to be where lines have no time, and no horizon is given.

    Raises:
        UsageError: it is none; or nothing in it is read.
    """
    reader = _Reader(rules)
    for row in trace_rows(lines):
        reader.take(row)
    return reader.trace(sizes or {}, horizon, default_days)


class _Reader:
    """Takes lines one by one."""

    def __init__(self, rules: AccessRules) -> None:
        self.rules = rules
        self.lines = self.ignored = self.unreadable = self.untimed = 0
        self.known: dict[str, int] = {}
        self.names: list[str] = []
        self.sizes = array("q")
        #: OPAQUE, BLOB or MANIFEST, of each content.
        self.kinds = array("b")
        self.groups = array("q")
        #: When a content was seen first, in that repository.
        self.seen = array("d")
        self.shared: set[int] = set()
        self.repositories: dict[str, int] = {}
        self.places: dict[str, Place | None] = {}
        self.whats = array("b")
        self.contents = array("q")
        self.times = array("d")
        self.last = float("-inf")

    def take(self, row: Mapping[str, Any]) -> None:
        """Take one line."""
        self.lines += 1
        place = self._place(row)
        if place is NOWHERE:
            self.unreadable += 1
            return
        time = time_of(row.get("time"))
        if time is not None and time > self.last:
            self.last = time
        what = None if place is None else self._what(row)
        if place is None or what is None:
            self.ignored += 1
            return
        if time is None and row.get("time") not in (None, ""):
            self.untimed += 1
            return
        content = self._content(place, float(self.lines) if time is None else time)
        size = bytes_of(row, is_read=what == READ)
        if size is not None and size > self.sizes[content]:
            self.sizes[content] = size
        self.whats.append(what)
        self.contents.append(content)
        self.times.append(float("nan") if time is None else time)

    def _place(self, row: Mapping[str, Any]) -> Place | None:
        """Return what a line is about; None: no content; NOWHERE: it does not say."""
        uri = row.get("uri")
        if isinstance(uri, str) and uri.strip():
            if uri in self.places:
                return self.places[uri]
            place = self.places[uri] = place_of_uri(uri.strip())
            return place
        digest = row.get("digest")
        if isinstance(digest, str) and digest:
            if row.get("kind") == "tag":
                return None
            kind = MANIFEST if row.get("kind") == "manifest" else BLOB
            return Place(digest, str(row.get("repository") or ""), kind)
        return None if row.get("action") is not None else NOWHERE

    def _what(self, row: Mapping[str, Any]) -> int | None:
        """Return what a line says that was done; None: nothing that counts."""
        status = number_of(row.get("status"))
        if status is not None and status >= 400:
            return None
        method = str(row.get("method") or "").strip().upper()
        action = row.get("action")
        if method in _WRITES or action in ("push", "mount"):
            return PUSHED
        if method == "DELETE" or action == "delete":
            return DELETED
        if method not in ("", "GET") or action not in (None, "pull"):
            return None
        who = [
            value if isinstance(value, str) and value else None
            for value in (
                row.get("useragent"),
                row.get("actor"),
                row.get("client") or row.get("address"),
            )
        ]
        return None if self.rules.ignores(*who) else READ

    def _content(self, place: Place, time: float) -> int:
        name, repository, kind = place
        group = self.repositories.setdefault(repository, len(self.repositories))
        number = self.known.get(name)
        if number is None:
            number = self.known[name] = len(self.names)
            self.names.append(name)
            self.sizes.append(-1)
            self.kinds.append(kind)
            self.groups.append(group)
            self.seen.append(time)
            return number
        self.kinds[number] = max(self.kinds[number], kind)
        if self.groups[number] != group:
            self.shared.add(number)
            if time < self.seen[number]:
                self.groups[number] = group
        self.seen[number] = min(self.seen[number], time)
        return number

    def trace(self, sizes: Mapping[str, int], horizon: float | None, default_days: float) -> Trace:
        """Return all of it."""
        self.places.clear()
        whats = np.frombuffer(self.whats, dtype=np.int8)
        contents = np.frombuffer(self.contents, dtype=np.int64)
        stamps = np.frombuffer(self.times)
        kinds = np.frombuffer(self.kinds, dtype=np.int8)
        timed = bool(len(stamps)) and bool(np.isfinite(stamps).any())
        kept = np.isfinite(stamps) if timed else np.ones(len(stamps), dtype=bool)
        self.untimed += int((~kept).sum())
        if (kinds > OPAQUE).any():
            # Beside what registries serve, names of anything else are none of content.
            other = kinds[contents] == OPAQUE
            self.ignored += int((kept & other).sum())
            kept &= ~other
        whats, contents, stamps = whats[kept], contents[kept], stamps[kept]
        if not (whats == READ).any():
            raise UsageError(
                f"nothing is read in the trace: {self.lines} lines, {self.ignored} of them no "
                f"access of a client, {self.unreadable} unreadable, {self.untimed} without a time "
                "that can be read",
                hint="A read is a GET, or a line without a method, that was answered below 400 and "
                "comes from no scanner, replication or probe. A time is seconds since 1970, or "
                "2026-11-20T03:00:00Z.",
            )
        begin: float | None = None
        if timed:
            begin = float(stamps[whats == READ].min())
            times = (stamps - begin) / _DAY
            days = (self.last - begin) / _DAY + 1 / _DAY
        else:
            days = horizon or default_days
            times = (np.arange(len(whats)) + 0.5) / len(whats) * days
        if days > LONGEST_DAYS:
            raise UsageError(
                f"the history has {days:.0f} days, from {begin} to {self.last} seconds since 1970",
                hint="Are these milliseconds? A history has at most 20 years.",
            )
        days = min(days, horizon or days)
        return self._made(whats, contents, times, begin, days, sizes)

    def _made(
        self,
        whats: NDArray[np.int8],
        contents: Ints,
        times: Floats,
        begin: float | None,
        days: float,
        sizes: Mapping[str, int],
    ) -> Trace:
        unread = sorted(name for name in sizes if name not in self.known)
        count = len(self.names)
        born = np.full(count, np.inf)
        np.minimum.at(born, contents, times)
        pushed = whats == PUSHED
        if pushed.any() or sizes:
            # Where pushes are told, and of what is listed: what nobody pushed was there before.
            old = np.isfinite(born)
            if not pushed.any():
                old &= np.array([name in sizes for name in self.names])
            old[contents[pushed]] = False
            born[old] = np.minimum(born[old], 0.0)
        gone = whats == DELETED
        last, used = np.full(count, -np.inf), np.full(count, -np.inf)
        np.maximum.at(last, contents[gone], times[gone])
        np.maximum.at(used, contents[~gone], times[~gone])
        # One repository of several lets go of its link; the content stays for the others.
        shared = np.zeros(count, dtype=bool)
        shared[list(self.shared)] = True
        deleted = (last >= used) & (last < days) & ~shared  # and not pushed again
        ended = np.where(deleted, last, days)
        there = (born < days) & (ended > np.maximum(born, 0.0))
        known = np.frombuffer(self.sizes, dtype=np.int64).copy()
        for name, size in sizes.items():
            if name in self.known:
                known[self.known[name]] = size
        manifests = np.frombuffer(self.kinds, dtype=np.int8) == MANIFEST
        assumed = np.where(manifests, ASSUMED_MANIFEST_BYTES, ASSUMED_BYTES)
        labels = [(name.rpartition("/")[0], name) for name in self.repositories]
        groups, families = grouped(np.array(self.groups, dtype=np.int64), labels)
        # By name: in whatever order they came.
        order = np.array(sorted(np.flatnonzero(there).tolist(), key=self.names.__getitem__))
        number = np.full(count, -1)
        number[order] = np.arange(len(order))
        reads = (whats == READ) & (number[contents] >= 0)
        more = len(unread)
        history = make_history(
            number[contents[reads]],
            times[reads],
            sizes=np.concatenate(
                (np.where(known < 0, assumed, known)[order], [sizes[name] for name in unread])
            ).astype(np.int64),
            born=np.concatenate((born[order], np.zeros(more))),
            begin=0.0,
            ended=np.concatenate((ended[order], np.full(more, days))),
            deleted=np.concatenate((deleted[order], np.zeros(more, dtype=bool))),
            groups=np.concatenate((groups[order], np.full(more, len(families)))),
            movable=np.concatenate((~manifests[order], np.ones(more, dtype=bool))),
        )
        return Trace(
            history,
            np.append(families, families.max(initial=-1) + 1),
            days,
            begin,
            self.lines,
            self.ignored,
            self.unreadable,
            self.untimed,
            more,
            int((known < 0)[order].sum()),
        )
