"""What of a registry is likely to be pulled in the next days, and what that needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.ops.tier.planned import NeededImage
from regvault.policy.access_counts import DAY_US
from regvault.policy.tiering.foresight import soon, weekly
from regvault.policy.tiering.outlook import NEEDED

if TYPE_CHECKING:
    from regvault.ops.tier.contents import Contents
    from regvault.ops.tier.reach import Reach
    from regvault.ops.tier.standing import Known
    from regvault.policy.tiering.history import Floats

__all__ = ["Needs", "look_ahead"]

_SCALE = 1_000_000


class Needs(NamedTuple):
    """What is likely to be pulled soon.

    Attributes:
        chance: of each content, how likely it is needed: itself, or what reaches it.
        images: that are likely, the likeliest first.
    """

    chance: Floats
    images: tuple[NeededImage, ...]


def look_ahead(known: Known, contents: Contents, reach: Reach, now_us: int, days: float) -> Needs:
    """Return what is likely to be pulled within some days.

    Args:
        known: what is known of the past.
        contents: of the registry.
        reach: of its manifests, with their tags.
        now_us: the time, microseconds since the epoch.
        days: ahead, up to a week.
    """
    standing, use = known.standing, known.use
    ago = (now_us - use.times) / DAY_US
    own = weekly(use.owners, ago, len(contents), days, known.days)
    near = soon(known.hazards, standing.groups, standing.reads, standing.idle, days)
    own = np.maximum(own, np.where(standing.reads > 0, near, 0.0))
    scaled = (own * _SCALE).astype(np.int64)
    chance = reach.spread(scaled) / _SCALE
    likely = np.flatnonzero(reach.manifest & (own >= NEEDED) & (reach.repository >= 0))
    images = [
        NeededImage(
            reach.repositories[int(reach.repository[number])],
            reach.tag_of.get(number, ""),
            contents.digest(number),
            round(float(own[number]), 4),
        )
        for number in likely.tolist()
    ]
    images.sort(key=lambda image: (-image.chance, image.repository, image.digest))
    return Needs(chance, tuple(images))
