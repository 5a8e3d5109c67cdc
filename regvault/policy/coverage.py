"""For which time it is known what happened, and for how long something was idle in it.

What lies outside is unknown, and never says that something is cold: time that nobody knows of does
not count as idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Coverage", "Span", "covered_by"]


class Span(NamedTuple):
    """A time, from `first` up to `last`: microseconds since the epoch."""

    first: int
    last: int


@dataclass(frozen=True)
class Coverage:
    """For which time it is known what happened.

    Attributes:
        start: from when on, microseconds since the epoch.
        end: until when; equal to `start` where nothing is known.
        gaps: of which nothing is known, within; ascending, apart.
    """

    start: int = 0
    end: int = 0
    gaps: tuple[Span, ...] = ()

    def frozen_us(self, since: int) -> int:
        """Return how much of the time from `since` to the end is unknown, microseconds."""
        early = max(0, min(self.start, self.end) - since)
        return early + sum(max(0, gap.last - max(gap.first, since)) for gap in self.gaps)

    def idle_us(self, since: int) -> int:
        """Return how much of the time from `since` to the end is known, microseconds."""
        return max(0, self.end - since - self.frozen_us(since))

    def is_whole(self, since: int) -> bool:
        """Return whether all is known from `since` to the end."""
        return self.start <= since < self.end and not any(gap.last > since for gap in self.gaps)


def covered_by(streams: Iterable[tuple[Span, Iterable[Span]]]) -> Coverage:
    """Return for which time all streams tell what happened.

    Args:
        streams: of each, from when to when it goes, and the gaps in it.
    """
    spans: list[Span] = []
    gaps: list[Span] = []
    for span, missing in streams:
        spans.append(span)
        gaps.extend(missing)
    if not spans:
        return Coverage()
    start = max(span.first for span in spans)
    end = max(start, min(span.last for span in spans))
    return Coverage(start, end, tuple(_apart(gaps, start, end)))


def _apart(gaps: Iterable[Span], start: int, end: int) -> list[Span]:
    found: list[Span] = []
    for gap in sorted(gaps):
        first, last = max(gap.first, start), min(gap.last, end)
        if first >= last:
            continue
        if found and first <= found[-1].last:
            found[-1] = Span(found[-1].first, max(last, found[-1].last))
        else:
            found.append(Span(first, last))
    return found
