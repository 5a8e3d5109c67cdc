"""What may be taken from a hostile JSON document: a field of the right kind, or None."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from regvault.model.event import parse_time, time_text
from regvault.oci.grammar import is_digest, is_repository, is_tag

__all__ = [
    "NoEventError",
    "derived_id",
    "digest",
    "mapping",
    "moment",
    "number",
    "own_id",
    "repository",
    "tag",
    "text",
]


class NoEventError(ValueError):
    """What came is no event; the message says why."""


_UUID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII
)
_LONGEST = 1024


def text(value: Any, longest: int = _LONGEST) -> str | None:
    """Return a text that is not empty, cut off at `longest` characters; else None."""
    return value[:longest] if isinstance(value, str) and value else None


def mapping(value: Any) -> dict[str, Any]:
    """Return an object, {} for anything else."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> int | None:
    """Return a number of 0 to 2^63 - 1, else None."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return value if good else None


def repository(value: Any) -> str | None:
    """Return the name of a repository, else None."""
    return value if isinstance(value, str) and is_repository(value) else None


def tag(value: Any) -> str | None:
    """Return a tag, else None."""
    return value if isinstance(value, str) and is_tag(value) else None


def digest(value: Any) -> str | None:
    """Return a digest, else None."""
    return value if isinstance(value, str) and is_digest(value) else None


def moment(value: Any, otherwise: str) -> str:
    """Return a time, of RFC 3339 or of seconds since the epoch, as events have it."""
    try:
        if isinstance(value, str):
            return parse_time(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return time_text(int(value * 1e9))
    except (ValueError, OverflowError):
        pass
    return otherwise


def own_id(value: Any, *scope: str) -> str | None:
    """Return the id that a sender gave: a UUID as it is; any other one within its scope, hashed."""
    if not isinstance(value, str) or not value:
        return None
    return value if _UUID.fullmatch(value) else derived_id(*scope, value)


def derived_id(*parts: str | bytes) -> str:
    """Return an id that is the same whenever these parts are: 32 hex digits."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        made.update(b"%d:" % len(data))
        made.update(data)
    return made.hexdigest()
