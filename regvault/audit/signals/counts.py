"""What was counted on the way, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

__all__ = ["PULL_BOUNDS_S", "Counts"]

PULL_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram of pulls, seconds."""


@dataclass
class Counts:
    """Numbers since the process began, by source where there is one.

    Attributes:
        events: that were looked at.
        requests: records that have a status.
        auth_failures: of those, failures to authenticate.
        pulls: by source, how many fell into each bucket of `PULL_BOUNDS_S`, and beyond.
        pull_seconds: by source, how long they took together.
        signals: that were raised, by name: beginnings, and what happens at once.
        gaps: events of action `gap`.
        missing: events that those say are missing.
        reconstructed: events that stand in for ones that are missing.
    """

    events: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    auth_failures: Counter[str] = field(default_factory=Counter)
    pulls: dict[str, list[int]] = field(default_factory=dict)
    pull_seconds: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    missing: int = 0
    reconstructed: int = 0

    def pull(self, source: str, seconds: float) -> None:
        """Count a pull."""
        buckets = self.pulls.setdefault(source, [0] * (len(PULL_BOUNDS_S) + 1))
        buckets[bisect_left(PULL_BOUNDS_S, seconds)] += 1
        self.pull_seconds[source] += seconds  # type: ignore[assignment]
