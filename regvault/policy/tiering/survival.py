"""How likely a blob is read again, from how blobs like it were read before.

A survival estimate by cells: what group a blob is of (a repository), how often it was read, and how
long it has been idle. Of each cell it is counted how long blobs were at risk in it, and how many
were read: events over exposure is the hazard of a day, as actuaries count. A cell of little
experience leans on that of its family (a project), that on the one of all families, and that on a
guess that doubts that things are cold. What is older counts less, since what registries are used
for changes.

Only what happened before a month began is in the table of that month.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.policy.tiering.history import events_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from regvault.policy.tiering.history import Floats, History, Ints

__all__ = ["IDLE_DAYS", "READS", "Hazards", "hazards_of_months", "reads_bucket"]

IDLE_DAYS = np.array([0, 1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365], float)
"""Days without a read at which a cell begins; in the first day nothing is decided."""

READS = np.array([0, 1, 2, 3, 6, 21])
"""Numbers of reads so far at which a cell begins."""

#: Weights, tuned on histories 100 to 199: days at risk for which a cell trusts itself as much as
#: what it leans on, and what is left of a month's experience after another one.
_TRUST_ALL = 500.0
_TRUST_FAMILY = 100.0
_TRUST_GROUP = 30.0
_KEPT = 0.92
#: The guess: a blob that has been idle for x days is read with this probability within the next
#: x + 10 days. Published traces are colder.
_GUESS = 0.12
_LEAST_DAYS = 10.0


class Hazards(NamedTuple):
    """What is known at one moment.

    Attributes:
        daily: probability of a read in a day, by group, reads so far, and days idle.
        burst: reads that come at once when one comes, by group and reads so far.
        days: for how long has been looked on.
    """

    daily: Floats
    burst: Floats
    days: float


def reads_bucket(reads: NDArray[np.integer]) -> Ints:
    """Return the place in `READS` of numbers of reads."""
    return np.searchsorted(READS, reads, side="right") - 1


def guessed() -> Floats:
    """Return what is assumed of a day where nothing is known, by days idle."""
    middle = IDLE_DAYS + np.append(np.diff(IDLE_DAYS), 0) / 2
    daily: Floats = -np.log1p(-_GUESS) / (middle + _LEAST_DAYS)
    return daily


def hazards_of_months(history: History, months: Floats, families: Ints) -> Iterator[Hazards]:
    """Yield what was known at the begin of each month, of the blobs that may be moved.

    Args:
        history: of all blobs; of what comes later nothing is looked at for an earlier month.
        months: the days on which they begin, ascending.
        families: of each group, the number of the family it is of, such as a repository's project.
    """
    counts = _Counts(history, families)
    before = -np.inf
    for begin in months.tolist():
        counts.take(before, begin)
        before = begin
        yield counts.hazards()


class _Counts:
    """Reads and days at risk by cell, up to some day."""

    def __init__(self, history: History, families: Ints) -> None:
        self.families = families
        groups = len(families)
        starts, days, is_read = events_of(history)
        count = len(history.sizes)
        numbers = np.arange(count, dtype=np.int32)
        owner = np.repeat(numbers, np.diff(np.append(starts, len(days))))
        following = np.append(days[1:], np.inf)
        lasts = (np.append(starts[1:], len(days)) - 1)[:count]
        following[lasts] = history.ended
        read_next = np.ones(len(days), dtype=bool)
        read_next[lasts] = False
        # There may be millions of events, so what is done with is let go.
        reads = np.cumsum(is_read, dtype=np.int32)
        reads -= reads[starts][owner]
        place = reads_bucket(reads).astype(np.int32)
        del reads, is_read, starts, lasts
        cell = history.groups[owner].astype(np.int32) * len(READS) + place
        kept = history.movable[owner]
        del owner, place
        order = np.argsort(np.where(kept, days, np.inf), kind="stable")[: int(kept.sum())]
        del kept
        self.days, self.until = days[order], following[order]
        self.is_read = read_next[order]
        self.shape = (groups, len(READS), len(IDLE_DAYS))
        self.cell = cell[order]
        self.events = np.zeros(self.shape)
        self.exposure = np.zeros(self.shape)
        self.returns = np.zeros(self.shape[:2])
        self.reads = np.zeros(self.shape[:2])
        self.open: Ints = np.zeros(0, dtype=np.int64)
        self.place = 0
        self.began = float(history.start.min(initial=np.inf))
        self.looked_on = 0.0

    def take(self, begin: float, end: float) -> None:
        """Count what happened between two days."""
        self.looked_on = max(0.0, end - self.began)
        place = int(np.searchsorted(self.days, end))
        some = np.concatenate((self.open, np.arange(self.place, place)))
        self.place = place
        size = self.shape[0] * self.shape[1]
        for counted in (self.events, self.exposure, self.returns, self.reads):
            np.multiply(counted, _KEPT, out=counted)
        since, until, cell = self.days[some], self.until[some], self.cell[some]
        low, high = np.maximum(since, begin) - since, np.minimum(until, end) - since
        ended = (until < end) & self.is_read[some]
        bounds = np.append(IDLE_DAYS, np.inf)
        for number, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            days = np.minimum(high, last) - np.maximum(low, first)
            here = days > 0
            at = np.bincount(cell[here], days[here], minlength=size)
            self.exposure[:, :, number] += at.reshape(self.shape[:2])
            here = ended & (until - since >= first) & (until - since < last)
            at = np.bincount(cell[here], minlength=size)
            self.events[:, :, number] += at.reshape(self.shape[:2])
            if number == 0:
                self.reads += at.reshape(self.shape[:2])
        # A read after a day is the begin of a burst; one within a day goes on with one.
        back = ended & (until - since >= 1.0)
        self.returns += np.bincount(cell[back], minlength=size).reshape(self.shape[:2])
        self.open = some[until >= end]

    def hazards(self) -> Hazards:
        """Return what is known now."""
        guess = guessed()
        known, days = self._of_families(self.events), self._of_families(self.exposure)
        everywhere = (known.sum(axis=0) + guess * _TRUST_ALL) / (days.sum(axis=0) + _TRUST_ALL)
        family = (known + everywhere * _TRUST_FAMILY) / (days + _TRUST_FAMILY)
        daily = (self.events + family[self.families] * _TRUST_GROUP) / (
            self.exposure + _TRUST_GROUP
        )
        whole = (self.reads.sum() + 1.0) / (self.returns.sum() + 1.0)
        burst = 1.0 + (self.reads + whole * 5) / (self.returns + 5)
        return Hazards(daily, burst, self.looked_on)

    def _of_families(self, values: Floats) -> Floats:
        found = np.zeros((int(self.families.max(initial=-1)) + 1, *values.shape[1:]))
        np.add.at(found, self.families, values)
        return found
