from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from regvault.errors import UsageError
from regvault.policy.selectors import (
    AsOf,
    Candidate,
    Latest,
    Miss,
    Selector,
    Sequence,
    choose,
    is_selector,
    parse_selector,
    parse_time,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone=UTC, now: datetime = NOW) -> str:
    return parse_time(text, now=now, timezone=zone).isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", Selector(None, Latest())),
        ("prod@latest", Selector("prod", Latest())),
        ("7", Selector(None, Sequence(7))),
        ("prod@0012", Selector("prod", Sequence(12))),
        (
            "prod@2026-11-20",
            Selector("prod", AsOf(datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC))),
        ),
    ],
)
def test_a_snapshot_is_latest_a_number_or_a_time(text, expected):
    assert parse_selector(text, now=NOW, timezone=UTC) == expected


@pytest.mark.parametrize(
    "text",
    ["", "@", "@latest", "prod", "prod@", "Latest", "-1", "1.5", "9" * 30, "2026-02-30",
     "2026-11-20T25:00", "0 days", "days ago", "team/app", "app:1.0", "99999 years ago",
     "prod@sha256:" + "a" * 64, "٣", "2026-11-20\n", "12\n"],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused_with_a_hint(text):
    if text.strip() != text:
        # Space around it is not an error, but it must not become something else.
        assert parse_selector(text, now=NOW, timezone=UTC) == parse_selector(
            text.strip(), now=NOW, timezone=UTC
        )
        return
    assert not is_selector(text)
    with pytest.raises(UsageError) as caught:
        parse_selector(text, now=NOW, timezone=UTC)
    assert "latest" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A plain date lasts to the end of that day where the person is.
        ("2026-11-20", "2026-11-20T22:59:59.999999+00:00"),
        ("2026-03-29", "2026-03-29T21:59:59.999999+00:00"),  # 23 hours long
        ("yesterday", "2026-11-23T22:59:59.999999+00:00"),
        ("today", "2026-11-24T22:59:59.999999+00:00"),
        ("now", "2026-11-24T12:00:00+00:00"),
        # Without a zone it is local, with one it is that.
        ("2026-11-20T14:30:05", "2026-11-20T13:30:05.999999+00:00"),
        ("2026-11-20 14:30", "2026-11-20T13:30:59.999999+00:00"),
        ("2026-11-20T14:30:05Z", "2026-11-20T14:30:05.999999+00:00"),
        ("2026-11-20T14:30:05.250Z", "2026-11-20T14:30:05.250999+00:00"),
        ("2026-11-20T14:30:05.250000+00:00", "2026-11-20T14:30:05.250000+00:00"),
        ("2026-11-20T14:30+05:30", "2026-11-20T09:00:59.999999+00:00"),
        ("2026-11-20T14:30-0800", "2026-11-20T22:30:59.999999+00:00"),
        ("2 hours ago", "2026-11-24T10:00:00+00:00"),
        ("90 min ago", "2026-11-24T10:30:00+00:00"),
        ("an hour ago", "2026-11-24T11:00:00+00:00"),
        ("3 days ago", "2026-11-21T12:00:00+00:00"),
        ("3  Days  ago", "2026-11-21T12:00:00+00:00"),
        ("1 week ago", "2026-11-17T12:00:00+00:00"),
        ("2w ago", "2026-11-10T12:00:00+00:00"),
        # The same time of the day, on the other side of the change of clocks.
        ("1 month ago", "2026-10-24T11:00:00+00:00"),
        ("31 days ago", "2026-10-24T11:00:00+00:00"),
        ("1 year ago", "2025-11-24T12:00:00+00:00"),
    ],
)
def test_times_mean_what_a_person_in_that_zone_means(text, expected):
    assert at(text, BERLIN) == expected


def test_a_month_ago_from_a_long_month_is_the_last_day_of_the_short_one():
    now = datetime(2026, 3, 31, 9, 0, tzinfo=UTC)
    assert at("1 month ago", now=now) == "2026-02-28T09:00:00+00:00"


def test_now_may_be_in_any_zone():
    there = NOW.astimezone(timezone(timedelta(hours=-11)))
    assert at("yesterday", now=there) == "2026-11-23T23:59:59.999999+00:00"


def candidate(number: int, *, complete: bool = True, held: bool = False) -> Candidate:
    return Candidate(number, NOW + timedelta(days=number), complete, held)


CHAIN = [candidate(5, held=True), candidate(4, complete=False), candidate(3), candidate(1)]


def test_latest_is_never_held_nor_incomplete():
    assert choose(Latest(), CHAIN).sequence == 3


def test_a_number_is_that_one_whatever_its_state():
    assert choose(Sequence(5), CHAIN).sequence == 5
    assert isinstance(choose(Sequence(2), CHAIN), Miss)


def test_a_time_never_takes_a_later_snapshot():
    assert choose(AsOf(NOW + timedelta(days=2)), CHAIN).sequence == 1
    assert choose(AsOf(NOW + timedelta(days=3)), CHAIN).sequence == 3
    assert choose(AsOf(NOW + timedelta(days=9)), CHAIN).sequence == 3
    assert choose(AsOf(NOW), CHAIN) == Miss(4, (), (), CHAIN[-1])


def test_a_miss_says_what_is_in_the_way():
    miss = choose(Latest(), CHAIN[:2])
    assert miss == Miss(2, (5,), (4,), CHAIN[1])


def test_no_more_roots_are_read_than_need_be():
    read = []

    def chain():
        for each in CHAIN:
            read.append(each.sequence)
            yield each

    choose(Latest(), chain())
    assert read == [5, 4, 3]
