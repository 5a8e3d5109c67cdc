"""What is likely to be pulled in the next days: Monday's build, the nightly one, a base image.

Two views, and the larger one counts: how likely a read is by how long a content has been idle (the
hazards that were learned), and in how many of the last weeks it was read in the days of the week
that come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regvault.policy.tiering.survival import IDLE_DAYS, reads_bucket

if TYPE_CHECKING:
    from regvault.policy.tiering.history import Floats, Ints
    from regvault.policy.tiering.survival import Hazards

__all__ = ["WEEKS", "soon", "weekly"]

WEEKS = 8
"""So many weeks are looked back at."""

_WEEK = 7.0
#: As many weeks with and without a read are assumed before: one pull a week ago says little.
_PRIOR = 1.0


def soon(hazards: Hazards, groups: Ints, reads: Ints, idle: Floats, days: float) -> Floats:
    """Return the probability of a read within some days, by how long each has been idle.

    Args:
        hazards: what is known of reads.
        groups: of each content, see `Standing`, as with the others.
        reads: how often it was read.
        idle: days for which it was not.
        days: ahead.
    """
    begin = np.searchsorted(IDLE_DAYS, idle, side="right") - 1
    rate = hazards.daily[groups, reads_bucket(reads), begin]
    found: Floats = -np.expm1(-rate * days)
    return found


def weekly(owners: Ints, ago: Floats, count: int, days: float, known: float) -> Floats:
    """Return in which part of the last weeks each content was read in the days that come now.

    Args:
        owners: of each read, the content.
        ago: days since it was.
        count: of contents.
        days: ahead, up to a week.
        known: days of which it is known what happened.
    """
    weeks = int(min(WEEKS, known // _WEEK))
    # So many weeks before it, the time that comes now contained the read.
    turn = np.ceil(ago / _WEEK)
    kept = (turn >= 1) & (turn <= weeks) & (turn * _WEEK - ago < days)
    numbers = owners[kept].astype(np.int64) * (WEEKS + 1) + turn[kept].astype(np.int64)
    hits = np.bincount(np.unique(numbers) // (WEEKS + 1), minlength=count)
    return np.where(hits > 0, (hits + _PRIOR / 2) / (weeks + _PRIOR), 0.0)
