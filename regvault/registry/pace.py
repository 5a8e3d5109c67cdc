"""Whether a file system answers at once, or after a while (a network, a cold disk).

A slow one is asked by several threads at once. On a fast one they would only fight for the
interpreter.
"""

from __future__ import annotations

__all__ = ["Pace"]

_SLOW_S = 100e-6
_TRIAL_FILES = 500


class Pace:
    """How long a file takes, in trials of some hundred files. For one thread."""

    def __init__(self) -> None:
        self._files = 0
        self._spent_s = 0.0

    def is_slow(self, files: int, spent_s: float) -> bool:
        """Count what was just looked at; return whether that ends a trial that was slow."""
        self._files += files
        self._spent_s += spent_s
        if self._files < _TRIAL_FILES:
            return False
        slow = self._spent_s / self._files > _SLOW_S
        self._files, self._spent_s = 0, 0.0
        return slow
