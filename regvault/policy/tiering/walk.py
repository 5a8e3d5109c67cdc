"""What a way of tiering costs over a history: each blob goes from run to run, and through the gaps.

All blobs at once: the first run of each, then the second, and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import Bools, Floats, History, Ints, Runs

__all__ = ["Outcome", "Plan", "never", "walk"]


class Plan(NamedTuple):
    """What is done in the gap after each run, and at the first read out of a colder class.

    Attributes:
        waits: of the moves in order, days after the run's end; infinite: it is not made. One row
            for each move, one column for each run.
        classes: the numbers of the classes they go to. What is there already, or colder, stays.
        promotes: takes the numbers of runs, of the classes that they find their blobs in, and the
            days that they were there; returns whether those go back into the hot class.
    """

    waits: Floats
    classes: Ints
    promotes: Callable[[Ints, Ints, Floats], Bools]


class Outcome(NamedTuple):
    """What it came to, for each blob. Money, and numbers.

    Attributes:
        storage: of all days.
        reads: requests and retrieval.
        moves: requests of moves, retrieval for those up, and minimums that were not kept.
        slow: reads out of a colder class.
        moved: how often it was moved.
        cold_days: that it spent in colder classes.
    """

    storage: Floats
    reads: Floats
    moves: Floats
    slow: Ints
    moved: Ints
    cold_days: Floats

    @property
    def cost(self) -> Floats:
        """All of it."""
        return self.storage + self.reads + self.moves


def never(runs: Runs) -> Plan:
    """Return the plan that moves nothing."""
    count = len(runs.owner)
    return Plan(
        np.full((0, count), np.inf),
        np.zeros((0, count), dtype=np.int64),
        lambda numbers, _classes, _days: np.ones(len(numbers), dtype=bool),
    )


def walk(
    history: History,
    runs: Runs,
    costs: list[ClassCosts],
    plan: Plan,
    *,
    first: Ints | None = None,
) -> Outcome:
    """Return what a plan costs.

    Args:
        history: of all blobs.
        runs: of it; within one no blob moves, and no class with steps is idle long enough for one.
        costs: of the classes, hottest first.
        plan: for these runs.
        first: the number of the class that each blob begins in; None: the hot one.
    """
    return _Walk(history, runs, costs, plan, first).outcome()


class _Walk:
    def __init__(
        self,
        history: History,
        runs: Runs,
        costs: list[ClassCosts],
        plan: Plan,
        first: Ints | None,
    ) -> None:
        count = len(history.sizes)
        self.history, self.runs, self.costs, self.plan = history, runs, costs, plan
        self.rate = np.stack([each.rate for each in costs])
        self.read = np.stack([each.read for each in costs])
        self.enter = np.stack([each.enter for each in costs])
        self.up = np.stack([each.retrieve for each in costs]) + costs[0].write
        self.least = np.array([each.min_days for each in costs])
        self.cold = np.array([bool(each.read.size and np.any(each.read > costs[0].read))
                              for each in costs])  # fmt: skip
        self.where = np.zeros(count, dtype=np.int64) if first is None else first.copy()
        self.since = history.start.copy()
        self.made = Outcome(
            np.zeros(count),
            np.zeros(count),
            np.zeros(count),
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.int64),
            np.zeros(count),
        )

    def outcome(self) -> Outcome:
        order = np.argsort(self.runs.turn, kind="stable")
        until = np.cumsum(np.bincount(self.runs.turn))
        begin = 0
        for round_number, end in enumerate(until.tolist()):
            self._round(order[begin:end], begins=round_number == 0)
            begin = end
        return self.made

    def _round(self, numbers: Ints, *, begins: bool) -> None:
        """Go through one run of each blob, and the gap after it."""
        runs, made = self.runs, self.made
        blobs = runs.owner[numbers]
        reads = runs.reads[numbers]
        if not begins:
            where = self.where[blobs]
            made.reads[blobs] += self.read[where, blobs]
            made.slow[blobs] += self.cold[where]
            self._promote(numbers, blobs, where, runs.begin[numbers])
            reads = reads - 1
        where = self.where[blobs]
        made.reads[blobs] += self.read[where, blobs] * reads
        made.slow[blobs] += self.cold[where] * reads
        days = runs.end[numbers] - runs.begin[numbers]
        made.storage[blobs] += self.rate[where, blobs] * days
        made.cold_days[blobs] += days * self.cold[where]
        self._gap(numbers, blobs)

    def _promote(self, numbers: Ints, blobs: Ints, where: Ints, now: Floats) -> None:
        there = np.flatnonzero(self.cold[where])
        if not len(there):
            return
        numbers, blobs, where, now = numbers[there], blobs[there], where[there], now[there]
        days = now - self.since[blobs]
        chosen = self.plan.promotes(numbers, where, days)
        blobs, where, now, days = blobs[chosen], where[chosen], now[chosen], days[chosen]
        early = self._early(where, blobs, days)
        self.made.moves[blobs] += self.up[where, blobs] + early
        self.made.moved[blobs] += 1
        self.where[blobs] = 0
        self.since[blobs] = now

    def _gap(self, numbers: Ints, blobs: Ints) -> None:
        runs, made = self.runs, self.made
        gap, end = runs.gap[numbers], runs.end[numbers]
        at = np.zeros(len(numbers))  # days into the gap, so far
        idle = np.zeros(len(numbers))  # when the clock of a class with steps began
        for waits, classes in zip(self.plan.waits, self.plan.classes, strict=True):
            wait, to = waits[numbers], classes[numbers]
            moving = np.flatnonzero((wait < gap) & (to > self.where[blobs]) & (wait >= at))
            if not len(moving):
                continue
            some, when, target = blobs[moving], wait[moving], to[moving]
            self._keep(some, at[moving], when, idle[moving])
            source = self.where[some]
            days = end[moving] + when - self.since[some]
            early = self._early(source, some, days)
            made.moves[some] += self.enter[target, some] + early
            made.moved[some] += 1
            self.where[some] = target
            self.since[some] = end[moving] + when
            at[moving] = idle[moving] = when
        self._keep(blobs, at, gap, idle)
        gone = np.flatnonzero(runs.last[numbers] & self.history.deleted[blobs])
        if len(gone):
            some = blobs[gone]
            where = self.where[some]
            days = end[gone] + gap[gone] - self.since[some]
            early = self._early(where, some, days)
            made.moves[some] += early

    def _early(self, where: Ints, blobs: Ints, days: Floats) -> Floats:
        """Return what is billed besides for leaving classes after so many days in them."""
        return self.rate[where, blobs] * np.maximum(0.0, self.least[where] - days)

    def _keep(self, blobs: Ints, begin: Floats, end: Floats, idle: Floats) -> None:
        """Pay for storage within a gap, from one day to another."""
        where = self.where[blobs]
        cost = self.rate[where, blobs] * (end - begin)
        for number, each in enumerate(self.costs):
            for after, less in each.steps:
                here = np.flatnonzero(where == number)
                start = np.maximum(begin[here], idle[here] + after)
                cost[here] -= less[blobs[here]] * np.maximum(0.0, end[here] - start)
        self.made.storage[blobs] += cost
        self.made.cold_days[blobs] += (end - begin) * self.cold[where]
