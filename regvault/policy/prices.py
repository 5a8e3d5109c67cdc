"""List prices of object storage, dated, and what a vault costs by them. Pure.

They change, differ by region and contract, and are here for orders of magnitude: whoever relies on
a number checks it again.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AWS_US_EAST_1", "ClassPrice", "Cost", "PriceTable", "monthly_cost"]

#: Object storage is billed by units of 2**30 bytes, though they are called GB.
GB = 1 << 30


class ClassPrice(NamedTuple):
    """What one storage class costs.

    Attributes:
        gb_month: for each GB stored for a month.
        put_per_1000: for a thousand writes into it.
    """

    gb_month: float
    put_per_1000: float


class PriceTable(NamedTuple):
    """List prices of one provider in one region.

    Attributes:
        name: as one names it in a configuration.
        as_of: when they were looked up.
        currency: of all of them.
        classes: by the provider's name.
    """

    name: str
    as_of: str
    currency: str
    classes: dict[str, ClassPrice]


AWS_US_EAST_1 = PriceTable(
    "aws-us-east-1",
    "2026",
    "USD",
    {
        "STANDARD": ClassPrice(0.023, 0.005),
        "STANDARD_IA": ClassPrice(0.0125, 0.01),
        "GLACIER_IR": ClassPrice(0.004, 0.02),
    },
)


class Cost(NamedTuple):
    """What storing something in one class costs.

    Attributes:
        month: storage for a month.
        first: the writes of the first full, once.
    """

    month: float
    first: float


def monthly_cost(table: PriceTable, *, nbytes: int, objects: int) -> dict[str, Cost]:
    """Return class -> cost of `nbytes` in `objects` objects.

    Retrieval, minimum durations and minimum sizes are left out: a vault's data objects are of
    1 MiB and more.
    """
    return {
        name: Cost(nbytes / GB * price.gb_month, objects / 1000 * price.put_per_1000)
        for name, price in table.classes.items()
    }
