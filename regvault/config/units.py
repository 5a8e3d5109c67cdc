"""Sizes, rates, time spans and shares, as people write them."""

from __future__ import annotations

import re

__all__ = ["parse_days", "parse_duration", "parse_percent", "parse_rate", "parse_size"]

_FACTORS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
    "t": 1 << 40,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([a-z]{0,3})", re.ASCII | re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|min|m|h|d|w)", re.ASCII)
_DAYS = {"d": 1.0, "w": 7.0, "mo": 365.25 / 12, "y": 365.25}
_LONG = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)(d|w|mo|y)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%?", re.ASCII)


def parse_size(text: str) -> int:
    """Return bytes: `10MiB` (also `10M`) is 10 times 1024 times 1024, `10MB` is 10,000,000.

    Raises:
        ValueError: it is no size; the message says what one looks like.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is no size; one is written 512KiB, 10MiB or 1.5GiB")
    return round(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def parse_rate(text: str) -> int:
    """Return bytes per second, more than none: a size, with or without `/s`.

    Raises:
        ValueError: it is no rate.
    """
    rate = parse_size(re.sub(r"/s$", "", text.strip()))
    if rate <= 0:
        raise ValueError(f"{text!r} lets nothing through; leave it out for no limit")
    return rate


def parse_duration(text: str) -> float:
    """Return seconds: `90s`, `5m`, `1h30m`, `2d`; 0 needs no unit.

    Raises:
        ValueError: it is no time span.
    """
    stripped = text.strip()
    if stripped == "0":
        return 0.0
    parts = _SPAN.findall(stripped)
    if not parts or "".join(value + unit for value, unit in parts) != stripped:
        raise ValueError(f"{text!r} is no time span; one is written 90s, 5m, 1h30m or 2d")
    return sum(float(value) * _SECONDS[unit] for value, unit in parts)


def parse_days(text: str) -> float:
    """Return days, more than none: `24mo`, `90d`, `2y`, `6w`; a month is the twelfth of a year.

    Raises:
        ValueError: it is no such time.
    """
    match = _LONG.fullmatch(text.strip())
    days = float(match[1]) * _DAYS[match[2]] if match else 0.0
    if days <= 0:
        raise ValueError(f"{text!r} is no time; one is written 24mo, 90d, 6w or 2y")
    return days


def parse_percent(text: str) -> float:
    """Return a percentage between 0 and 100, both included: `10%` or `10`.

    Raises:
        ValueError: it is none.
    """
    match = _PERCENT.fullmatch(text.strip())
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{text!r} is no percentage between 0% and 100%")
    return float(match[1])
