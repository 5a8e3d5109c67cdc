"""No way of tiering is cheaper than the optimum, whatever the history and the prices are."""

from __future__ import annotations

import random

import numpy as np
import pytest

from regvault.config.price_files import known_prices, load_prices
from regvault.ops.tier.simulate import simulate, simulate_horizons
from regvault.policy.tiering.history import make_history

MIB = 1 << 20
SIZES = [900, 200_000, MIB, 50 * MIB, 3000 * MIB]


def history(chance, days=400.0):
    """A few blobs, some manifests, some deleted, some from before; reads in bursts and alone."""
    count = chance.randrange(1, 8)
    objects, times = [], []
    born = [chance.uniform(-200, days * 0.9) for _ in range(count)]
    gone = [chance.random() < 0.2 for _ in range(count)]
    ended = [
        chance.uniform(max(each, 0), days) if out else days
        for each, out in zip(born, gone, strict=True)
    ]
    for number in range(count):
        at = max(born[number], 0.0)
        for _ in range(chance.randrange(6)):
            at += chance.choice([0.01, 0.3, 2, 20, 45, 80, 150])
            objects.append(number)
            times.append(at)
    return make_history(
        np.array(objects, dtype=np.int64),
        np.array(times),
        sizes=np.array([chance.choice(SIZES) for _ in range(count)]),
        born=np.array(born),
        begin=0.0,
        ended=np.array(ended),
        deleted=np.array(gone),
        groups=np.array([number % 2 for number in range(count)]),
        movable=np.array([chance.random() < 0.8 for _ in range(count)]),
    )


@pytest.mark.parametrize("prices", known_prices())
def test_nothing_is_cheaper_than_the_optimum(prices):
    table = load_prices(prices)
    chance = random.Random(11)
    for number in range(60):
        made = history(chance)
        found = simulate(made, table, families=np.array([0, 1]), days=400.0)
        best = found.ways[-1].cost
        for way in found.ways:
            assert way.cost >= best * (1 - 1e-9), (number, way.name)
        assert all(np.isfinite(way.cost) and way.cost >= 0 for way in found.ways)


def test_a_short_history_has_no_shorter_one_beside():
    made = history(random.Random(1))
    made = made._replace(start=np.zeros(len(made.sizes)))
    table = load_prices("aws-us-east-1")
    families = np.zeros(2, dtype=np.int64)
    found = simulate_horizons(made, table, families=families, days=60)
    assert [each.days for each in found] == [60]
    found = simulate_horizons(made, table, families=families, days=400)
    assert [round(each.days) for each in found] == [400, 365, 91]
