"""Counts of pulls that decay, and how many clients there were.

They are whole numbers and sets, so neither the order in which events come makes a difference, nor
how often they were counted so far.

Pulls are counted by day, and by blocks of 32 days once these are more than 96 days old. What decays
is computed of that when it is asked for. Clients are counted by the smallest of their keyed hashes
(k minimum values): exact up to 64, about 13 % off beyond.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "DAY_US",
    "HALF_LIVES",
    "HASH_BYTES",
    "bucket_of",
    "clients_in",
    "decayed",
    "first_day",
    "merged",
    "within",
]

DAY_US: Final = 86_400 * 10**6
HALF_LIVES: Final = (1, 7, 30, 90)
"""Days: of these windows and half-lives counts are told."""

_BLOCK: Final = 32
_BLOCKS_OF_DAYS: Final = 4
_MOST: Final = 64
HASH_BYTES: Final = 6


def first_day(newest: int) -> int:
    """Return the first day that is counted by itself; all before are in blocks.

    Args:
        newest: the newest day that is known, days since the epoch.
    """
    return (newest // _BLOCK - _BLOCKS_OF_DAYS + 1) * _BLOCK


def bucket_of(day: int, newest: int) -> int:
    """Return what a day is counted under: itself, or the first day of its block."""
    return day if day >= first_day(newest) else day // _BLOCK * _BLOCK


def _last_day(bucket: int, newest: int) -> int:
    return bucket if bucket >= first_day(newest) else bucket + _BLOCK - 1


def within(counts: Mapping[int, int], newest: int, days: int, today: int) -> int:
    """Return the pulls of the last days, today one of them; a block counts if any of it does.

    Args:
        counts: bucket -> pulls.
        newest: the newest day when they were counted.
        days: how many.
        today: days since the epoch.
    """
    since = today - days
    return sum(n for bucket, n in counts.items() if _last_day(bucket, newest) > since)


def decayed(counts: Mapping[int, int], newest: int, half_life: int, today: int) -> float:
    """Return the pulls, each worth half as much for every half-life that it is past.

    Args:
        counts: bucket -> pulls.
        newest: the newest day when they were counted.
        half_life: days.
        today: days since the epoch.
    """
    return math.fsum(
        n * 2.0 ** -(max(0, today - _last_day(bucket, newest)) / half_life)
        for bucket, n in counts.items()
    )


def merged(sketch: bytes, hashes: Iterable[bytes]) -> bytes:
    """Return the sketch of the clients of one and of others.

    Args:
        sketch: hashes of `HASH_BYTES`, ascending, or b"".
        hashes: of clients, each of so many bytes.
    """
    known = {sketch[at : at + HASH_BYTES] for at in range(0, len(sketch), HASH_BYTES)}
    known.update(hashes)
    return b"".join(sorted(known)[:_MOST])


def clients_in(sketch: bytes) -> int:
    """Return how many clients there were, as far as a sketch can tell."""
    count = len(sketch) // HASH_BYTES
    if count < _MOST:
        return count
    largest = int.from_bytes(sketch[-HASH_BYTES:], "big")
    return max(_MOST, round((_MOST - 1) * 256**HASH_BYTES / max(1, largest)))
