"""When a snapshot is held: the source has shrunk so much that a person should look first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SHRINK_LIMIT", "shrunk"]

#: A source that lost more than this share of anything that is counted is held.
SHRINK_LIMIT = 0.10

_COUNTED = ("repositories", "tags", "revisions", "bytes")


def shrunk(before: Mapping[str, int] | None, now: Mapping[str, int]) -> str | None:
    """Return why a snapshot is to be held, or None.

    Args:
        before: counts of the newest snapshot that is not held (`repositories`, `tags`,
            `revisions`, `bytes`), None where there is none.
        now: the same of the new one.
    """
    if now["repositories"] == 0:
        return "the registry is empty"
    if before is None:
        return None
    for name in _COUNTED:
        had, has = before[name], now[name]
        if has < had * (1 - SHRINK_LIMIT):
            return f"{name} shrank from {had} to {has}, by {100 * (had - has) / had:.0f} %"
    return None
