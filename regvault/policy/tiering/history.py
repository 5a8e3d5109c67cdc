"""What is known of the accesses to many blobs: arrays, sorted by blob and then by time.

Times are days (86,400 s) since any one day. Needs numpy: the extra `tiering`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SMALLEST",
    "Bools",
    "Floats",
    "History",
    "Ints",
    "Runs",
    "events_of",
    "first_days",
    "grouped",
    "make_history",
    "runs_of",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


SMALLEST = 128 << 10
"""Bytes: what is smaller is never moved; it would not pay within years, and S3 would not either."""


#: So many labels are looked at one by one, so many of their families.
_GROUPS, _FAMILIES = 400, 200


class History(NamedTuple):
    """Blobs, and when they were read.

    Attributes:
        sizes: bytes of each blob.
        born: day when each was pushed, or as early as it is known to be there.
        start: day from which on it is looked at: the later of `born` and the begin of it all.
        ended: day when it was deleted, or the end of it all.
        deleted: whether it was deleted then.
        first: of each blob, and once more: where its reads begin in `times`.
        times: days of reads.
        groups: of each blob, the number of what it belongs to, such as its repository's kind.
        movable: whether it may be moved at all: manifests may not.
    """

    sizes: Ints
    born: Floats
    start: Floats
    ended: Floats
    deleted: Bools
    first: Ints
    times: Floats
    groups: Ints
    movable: Bools

    @property
    def counts(self) -> Ints:
        """How often each blob was read."""
        return np.diff(self.first)

    @property
    def owners(self) -> Ints:
        """Of each read, the number of the blob."""
        return np.repeat(np.arange(len(self.sizes)), self.counts)


def make_history(
    objects: Ints,
    times: Floats,
    *,
    sizes: Ints,
    born: Floats,
    begin: float,
    ended: Floats,
    deleted: Bools,
    groups: Ints,
    movable: Bools,
) -> History:
    """Return a history of reads in any order.

    Args:
        objects: of each read, the number of the blob.
        times: of each read, its day; those before `begin`, or after the blob's end, are left out.
        sizes: see `History`, as with the others.
        born: of each blob.
        begin: the day from which on costs are counted.
        ended: of each blob.
        deleted: of each blob.
        groups: of each blob.
        movable: of each blob.
    """
    start = np.maximum(born, begin)
    kept = (times >= start[objects]) & (times < ended[objects])
    objects, times = objects[kept], times[kept]
    order = np.lexsort((times, objects))
    counts = np.bincount(objects, minlength=len(sizes))
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return History(sizes, born, start, ended, deleted, first, times[order], groups, movable)


def grouped(of: Ints, labels: list[tuple[str, str]]) -> tuple[Ints, Ints]:
    """Return the group of each content, and the family of each group.

    A group is of one label, such as a repository, its family what it is of, such as a project.
    Labels that have little are one group for each family, and families beyond some are one.

    Args:
        of: of each content, the number of its label.
        labels: the family and the name of each.
    """
    sizes = np.bincount(of, minlength=len(labels))
    large = set(np.argsort(-sizes, kind="stable")[:_GROUPS].tolist())
    families: dict[str, int] = {}
    groups: dict[tuple[str, int | None], int] = {}
    numbers: list[int] = []
    for number, (family, _) in enumerate(labels):
        known = family if family in families or len(families) < _FAMILIES else ""
        families.setdefault(known, len(families))
        key = known, number if number in large else None
        numbers.append(groups.setdefault(key, len(groups)))
    made = np.array([families[family] for family, _ in groups], dtype=np.int64)
    return np.array(numbers, dtype=np.int64)[of], made


def first_days(history: History, days: float) -> History:
    """Return the same history as it was on one of its days."""
    there = history.start < days
    owners = history.owners
    kept = (history.times < days) & there[owners]
    counts = np.bincount(owners[kept], minlength=len(there))[there]
    return History(
        history.sizes[there],
        history.born[there],
        history.start[there],
        np.minimum(history.ended[there], days),
        history.deleted[there] & (history.ended[there] < days),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        history.times[kept],
        history.groups[there],
        history.movable[there],
    )


class Runs(NamedTuple):
    """Stretches of a history in which no gap is long; a gap follows each. Sorted as the reads are.

    The first of a blob begins when it does, perhaps without a read.

    Attributes:
        owner: the number of the blob.
        begin: day of its first event.
        end: day of its last event.
        reads: how many.
        before: how often the blob had been read before.
        gap: days without a read after it.
        last: whether the blob's time ends with that gap.
        turn: how many runs its blob has before it.
    """

    owner: Ints
    begin: Floats
    end: Floats
    reads: Ints
    before: Ints
    gap: Floats
    last: Bools
    turn: Ints


def runs_of(history: History, longest: float | Floats) -> Runs:
    """Return the runs of a history.

    Args:
        history: of all blobs.
        longest: days of a gap that is not long; for all, or of each gap (see `gaps_of`).
    """
    count = len(history.sizes)
    starts, days, is_read = events_of(history)
    following = np.append(days[1:], 0.0)
    lasts = np.zeros(len(days), dtype=bool)
    lasts[np.append(starts[1:], len(days)) - 1] = True
    owner = np.repeat(np.arange(count), np.diff(np.append(starts, len(days))))
    following[lasts] = history.ended[owner[lasts]]
    gap = following - days
    cut = lasts | (gap >= longest)
    ends = np.flatnonzero(cut)
    begins = np.concatenate(([0], ends[:-1] + 1))
    known = np.concatenate(([0], np.cumsum(is_read)))
    of_blob = owner[ends]
    index = np.arange(len(ends)) - np.searchsorted(of_blob, np.arange(count))[of_blob]
    return Runs(
        of_blob,
        days[begins],
        days[ends],
        known[ends + 1] - known[begins],
        known[begins] - known[starts[of_blob]],
        gap[ends],
        lasts[ends],
        index,
    )


def events_of(history: History) -> tuple[Ints, Floats, Bools]:
    """Return begins and reads as one row of events: where each blob's begin, days, and if read."""
    count = len(history.sizes)
    starts = history.first[:-1] + np.arange(count)
    total = len(history.times) + count
    is_read = np.ones(total, dtype=bool)
    is_read[starts] = False
    days = np.empty(total)
    days[starts] = history.start
    days[is_read] = history.times
    return starts, days, is_read
