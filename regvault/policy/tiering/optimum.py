"""What the cheapest way would have cost, of someone who knew all accesses before: exact.

For each blob by itself, by dynamic programming over its history. Only some moments matter:

- a move down pays from the last read before a gap on, so nothing moves within a gap;
- where a gap is so short that a read out of a colder class costs more than it saves meanwhile,
  even with storage there paid already, a move within a row of such gaps pays most at one of its
  ends. So such rows, `Runs` of `shortest_gap`, are looked at as one step.

A way is where the blob is, and since when, as long as that class bills a minimum; of two ways in
one class the one that costs no more and came no earlier is as good as the other, always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regvault.policy.tiering.history import runs_of

if TYPE_CHECKING:
    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import Floats, History, Ints

__all__ = ["optimum", "shortest_gap"]

#: (cost so far, day of entering); of a class without a minimum, one.
_Way = tuple[float, float]
_NEVER = float("inf")


def shortest_gap(costs: list[ClassCosts]) -> float:
    """Return the days of a gap below which nobody would move a blob for that gap alone.

    Args:
        costs: of all classes, hottest first.
    """
    found = [days for each in costs for days, _ in each.steps]
    for number, warmer in enumerate(costs):
        for colder in costs[number + 1 :]:
            most = np.maximum(warmer.rate, colder.rate)
            more = np.full(len(most), np.inf)  # what has no bytes costs nothing to keep
            np.divide(colder.read - warmer.read, most, out=more, where=most > 0)
            found.append(float(np.min(more, initial=np.inf)))
    # A step of a class that watches is one of time alone; a read may cost the same in two classes.
    return min([days for days in found if days > 0], default=0.0)


def optimum(history: History, costs: list[ClassCosts]) -> Floats:
    """Return what each blob costs at least.

    Args:
        history: of the blobs, which begin in the first class.
        costs: of the classes to choose from, hottest first.
    """
    hot = costs[0]
    alone = hot.storage(history.ended - history.start) + hot.read * history.counts
    # Where all that can be saved is less than one move costs, nothing is to be thought about.
    life = history.ended - history.start
    least = np.minimum.reduce([each.storage(life) + each.enter for each in costs])
    least += np.minimum.reduce([each.read for each in costs]) * history.counts
    chosen = history.movable & (least < alone)
    runs = runs_of(history, shortest_gap(costs))
    numbers = np.flatnonzero(chosen)
    firsts = np.flatnonzero(chosen[runs.owner] & (runs.turn == 0)).tolist()
    counts = np.bincount(runs.owner, minlength=len(chosen))[numbers].tolist()
    begins, ends = runs.begin.tolist(), runs.end.tolist()
    reads, gaps = runs.reads.tolist(), runs.gap.tolist()
    found = alone.copy()
    blobs = _Blobs(costs, numbers)
    deleted = history.deleted.tolist()
    for place, (number, first, count) in enumerate(
        zip(numbers.tolist(), firsts, counts, strict=True)
    ):
        span = slice(first, first + count)
        found[number] = blobs.cheapest(
            place, begins[span], ends[span], reads[span], gaps[span], deleted=deleted[number]
        )
    return found


class _Blobs:
    """The costs of some blobs, as plain numbers."""

    def __init__(self, costs: list[ClassCosts], numbers: Ints) -> None:
        self._rates = _rows([each.rate[numbers] for each in costs])
        self._reads = _rows([each.read[numbers] for each in costs])
        self._mins = [each.min_days for each in costs]
        self._steps = [
            [(days, less[numbers].tolist()) for days, less in each.steps] for each in costs
        ]
        moves = [
            [
                (target.enter if to > at else source.retrieve + target.write)[numbers]
                for to, target in enumerate(costs)
            ]
            for at, source in enumerate(costs)
        ]
        for over, each in enumerate(costs):
            if each.min_days == 0:  # by way of it may be cheaper
                for row in moves:
                    for to in range(len(costs)):
                        row[to] = np.minimum(row[to], row[over] + moves[over][to])
        #: moves[to][blob][at]
        self._moves = [_rows([row[to] for row in moves]) for to in range(len(costs))]

    def cheapest(
        self,
        blob: int,
        begins: list[float],
        ends: list[float],
        reads: list[int],
        gaps: list[float],
        *,
        deleted: bool,
    ) -> float:
        """Return the least that a blob costs, by its runs."""
        rates, costs = self._rates[blob], self._reads[blob]
        ways: list[list[_Way]] = [[] for _ in rates]
        ways[0] = [(0.0, begins[0])]
        for number, (begin, end, left, gap) in enumerate(
            zip(begins, ends, reads, gaps, strict=True)
        ):
            if number:
                _pay(ways, costs)
                left -= 1  # noqa: PLW2901
            self._move(blob, ways, begin)
            if left:
                whole = [
                    rate * (end - begin) + cost * left
                    for rate, cost in zip(rates, costs, strict=True)
                ]
                _pay(ways, whole)
                self._move(blob, ways, end)
            _pay(ways, self._kept(blob, gap))
        if deleted:
            return min(self._left(blob, ways, end + gap))
        return min(cost for each in ways for cost, _ in each)

    def _left(self, blob: int, ways: list[list[_Way]], now: float) -> list[float]:
        """Return what leaving each class costs at least in all."""
        return [
            min(
                [cost + rate * max(0.0, least - (now - since)) for cost, since in each],
                default=_NEVER,
            )
            for each, rate, least in zip(ways, self._rates[blob], self._mins, strict=True)
        ]

    def _kept(self, blob: int, days: float) -> list[float]:
        found = []
        for rate, steps in zip(self._rates[blob], self._steps, strict=True):
            cost = rate * days
            for after, less in steps:
                if days > after:
                    cost -= less[blob] * (days - after)
            found.append(cost)
        return found

    def _move(self, blob: int, ways: list[list[_Way]], now: float) -> None:
        """Add the ways that move now, and leave out those that are no better than another."""
        leaving = self._left(blob, ways, now)
        for to, (each, least) in enumerate(zip(ways, self._mins, strict=True)):
            fees = self._moves[to][blob]
            best = min(
                cost + fee
                for at, (cost, fee) in enumerate(zip(leaving, fees, strict=True))
                if at != to
            )
            known = min([cost for cost, _ in each], default=_NEVER)
            if best < known:
                each.append((best, now))
            if len(each) > 1:
                each[:] = _better(each, now - least)


def _rows(columns: list[Floats]) -> list[list[float]]:
    found: list[list[float]] = np.stack(columns, axis=1).tolist()
    return found


def _pay(ways: list[list[_Way]], costs: list[float]) -> None:
    for each, more in zip(ways, costs, strict=True):
        if each:
            each[:] = [(cost + more, since) for cost, since in each]


def _better(ways: list[_Way], free: float) -> list[_Way]:
    """Return the ways of one class that no other one beats; those since `free` or before may leave.

    Each is (cost, day of entering).
    """
    found: list[_Way] = []
    for cost, since in sorted(ways, key=lambda way: (max(way[1], free), way[0])):
        if not found or cost < found[-1][0]:
            found.append((cost, since))
    return found
