"""Whether what was thought of reads to come was right: of all that had 10 %, were 10 % read?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.policy.tiering.survival import IDLE_DAYS, reads_bucket

if TYPE_CHECKING:
    from regvault.policy.tiering.history import Floats, History, Runs
    from regvault.policy.tiering.survival import Hazards

__all__ = ["AHEAD_DAYS", "Calibration", "Share", "calibrate"]

AHEAD_DAYS = 30.0
"""Days that are looked ahead."""

_SHARES = 10
#: Asked after one idle day, which nobody decides before.
_FIRST = 1.0


class Share(NamedTuple):
    """Of those of which about the same was thought.

    Attributes:
        predicted: probability of a read, on the average.
        read: how many of them were.
        asked: how many there were.
    """

    predicted: float
    read: float
    asked: int


class Calibration(NamedTuple):
    """How right it was, of blobs that had been idle for a day.

    Attributes:
        shares: from the least likely to the likeliest.
        brier: mean squared error of the probabilities.
        base: the same of one who always says how many were read of all.
    """

    shares: list[Share]
    brier: float
    base: float


def calibrate(history: History, runs: Runs, months: Floats, hazards: list[Hazards]) -> Calibration:
    """Return how right hazards were about the next `AHEAD_DAYS`.

    Args:
        history: of all blobs.
        runs: of it, none with a gap of a day or more within.
        months: days on which months begin.
        hazards: that were known then.
    """
    month = np.maximum(np.searchsorted(months, runs.end, side="right") - 1, 0)
    until = _FIRST + AHEAD_DAYS
    # Whether one is read later than its time ends nobody knows.
    known = history.movable[runs.owner] & (runs.gap > _FIRST)
    known &= ~(runs.last & (runs.gap < until))
    read = ~runs.last[known] & (runs.gap[known] < until)
    widths = np.diff(np.append(np.minimum(IDLE_DAYS, until), until))
    widths[0] = 0.0
    daily = np.stack([each.daily for each in hazards])
    ahead = -np.expm1(-(daily * widths).sum(axis=-1))
    reads = reads_bucket(runs.before[known] + runs.reads[known])
    thought = ahead[month[known], history.groups[runs.owner[known]], reads]
    if not len(thought):
        return Calibration([], 0.0, 0.0)
    order = np.argsort(thought, kind="stable")
    shares = [
        Share(float(thought[some].mean()), float(read[some].mean()), len(some))
        for some in np.array_split(order, _SHARES)
        if len(some)
    ]
    rate = float(read.mean())
    return Calibration(shares, float(((thought - read) ** 2).mean()), rate * (1 - rate))
