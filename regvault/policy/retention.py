"""Which snapshots stay, and why: retention as a pure function.

A rule keeps snapshots of one registry:

- `last` n: the newest n;
- `hourly`, `daily`, `weekly`, `monthly`, `yearly` n: of each of the newest n hours, days, ISO
  weeks, months or years that have a snapshot, the newest one;
- `within` a span: all that are not older than that, counted from the newest.

Rules count only snapshots that are *good*: complete, and not held. Whatever they say, these stay
(invariants 5 and 6):

- the newest good one;
- of each of the last 7 days that have one, the first good one, so that a host that was taken over
  cannot push good snapshots out by adding others;
- what is pinned;
- what is held: nobody has said yet what it is;
- what is incomplete and newer than the newest good one: it is the best there is of that time.

Time is that of the store, not what a snapshot says of itself (a host that was taken over may lie);
order is that of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, tzinfo

__all__ = ["FLOOR_DAYS", "Decision", "Point", "Retention", "retain"]

#: So many days keep their first good snapshot, whatever the rules say.
FLOOR_DAYS = 7


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of one policy. All zero and None keeps nothing but what always stays.

    Attributes:
        last: how many of the newest.
        hourly, daily, weekly, monthly, yearly: how many of these periods.
        within: all of so long before the newest, or None.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None

    @property
    def empty(self) -> bool:
        """Whether no rule keeps anything."""
        return not any(getattr(self, each.name) for each in fields(self))


class Point(NamedTuple):
    """What of a snapshot decides whether it stays.

    Attributes:
        sequence: its number in the chain.
        time: when it was committed, by the store's clock; aware.
        complete: all that was restorable at the source was captured.
        held: it waits for `confirm`.
        pinned: someone said that it stays.
    """

    sequence: int
    time: datetime
    complete: bool = True
    held: bool = False
    pinned: bool = False

    @property
    def good(self) -> bool:
        """Whether rules count it."""
        return self.complete and not self.held


class Decision(NamedTuple):
    """What is to become of one snapshot.

    Attributes:
        point: the snapshot.
        reasons: why it stays; () means that it is forgotten.
    """

    point: Point
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def retain(
    points: Iterable[Point], retention: Retention, *, timezone: tzinfo = UTC
) -> list[Decision]:
    """Decide over all snapshots of one registry.

    Args:
        points: all of them, in any order.
        retention: the rules.
        timezone: whose days, weeks, months and years; hours are those of UTC.

    Returns:
        A decision for each, by ascending sequence. Reasons are such as `last 3`, `daily
        2026-11-26`, `within 30 days`, `pinned`, `held`, `newest`, `floor 2026-11-26`,
        `incomplete, but newer than the newest complete one`.
    """
    ordered = sorted(points)
    reasons: dict[int, list[str]] = {point.sequence: [] for point in ordered}
    newest_first = [point for point in reversed(ordered) if point.good]

    def keep(point: Point, reason: str) -> None:
        reasons[point.sequence].append(reason)

    for number, point in enumerate(newest_first[: retention.last], start=1):
        keep(point, f"last {number}")
    for rule, count, period in _periods(retention, timezone):
        for name, point in _firsts(newest_first, period)[:count]:
            keep(point, f"{rule} {name}")
    if newest_first and retention.within:
        since = newest_first[0].time - retention.within
        for point in newest_first:
            if point.time >= since:
                keep(point, f"within {_span(retention.within)}")
    _floor(ordered, newest_first, timezone, keep)
    return [Decision(point, tuple(reasons[point.sequence])) for point in ordered]


def _floor(
    ordered: Sequence[Point],
    newest_first: Sequence[Point],
    timezone: tzinfo,
    keep: Callable[[Point, str], None],
) -> None:
    """Keep what stays whatever the rules say."""
    newest = newest_first[0].sequence if newest_first else 0
    if newest_first:
        keep(newest_first[0], "newest")
        day = _day(timezone)
        oldest_first = list(reversed(newest_first))
        days = sorted(_firsts(oldest_first, day), reverse=True)
        for name, point in days[:FLOOR_DAYS]:
            keep(point, f"floor {name}")
    for point in ordered:
        if point.pinned:
            keep(point, "pinned")
        if point.held:
            keep(point, "held")
        elif not point.complete and point.sequence > newest:
            keep(point, "incomplete, but newer than the newest complete one")


def _firsts(points: Iterable[Point], period: Callable[[datetime], str]) -> list[tuple[str, Point]]:
    """Return the first snapshot of each period, in the order given."""
    found: dict[str, Point] = {}
    for point in points:
        found.setdefault(period(point.time), point)
    return list(found.items())


def _day(timezone: tzinfo) -> Callable[[datetime], str]:
    return lambda time: time.astimezone(timezone).strftime("%Y-%m-%d")


def _week(time: datetime) -> str:
    year, week, _ = time.isocalendar()
    return f"{year}-W{week:02d}"


def _periods(
    retention: Retention, timezone: tzinfo
) -> list[tuple[str, int, Callable[[datetime], str]]]:
    """Return each rule with its count, and what names the period of a time."""
    return [
        # Local hours come twice when a clock is set back.
        ("hourly", retention.hourly, lambda t: t.astimezone(UTC).strftime("%Y-%m-%dT%HZ")),
        ("daily", retention.daily, _day(timezone)),
        ("weekly", retention.weekly, lambda t: _week(t.astimezone(timezone))),
        ("monthly", retention.monthly, lambda t: t.astimezone(timezone).strftime("%Y-%m")),
        ("yearly", retention.yearly, lambda t: t.astimezone(timezone).strftime("%Y")),
    ]


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
