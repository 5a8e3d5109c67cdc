"""Prices of object storage, dated, and what storing, moving and reading costs by them. Pure.

They change, differ by region and contract, and those that come along are list prices, for orders of
magnitude: whoever relies on a number checks it again.
"""

from __future__ import annotations

from typing import NamedTuple

from regvault.errors import UsageError

__all__ = [
    "GB",
    "MONTH_DAYS",
    "ClassPrice",
    "Cost",
    "IdleTier",
    "PriceTable",
    "Thaw",
    "monthly_cost",
]

GB = 1 << 30
"""Object storage is billed by units of 2**30 bytes, though they are called GB."""

MONTH_DAYS = 365.25 / 12
"""Days of a month on the average: storage is billed by the part of the month that it was used."""


class IdleTier(NamedTuple):
    """What a class charges for what was not read for some time, in a class that watches it.

    Attributes:
        days: without access, from which on.
        gb_month: for each GB stored for a month.
    """

    days: float
    gb_month: float


class Thaw(NamedTuple):
    """One way to have what is archived brought back.

    Attributes:
        hours: until it is there, at most.
        gb: for each GB.
        per_1000: for a thousand requests.
    """

    hours: float
    gb: float
    per_1000: float


class ClassPrice(NamedTuple):
    """What one storage class costs.

    Attributes:
        gb_month: for each GB stored for a month.
        put_per_1000: for a thousand writes into it.
        get_per_1000: for a thousand reads.
        transition_per_1000: for a thousand objects that move into it from a hotter class.
        retrieval_gb: for each GB that is read, or moved out of it.
        min_days: what leaves earlier is billed until then.
        min_bytes: smaller objects are billed as if they had so many.
        overhead_bytes: billed for each object besides, at the price of this class.
        hot_overhead_bytes: likewise, at the price of the hot class.
        watched_per_1000_month: for a thousand objects that are watched for a month.
        watched_bytes: smaller objects are not watched, and stay at the first price.
        idle: what costs less without access, by days.
        thaw: name of a way -> what it costs; empty: it is read at once.
        durable: False for a class that one site can lose: it is never chosen by itself.
    """

    gb_month: float
    put_per_1000: float
    get_per_1000: float = 0.0
    transition_per_1000: float = 0.0
    retrieval_gb: float = 0.0
    min_days: float = 0.0
    min_bytes: int = 0
    overhead_bytes: int = 0
    hot_overhead_bytes: int = 0
    watched_per_1000_month: float = 0.0
    watched_bytes: int = 0
    idle: tuple[IdleTier, ...] = ()
    thaw: tuple[tuple[str, Thaw], ...] = ()
    durable: bool = True

    @property
    def instant(self) -> bool:
        """Whether what lies in it can be read at once."""
        return not self.thaw


class PriceTable(NamedTuple):
    """Prices of one provider in one region.

    Attributes:
        name: as one names it in a configuration.
        as_of: when they were looked up.
        currency: of all of them.
        hot: the class that costs nothing to read from, and that all else is compared with.
        classes: by the provider's name, the hot one among them.
        provider: `aws`, `azure`, `gcs` or another one.
    """

    name: str
    as_of: str
    currency: str
    hot: str
    classes: dict[str, ClassPrice]
    provider: str = ""

    def price(self, name: str) -> ClassPrice:
        """Return the prices of a class. Raises UsageError."""
        found = self.classes.get(name)
        if found is None:
            raise UsageError(
                f"the prices {self.name} have no class {name}",
                hint=f"They have {', '.join(self.classes)}.",
            )
        return found

    @property
    def instant(self) -> list[str]:
        """Names of the classes that serve at once and last: the hot one, then by what they cost."""
        names = [name for name, each in self.classes.items() if each.instant and each.durable]
        return sorted(names, key=lambda name: (name != self.hot, -self.classes[name].gb_month))


class Cost(NamedTuple):
    """What storing something in one class costs.

    Attributes:
        month: storage for a month.
        first: the writes of the first full, once.
    """

    month: float
    first: float


def monthly_cost(table: PriceTable, *, nbytes: int, objects: int) -> dict[str, Cost]:
    """Return class -> cost of `nbytes` in `objects` objects, of the classes that serve at once.

    Retrieval, minimum durations and minimum sizes are left out: a vault's data objects are of
    1 MiB and more.
    """
    return {
        name: Cost(
            nbytes / GB * table.classes[name].gb_month,
            objects / 1000 * table.classes[name].put_per_1000,
        )
        for name in table.instant
        if not table.classes[name].idle
    }
