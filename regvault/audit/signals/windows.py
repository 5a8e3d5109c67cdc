"""Sums over the last minutes, by the times of events, in little memory."""

from __future__ import annotations

from collections import deque
from typing import Any

from regvault.audit.signals.memory import as_saved

__all__ = ["Window"]

_PARTS = 30


class Window:
    """Sums of several numbers over a span of time that ends with the newest event.

    Attributes:
        totals: the sums.
    """

    def __init__(self, span_s: float, width: int) -> None:
        """Begin with nothing.

        Args:
            span_s: seconds that it covers; it moves in thirtieths of that.
            width: how many numbers there are.
        """
        self._step = span_s / _PARTS
        self._width = width
        self._parts: deque[tuple[int, list[int]]] = deque()
        self.totals = [0] * width

    def add(self, moment: float, counts: list[int]) -> bool:
        """Add numbers; return False where it is too long ago, and they are left out."""
        index = int(moment // self._step)
        parts = self._parts
        if not parts or index > parts[-1][0]:
            parts.append((index, [0] * self._width))
            while parts[0][0] <= index - _PARTS:
                self._subtract(parts.popleft()[1])
        elif index <= parts[-1][0] - _PARTS:
            return False
        own = next((part for at, part in reversed(parts) if at == index), None)
        if own is None:
            own = [0] * self._width
            after = next(n for n, (at, _) in enumerate(parts) if at > index)
            parts.insert(after, (index, own))
        for n, count in enumerate(counts):
            own[n] += count
            self.totals[n] += count
        return True

    def _subtract(self, counts: list[int]) -> None:
        for n, count in enumerate(counts):
            self.totals[n] -= count

    @property
    def since(self) -> float:
        """When the oldest part that counts began, seconds since the epoch."""
        return self._parts[0][0] * self._step if self._parts else 0.0

    def save(self) -> Any:
        """Return it as JSON can have it."""
        return list(self._parts)

    def load(self, saved: Any) -> None:
        """Take what `save` returned. Raises ValueError."""
        self._parts = deque(as_saved(saved, list[tuple[int, list[int]]]))
        if any(len(counts) != self._width for _, counts in self._parts):
            raise ValueError("the numbers of a window are others")
        self.totals = [
            sum(column) for column in zip(*(c for _, c in self._parts), strict=True)
        ] or [0] * self._width
