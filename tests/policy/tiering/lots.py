"""Small histories, for tests of what is done with them."""

from __future__ import annotations

import numpy as np

from regvault.config.price_files import load_prices
from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.history import make_history

PRICES = load_prices("aws-us-east-1")
MIB = 1 << 20


def history(*blobs, end=730.0, sizes=None, groups=None, deleted=None, begin=0.0):
    """Return a history of blobs, each a list of days: of its push, then of its reads."""
    numbers = [number for number, days in enumerate(blobs) for _ in days[1:]]
    times = [day for days in blobs for day in days[1:]]
    count = len(blobs)
    gone = np.array([end if each is None else each for each in deleted or [None] * count])
    return make_history(
        np.array(numbers, dtype=np.int64),
        np.array(times, dtype=float),
        sizes=np.array(sizes or [100 * MIB] * count, dtype=np.int64),
        born=np.array([days[0] for days in blobs], dtype=float),
        begin=begin,
        ended=gone,
        deleted=gone < end,
        groups=np.array(groups or [0] * count, dtype=np.int64),
        movable=np.ones(count, dtype=bool),
    )


def costs(made, prices=PRICES, names=None):
    return [class_costs(prices, name, made.sizes) for name in names or prices.instant]
