"""What it takes to bring back what lies in a class, and the promise of how much that may be. Pure.

A promise is about whole snapshots: all of one comes back within so many hours, and for so much
money. Hours are those until everything can be read; what reading and writing take comes on top of
that, and is measured elsewhere (`regvault info`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.policy.prices import GB, MONTH_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regvault.policy.prices import ClassPrice, PriceTable

__all__ = [
    "THAWED_DAYS",
    "WAYS",
    "Budget",
    "Lying",
    "Return",
    "cheapest_way",
    "fastest",
    "named_way",
    "returns",
    "ways",
]

THAWED_DAYS = 7
"""For how many days what is thawed can be read, unless something else is asked for."""
WAYS = ("expedited", "standard", "bulk")
"""The names of the ways, the fastest first."""


class Return(NamedTuple):
    """What it takes to bring back what lies in one class.

    Attributes:
        way: name of it; "" where it can be read at once.
        hours: until it can be read.
        per_object: money for each object.
        per_gb: money for each GB.
    """

    way: str
    hours: float
    per_object: float
    per_gb: float

    def cost(self, count: float, nbytes: float) -> float:
        """Return what so many objects of so many bytes in all cost."""
        return self.per_object * count + self.per_gb * nbytes / GB

    def to_json(self) -> dict[str, Any]:
        """Return it as a plan has it."""
        return self._asdict()


class Lying(NamedTuple):
    """How much lies in a class.

    Attributes:
        objects: how many.
        nbytes: their bytes.
    """

    objects: int
    nbytes: int


def ways(table: PriceTable, name: str, *, days: float = THAWED_DAYS) -> list[Return]:
    """Return the ways back from a class, the fastest first; from the hot one it costs nothing.

    Args:
        table: the prices.
        name: of the class.
        days: for which a thawed copy is kept, billed as what is hot.
    """
    if name == table.hot:
        return [Return("", 0.0, 0.0, 0.0)]
    price = table.price(name)
    read = price.get_per_1000 / 1000, price.retrieval_gb
    if price.instant:
        return [Return("", 0.0, *read)]
    copy = table.price(table.hot).gb_month * days / MONTH_DAYS
    return sorted(
        (
            Return(way, each.hours, read[0] + each.per_1000 / 1000, read[1] + each.gb + copy)
            for way, each in price.thaw
        ),
        key=lambda found: (found.hours, found.per_gb, found.way),
    )


def fastest(table: PriceTable, name: str, *, days: float = THAWED_DAYS) -> Return:
    """Return the fastest way back from a class."""
    return ways(table, name, days=days)[0]


def cheapest_way(
    table: PriceTable, name: str, lying: Lying, hours: float | None, *, days: float = THAWED_DAYS
) -> Return | None:
    """Return the cheapest way back from a class that takes no longer; None: there is none.

    Args:
        table: the prices.
        name: of the class.
        lying: what is to come back.
        hours: at most; None: however long.
        days: for which it can be read then.
    """
    found = [w for w in ways(table, name, days=days) if hours is None or w.hours <= hours + 1e-9]
    return min(found, key=lambda way: (way.cost(*lying), way.hours), default=None)


def returns(table: PriceTable, names: Iterable[str], hours: float) -> dict[str, Return]:
    """Return class -> the cheapest way back that keeps the hours, of those that have one.

    For packs and large blobs bytes decide, so it is that of 64 MiB a piece.
    """
    one = Lying(1, 64 << 20)
    found = {name: cheapest_way(table, name, one, hours) for name in names}
    return {name: way for name, way in found.items() if way is not None}


def named_way(price: ClassPrice, asked: str) -> str:
    """Return the way of a class that is meant: where it has none of this name, its next slower one.

    Some archives have no expedited way.
    """
    names = [name for name, _ in sorted(price.thaw, key=lambda each: each[1].hours)]
    slower = WAYS[WAYS.index(asked) :] if asked in WAYS else ()
    return next((name for name in slower if name in names), names[-1])


class Budget:
    """What each snapshot under a promise may still cost to bring back. Money.

    Attributes:
        left: of each, by number; below zero: the promise is broken already.
    """

    def __init__(self, most: float, count: int, back: Mapping[str, Return]) -> None:
        """Begin.

        Args:
            most: what bringing back all of one snapshot may cost.
            count: of snapshots.
            back: class -> the way back that keeps the hours; what has none is no class for them.
        """
        self._back = back
        self.left = [most] * count

    def keeps(self, storage_class: str) -> bool:
        """Return whether what lies in a class comes back in time."""
        return storage_class in self._back

    def spend(self, snapshots: Iterable[int], storage_class: str, count: int, nbytes: int) -> None:
        """Take off what objects cost that lie there already, whether there is enough or not."""
        way = self._back.get(storage_class)
        for number in snapshots:
            if way is None:
                self.left[number] = float("-inf")
            else:
                self.left[number] -= way.cost(count, nbytes)

    def take(
        self, snapshots: tuple[int, ...], storage_class: str, size: int, *, now: str | None = None
    ) -> bool:
        """Return whether one more object may go there: all snapshots that need it can afford it.

        Args:
            snapshots: that need it.
            storage_class: where it would lie.
            size: of it.
            now: where it lies; what that costs has been spent, and is given back.
        """
        way = self._back.get(storage_class)
        if way is None:
            return False
        cost = way.cost(1, size)
        before = self._back.get(now) if now is not None else None
        given = 0.0 if before is None else before.cost(1, size)
        if any(self.left[number] + given < cost * (1 - 1e-12) for number in snapshots):
            return False
        for number in snapshots:
            self.left[number] += given - cost
        return True
