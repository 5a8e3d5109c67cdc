"""The verb `tier thaw`: asks for what a restore needs, and waits until it is there.

What is asked for, and what is there, the store says: a run that was stopped goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, UsageError
from regvault.model.classes import ArchivingStore
from regvault.ops.bounded import in_order
from regvault.ops.tier.cold import Cold, find_cold, lying
from regvault.policy.tiering.promise import (
    THAWED_DAYS,
    WAYS,
    cheapest_way,
    fastest,
    named_way,
    ways,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regvault.model.progress import Progress
    from regvault.model.store import ObjectStore
    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.promise import Return

__all__ = ["Offer", "Thaw", "ThawPlan", "ThawResult", "execute_thaw", "plan_thaw"]

_MOST_POLL_S = 15 * 60.0
_SLOWER = 1.5


class Offer(NamedTuple):
    """What bringing all back in one way takes.

    Attributes:
        hours: until all of it can be read.
        cost: of bringing it back; money.
        ways: class -> the way that is asked for.
    """

    hours: float
    cost: float
    ways: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return it as documents have it."""
        return {"hours": self.hours, "cost": round(self.cost, 8), "ways": self.ways}


@dataclass(slots=True)
class ThawPlan:
    """What has to be thawed.

    Attributes:
        cold: in the order in which a restore reads them.
        needed, needed_bytes: objects that a restore reads at all, in archives or not.
        offers: way -> what it takes; {} where the prices do not know all the classes.
        chosen: what is going to be asked for; None where nothing is, or where no price is known.
        days: for how many it can be read then.
        currency: of the offers.
        unknown: classes that the prices do not have.
        pending_hours: until what was asked for before can be read, at most, from when it was: the
            store does not tell in which way that was. 0.0 where nothing was.
    """

    cold: list[Cold]
    needed: int
    needed_bytes: int
    offers: dict[str, Offer]
    chosen: Offer | None
    days: int
    currency: str
    unknown: list[str]
    pending_hours: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of what has to be thawed."""
        return sum(each.size for each in self.cold)

    @property
    def thawing(self) -> int:
        """How much of it is asked for already."""
        return sum(each.thawing for each in self.cold)

    def to_json(self) -> dict[str, Any]:
        """Return the part of documents that says what has to be thawed.

        `objects`, `bytes`: in archives; `thawing`: how many of them are asked for already;
        `needed`, `needed_bytes`: all that is read; `classes`: class -> `objects` and `bytes`;
        `ways`: way -> `hours`, `cost` and, by class, the `ways`, for what is not asked for yet;
        `chosen`: the one that is taken; `pending_hours`: what was asked for before takes no longer;
        `days`: how long it can be read then.
        """
        return {
            "objects": len(self.cold),
            "bytes": self.nbytes,
            "thawing": self.thawing,
            "needed": self.needed,
            "needed_bytes": self.needed_bytes,
            "classes": {
                name: {"objects": each.objects, "bytes": each.nbytes}
                for name, each in sorted(lying(self.cold).items())
            },
            "ways": {way: offer.to_json() for way, offer in self.offers.items()},
            "chosen": None if self.chosen is None else self.chosen.to_json(),
            "pending_hours": self.pending_hours,
            "days": self.days,
            "currency": self.currency,
        }


@dataclass(slots=True)
class ThawResult:
    """What came of it.

    Attributes:
        plan: as it was made.
        asked: objects that were asked for now.
        before: that had been asked for before.
        ready: of all of these, how many can be read by now.
        gone: keys that are not there any more.
    """

    plan: ThawPlan
    asked: int = 0
    before: int = 0
    ready: int = 0
    gone: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether all of it can be read."""
        return self.ready >= self.asked + self.before

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            **self.plan.to_json(),
            "asked": self.asked,
            "before": self.before,
            "ready": self.ready,
            "gone": self.gone,
            "done": self.done,
        }


def plan_thaw(
    cold: list[Cold],
    needed: tuple[int, int],
    table: PriceTable,
    *,
    way: str | None = None,
    deadline_hours: float | None = None,
    days: int = THAWED_DAYS,
) -> ThawPlan:
    """Say what thawing takes, and choose a way.

    Args:
        cold: what has to be thawed.
        needed: number and bytes of all that is read.
        table: the prices.
        way: that is taken whatever it costs; where a class has none of this name, its next slower.
        deadline_hours: else the cheapest that takes no longer; None: the cheapest. A way that takes
            longer is refused.
        days: for how many it is to be readable.

    Raises:
        UsageError: no way is that fast.
    """
    shelves = lying([each for each in cold if not each.thawing])
    pending = lying([each for each in cold if each.thawing])
    unknown = sorted(
        name
        for name in {*shelves, *pending}
        if name not in table.classes or table.price(name).instant
    )
    offers: dict[str, Offer] = {}
    chosen: Offer | None = None
    if shelves and not unknown:
        for name in WAYS:
            taken = {each: _named(table, each, name, days) for each in shelves}
            offers[name] = _offer(shelves, taken)
        chosen = offers[way] if way is not None else _cheapest(table, shelves, deadline_hours, days)
        if deadline_hours is not None and chosen.hours > deadline_hours + 1e-9:
            raise UsageError(
                f"{way} takes {chosen.hours:g} hours here, and it has to be within "
                f"{deadline_hours:g}",
                hint="Leave --way out: the cheapest that is fast enough is taken.",
            )
    elif shelves and deadline_hours is not None and way is None:
        raise UsageError(
            f"the prices {table.name} do not say how long {', '.join(unknown)} takes to thaw",
            hint="Name prices that do: --prices NAME|FILE; or a way: --way standard",
        )
    longest = max(
        (max(each.hours for each in ways(table, name)) for name in pending if name not in unknown),
        default=0.0,
    )
    return ThawPlan(cold, *needed, offers, chosen, days, table.currency, unknown, longest)


