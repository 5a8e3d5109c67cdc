"""What regvault does: for each blob the class that is expected to cost least, as it is idle.

Where a blob is idle for some days, it may stay, or move to a colder class and be there when it is
read again. Both are expected costs over the days to come, by the hazards that were learned, so the
best moment is found backwards from the end, as any optimal stopping. A blob that is read in a
colder class goes back where that is cheaper than to be read there again and again.

The decisions are the same for all blobs of a group with as many reads, of about one size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.history import SMALLEST
from regvault.policy.tiering.survival import IDLE_DAYS, Hazards, reads_bucket
from regvault.policy.tiering.walk import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import Bools, Floats, History, Ints, Runs

__all__ = ["Decisions", "decide", "penalty", "plan_runs", "size_bucket"]

SHORT_DAYS = 30.0
"""Days of history below which nothing is believed of it."""

#: Sizes are told apart by powers of the square root of two, from the smallest on.
_STEPS = 2
_SIZES = _STEPS * 20
_NEVER = len(IDLE_DAYS)
#: Days that are looked at beyond the last one of `IDLE_DAYS`.
_BEYOND = 365.0


class Decisions(NamedTuple):
    """What is best, by group, reads so far, and size (`size_bucket`).

    Attributes:
        move: place in `IDLE_DAYS` of the day on which it leaves the hot class; beyond: never.
        to: the class it goes to then.
        again: place of the day on which it leaves that one, for `then`.
        then: the class it goes to then.
        hot: what is expected from a read on, of a blob that is in the hot class.
        cold: likewise of one that is, and stays, in each class; first axis: the class.
    """

    move: NDArray[np.integer]
    to: NDArray[np.integer]
    again: NDArray[np.integer]
    then: NDArray[np.integer]
    hot: NDArray[np.floating]
    cold: NDArray[np.floating]


def size_bucket(sizes: Ints) -> Ints:
    """Return the number of the bucket of sizes, in bytes; -1: never moved."""
    steps = np.log2(np.maximum(sizes, 1) / SMALLEST) * _STEPS
    found: Ints = np.clip(np.floor(steps), -1, _SIZES - 1).astype(np.int64)
    return found


def decide(hazards: Hazards, table: PriceTable, names: list[str]) -> Decisions:
    """Return what is best, by what is known.

    Args:
        hazards: of reads.
        table: the prices.
        names: of the classes to choose from, hottest first.
    """
    sizes = (SMALLEST * 2.0 ** ((np.arange(_SIZES) + 0.5) / _STEPS)).astype(np.int64)
    costs = [class_costs(table, name, sizes) for name in names]
    if hazards.days < SHORT_DAYS:
        return _rented(hazards, costs)
    widths = np.append(np.diff(IDLE_DAYS), _BEYOND)
    groups, counts, _ = hazards.daily.shape
    shape = (groups, counts, _SIZES)
    burst = hazards.burst[:, :, None]
    hot_later = np.zeros(shape)
    later = [np.zeros(shape) for _ in costs]
    move = np.full(shape, _NEVER)
    to = np.zeros(shape, dtype=np.int64)
    again = np.full(shape, _NEVER)
    then = np.zeros(shape, dtype=np.int64)
    leaves = [np.full(shape, _NEVER) for _ in costs]
    goes = [np.zeros(shape, dtype=np.int64) for _ in costs]
    for place in range(len(IDLE_DAYS) - 1, -1, -1):
        width = widths[place]
        rate = hazards.daily[:, :, place, None]
        stays = np.exp(-rate * width)
        days = -np.expm1(-rate * width) / rate
        now: list[Floats] = []
        for each in costs:
            dearer = penalty(each, costs[0], burst, IDLE_DAYS[place] + width / 2)
            kept = _rate_at(each, IDLE_DAYS[place] + width / 2)
            now.append(kept * days + (1 - stays) * dearer)
        staying = [cost + stays * after for cost, after in zip(now, later, strict=True)]
        later = list(staying)
        # From the coldest on: a blob in a class with steps may go on to one that is colder still.
        for number in range(len(costs) - 1, 0, -1):
            if place == 0 or not costs[number].steps:
                continue
            for colder in range(number + 1, len(costs)):
                moved = costs[colder].enter + later[colder]
                better = moved < later[number]
                later[number] = np.where(better, moved, later[number])
                leaves[number] = np.where(better, place, leaves[number])
                goes[number] = np.where(better, colder, goes[number])
        hot_later = now[0] + stays * hot_later
        if place == 0:
            continue
        for number in range(1, len(costs)):
            moved = costs[number].enter + later[number]
            better = moved < hot_later
            hot_later = np.where(better, moved, hot_later)
            move = np.where(better, place, move)
            to = np.where(better, number, to)
            again = np.where(better, leaves[number], again)
            then = np.where(better, goes[number], then)
    return _small(Decisions(move, to, again, then, hot_later, np.stack(later)))


def _small(made: Decisions) -> Decisions:
    """Return the same in little memory: there is one for each month."""
    return Decisions(
        made.move.astype(np.int8),
        made.to.astype(np.int8),
        made.again.astype(np.int8),
        made.then.astype(np.int8),
        made.hot.astype(np.float32),
        made.cold.astype(np.float32),
    )


def _rented(hazards: Hazards, costs: list[ClassCosts]) -> Decisions:
    """Return what the ski-rental rule says, which needs no history.

    To move once storage has cost as much as moving and reading again would: so it never costs more
    than twice what the best choice would have (Karlin et al., "Competitive snoopy caching", 1988).
    """
    shape = (*hazards.daily.shape[:2], _SIZES)
    hot = costs[0]
    best = np.full(_SIZES, np.inf)
    chosen = np.zeros(_SIZES, dtype=np.int64)
    least = np.full(_SIZES, np.inf)
    for number, each in enumerate(costs):
        if number == 0 or each.steps:
            continue
        saved = np.maximum(hot.rate - each.rate, 1e-300)
        days = (each.enter + each.retrieve + hot.write) / saved
        better = (each.rate < least) & (days < IDLE_DAYS[-1])
        best = np.where(better, days, best)
        chosen = np.where(better, number, chosen)
        least = np.where(better, each.rate, least)
    move = np.searchsorted(IDLE_DAYS, best)
    never = np.full(shape, _NEVER)
    return _small(
        Decisions(
            np.broadcast_to(move, shape),
            np.broadcast_to(chosen, shape),
            never,
            np.zeros(shape),
            np.zeros(shape),
            np.full((len(costs), *shape), np.inf),  # what is read goes back
        )
    )


def _rate_at(costs: ClassCosts, idle: float) -> Floats:
    """Return what a day costs after so many days without a read."""
    rate = costs.rate
    for after, less in costs.steps:
        if idle > after:
            rate = rate - less
    return rate


def penalty(costs: ClassCosts, hot: ClassCosts, burst: Floats, idle: float) -> Floats:
    """Return what reads cost more in a class than in the hot one, when they come.

    Either all reads of a burst are out of it, or the first one is, and the blob goes back.
    """
    more = costs.read - hot.read
    early = costs.rate * max(0.0, costs.min_days - idle)
    back = more + costs.retrieve + hot.write + early
    return np.minimum(more * burst, back) if costs is not hot else np.zeros_like(more * burst)


def plan_runs(
    history: History,
    runs: Runs,
    costs: list[ClassCosts],
    months: Floats,
    decisions: list[Decisions],
    min_idle: float = 0.0,
) -> Plan:
    """Return what was decided after each run, each by what was known in that month.

    Args:
        history: of all blobs.
        runs: of it, none with a gap of a day or more within.
        costs: of the classes, hottest first.
        months: days on which months begin.
        decisions: of each.
        min_idle: days that a blob is idle, at least, before it goes to a colder class.
    """
    size = size_bucket(history.sizes)[runs.owner]
    group, sizes = history.groups[runs.owner], np.maximum(size, 0)
    after = group, reads_bucket(runs.before + runs.reads), sizes
    waits, classes = _moves(runs, months, decisions, after)
    waits = np.maximum(waits, min_idle)
    movable = history.movable[runs.owner] & (size >= 0)
    waits[:, ~movable] = np.inf
    # When the first read of a run comes nobody knows of the others.
    first = group, reads_bucket(runs.before + 1), sizes
    month = np.maximum(np.searchsorted(months, runs.begin, side="right") - 1, 0)

    def promotes(numbers: Ints, where: Ints, there: Floats) -> Bools:
        """Return whether the hot class is better from this read on."""
        blobs, cell = runs.owner[numbers], tuple(part[numbers] for part in first)
        back = np.empty(len(numbers))
        for number, each in enumerate(costs):
            here = np.flatnonzero(where == number)
            some = blobs[here]
            early = each.of(some).early(there[here])
            back[here] = each.retrieve[some] + costs[0].write[some] + early
        hot = _looked_up([each.hot for each in decisions], month[numbers], cell)
        stays = _looked_up([each.cold for each in decisions], month[numbers], (where, *cell))
        better: Bools = back + hot < stays
        return better

    return Plan(waits, classes, promotes)


def _looked_up(tables: list[NDArray[np.floating]], month: Ints, cell: tuple[Ints, ...]) -> Floats:
    """Return what the table of each month has in a cell."""
    found = np.empty(len(month))
    for number in np.unique(month).tolist():
        here = month == number
        found[here] = tables[number][tuple(part[here] for part in cell)]
    return found


def _moves(
    runs: Runs, months: Floats, decisions: list[Decisions], cell: tuple[Ints, Ints, Ints]
) -> tuple[Floats, Ints]:
    """Return the waits and the classes of both moves after each run.

    What is idle is looked at every day, by what is known in the month of that day.
    """
    days = np.append(IDLE_DAYS, np.inf)
    count = len(runs.owner)
    waits = np.full((2, count), np.inf)
    classes = np.zeros((2, count), dtype=np.int64)
    left: Ints = np.arange(count)
    for number, made in enumerate(decisions):
        begin = months[number]
        end = months[number + 1] if number + 1 < len(months) else np.inf
        here = left[runs.end[left] < end]
        at = tuple(part[here] for part in cell)
        wait = np.maximum(days[made.move[at]], begin - runs.end[here])
        now = wait < np.minimum(end - runs.end[here], runs.gap[here])
        some, place = here[now], tuple(part[now] for part in at)
        waits[0, some] = wait[now]
        classes[0, some] = made.to[place]
        waits[1, some] = np.maximum(days[made.again[place]], wait[now])
        classes[1, some] = made.then[place]
        over = runs.end + runs.gap < end
        left = left[~np.isin(left, some) & ~over[left]]
    return waits, classes
