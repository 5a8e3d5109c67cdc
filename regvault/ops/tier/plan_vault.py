"""The verb `tier plan` for a vault: what only old snapshots need goes to archives.

The newest snapshots are under a promise: all of one comes back within so many hours, and for so
much money. What they need stays where it can be read at once, or goes only where the promise holds.
What only older ones need goes where it costs least until retention drops them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from regvault.errors import UsageError
from regvault.model.classes import ArchivingStore, ClassedStore, archives_of
from regvault.model.event import time_text
from regvault.ops.bounded import in_order
from regvault.ops.forget import rules_of
from regvault.ops.tier.classes import BY_RULES, classes_for, moves_by_rules, why_fixed
from regvault.ops.tier.planned import Header, Left, Move, Plan
from regvault.ops.tier.promised import NEWEST, Promise, restores, spend_all
from regvault.ops.tier.shelf import read_needed, read_shelf
from regvault.policy.prices import GB, MONTH_DAYS
from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.history import SMALLEST
from regvault.policy.tiering.promise import Budget, Lying, cheapest_way, fastest, returns
from regvault.vault.keys import digest_of_key
from regvault.vault.tiering import read_moving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from regvault.model.classes import Placement
    from regvault.model.progress import Progress
    from regvault.ops.tier.shelf import Needed, Shelf
    from regvault.policy.prices import PriceTable
    from regvault.policy.retention import Retention
    from regvault.policy.tiering.history import Bools, Floats, Ints
    from regvault.vault.vault import Vault

__all__ = ["VaultPlanOptions", "plan_vault"]

_DAY_NS = 86_400 * 10**9
_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class VaultPlanOptions:
    """What was asked for.

    Attributes:
        table: the prices.
        horizon: days over which costs are looked at, where retention drops nothing before.
        max_hours: until all of one of the newest snapshots can be read.
        max_cost: what bringing it back may cost; money.
        newest: how many snapshots of each registry that is promised of.
        policies: retention by registry.
        timezone: whose days it counts.
        place: the vault, as it is named on a command line.
        endpoint: of its store, or "".
        threads: that LIST.
    """

    table: PriceTable
    horizon: float = 365.0
    max_hours: float = 0.0
    max_cost: float = 0.0
    newest: int = NEWEST
    policies: Mapping[str, Retention] = field(default_factory=dict)
    timezone: tzinfo = UTC
    place: str = ""
    endpoint: str = ""
    threads: int = 4


def plan_vault(vault: Vault, options: VaultPlanOptions, *, progress: Progress) -> Plan:
    """Plan the tiering of a vault. Changes nothing.

    Raises:
        UsageError: its store has no classes, or the prices have none of them.
        VaultDamagedError: what its snapshots need cannot be known.
    """
    store = vault.store
    if not isinstance(store, ClassedStore):
        raise UsageError(
            f"{store.location} has no storage classes",
            hint="A vault on a disk has none. Its copy in a bucket may: regvault copy",
        )
    shelf = read_shelf(vault, threads=options.threads, progress=progress)
    names = classes_for(options.table, shelf, store)
    needed = read_needed(
        vault,
        shelf,
        newest=options.newest,
        policies=options.policies,
        horizon=options.horizon,
        timezone=options.timezone,
        progress=progress,
        claims=False,
    )
    progress.phase("Weighing")
    table = options.table
    header = Header(
        secrets.token_hex(16),
        "vault",
        options.place,
        store.location,
        options.endpoint,
        time_text(store.now_ns()),
        {"name": table.name, "as_of": table.as_of, "currency": table.currency},
        {"source": None, "since": None, "until": None, "known_days": 0.0, "frozen": None},
        options.horizon,
        names,
        table.hot,
    )
    marked: Bools | None = None
    ruled = moves_by_rules(store)
    if ruled:
        marked = np.zeros(len(shelf), dtype=bool)
        marked[shelf.among(read_moving(store, vault.id))] = True
    made = _Made(shelf, needed, names, options, store, marked)
    made.decide(header, None if ruled else why_fixed(store, vault))
    return Plan(header, made.moves)


class _Made:
    """What is decided of each object."""

    def __init__(
        self,
        shelf: Shelf,
        needed: Needed,
        names: list[str],
        options: VaultPlanOptions,
        store: ClassedStore,
        marked: Bools | None,
    ) -> None:
        """Take what is known; `marked`: what rules of the store move soon, None where none do."""
        self._shelf = shelf
        self._marked = marked
        self._needed = needed
        self._names = names
        self._options = options
        self._store = store
        count = len(shelf)
        place = {name: number for number, name in enumerate(names)}
        numbers = np.array([place.get(name, -1) for name in shelf.classes] or [0], dtype=np.int64)
        self._present: Ints = numbers[shelf.present]
        self._to: Ints = self._present.copy()
        self._saves: Floats = np.zeros(count)
        self._costs: Floats = np.zeros(count)
        self._chosen: Ints = np.zeros(0, dtype=np.int64)
        self._back = returns(options.table, names, options.max_hours)
        archives = archives_of(store) if isinstance(store, ArchivingStore) else frozenset()
        priced = {name for name in names if not options.table.price(name).instant}
        self._archives = [n for n, name in enumerate(names) if name in archives | priced]
        self._thawed: set[int] = set()

    def decide(self, header: Header, fixed: str | None) -> None:
        """Choose what moves, and put it into the header."""
        shelf, needed, options = self._shelf, self._needed, self._options
        promised = needed.of > 0
        budget = self._budget()
        saves, costs, to = self._weigh()
        archived = np.isin(self._present, self._archives)
        if fixed is None and self._marked is None:
            self._return(promised & archived, budget)
        reasons: list[tuple[str, Bools]] = [
            ("in a class that the prices do not have", self._present < 0),
            *needed.kept,
            ("no snapshot needs it: see prune", needed.days < 0),
            ("in an archive already", archived & ~promised),
            *self._ruled(promised, archived, to),
            ("stays where it is cheapest", ~promised & (to == self._present)),
        ]
        if fixed is not None:
            reasons = [(fixed, np.ones(len(shelf), dtype=bool))]
        open_to = self._to == self._present
        for reason, holds in reasons:
            self._leave(header, reason, open_to & holds)
            open_to &= ~holds
        old = open_to & ~promised
        self._to[old], self._saves[old], self._costs[old] = to[old], saves[old], costs[old]
        within = open_to & promised
        self._within(within, budget)
        self._leave(header, "under the promise", within & (self._to == self._present))
        self._chosen = np.flatnonzero(self._to != self._present)
        header.promise = {
            "hours": options.max_hours,
            "cost": options.max_cost,
            "newest": options.newest,
            "back": {name: way.to_json() for name, way in self._back.items()},
            "policies": {name: rules_of(each) for name, each in sorted(options.policies.items())},
        }
        self._sum_up(header)
        self._note(header, fixed)

    def _ruled(self, promised: Bools, archived: Bools, to: Ints) -> list[tuple[str, Bools]]:
        """Return what rules of the store do not move, or move already.

        They act within days, so what the newest snapshots need is not left to them.
        """
        if self._marked is None:
            return []
        only = "rules only move what gets colder"
        small = f"smaller than {SMALLEST >> 10} KiB: rules do not move it"
        return [
            ("marked already: rules of the bucket move it", self._marked & (self._present == 0)),
            (f"would come back, but {only}", np.where(promised, archived, to < self._present)),
            ("under the promise", promised),
            (small, self._shelf.sizes < SMALLEST),
        ]

    def _leave(self, header: Header, reason: str, some: Bools) -> None:
        if some.any():
            header.left[reason] = Left(int(some.sum()), int(self._shelf.sizes[some].sum()))

    def _budget(self) -> Budget:
        budget = Budget(self._options.max_cost, len(self._needed.newest), self._back)
        spend_all(budget, self._needed, self._shelf, self._options.table.hot)
        return budget

    def _weigh(self) -> tuple[Floats, Floats, Ints]:
        """Return for each object what the best class saves and costs, and its number.

        It is looked at for as long as retention keeps a snapshot that needs it.
        """
        shelf, table = self._shelf, self._options.table
        days = np.maximum(self._needed.days, 0.0)
        inside = np.maximum(0.0, (self._store.now_ns() - shelf.modified) / _DAY_NS)
        stay = np.zeros(len(shelf))
        leave = np.zeros(len(shelf))
        for number, name in enumerate(self._names):
            each = class_costs(table, name, shelf.sizes)  # one at a time: they are megabytes
            here = self._present == number
            stay[here] = (each.rate * days)[here]
            out = each.retrieve if number else 0.0
            leave[here] = (each.early(inside) + out)[here]
        best, cost = np.zeros(len(shelf)), np.zeros(len(shelf))
        to = self._present.copy()
        for number, name in enumerate(self._names):
            each = class_costs(table, name, shelf.sizes)
            enter = np.where(number > self._present, each.enter, each.write)
            moved = leave + enter + each.early(days)
            saved = stay - each.rate * days - moved
            better = (saved > best + 1e-12) & (self._present >= 0) & (self._present != number)
            best, cost, to = (
                np.where(better, saved, best),
                np.where(better, moved, cost),
                np.where(better, number, to),
            )
        return best, cost, to

    def _within(self, some: Bools, budget: Budget) -> None:
        """Choose for what the newest snapshots need: what saves most for what a restore costs."""
        shelf, needed, table = self._shelf, self._needed, self._options.table
        hot = np.flatnonzero(some & (self._present == 0))
        sizes, days = shelf.sizes[hot], np.maximum(needed.days[hot], 0.0)
        stay = class_costs(table, table.hot, sizes).rate * days
        # A million objects, and an offer of each class for each: columns, no tuples.
        columns: list[tuple[Floats, Ints, Ints, Floats, Floats]] = []
        for number, name in enumerate(self._names[1:], 1):
            way = self._back.get(name)
            if way is None:
                continue
            each = class_costs(table, name, sizes)
            moved = each.enter + each.early(days)
            saved = stay - each.rate * days - moved
            back = way.per_object + way.per_gb * sizes / GB
            good = np.flatnonzero((saved > 0) & (back <= self._options.max_cost * (1 + 1e-9)))
            share = saved[good] / np.maximum(back[good], 1e-12)
            kind = np.full(len(good), number, dtype=np.int64)
            columns.append((-share, hot[good], kind, saved[good], moved[good]))
        if not columns:
            return
        share, *rest = (np.concatenate(each) for each in zip(*columns, strict=True))
        order = np.lexsort((rest[1], rest[0], share))
        for begin in range(0, len(order), _AT_ONCE):
            part = order[begin : begin + _AT_ONCE]
            for at, number, saves, costs in zip(
                *(each[part].tolist() for each in rest), strict=True
            ):
                self._offer(at, number, (saves, costs), budget)

    def _offer(self, at: int, number: int, money: tuple[float, float], budget: Budget) -> None:
        """Take a class for an object, if it saves more than what is taken, and can be afforded."""
        now, needed = int(self._to[at]), self._needed
        if now and money[0] <= self._saves[at]:
            return
        name, before = self._names[number], self._names[now] if now else None
        size = int(self._shelf.sizes[at])
        if budget.take(needed.sets[needed.of[at]], name, size, now=before):
            self._to[at], (self._saves[at], self._costs[at]) = number, money

    def _return(self, some: Bools, budget: Budget) -> None:
        """Bring back what is thawed, and breaks the promise in the archive where it lies."""
        needed = self._needed
        asked = [
            at
            for at in np.flatnonzero(some).tolist()
            if not budget.keeps(self._names[self._present[at]])
            or any(budget.left[number] < 0 for number in needed.sets[needed.of[at]])
        ]

        def placed(at: int) -> Placement:
            return self._store.placement(self._shelf.key(at))

        found = in_order(asked, placed, threads=self._options.threads, name="placement")
        for at, lies in zip(asked, found, strict=True):
            if not lies.archived:
                size = self._shelf.sizes[at : at + 1]
                hot = class_costs(self._options.table, self._names[0], size)
                self._to[at], self._costs[at] = 0, float(hot.write[0])

    def _sum_up(self, header: Header) -> None:
        chosen, shelf, table = self._chosen, self._shelf, self._options.table
        sizes = shelf.sizes[chosen]
        header.moves, header.nbytes = len(chosen), int(sizes.sum())
        header.saves, header.costs = (
            _money(self._saves[chosen].sum()),
            _money(self._costs[chosen].sum()),
        )
        pairs = {*zip(self._present[chosen].tolist(), self._to[chosen].tolist(), strict=True)}
        for source, target in sorted(pairs):
            some = chosen[(self._present[chosen] == source) & (self._to[chosen] == target)]
            back = fastest(table, self._names[target])
            lying = len(some), int(shelf.sizes[some].sum())
            header.flows.append(
                {
                    "from": self._names[source],
                    "to": self._names[target],
                    "count": lying[0],
                    "bytes": lying[1],
                    "saves": _money(self._saves[some].sum()),
                    "costs": _money(self._costs[some].sum()),
                }
            )
            cheapest = cheapest_way(table, self._names[target], Lying(*lying), None) or back
            header.back = _money(header.back + cheapest.cost(*lying))
            header.back_hours = max(header.back_hours, cheapest.hours)
        for number, where in enumerate((self._present, self._to)):
            rate = sum(
                float(class_costs(table, name, shelf.sizes[where == at]).rate.sum())
                for at, name in enumerate(self._names)
            )
            header.month[number] = _money(rate * MONTH_DAYS)
        header.restore = restores(
            self._needed,
            shelf,
            self._names,
            (self._present, self._to),
            Promise(table, self._options.max_hours, self._options.max_cost),
        )

    def _note(self, header: Header, fixed: str | None) -> None:
        if fixed is not None:
            header.notes.append(
                f"{fixed}: a copy into another class would leave the old bytes, and their bill. "
                "There the bucket's lifecycle moves objects, by their tags: nothing is planned"
            )
        if self._marked is not None and header.moves:
            header.notes.append(BY_RULES)
        broken = [each for each in header.restore if not each["kept"]]
        if broken:
            header.notes.append(
                f"the promise does not hold for {len(broken)} of the newest snapshots, such as "
                f"{broken[0]['snapshot']}, whatever is moved: what they need lies in archives, in "
                "classes where reading costs, or in some that the prices do not have. Thaw what is "
                "archived (regvault tier thaw) and plan again, or promise less"
            )
        if not self._options.policies and self._needed.registries:
            header.notes.append(
                f"no retention is known: old snapshots are looked at for "
                f"{self._options.horizon:.0f} days"
            )

    def moves(self) -> Iterator[Move]:
        """Yield the moves, in byte order of the keys."""
        shelf, needed, table = self._shelf, self._needed, self._options.table
        for at in self._chosen.tolist():
            key, size = shelf.key(at), int(shelf.sizes[at])
            source, target = self._names[self._present[at]], self._names[self._to[at]]
            days = float(needed.days[at])
            one = Lying(1, size)
            way = self._back.get(target) if needed.of[at] else None
            way = way or cheapest_way(table, target, one, None) or fastest(table, target)
            yield Move(
                key,
                digest_of_key(key) or "",
                size,
                shelf.etag(at),
                source,
                target,
                needed.registries[needed.owners[at]],
                _why(len(needed.sets[needed.of[at]]), days, back=target == self._names[0]),
                round(max(0.0, (self._store.now_ns() - int(shelf.modified[at])) / _DAY_NS), 3),
                0,
                0,
                0.0,
                round(float(self._saves[at]), 8),
                round(float(self._costs[at]), 8),
                round(way.cost(*one), 8),
                way.hours,
            )


def _why(newest: int, days: float, *, back: bool) -> str:
    if back:
        return f"{newest} of the newest snapshots need it, and would not come back as promised"
    if newest:
        return f"{newest} of the newest snapshots need it; they come back as promised"
    return f"only older snapshots need it, for {days:.0f} days more"


def _money(value: float) -> float:
    return round(float(value), 8)
