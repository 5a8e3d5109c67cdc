"""The names of what is archived."""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = [
    "ACCESS",
    "AUDIT",
    "MONTHS",
    "access_key",
    "access_object_key",
    "chain_id",
    "chain_prefix",
    "expiry_key",
    "is_chain",
    "is_derived",
    "is_month",
    "link_key",
    "month_key",
    "segment_key",
]

AUDIT: Final = "audit/"
ACCESS: Final = "audit/access/"
"""Below it lie access statistics: derived, overwritten, never locked."""
MONTHS: Final = "erasable/"
"""Below it lie the keys of months: never locked, in no root and on no tape, so that one can go."""

_CHAIN = re.compile("[0-9a-f]{24}", re.ASCII)
_DERIVED = re.compile(
    r"audit/[0-9a-f]{24}/(?:[0-9a-f]+-[0-9a-f]{64}\.(?:jsonl\.zst|age)"
    r"|index-[0-9]+-[0-9]+-[0-9a-f]+-[0-9a-f]{64}\.zst)",
    re.ASCII,
)
_MONTH = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])", re.ASCII)


def chain_id(stream: str, secret: str = "") -> str:
    """Return the id of the chain of a stream.

    Args:
        stream: what names the stream for ever, such as cluster and topic.
        secret: of a sealed vault, what keeps others from guessing the stream.
    """
    return hashlib.sha256(f"{secret}\n{stream}".encode()).hexdigest()[:24]


def is_chain(text: str) -> bool:
    """Return whether this is the id of a chain."""
    return _CHAIN.fullmatch(text) is not None


def is_month(text: str) -> bool:
    """Return whether this is a month, such as `2026-11`."""
    return _MONTH.fullmatch(text) is not None


def chain_prefix(chain: str) -> str:
    """Return what the keys of a chain begin with."""
    return f"{AUDIT}{chain}/"


def link_key(chain: str, number: int) -> str:
    """Return the slot of one link of a chain."""
    return f"{AUDIT}{chain}/{number:08d}.json"


def segment_key(chain: str, run: str, sha256: str, *, sealed: bool) -> str:
    """Return the key of a segment with these stored bytes."""
    return f"{AUDIT}{chain}/{run}-{sha256}.{'age' if sealed else 'jsonl.zst'}"


def expiry_key(chain: str, run: str) -> str:
    """Return the key of what says which segments of a chain are not kept any more."""
    return f"{AUDIT}{chain}/expired-{run}.json"


def is_derived(key: str) -> bool:
    """Return whether this is a segment or an index: of use only while a link names it."""
    return _DERIVED.fullmatch(key) is not None


def month_key(month: str) -> str:
    """Return the key of the key of a month."""
    return f"{MONTHS}{month}.json"


def access_key(rules: str) -> str:
    """Return the key of what says which access statistics there are, by rules of this id."""
    return f"{ACCESS}{rules}.json"


def access_object_key(rules: str, number: int, *, sealed: bool) -> str:
    """Return the key of one of the two objects of access statistics."""
    return f"{ACCESS}{rules}-{number}.{'age' if sealed else 'zst'}"
