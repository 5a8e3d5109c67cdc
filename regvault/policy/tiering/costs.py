"""What a class costs for blobs of some sizes: prices, put into arrays. Money, days, bytes.

Source of the rules: the providers' price lists. Storage is billed by the day; what leaves a class
before its minimum is billed until then; a move down is one transition request; a move up is a read,
with what retrieval costs, and a write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.policy.prices import GB, MONTH_DAYS

if TYPE_CHECKING:
    from regvault.policy.prices import ClassPrice, PriceTable
    from regvault.policy.tiering.history import Bools, Floats, Ints

__all__ = ["ClassCosts", "class_costs"]


class ClassCosts(NamedTuple):
    """What one class costs for each of many blobs.

    Attributes:
        name: of the class.
        rate: storage of a day, just read or written.
        read: one GET, retrieval included.
        enter: to move it there from another class, downwards.
        write: to write it there.
        retrieve: to read it in order to move it out.
        min_days: what leaves earlier is billed until then.
        steps: (days without access, what a day costs less from then on), in order.
    """

    name: str
    rate: Floats
    read: Floats
    enter: Floats
    write: Floats
    retrieve: Floats
    min_days: float
    steps: tuple[tuple[float, Floats], ...]

    def of(self, chosen: Ints | Bools) -> ClassCosts:
        """Return the same for some of the blobs, in any order, any number of times."""
        return self._replace(
            rate=self.rate[chosen],
            read=self.read[chosen],
            enter=self.enter[chosen],
            write=self.write[chosen],
            retrieve=self.retrieve[chosen],
            steps=tuple((days, less[chosen]) for days, less in self.steps),
        )

    def storage(self, days: Floats) -> Floats:
        """Return what it costs to keep each for so many days without access, from now on."""
        cost = self.rate * days
        for after, less in self.steps:
            cost = cost - less * np.maximum(0.0, days - after)
        return cost

    def early(self, days: Floats) -> Floats:
        """Return what is billed besides for leaving the class after so many days in it."""
        return self.rate * np.maximum(0.0, self.min_days - days)


def class_costs(table: PriceTable, name: str, sizes: Ints) -> ClassCosts:
    """Return what a class costs for blobs of some sizes.

    Args:
        table: the prices.
        name: of the class.
        sizes: bytes of each blob.
    """
    price = table.price(name)
    billed = np.maximum(sizes, price.min_bytes) + price.overhead_bytes
    watched = sizes >= price.watched_bytes if price.idle else np.zeros(len(sizes), dtype=bool)
    hot = table.price(table.hot).gb_month * price.hot_overhead_bytes
    rate = (billed * price.gb_month + hot) / GB / MONTH_DAYS
    rate = rate + watched * price.watched_per_1000_month / 1000 / MONTH_DAYS
    stored = sizes / GB
    retrieval = stored * price.retrieval_gb
    return ClassCosts(
        name,
        rate,
        price.get_per_1000 / 1000 + retrieval,
        np.full(len(sizes), price.transition_per_1000 / 1000),
        np.full(len(sizes), price.put_per_1000 / 1000),
        price.get_per_1000 / 1000 + retrieval,
        price.min_days,
        tuple(_steps(price, watched * stored)),
    )


def _steps(price: ClassPrice, stored: Floats) -> list[tuple[float, Floats]]:
    found = []
    before = price.gb_month
    for tier in price.idle:
        found.append((tier.days, stored * (before - tier.gb_month) / MONTH_DAYS))
        before = tier.gb_month
    return found
