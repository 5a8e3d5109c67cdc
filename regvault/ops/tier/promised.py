"""What the newest snapshots of a vault cost to bring back, held against what was promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regvault.policy.tiering.promise import Lying, cheapest_way, fastest

if TYPE_CHECKING:
    from regvault.ops.tier.shelf import Needed, Shelf
    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.history import Ints
    from regvault.policy.tiering.promise import Budget

__all__ = ["NEWEST", "Promise", "restores", "spend_all"]

NEWEST = 7
"""So many snapshots of each registry are under the promise, unless something else is asked for."""


class Promise(NamedTuple):
    """What is promised of all of one snapshot.

    Attributes:
        table: the prices.
        hours: until it can be read.
        cost: of bringing it back; money.
    """

    table: PriceTable
    hours: float
    cost: float


def spend_all(budget: Budget, needed: Needed, shelf: Shelf, hot: str) -> None:
    """Take off what bringing back costs that does not lie in the hot class."""
    for number, name in enumerate(shelf.classes):
        if name == hot:
            continue
        some = np.flatnonzero((shelf.present == number) & (needed.of > 0))
        for one in np.unique(needed.of[some]).tolist():
            these = some[needed.of[some] == one]
            budget.spend(needed.sets[one], name, len(these), int(shelf.sizes[these].sum()))


def restores(
    needed: Needed,
    shelf: Shelf,
    names: list[str],
    states: tuple[Ints, Ints],
    promise: Promise,
) -> list[dict[str, Any]]:
    """Return what bringing back each of the newest snapshots takes, now and after the moves.

    Args:
        needed: who needs what.
        shelf: all objects.
        names: of the classes.
        states: of each object the number of its class, now and then; -1: in none of these.
        promise: what was promised.
    """
    table = promise.table
    found: list[dict[str, Any]] = []
    member = [
        np.array([number in one for one in needed.sets], dtype=bool)
        for number in range(len(needed.newest))
    ]
    for number, each in enumerate(needed.newest):
        mine = member[number][needed.of]
        hours: list[float] = []
        costs: list[float] = []
        kept = True
        for state in states:
            took, cost = 0.0, 0.0
            known = not (mine & (state < 0)).any()
            for at, name in enumerate(names):
                some = mine & (state == at)
                lying = Lying(int(some.sum()), int(shelf.sizes[some].sum()))
                if not lying.objects or name == table.hot:
                    continue
                way = cheapest_way(table, name, lying, promise.hours) or fastest(table, name)
                took, cost = max(took, way.hours), cost + way.cost(*lying)
            hours.append(took)
            costs.append(round(cost, 8))
            kept = known and took <= promise.hours + 1e-9 and cost <= promise.cost * (1 + 1e-9)
        found.append(
            {
                "snapshot": str(each.root.name),
                "newest": each.newest,
                "bytes": int(shelf.sizes[mine].sum()),
                "hours": hours,
                "cost": costs,
                "kept": kept,
            }
        )
    return found
