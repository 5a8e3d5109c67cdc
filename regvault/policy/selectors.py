"""Which snapshot a person means: the grammar of SNAPSHOT and TIME, and the choice. Pure.

    SNAPSHOT = [REGISTRY@]latest | [REGISTRY@]SEQ | [REGISTRY@]TIME
    TIME     = 2026-11-20 | 2026-11-20T14:30[:05[.123]][Z| UTC|+01:00] | "3 days ago" | yesterday

- `latest` is the newest complete snapshot that is not held.
- A number is exactly that snapshot, whatever its state.
- A TIME is the newest complete snapshot, not held, that was started by then. A time includes all
  of what it names: `2026-11-20` lasts to the end of that day, `14:30` to the end of that minute, so
  that a time copied from a list finds the snapshot that it was copied from. Without a zone it is of
  the configured time zone. Days, weeks, months and years are those of the calendar in that zone;
  hours and less are exact.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

__all__ = [
    "AsOf",
    "Candidate",
    "Latest",
    "Miss",
    "Point",
    "Selector",
    "Sequence",
    "choose",
    "is_selector",
    "parse_selector",
    "parse_start",
    "parse_time",
]

_MAX_SEQUENCE_DIGITS = 12
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_STAMP = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<minute>\d{2}:\d{2})"
    r"(?P<second>:\d{2}(?P<fraction>[.,]\d{1,9})?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_AGO = re.compile(
    r"(?P<count>an?|one|\d{1,6}) ?"
    r"(?P<unit>s|sec|second|min|minute|h|hour|d|day|w|week|mo|month|y|year)s? ago",
    re.ASCII,
)
_UNITS = {"sec": "s", "second": "s", "minute": "min", "hour": "h"} | {
    "day": "d",
    "week": "w",
    "month": "mo",
    "year": "y",
}
_EXACT = {"s": 1, "min": 60, "h": 3600}
_EPSILON = timedelta(microseconds=1)


class Latest(NamedTuple):
    """The newest snapshot that is complete and not held."""


class Sequence(NamedTuple):
    """Exactly this snapshot."""

    number: int


class AsOf(NamedTuple):
    """The newest snapshot, complete and not held, that was started by a moment (aware)."""

    moment: datetime


Point = Latest | Sequence | AsOf


class Selector(NamedTuple):
    """A SNAPSHOT, parsed.

    Attributes:
        registry: permanent name, or None where it was left out.
        point: which of its snapshots.
    """

    registry: str | None
    point: Point


class Candidate(NamedTuple):
    """What of a root decides whether it is the one.

    Attributes:
        sequence: its number.
        started: aware.
        complete: all that was restorable at the source was captured.
        held: it waits for `confirm`.
    """

    sequence: int
    started: datetime
    complete: bool
    held: bool


class Miss(NamedTuple):
    """Why no snapshot is the one that was asked for; each part newest first.

    Attributes:
        seen: how many snapshots were looked at.
        held: numbers of those that would be it, were they confirmed.
        incomplete: numbers of those that would be it, were they complete.
        oldest: of all that were looked at, the one with the smallest number.
    """

    seen: int
    held: tuple[int, ...]
    incomplete: tuple[int, ...]
    oldest: Candidate | None


def parse_selector(text: str, *, now: datetime, timezone: tzinfo) -> Selector:
    """Parse a SNAPSHOT.

    Args:
        text: as typed.
        now: aware; what "ago" counts from.
        timezone: of times that state none.

    Raises:
        UsageError: it is none.
    """
    registry, separator, rest = text.rpartition("@")
    point = _point(rest.strip(), now, timezone)
    if point is None or (separator and not registry):
        raise UsageError(
            f"{text!r} is no SNAPSHOT",
            hint="Use latest, a number or a time (2026-11-20, 2026-11-20T14:30, '3 days ago'), "
            "each with REGISTRY@ before it where the vault has several registries.",
        )
    return Selector(registry if separator else None, point)


def is_selector(text: str) -> bool:
    """Return whether `text` reads as a SNAPSHOT, and so not as a repository."""
    try:
        parse_selector(text, now=_SOME_TIME, timezone=UTC)
    except UsageError:
        return False
    return True


def parse_time(text: str, *, now: datetime, timezone: tzinfo) -> datetime:
    """Return the last moment that a TIME includes, aware, in UTC.

    Raises:
        UsageError: it is none.
    """
    moment = _moment(text.strip(), now, timezone)
    if moment is None:
        raise UsageError(
            f"{text!r} is no time",
            hint="Use 2026-11-20, 2026-11-20T14:30, 2026-11-20T14:30:00+01:00, '3 days ago' or "
            "yesterday.",
        )
    return moment


def parse_start(text: str, *, now: datetime, timezone: tzinfo) -> datetime:
    """Return the first moment that a TIME includes, aware, in UTC: of a day its midnight.

    Raises:
        UsageError: it is none.
    """
    last = parse_time(text, now=now, timezone=timezone)
    words = text.strip()
    if words.lower() in ("today", "yesterday") or _DATE.fullmatch(words):
        day = last.astimezone(timezone).date()
        return datetime(day.year, day.month, day.day, tzinfo=timezone).astimezone(UTC)
    match = _STAMP.fullmatch(words)
    if match is None:
        return last
    digits = len((match["fraction"] or "").strip(".,"))
    if digits:
        return last + _EPSILON - timedelta(microseconds=10 ** max(6 - digits, 0))
    return last + _EPSILON - timedelta(seconds=1 if match["second"] else 60)


def choose(point: Point, candidates: Iterable[Candidate]) -> Candidate | Miss:
    """Return the snapshot that is meant, or why there is none.

    Args:
        point: what was asked for.
        candidates: of one registry, the newest first; read no further than need be.
    """
    held: list[int] = []
    incomplete: list[int] = []
    seen = 0
    oldest: Candidate | None = None
    for candidate in candidates:
        seen += 1
        oldest = candidate
        if isinstance(point, Sequence):
            if candidate.sequence == point.number:
                return candidate
            continue
        if isinstance(point, AsOf) and candidate.started > point.moment:
            continue
        if candidate.held:
            held.append(candidate.sequence)
        elif not candidate.complete:
            incomplete.append(candidate.sequence)
        else:
            return candidate
    return Miss(seen, tuple(held), tuple(incomplete), oldest)


# -- parsing ------------------------------------------------------------------------------------

_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def _point(text: str, now: datetime, timezone: tzinfo) -> Point | None:
    if text == "latest":
        return Latest()
    if text.isascii() and text.isdigit():
        return Sequence(int(text)) if len(text) <= _MAX_SEQUENCE_DIGITS else None
    moment = _moment(text, now, timezone)
    return None if moment is None else AsOf(moment)


def _moment(text: str, now: datetime, timezone: tzinfo) -> datetime | None:
    try:
        return _calendar(text, now, timezone)
    except (ValueError, OverflowError):  # a 30th of February; a year 0
        return None


def _calendar(text: str, now: datetime, timezone: tzinfo) -> datetime | None:
    words = re.sub(r"\s+", " ", text.lower())
    today = now.astimezone(timezone).date()
    if words == "now":
        return now.astimezone(UTC)
    if words == "today":
        return _end_of_day(today, timezone)
    if words == "yesterday":
        return _end_of_day(today - timedelta(days=1), timezone)
    if match := _DATE.fullmatch(text):
        return _end_of_day(date(*map(int, match.groups())), timezone)
    if match := _STAMP.fullmatch(text):
        return _stamp(match, timezone)
    if match := _AGO.fullmatch(words):
        return _ago(match, now, timezone)
    return None


def _end_of_day(day: date, timezone: tzinfo) -> datetime:
    following = day + timedelta(days=1)
    midnight = datetime(following.year, following.month, following.day, tzinfo=timezone)
    return midnight.astimezone(UTC) - _EPSILON


def _stamp(match: re.Match[str], timezone: tzinfo) -> datetime:
    fraction = (match["fraction"] or "").replace(",", ".")
    second = (match["second"] or ":00")[:3]
    zone = (match["zone"] or "").upper().replace("UTC", "Z")
    moment = datetime.fromisoformat(f"{match['date']}T{match['minute']}{second}{zone}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone)
    moment = moment.astimezone(UTC)
    if fraction:
        # Roots state milliseconds: `.123` lasts to the end of that millisecond, `.5` likewise.
        exact = timedelta(microseconds=int(fraction[1:].ljust(6, "0")[:6]))
        width = timedelta(microseconds=10 ** max(6 - len(fraction[1:]), 0))
        return moment + exact + width - _EPSILON
    return moment + timedelta(seconds=1 if match["second"] else 60) - _EPSILON


def _ago(match: re.Match[str], now: datetime, timezone: tzinfo) -> datetime:
    count = int(match["count"]) if match["count"].isdigit() else 1
    unit = _UNITS.get(match["unit"], match["unit"])
    if unit in _EXACT:
        return (now - timedelta(seconds=count * _EXACT[unit])).astimezone(UTC)
    local = now.astimezone(timezone)
    if unit in ("d", "w"):
        days = count * (7 if unit == "w" else 1)
        return (local - timedelta(days=days)).astimezone(UTC)
    months = local.year * 12 + local.month - 1 - count * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    if year < 1:
        raise ValueError("before the calendar begins")
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day).astimezone(UTC)
