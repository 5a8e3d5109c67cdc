"""What bringing back costs, and how long snapshots are kept: what promises rest on."""

from datetime import UTC, datetime, timedelta

import pytest

from regvault.config.price_files import load_prices
from regvault.policy.retention import Point, Retention, retain
from regvault.policy.tiering.lifetimes import days_kept
from regvault.policy.tiering.promise import (
    Budget,
    Lying,
    cheapest_way,
    fastest,
    named_way,
    returns,
    ways,
)

TABLE = load_prices("aws-us-east-1")
GB = 1 << 30
NOW = datetime(2026, 11, 28, 3, tzinfo=UTC)


def daily(count, *, pinned=()):
    return [
        Point(n, NOW - timedelta(days=count - n), pinned=n in pinned) for n in range(1, count + 1)
    ]


def test_what_is_hot_costs_nothing_and_what_serves_at_once_its_retrieval():
    assert ways(TABLE, "STANDARD")[0].cost(1000, GB) == 0
    (way,) = ways(TABLE, "GLACIER_IR")
    assert (way.way, way.hours) == ("", 0)
    assert way.cost(1000, GB) == pytest.approx(0.01 + 0.03)


def test_a_thaw_costs_its_requests_its_bytes_and_a_copy_for_some_days():
    standard = next(way for way in ways(TABLE, "GLACIER", days=30) if way.way == "standard")
    month = 30 / (365.25 / 12)
    assert standard.cost(1000, GB) == pytest.approx(0.05 + 0.0004 + 0.01 + 0.023 * month)
    assert standard.hours == 5
    assert fastest(TABLE, "GLACIER").way == "expedited"
    assert fastest(TABLE, "DEEP_ARCHIVE").hours == 12


def test_the_cheapest_way_within_the_hours():
    lying = Lying(10, GB)
    assert cheapest_way(TABLE, "GLACIER", lying, None).way == "bulk"
    assert cheapest_way(TABLE, "GLACIER", lying, 5).way == "standard"
    assert cheapest_way(TABLE, "GLACIER", lying, 1).way == "expedited"
    assert cheapest_way(TABLE, "DEEP_ARCHIVE", lying, 11) is None
    assert set(returns(TABLE, TABLE.classes, 5)) == set(TABLE.classes) - {"DEEP_ARCHIVE"}
    assert named_way(TABLE.price("DEEP_ARCHIVE"), "expedited") == "standard"


def test_a_budget_is_of_each_snapshot_and_what_lies_there_counts():
    back = returns(TABLE, TABLE.classes, 0)
    one = back["GLACIER_IR"].cost(1, GB)
    budget = Budget(2.5 * one, 2, back)
    assert budget.take((0, 1), "GLACIER_IR", GB)
    budget.spend((1,), "GLACIER_IR", 1, GB)
    assert not budget.take((0, 1), "GLACIER_IR", GB)  # the second cannot afford it
    assert budget.take((0,), "GLACIER_IR", GB)
    assert not budget.take((0,), "GLACIER_IR", GB)
    assert not budget.take((0,), "GLACIER", GB)  # it would not come back in time
    # A move from there gives back what it had cost.
    assert budget.take((0,), "STANDARD_IA", GB, now="GLACIER_IR")
    budget.spend((0,), "GLACIER", 1, 1)
    assert budget.left[0] < 0
    assert not budget.take((0,), "GLACIER_IR", 1)


def test_without_rules_nothing_is_dropped():
    assert set(days_kept(daily(5), None, now=NOW, horizon=90).values()) == {90}
    assert set(days_kept(daily(5), Retention(), now=NOW, horizon=90).values()) == {90}


def test_a_snapshot_is_kept_as_long_as_retention_says():
    found = days_kept(daily(10), Retention(within=timedelta(days=30)), now=NOW, horizon=365)
    # The oldest is nine days old; it is asked after 14, 30 and 45 days.
    assert found[1] == 14
    assert found[10] == 30
    found = days_kept(daily(10, pinned=[3]), Retention(last=2), now=NOW, horizon=365)
    assert found[3] == 365
    assert found[1] < 7


@pytest.mark.parametrize(
    "rules", [Retention(last=5), Retention(daily=9, monthly=6), Retention(within=timedelta(40))]
)
def test_it_is_never_said_to_be_kept_longer_than_it_is(rules):
    points = daily(20)
    found = days_kept(points, rules, now=NOW, horizon=120)
    for days in (1, 7, 30, 90):
        new = [Point(20 + n, NOW + timedelta(days=n)) for n in range(1, days + 1)]
        for decision in retain([*points, *new], rules):
            if not decision.keep and decision.point.sequence in found:
                assert found[decision.point.sequence] < days
