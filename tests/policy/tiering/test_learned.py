"""What is learned of reads to come, and what is decided by it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from lots import MIB, PRICES, costs, history

from regvault.policy.prices import MONTH_DAYS
from regvault.policy.tiering.calibration import calibrate
from regvault.policy.tiering.fixed import hot_only
from regvault.policy.tiering.history import first_days, runs_of
from regvault.policy.tiering.learned import decide, plan_runs, size_bucket
from regvault.policy.tiering.optimum import optimum
from regvault.policy.tiering.survival import IDLE_DAYS, hazards_of_months, reads_bucket
from regvault.policy.tiering.walk import walk

ONE = np.zeros(1, dtype=np.int64)
NAMES = PRICES.instant


def busy(seed=7, blobs=80, days=365):
    """Blobs of two repositories: in one nothing is read twice, in the other something each week."""
    chance = random.Random(seed)
    made, groups = [], []
    for number in range(blobs):
        born = chance.random() * days * 0.8
        group = number % 2
        times = [born + chance.random()]
        while group and times[-1] < days:
            times.append(times[-1] + chance.uniform(4, 9))
        made.append([born, *[time for time in times if time < days]])
        groups.append(group)
    return history(*made, end=days, groups=groups, sizes=[chance.choice([20, 200, 900]) * MIB
                                                          for _ in range(blobs)])  # fmt: skip


def bursts(seed=5, blobs=500, days=365):
    """Blobs that are read a while after their push: one of four once, the others 21 times."""
    chance = random.Random(seed)
    made = []
    for number in range(blobs):
        born = chance.random() * days * 0.9
        times = [born + chance.uniform(20, 60)]
        while number % 4 and len(times) < 21:
            times.append(times[-1] + 0.15)
        made.append([born, *[time for time in times if time < days]])
    return history(*made, end=days, sizes=[300 * MIB] * blobs)


def months_of(days):
    return np.arange(0.0, days, MONTH_DAYS)


def planned(made, days, families=(0, 0)):
    months = months_of(days)
    hazards = list(hazards_of_months(made, months, np.array(families)))
    runs = runs_of(made, 1.0)
    decisions = [decide(each, PRICES, NAMES) for each in hazards]
    return hazards, runs, plan_runs(made, runs, costs(made, names=NAMES), months, decisions)


def test_nothing_is_known_of_what_comes():
    made, days = busy(), 365
    months = months_of(days)
    whole = list(hazards_of_months(made, months, ONE.repeat(2)))
    for number in (1, 3, 6, 11):
        cut = first_days(made, months[number])
        # Of blobs that are pushed later nothing is there at all.
        part = list(hazards_of_months(cut, months[: number + 1], ONE.repeat(2)))
        for known, then in zip(whole, part, strict=False):
            np.testing.assert_allclose(known.daily, then.daily, rtol=1e-12)
            np.testing.assert_allclose(known.burst, then.burst, rtol=1e-12)


@pytest.mark.parametrize("make", [busy, bursts])
def test_nothing_is_decided_by_what_comes(make):
    made, days = make(blobs=400), 365
    _, runs, plan = planned(made, days)
    of = zip(runs.owner.tolist(), runs.turn.tolist(), strict=True)
    known = {pair: number for number, pair in enumerate(of)}
    for day in (25.3, 100.3, 200.7, 300.1):
        cut = first_days(made, day)
        # The blobs that are there keep their order; each knows the number that it had.
        numbers = np.flatnonzero(made.start < day)
        _, some, then = planned(cut, day)
        at = np.array([known[numbers[owner], turn] for owner, turn in
                       zip(some.owner.tolist(), some.turn.tolist(), strict=True)])  # fmt: skip
        when = some.end + then.waits[0]
        before = plan.waits[0][at] + runs.end[at]
        same = ~some.last
        np.testing.assert_array_equal(when[same], before[same])
        np.testing.assert_array_equal(then.classes[0][same], plan.classes[0][at][same])
        # What moved by then did so in both; who was idle for longer moved later, or not yet.
        moved = some.last & (when < day)
        np.testing.assert_array_equal(when[moved], before[moved])
        assert (before[some.last & (when >= day)] >= day - 1).all()
        everything = np.arange(len(some.owner))
        where, there = np.full(len(at), 3), np.full(len(at), 100.0)
        np.testing.assert_array_equal(
            then.promotes(everything, where, there), plan.promotes(at, where, there)
        )


def test_what_is_read_often_is_told_from_what_is_not():
    made = busy()
    hazards = list(hazards_of_months(made, months_of(365), ONE.repeat(2)))[-1]
    day = IDLE_DAYS.tolist().index(7)
    once, often = hazards.daily[0, reads_bucket(np.array(1)), day], hazards.daily[1, 4, day]
    assert often > 0.2
    assert once < often / 8


def test_in_the_first_month_only_what_has_paid_for_its_move_goes():
    made = history([0, 0.5], end=60)
    _, runs, plan = planned(made, 60, families=[0])
    # About 29 days for STANDARD_IA and 48 for GLACIER_IR, by the prices.
    hazards = list(hazards_of_months(made, months_of(60), ONE))
    first = decide(hazards[0], PRICES, NAMES)
    large = int(size_bucket(np.array([900 * MIB]))[0])
    assert IDLE_DAYS[first.move[0, 0, large]] == 60
    assert NAMES[int(first.to[0, 0, large])] == "GLACIER_IR"
    assert plan.waits[0][runs.last][0] >= MONTH_DAYS - 0.5


def test_what_is_small_or_a_manifest_is_never_moved():
    made = history([0, 1], [0, 1], [0, 1], end=700, sizes=[100_000, 50 * MIB, 50 * MIB])
    made = made._replace(movable=np.array([True, False, True]))
    _, runs, plan = planned(made, 700, families=[0])
    found = walk(made, runs, costs(made, names=NAMES), plan)
    assert (found.moved > 0).tolist() == [False, False, True]


def test_it_costs_less_than_leaving_all_and_no_less_than_the_optimum():
    made = busy(blobs=400)
    _, runs, plan = planned(made, 365)
    classes = costs(made, names=NAMES)
    found = walk(made, runs, classes, plan).cost.sum()
    best = optimum(made, classes).sum()
    hot = hot_only(made, classes).cost.sum()
    assert best <= found < hot
    assert found < best + 0.6 * (hot - best)


def test_what_is_read_every_week_stays():
    made = busy()
    _, runs, plan = planned(made, 365)
    late = runs.end > 200
    often = made.groups[runs.owner] == 1
    moved = plan.waits[0] < runs.gap
    assert moved[late & often & ~runs.last].mean() < 0.05
    assert moved[late & ~often].mean() > 0.9


def test_what_was_thought_is_what_came():
    made = busy(blobs=400)
    hazards, runs, _ = planned(made, 365)
    found = calibrate(made, runs, months_of(365), hazards)
    assert found.brier < found.base * 0.8
    assert sum(share.asked for share in found.shares) > 1000
    low, high = found.shares[0], found.shares[-1]
    assert low.read < high.read
    assert high.predicted == pytest.approx(high.read, abs=0.05)


def test_nobody_was_asked():
    made = history([0], end=5)
    hazards, runs, _ = planned(made, 5, families=[0])
    assert calibrate(made, runs, months_of(5), hazards).shares == []
