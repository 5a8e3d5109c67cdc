"""What is called the optimum is what trying everything finds."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from lots import MIB, PRICES, costs, history

from regvault.config.price_files import load_prices
from regvault.policy.tiering.history import runs_of
from regvault.policy.tiering.optimum import optimum, shortest_gap


def tried(days, end, size, prices, names, *, deleted):
    """The least cost over every choice of a class after the push and after every read."""
    made = history(days, end=end, sizes=[size])
    classes = [
        (each, [float(each.rate[0]), float(each.read[0]), each.min_days])
        for each in costs(made, prices, names)
    ]
    best = float("inf")
    until = [*days[1:], end]
    for chosen in itertools.product(range(len(classes)), repeat=len(days)):
        now, since, cost = 0, days[0], 0.0
        for place, to in enumerate(chosen):
            day = days[place]
            at = classes[now]
            if place:
                cost += at[1][1]
            if to != now:
                target, source = classes[to][0], at[0]
                cost += at[1][0] * max(0, at[1][2] - (day - since))
                cost += float(target.enter[0] if to > now else source.retrieve[0] + target.write[0])
                now, since = to, day
            cost += float(classes[now][0].storage(np.array([until[place] - day]))[0])
        if deleted:
            cost += classes[now][1][0] * max(0, classes[now][1][2] - (end - since))
        best = min(best, cost)
    return best


@pytest.mark.parametrize("provider", ["aws-us-east-1", "gcs-us-east1"])
def test_nothing_that_can_be_tried_is_cheaper(provider):
    prices = load_prices(provider)
    names = prices.instant
    chance = random.Random(6)
    for number in range(80):
        # Bursts, and gaps around those that pay.
        days = [0.0]
        for _ in range(chance.randrange(6)):
            days.append(days[-1] + chance.choice([0.01, 1, 5, 14, 31, 45, 60, 95, 130, 250]))
        end = days[-1] + chance.choice([1, 20, 50, 100, 400])
        size = chance.choice([4096, 200_000, MIB, 3 * MIB, 90 * MIB, 5000 * MIB])
        deleted = chance.random() < 0.5
        made = history(days, end=end + (1 if deleted else 0), sizes=[size],
                       deleted=[end if deleted else None])  # fmt: skip
        found = optimum(made, costs(made, prices, names))
        expected = tried(days, end, size, prices, names, deleted=deleted)
        assert found[0] == pytest.approx(expected, rel=1e-9), (number, days, end, size)


def test_reads_in_bursts_are_one_step():
    made = history([0, *[day + hour / 24 for day in (1, 200) for hour in range(50)]])
    gap = shortest_gap(costs(made))
    assert 10 < gap < 30
    runs = runs_of(made, gap)
    assert runs.reads.tolist() == [50, 50]
    assert runs.turn.tolist() == [0, 1]
    assert runs.before.tolist() == [0, 50]
    assert runs.last.tolist() == [False, True]


def test_what_may_not_be_moved_stays():
    made = history([0], [0])._replace(movable=np.array([False, True]))
    stays, moves = optimum(made, costs(made))
    assert stays == pytest.approx(730 / 30.4375 * 100 / 1024 * 0.023, rel=1e-3)
    assert moves < stays / 4
    assert PRICES.hot == "STANDARD"
