"""Retention says of every snapshot why it stays, and never takes the last good one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.policy.retention import FLOOR_DAYS, Point, Retention, retain

START = datetime(2026, 1, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def daily(count, *, every=DAY, start=START, **words):
    return [Point(number, start + (number - 1) * every, **words) for number in range(1, count + 1)]


def kept(points, retention, **words):
    return [d.point.sequence for d in retain(points, retention, **words) if d.keep]


def reasons(points, retention, **words):
    return {d.point.sequence: list(d.reasons) for d in retain(points, retention, **words)}


def floor(count):
    return set(range(max(1, count - FLOOR_DAYS + 1), count + 1))


class TestRules:
    def test_last(self):
        found = reasons(daily(30), Retention(last=10))
        assert {number for number, why in found.items() if why} == set(range(21, 31))
        assert found[30] == ["last 1", "newest", "floor 2026-01-30"]
        assert found[21] == ["last 10"]

    def test_daily_takes_the_newest_of_each_day(self):
        points = daily(48 * 3, every=timedelta(minutes=30), start=START.replace(hour=0))
        found = reasons(points, Retention(daily=2))
        assert [n for n, why in found.items() if "daily 2026-01-03" in why] == [144]
        assert [n for n, why in found.items() if "daily 2026-01-02" in why] == [96]
        assert not any("daily 2026-01-01" in why for why in found.values())

    def test_days_without_a_snapshot_are_not_counted(self):
        points = [Point(n, START + 10 * n * DAY) for n in range(1, 20)]
        assert kept(points, Retention(daily=12)) == list(range(8, 20))

    def test_weekly_is_iso(self):
        # 2026-01-01 is in week 1 of 2026, 2025-12-28 in week 52 of 2025.
        points = daily(10, start=datetime(2025, 12, 25, tzinfo=UTC))
        found = reasons(points, Retention(weekly=9))
        assert found[4][0] == "weekly 2025-W52"
        assert found[10][0] == "weekly 2026-W01"

    def test_monthly_and_yearly(self):
        found = reasons(daily(800), Retention(monthly=3, yearly=2))
        assert "monthly 2028-03" in found[800]
        assert found[790] == ["monthly 2028-02"]
        assert found[761] == ["monthly 2028-01"]
        assert "yearly 2028" in found[800]
        assert found[730] == ["yearly 2027"]
        assert found[365] == []

    def test_within_counts_from_the_newest_not_from_today(self):
        assert kept(daily(60), Retention(within=20 * DAY)) == list(range(40, 61))
        assert reasons(daily(60), Retention(within=20 * DAY))[40] == ["within 20 days"]
        assert reasons(daily(2), Retention(within=timedelta(hours=30)))[1][0] == "within 30 hours"

    def test_days_are_those_of_the_zone(self):
        night = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)  # 2026-06-02 in Berlin
        points = [Point(1, night), Point(2, night + timedelta(hours=1))]
        berlin = reasons(points, Retention(daily=5), timezone=ZoneInfo("Europe/Berlin"))
        assert berlin[2][0] == "daily 2026-06-02"
        assert not any(why.startswith("daily") for why in berlin[1])
        utc = reasons(points, Retention(daily=5))
        assert utc[1][0] == "daily 2026-06-01"

    def test_an_hour_that_comes_twice_is_two(self):
        zone = ZoneInfo("Europe/Berlin")
        points = daily(3, every=timedelta(hours=1), start=datetime(2026, 10, 25, 0, tzinfo=UTC))
        found = reasons(points, Retention(hourly=9), timezone=zone)
        assert all(why[0].startswith("hourly") for why in found.values())

    def test_rules_add_up(self):
        found = reasons(daily(40), Retention(last=1, daily=1, weekly=1, monthly=1, yearly=1))
        assert found[40] == [
            "last 1", "daily 2026-02-09", "weekly 2026-W07", "monthly 2026-02", "yearly 2026",
            "newest", "floor 2026-02-09",
        ]  # fmt: skip


class TestWhatAlwaysStays:
    def test_an_empty_policy_keeps_the_floor(self):
        assert Retention().empty
        assert set(kept(daily(30), Retention())) == floor(30)

    def test_the_newest_stays_though_its_day_has_a_first_one(self):
        """Invariant 6: the floor alone would keep the first of each day."""
        points = [*daily(3), Point(4, START + 2 * DAY + timedelta(hours=1))]
        assert reasons(points, Retention())[4] == ["newest"]

    def test_nothing_of_nothing(self):
        assert retain([], Retention(last=1)) == []

    def test_a_flood_does_not_push_out_the_days_before(self):
        """Rule 12: a host that was taken over can add garbage, but not to days that are over."""
        good = daily(10)
        flood = [Point(10 + n, good[-1].time + timedelta(seconds=n)) for n in range(1, 10_000)]
        found = reasons([*good, *flood], Retention(last=7, daily=3))
        assert all(found[number] for number in range(4, 11))

    def test_a_clock_that_lies_in_a_snapshot_has_no_say(self):
        """The time is the store's: there is no other in what decides."""
        assert "started" not in Point._fields

    def test_held_ones_are_not_counted_and_stay(self):
        """Invariant 5, rule 10: nothing expires because of a snapshot that nobody accepted."""
        points = daily(20)
        held = [Point(20 + n, START + (19 + n) * DAY, held=True) for n in range(1, 30)]
        with_held = reasons([*points, *held], Retention(last=2))
        without = reasons(points, Retention(last=2))
        assert {n: with_held[n] for n in without} == without
        assert all(with_held[point.sequence] == ["held"] for point in held)

    def test_incomplete_ones_are_not_counted(self):
        points = [Point(n, START + n * DAY, complete=n % 2 == 0) for n in range(1, 30)]
        found = reasons(points, Retention(last=10))
        assert [n for n, why in found.items() if why] == [*range(10, 30, 2), 29]
        assert found[29] == ["incomplete, but newer than the newest complete one"]

    def test_where_none_is_good_all_stay(self):
        points = daily(5, complete=False)
        assert kept(points, Retention(last=1)) == [1, 2, 3, 4, 5]

    def test_pinned(self):
        points = [*daily(30), Point(31, START + 31 * DAY)]
        points[2] = points[2]._replace(pinned=True)
        points[3] = points[3]._replace(pinned=True, complete=False)
        found = reasons(points, Retention(last=1))
        assert found[3] == found[4] == ["pinned"]


