"""What ways of tiering cost, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from lots import MIB, PRICES, costs, history

from regvault.policy.prices import GB, MONTH_DAYS
from regvault.policy.tiering.fixed import by_age, hot_only, least_recent, watched
from regvault.policy.tiering.history import first_days, runs_of
from regvault.policy.tiering.walk import Plan, never, walk

NAMES = PRICES.instant
GLACIER = NAMES.index("GLACIER_IR")
WATCHED = NAMES.index("INTELLIGENT_TIERING")
SIZE = 1 << 30
HOT_DAY, COLD_DAY = 0.023 / MONTH_DAYS, 0.004 / MONTH_DAYS


def always(*, back):
    return lambda numbers, _classes, _days: np.full(len(numbers), back)


def plan_of(runs, *moves, back=True):
    """Move after so many days into a class, after each run."""
    count = len(runs.owner)
    return Plan(
        np.array([[days] * count for days, _ in moves], dtype=float),
        np.array([[number] * count for _, number in moves]),
        always(back=back),
    )


def test_nothing_moves():
    made = history([0, 1, 2], [100], end=200, sizes=[SIZE, 2 * SIZE])
    found = hot_only(made, costs(made))
    assert found.storage == pytest.approx([200 * HOT_DAY, 2 * 100 * HOT_DAY])
    assert found.reads == pytest.approx([2 * 0.0004 / 1000, 0])
    assert (found.moves.sum(), found.slow.sum(), found.moved.sum()) == (0, 0, 0)


def test_down_read_and_back():
    made = history([0, 200], end=300, sizes=[SIZE])
    runs = runs_of(made, 1.0)
    found = walk(made, runs, costs(made), plan_of(runs, (10, GLACIER)))
    # Hot for 10 days, cold for 190, hot for 10, cold for the rest.
    assert found.storage == pytest.approx([20 * HOT_DAY + (190 + 90) * COLD_DAY])
    assert found.reads == pytest.approx([0.01 / 1000 + 0.03])
    back = 0.01 / 1000 + 0.03 + 0.005 / 1000
    assert found.moves == pytest.approx([2 * 0.02 / 1000 + back])
    assert (found.slow[0], found.moved[0]) == (1, 3)
    assert found.cold_days == pytest.approx([280])


def test_what_leaves_before_its_minimum_is_billed_until_then():
    made = history([0, 50], end=60, sizes=[SIZE], deleted=[55])
    runs = runs_of(made, 1.0)
    back = walk(made, runs, costs(made), plan_of(runs, (10, GLACIER)))
    stays = walk(made, runs, costs(made), plan_of(runs, (10, GLACIER), back=False))
    up = 0.01 / 1000 + 0.03 + 0.005 / 1000
    assert back.moves == pytest.approx([0.02 / 1000 + up + (90 - 40) * COLD_DAY])
    # Deleted on day 55, after 45 days of 90.
    assert stays.moves == pytest.approx([0.02 / 1000 + (90 - 45) * COLD_DAY])
    assert stays.storage == pytest.approx([10 * HOT_DAY + 45 * COLD_DAY])


def test_many_reads_in_the_cold():
    made = history([0, 100, 100.1, 100.2], end=101, sizes=[SIZE])
    runs = runs_of(made, 1.0)
    found = walk(made, runs, costs(made), plan_of(runs, (10, GLACIER), back=False))
    assert found.slow[0] == 3
    assert found.reads == pytest.approx([3 * (0.01 / 1000 + 0.03)])


def test_a_class_that_watches():
    made = history([0, 100], end=300, sizes=[SIZE])
    found = watched(made, costs(made), WATCHED)
    monitored = 300 * 0.0025 / 1000 / MONTH_DAYS
    idle = [(30, 60, 10), (30, 60, 110)]  # days hot, infrequent, archive instant
    days = [sum(each) for each in zip(*idle, strict=True)]
    prices = [0.023, 0.0125, 0.004]
    stored = sum(day * price for day, price in zip(days, prices, strict=True)) / MONTH_DAYS
    assert found.storage == pytest.approx([stored + monitored])
    assert found.reads == pytest.approx([0.0004 / 1000])
    assert found.slow[0] == 0
    assert found.moves == pytest.approx([0.01 / 1000])  # there from the hot class


def test_what_is_small_is_not_watched():
    made = history([0], end=300, sizes=[100_000])
    found = watched(made, costs(made), WATCHED)
    assert found.cost == pytest.approx([300 * 100_000 / GB * HOT_DAY])


def test_idle_days_count_from_the_move():
    made = history([0], end=100, sizes=[SIZE])
    runs = runs_of(made, 1.0)
    found = walk(made, runs, costs(made), plan_of(runs, (40, WATCHED), (90, GLACIER)))
    watching = 0.0025 / 1000 / MONTH_DAYS * 50
    expected = 70 * HOT_DAY + 20 * 0.0125 / MONTH_DAYS + 10 * COLD_DAY + watching
    assert found.storage == pytest.approx([expected])
    assert found.moves == pytest.approx([0.01 / 1000 + 0.02 / 1000])


def test_rules_of_age_look_at_nothing_else():
    made = history([-100, 5, 50], [0, 29, 31], [0], end=100, sizes=[SIZE, SIZE, 1000], begin=0.0)
    found = by_age(made, costs(made), [(30, GLACIER)])
    assert found.slow.tolist() == [2, 1, 0]
    assert found.storage[:2] == pytest.approx([100 * COLD_DAY, 30 * HOT_DAY + 70 * COLD_DAY])
    assert found.moved.tolist() == [1, 1, 0]
    assert found.moves[0] == pytest.approx(0.02 / 1000)


def test_a_rule_of_age_costs_what_the_same_moves_cost():
    made = history([0, 40, 130], end=200, sizes=[SIZE])
    runs = runs_of(made, 1.0)
    plan = plan_of(runs, (30, GLACIER), back=False)
    walked, aged = walk(made, runs, costs(made), plan), by_age(made, costs(made), [(30, GLACIER)])
    assert walked.cost == pytest.approx(aged.cost)


def test_each_step_of_a_rule_of_age_bills_the_minimum_of_the_one_before():
    made = history([0], end=100, sizes=[SIZE])
    infrequent = NAMES.index("STANDARD_IA")
    found = by_age(made, costs(made), [(30, infrequent), (40, GLACIER)])
    left = (30 - 10) * 0.0125 / MONTH_DAYS
    assert found.moves == pytest.approx([0.01 / 1000 + 0.02 / 1000 + left])


def test_a_cache_keeps_what_was_read_last():
    made = history([0, 10], [1, 20], [2], end=100, sizes=[SIZE] * 3)
    found = least_recent(made, costs(made), GLACIER, 2 / 3)
    # The third pushes out the first, whose read on day 10 pushes out the second, and so on.
    assert found.moved.tolist() == [2, 2, 1]
    assert found.slow.tolist() == [1, 1, 0]
    assert found.cold_days == pytest.approx([8, 10, 80])


def test_never_is_a_plan_too():
    made = history([0, 10], end=100)
    runs = runs_of(made, 1.0)
    assert walk(made, runs, costs(made), never(runs)).cost == pytest.approx(
        hot_only(made, costs(made)).cost
    )


def test_the_first_days_of_a_history():
    made = history([0, 10, 50, 90], [60, 70], [5], end=100, deleted=[None, None, 20],
                   sizes=[MIB, 2 * MIB, 3 * MIB])  # fmt: skip
    cut = first_days(made, 55)
    assert cut.sizes.tolist() == [MIB, 3 * MIB]
    assert cut.times.tolist() == [10, 50]
    assert cut.ended.tolist() == [55, 20]
    assert cut.deleted.tolist() == [False, True]
    assert cut.counts.tolist() == [2, 0]
