"""The times and durations of logs, as events have them.

What is no time is None here: what a log says is never trusted so far that it could raise. Times
that a log repeats each second are remembered, the last thousand of them.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from regvault.model.event import parse_time, time_text

__all__ = ["clf_time", "go_duration", "iso_time", "milliseconds", "unix_time", "yearless_time"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_CLF = re.compile(
    r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"(?: ([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_YEARLESS = re.compile(r"([A-Z][a-z]{2}|\d\d) ?([ \d]\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_FRACTION = re.compile(r"\d{1,9}", re.ASCII)
_UNIX = re.compile(r"(\d{9,11})(?:\.(\d{1,9}))?", re.ASCII)
_DURATION = re.compile(
    r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,12}(?:\.\d{1,12})?)(ns|us|µs|μs|ms|s))?", re.ASCII
)
_UNIT: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1000.0}
_DECIMAL = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)

_LONGEST: Final = 64
_FIRST: Final = "1970"


@lru_cache(maxsize=1024)
def clf_time(text: str) -> str | None:
    """Return a time as Apache's common log format has it: `20/Nov/2026:03:00:00 +0100`.

    HAProxy's has milliseconds and no zone, and is in the local time of its machine: it is taken
    for UTC, which is what containers have.
    """
    found = _CLF.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, fraction, sign, east, minutes = found.groups()
    try:
        moment = datetime(  # noqa: DTZ001 -- made UTC just below
            int(year), _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second)
        )
        if sign:
            offset = timedelta(hours=int(east), minutes=int(minutes))
            moment = moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError):
        return None
    return _text(moment, fraction)


def iso_time(value: object) -> str | None:
    """Return a time of RFC 3339 as events have it: `2026-11-27T17:15:16.85345084Z`."""
    if type(value) is not str or not 10 <= len(value) <= _LONGEST:
        return None
    if value[-1] == "Z" and _is_second(value[:19]):
        if len(value) == 20:
            return f"{value[:19]}.000000Z"
        fraction = value[20:-1]
        if value[19] == "." and fraction.isascii() and fraction.isdigit():
            if len(fraction) >= 6:
                return value[:26] + "Z"
            return f"{value[:19]}.{fraction[:6]:0<6}Z"
    try:
        text = parse_time(value)
    except ValueError:
        return None
    return text if text >= _FIRST else None


@lru_cache(maxsize=1024)
def _is_second(text: str) -> bool:
    """Return whether text is `2026-11-27T17:15:16`, in a year that an event may have."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return text >= _FIRST and moment.isoformat(timespec="seconds") == text


def unix_time(value: object) -> str | None:
    """Return a time in seconds since 1970, a number or its decimal digits, as events have it."""
    if isinstance(value, (int, float)):
        if isinstance(value, bool) or not 0 <= value < 1e11:
            return None
        value = f"{value:.6f}"
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    found = _UNIX.fullmatch(value)
    if found is None:
        return None
    return time_text(int(found[1]) * 10**9 + int(f"{found[2] or '0':0<9}"))


def yearless_time(text: str, near: str) -> str | None:
    """Return a time that has no year, the latest up to the day after `near`.

    Args:
        text: `Nov 20 03:00:00` as syslog of RFC 3164 has it, or `1120 03:00:00.123456` as glog has
            it. Both are local; they are taken for UTC.
        near: when the line was read, as events have it.
    """
    text, _, fraction = text.partition(".")
    if len(text) > _LONGEST or (fraction and not _FRACTION.fullmatch(fraction)):
        return None
    second = _with_year(text, near[:10])
    return None if second is None else f"{second}.{fraction[:6]:0<6}Z"


@lru_cache(maxsize=1024)
def _with_year(text: str, day_near: str) -> str | None:
    """Return a time without a year, of whole seconds, as the latest up to the day after another."""
    found = _YEARLESS.fullmatch(text)
    if found is None:
        return None
    month, day, hour, minute, second = found.groups()
    try:
        latest = datetime.fromisoformat(day_near) + timedelta(days=2)
        number = _MONTHS.get(month, 0) or int(month)
    except (ValueError, OverflowError):
        return None
    # The 29th of February is four years back at most; eight, around 1900 and 2100.
    for year in range(latest.year, max(latest.year - 9, 1969), -1):
        try:
            moment = datetime(year, number, int(day), int(hour), int(minute), int(second))  # noqa: DTZ001
        except ValueError:
            continue
        if moment < latest:
            return moment.isoformat(timespec="seconds")
    return None


def _text(moment: datetime, fraction: str | None) -> str | None:
    text = f"{moment.isoformat(timespec='seconds')}.{(fraction or '')[:6]:0<6}Z"
    return text if text >= _FIRST else None


def go_duration(value: object) -> float | None:
    """Return milliseconds of a duration as Go prints it, `969.949µs` or `1m2.5s`.

    A number is nanoseconds: so Go writes a duration as JSON.
    """
    if type(value) is not str:
        return milliseconds(value, 1e-6)
    if value[-2:] == "ms" and len(value) < 24:
        digits = value[:-2]
        if digits.isascii() and digits.replace(".", "", 1).isdigit():
            return float(digits)
    if not value or len(value) > _LONGEST:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        return None
    hours, minutes, number, unit = found.groups()
    total = float(number) * _UNIT[unit] if number else 0.0
    if hours or minutes:
        total += int(hours or 0) * 3_600_000 + int(minutes or 0) * 60_000
    return round(total, 6)


def milliseconds(value: object, unit: float) -> float | None:
    """Return milliseconds of a number, or of its decimal digits.

    Args:
        value: not negative. Anything else is None.
        unit: how many milliseconds 1 is: 1000 for seconds, 1e-6 for nanoseconds.
    """
    if isinstance(value, str):
        if len(value) > 25 or _DECIMAL.fullmatch(value) is None:
            return None
        value = float(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value <= 1e18:
        return None
    return round(value * unit, 6)
