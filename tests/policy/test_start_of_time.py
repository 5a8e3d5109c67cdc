"""The first moment of a TIME, where the last one is what `parse_time` says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from regvault.errors import UsageError
from regvault.policy.selectors import parse_start, parse_time

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", "2026-11-19T23:00:00+00:00"),
        ("2026-10-25", "2026-10-24T22:00:00+00:00"),  # a day of 25 hours
        ("today", "2026-11-26T23:00:00+00:00"),
        ("Yesterday", "2026-11-25T23:00:00+00:00"),
        ("2026-11-20T14:30", "2026-11-20T13:30:00+00:00"),
        ("2026-11-20T14:30:15Z", "2026-11-20T14:30:15+00:00"),
        ("2026-11-20T14:30:15.25Z", "2026-11-20T14:30:15.250000+00:00"),
        ("2026-11-20T14:30:15.123456Z", "2026-11-20T14:30:15.123456+00:00"),
        ("3 hours ago", "2026-11-27T09:00:00+00:00"),
    ],
)
def test_the_first_moment_of_a_time(text: str, expected: str) -> None:
    first = parse_start(text, now=NOW, timezone=BERLIN)
    assert first == datetime.fromisoformat(expected)
    last = parse_time(text, now=NOW, timezone=BERLIN)
    assert first <= last <= first + timedelta(hours=25)


def test_what_is_no_time_is_none() -> None:
    with pytest.raises(UsageError, match="no time"):
        parse_start("soon", now=NOW, timezone=BERLIN)
