"""What anyone can set up without us: rules of age, a class that watches, a cache of some size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from regvault.policy.tiering.history import SMALLEST, events_of, runs_of
from regvault.policy.tiering.walk import Outcome, Plan, never, walk

if TYPE_CHECKING:
    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import Floats, History

__all__ = ["by_age", "hot_only", "least_recent", "watched"]


def hot_only(history: History, costs: list[ClassCosts]) -> Outcome:
    """Return what it costs to leave all where it is."""
    runs = runs_of(history, np.inf)
    return walk(history, runs, costs, never(runs))


def watched(history: History, costs: list[ClassCosts], number: int) -> Outcome:
    """Return what a class costs that moves by itself what is idle: all goes there when it comes.

    Args:
        history: of all blobs; as everywhere they begin in the hot class. Manifests and those
            smaller than `SMALLEST` stay there.
        costs: of the classes, hottest first.
        number: of that class.
    """
    shortest = min((days for days, _ in costs[number].steps), default=np.inf)
    runs = runs_of(history, shortest)
    there = history.movable & (history.sizes >= SMALLEST)
    first = np.where(there, number, 0)
    found = walk(history, runs, costs, never(runs), first=first)
    return found._replace(
        moves=found.moves + there * costs[number].enter, moved=found.moved + there
    )


def by_age(history: History, costs: list[ClassCosts], rules: list[tuple[float, int]]) -> Outcome:
    """Return what a lifecycle rule costs that moves blobs at an age, whatever is read.

    Args:
        history: of all blobs. Those smaller than `SMALLEST` are left, as S3 does since 2024.
        costs: of the classes, hottest first; without steps where a rule names them.
        rules: (days of age, number of the class), in order.
    """
    count = len(history.sizes)
    moved = (history.sizes >= SMALLEST) & history.movable
    owners = history.owners
    storage, reads, moves = np.zeros(count), np.zeros(count), np.zeros(count)
    slow, how_often = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    cold_days = np.zeros(count)
    bounds = [0.0, *[days for days, _ in rules], np.inf]
    for place, number in enumerate([0, *[number for _, number in rules]]):
        each = costs[number]
        low = np.where(moved, history.born + bounds[place], -np.inf if place == 0 else np.inf)
        high = np.where(moved, history.born + bounds[place + 1], np.inf)
        begin, end = np.maximum(history.start, low), np.minimum(history.ended, high)
        days = np.maximum(0.0, end - begin)
        storage += each.rate * days
        here = (history.times >= low[owners]) & (history.times < high[owners])
        amount = np.bincount(owners[here], minlength=count)
        reads += each.read * amount
        if place:
            there = days > 0
            moves += each.enter * there
            how_often += there
            slow += amount * bool(np.any(each.read > costs[0].read))
            cold_days += days
            # What leaves before its minimum is billed until then, wherever it goes.
            left = there & ((history.deleted & (history.ended <= high)) | (high < history.ended))
            moves[left] += each.of(left).early((end - begin)[left])
    return Outcome(storage, reads, moves, slow, how_often, cold_days)


def least_recent(history: History, costs: list[ClassCosts], number: int, share: float) -> Outcome:
    """Return what a cache costs: when the hot class is full, what was read least recently goes.

    Args:
        history: of all blobs.
        costs: of the classes, hottest first.
        number: of the class that they go to; a read brings them back.
        share: of the bytes of all that is there in the end.
    """
    history = history._replace(movable=history.movable & (history.sizes >= SMALLEST))
    total = float(history.sizes[history.movable].sum(dtype=float))
    waits = _evicted(history, share * total)
    runs = runs_of(history, np.where(np.isfinite(waits), 0.0, np.inf))
    cut = np.isfinite(waits)
    starts, days, _ = events_of(history)
    cut[np.append(starts[1:], len(days)) - 1] = True
    of_runs = waits[cut]
    plan = Plan(
        of_runs[None, :],
        np.full((1, len(of_runs)), number),
        lambda numbers, _classes, _days: np.ones(len(numbers), dtype=bool),
    )
    return walk(history, runs, costs, plan)


def _evicted(history: History, budget: float) -> Floats:
    """Return, of each event, after how many days the blob has to go; infinite: it has not."""
    starts, days, _ = events_of(history)
    owner = np.repeat(np.arange(len(history.sizes)), np.diff(np.append(starts, len(days))))
    sizes = history.sizes.tolist()
    movable = history.movable.tolist()
    waits = np.full(len(days), np.inf)
    hot: OrderedDict[int, int] = OrderedDict()
    used = 0
    order = np.argsort(days, kind="stable")
    for event, blob, now in zip(
        order.tolist(), owner[order].tolist(), days[order].tolist(), strict=True
    ):
        if not movable[blob]:
            continue
        if blob in hot:
            hot.move_to_end(blob)
        else:
            used += sizes[blob]
        hot[blob] = event
        while used > budget and len(hot) > 1:
            other, last = hot.popitem(last=False)
            used -= sizes[other]
            waits[last] = now - days[last]
    return waits
