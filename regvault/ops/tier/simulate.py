"""The verb `tier simulate`: what ways of tiering would have cost over a history of accesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regvault.policy.prices import MONTH_DAYS
from regvault.policy.tiering.calibration import AHEAD_DAYS, Calibration, calibrate
from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.fixed import by_age, hot_only, least_recent, watched
from regvault.policy.tiering.history import first_days, runs_of
from regvault.policy.tiering.learned import decide, plan_runs
from regvault.policy.tiering.optimum import optimum
from regvault.policy.tiering.survival import hazards_of_months
from regvault.policy.tiering.walk import walk

if TYPE_CHECKING:
    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import History, Ints
    from regvault.policy.tiering.walk import Outcome

__all__ = [
    "MIN_IDLE_DAYS",
    "OPTIMUM",
    "OURS",
    "Simulation",
    "Way",
    "simulate",
    "simulate_horizons",
]

MIN_IDLE_DAYS = 7.0
"""What was used within a week stays: a weekend is no reason to move, nor a weekly build."""

OURS = "regvault"
OPTIMUM = "optimum"
_AGES = (30, 60, 90)
_BUDGET = 0.2
#: Shorter times that are shown beside: 12 and 3 months.
_SHORTER_DAYS = (12 * MONTH_DAYS, 3 * MONTH_DAYS)


@dataclass(frozen=True)
class Way:
    """One way of tiering, over a whole history.

    Attributes:
        name: of it.
        storage, reads, moves: what was paid for what; of the optimum only the sum is known.
        cost: the sum, in the currency of the prices.
        slow_reads: of a colder class.
        moved: how often something was moved.
    """

    name: str
    cost: float
    storage: float | None = None
    reads: float | None = None
    moves: float | None = None
    slow_reads: int | None = None
    moved: int | None = None


@dataclass(frozen=True)
class Simulation:
    """What a history would have cost in several ways.

    Attributes:
        table: the prices.
        classes: that were chosen from, hottest first.
        blobs, nbytes, accesses: what there was.
        days: how long.
        ways: the first leaves all hot, the last is the optimum.
        calibration: of what was thought of reads to come.
    """

    table: PriceTable
    classes: list[str]
    blobs: int
    nbytes: int
    accesses: int
    days: float
    ways: list[Way]
    calibration: Calibration

    def cost(self, name: str) -> float:
        """Return what a way costs."""
        return next(way.cost for way in self.ways if way.name == name)

    @property
    def best_fixed(self) -> Way:
        """The cheapest way that anyone can set up."""
        return min(self.ways[:-2], key=lambda way: way.cost)

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        hot, optimum_cost = self.ways[0].cost, self.ways[-1].cost
        return {
            "days": round(self.days, 3),
            "blobs": self.blobs,
            "bytes": self.nbytes,
            "accesses": self.accesses,
            "classes": self.classes,
            "ways": [
                {
                    "name": way.name,
                    "cost": round(way.cost, 6),
                    "of_hot": _share(way.cost, hot),
                    "of_optimum": _share(way.cost, optimum_cost),
                    "regret": round(way.cost - optimum_cost, 6),
                    "storage": _rounded(way.storage),
                    "reads": _rounded(way.reads),
                    "moves": _rounded(way.moves),
                    "slow_reads": way.slow_reads,
                    "moved": way.moved,
                }
                for way in self.ways
            ],
            "saved": _share(hot - self.cost(OURS), hot),
            "best_fixed": self.best_fixed.name,
            "calibration": {
                "ahead_days": AHEAD_DAYS,
                "brier": round(self.calibration.brier, 6),
                "brier_base": round(self.calibration.base, 6),
                "shares": [
                    {"predicted": round(p, 6), "read": round(r, 6), "count": n}
                    for p, r, n in self.calibration.shares
                ],
            },
        }


def simulate(
    history: History,
    table: PriceTable,
    *,
    families: Ints,
    days: float,
    min_idle: float = MIN_IDLE_DAYS,
) -> Simulation:
    """Return what a history would have cost, each blob begun in the hot class.

    Only classes that serve at once are chosen from: a registry has to serve what it has.

    Args:
        history: of all blobs, from day 0 on.
        table: the prices.
        families: of each group of blobs, the number of its family.
        days: how long the history is.
        min_idle: days that a blob is idle, at least, before regvault moves it to a colder class.
    """
    names = table.instant
    costs = [class_costs(table, name, history.sizes) for name in names]
    months = np.arange(0.0, days, MONTH_DAYS)
    ways = [_way(f"all {names[0]}", hot_only(history, costs))]
    ways += _fixed(history, costs, names)
    hazards = list(hazards_of_months(history, months, families))
    decisions = [decide(each, table, names) for each in hazards]
    runs = runs_of(history, 1.0)
    plan = plan_runs(history, runs, costs, months, decisions, min_idle)
    ways.append(_way(OURS, walk(history, runs, costs, plan)))
    ways.append(Way(OPTIMUM, float(optimum(history, costs).sum())))
    return Simulation(
        table,
        names,
        len(history.sizes),
        int(history.sizes.sum(dtype=float)),
        len(history.times),
        days,
        ways,
        calibrate(history, runs, months, hazards),
    )


def _fixed(history: History, costs: list[ClassCosts], names: list[str]) -> list[Way]:
    """Return what others would do, or set up."""
    found = []
    plain = [number for number, each in enumerate(costs) if number and not each.steps]
    for number in plain:
        for age in _AGES:
            made = by_age(history, costs, [(age, number)])
            found.append(_way(f"{names[number]} at {age} days of age", made))
    if len(plain) > 1:
        rules = [(float(age), number) for age, number in zip(_AGES, plain, strict=False)]
        told = ", ".join(f"{names[number]} at {age:.0f}" for age, number in rules)
        found.append(_way(f"{told} days of age", by_age(history, costs, rules)))
    found += [
        _way(f"all {names[number]}", watched(history, costs, number))
        for number, each in enumerate(costs)
        if each.steps
    ]
    if plain:
        made = least_recent(history, costs, plain[-1], _BUDGET)
        found.append(_way(f"LRU, {_BUDGET:.0%} of the bytes hot", made))
    return found


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _way(name: str, made: Outcome) -> Way:
    return Way(
        name,
        float(made.cost.sum()),
        float(made.storage.sum()),
        float(made.reads.sum()),
        float(made.moves.sum()),
        int(made.slow.sum()),
        int(made.moved.sum()),
    )


def simulate_horizons(
    history: History,
    table: PriceTable,
    *,
    families: Ints,
    days: float,
    min_idle: float = MIN_IDLE_DAYS,
) -> list[Simulation]:
    """Return what a history would have cost: all of it, then its first months.

    Args:
        history: see `simulate`.
        table: the prices.
        families: of each group of blobs, the number of its family.
        days: how long the history is.
        min_idle: see `simulate`.
    """
    found = [simulate(history, table, families=families, days=days, min_idle=min_idle)]
    for each in _SHORTER_DAYS:
        first = first_days(history, each)
        if each < days * 0.99 and len(first.sizes):
            some = simulate(first, table, families=families, days=each, min_idle=min_idle)
            found.append(some)
    return found