POINTS = st.lists(
    st.tuples(
        st.integers(-5_000, 50_000), st.booleans(), st.sampled_from([False] * 4 + [True]),
        st.sampled_from([False] * 9 + [True]),
    ),
    max_size=60,
).map(
    lambda rows: [
        Point(number, START + timedelta(hours=hours), complete, held, pinned)
        for number, (hours, complete, held, pinned) in enumerate(rows, start=1)
    ]
)  # fmt: skip
COUNT = st.integers(0, 12)
RULES = st.builds(
    Retention, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT,
    st.none() | st.integers(1, 2000).map(lambda hours: timedelta(hours=hours)),
)  # fmt: skip


@given(POINTS, RULES)
def test_properties(points, rules):
    """Invariant 6, whatever the rules and whatever the times."""
    decisions = retain(points, rules)
    assert [decision.point for decision in decisions] == sorted(points)
    good = [point for point in points if point.good]
    stays = {decision.point for decision in decisions if decision.keep}
    if good:
        assert max(good) in stays
    assert {p for p in points if p.held or p.pinned} <= stays
    assert len(stays & set(good)) >= min(len(good), rules.last)
    # Order does not matter, and what was decided once is not undone by doing it again.
    assert retain(reversed(points), rules) == decisions


@given(POINTS, RULES)
def test_forgetting_twice_forgets_no_more(points, rules):
    once = [decision.point for decision in retain(points, rules) if decision.keep]
    assert [d.point for d in retain(once, rules) if d.keep] == sorted(once)


@given(POINTS, RULES, st.sampled_from(["last", "hourly", "daily", "weekly", "monthly", "yearly"]))
def test_more_never_keeps_less(points, rules, name):
    from dataclasses import replace

    more = replace(rules, **{name: getattr(rules, name) + 1})
    assert set(kept(points, rules)) <= set(kept(points, more))


@pytest.mark.parametrize("rules", [Retention(last=1), Retention(within=DAY)])
def test_not_empty(rules):
    assert not rules.empty
