"""For how long retention keeps each snapshot from now on, as things look now. Pure.

Snapshots are assumed to be taken as often as until now. Then retention is asked what it would keep
after a week, a month, a year.
"""

from __future__ import annotations

import statistics
from datetime import UTC, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from regvault.policy.retention import Point, retain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, tzinfo

    from regvault.policy.retention import Retention

__all__ = ["STEPS", "days_kept"]

STEPS = (1, 3, 7, 14, 30, 45, 60, 90, 120, 180, 270, 365, 540, 730, 1095, 1825, 3650)
"""After so many days it is asked."""

_USUAL_OF = 30
_MOST_NEW = 2000


def days_kept(
    points: Sequence[Point],
    retention: Retention | None,
    *,
    now: datetime,
    horizon: float,
    timezone: tzinfo = UTC,
) -> dict[int, float]:
    """Return sequence -> days for which a snapshot is kept, surely; no more than the horizon.

    Args:
        points: all snapshots of one registry.
        retention: its rules; None: nothing is ever dropped.
        now: aware.
        horizon: days that are looked at.
        timezone: whose days retention counts.
    """
    kept = {point.sequence: 0.0 for point in points}
    if retention is None or retention.empty:
        return dict.fromkeys(kept, horizon)
    times = [point.time for point in sorted(points)]
    gaps = [(b - a).total_seconds() for a, b in pairwise(times)][-_USUAL_OF:]
    usual = max(statistics.median(gaps) if gaps else 86_400.0, horizon * 86_400 / _MOST_NEW, 60.0)
    last = max(kept, default=0)
    begin = max([now, *times[-1:]])
    for days in (*(step for step in STEPS if step < horizon), horizon):
        count = int(days * 86_400 / usual)
        new = [
            Point(last + number, begin + timedelta(seconds=usual * number))
            for number in range(1, count + 1)
        ]
        for decision in retain([*points, *new], retention, timezone=timezone):
            sequence = decision.point.sequence
            if decision.keep and sequence in kept:
                kept[sequence] = float(days)
    return kept