def _named(table: PriceTable, name: str, way: str, days: int) -> Return:
    there = named_way(table.price(name), way)
    return next(each for each in ways(table, name, days=days) if each.way == there)


def _offer(shelves: dict[str, Any], taken: dict[str, Return]) -> Offer:
    return Offer(
        max(each.hours for each in taken.values()),
        sum(taken[name].cost(*some) for name, some in shelves.items()),
        {name: each.way for name, each in taken.items()},
    )


def _cheapest(table: PriceTable, shelves: dict[str, Any], hours: float | None, days: int) -> Offer:
    taken: dict[str, Return] = {}
    for name, some in shelves.items():
        found = cheapest_way(table, name, some, hours, days=days)
        if found is None:
            quick = fastest(table, name, days=days)
            raise UsageError(
                f"nothing brings back what lies in {name} within {hours:g} hours",
                hint=f"The fastest way, {quick.way}, takes {quick.hours:g} hours.",
            )
        taken[name] = found
    return _offer(shelves, taken)


class Thaw:
    """Asks for objects, and waits until they can be read."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        chosen: dict[str, str],
        way: str,
        days: int,
        threads: int,
        progress: Progress,
        poll_s: float = 60.0,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Wrap.

        Args:
            store: the vault's.
            chosen: class -> the way that is asked for.
            way: of a class that is not in it.
            days: for how many it is to be readable.
            threads: that ask.
            progress: is told how far it is.
            poll_s: seconds until it is looked at for the first time; it becomes more, up to 15
                minutes.
            sleep: waits some seconds (tests have their own).
        """
        self._store = store
        self._chosen = chosen
        self._way = way
        self._days = days
        self._threads = threads
        self._progress = progress
        self._poll_s = poll_s
        self._sleep = sleep
        self._looked: float | None = None

    def _wait(self, seconds: float) -> None:
        (self._sleep or time.sleep)(seconds)

    def ask(self, cold: Sequence[Cold]) -> tuple[int, list[str]]:
        """Ask for what nobody has asked for yet, in this order.

        Returns:
            How many were asked for, and the keys of those that are gone.

        Raises:
            StoreError: it does not do it; what was asked for until then is under way.
        """
        store = self._store
        if not isinstance(store, ArchivingStore):
            raise UsageError(f"{store.location} has no archives")
        todo = [each for each in cold if not each.thawing]
        self._progress.phase("Asking for what is archived", total_items=len(todo))

        def one(each: Cold) -> str | None:
            try:
                store.thaw(
                    each.key, way=self._chosen.get(each.storage_class, self._way), days=self._days
                )
            except ObjectNotFoundError:
                return each.key
            self._progress.advance(1, each.size)
            return None

        found = list(in_order(todo, one, threads=self._threads, name="thaw"))
        gone = [key for key in found if key is not None]
        return len(todo) - len(gone), gone

    def wait_for_some(self, keys: Sequence[str]) -> list[str]:
        """Return those that can be read, or are gone, as soon as there are any.

        What is neither readable nor under way is asked for again. Between two looks there is a
        pause, also where the one before has found something: each look asks for each object.
        """
        while True:
            if self._looked is not None:
                pause = self._poll_s - (time.monotonic() - self._looked)
                if pause > 0:
                    self._progress.phase(f"Waiting for {len(keys)} objects to be thawed")
                    self._wait(pause)
            self._looked = time.monotonic()
            left = find_cold(self._store, keys, threads=self._threads)
            waiting = {each.key for each in left}
            ready = [key for key in keys if key not in waiting]
            if ready:
                return ready
            if any(not each.thawing for each in left):
                self.ask(left)
            self._poll_s = min(self._poll_s * _SLOWER, _MOST_POLL_S)

    def wait_for_all(self, keys: Sequence[str], total: int) -> None:
        """Return when all of these can be read at one time, or are gone."""
        left = list(keys)
        while left:
            ready = set(self.wait_for_some(left))
            left = [key for key in left if key not in ready]
            self._progress.note(f"{total - len(left)} of {total} objects are thawed.")
            if not left:  # what was ready first may be archived again
                left = [each.key for each in find_cold(self._store, keys, threads=self._threads)]


def execute_thaw(plan: ThawPlan, thaw: Thaw, *, wait: bool) -> ThawResult:
    """Ask for all that is planned; wait for it, if that is asked for.

    Args:
        plan: what has to be thawed.
        thaw: who asks.
        wait: return when all of it can be read.
    """
    result = ThawResult(plan, before=plan.thawing)
    result.asked, result.gone = thaw.ask(plan.cold)
    if wait:
        keys = [each.key for each in plan.cold if each.key not in set(result.gone)]
        thaw.wait_for_all(keys, len(keys))
        result.ready = len(keys)
    return result
