"""Fields of documents, checked: what a vault says is hostile input.

Each raises ValueError for anything but what it names.
"""

from __future__ import annotations

import re
from typing import Any

from regvault.oci.grammar import MAX_NUMBER
from regvault.vault.envelope import from_time

__all__ = ["count", "mapping", "sha256", "text", "time"]

_SHA256 = re.compile("[0-9a-f]{64}", re.ASCII)


def count(value: Any) -> int:
    """Return a size or a number."""
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise ValueError(f"no number: {str(value)[:50]!r}")
    return value


def text(value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ValueError(f"no text: {str(value)[:50]!r}")  # noqa: TRY004 - one error for all
    return value


def sha256(value: Any) -> str:
    """Return a hex SHA-256."""
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise ValueError(f"no SHA-256: {str(value)[:80]!r}")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise ValueError(f"no object: {str(value)[:50]!r}")  # noqa: TRY004
    return dict(value)


def time(value: Any) -> str:
    """Return a time of the last or the next few centuries, as it is written."""
    moment = from_time(text(value))
    if not 1900 <= moment.year <= 9000:
        raise ValueError(f"no time of ours: {value!r}")
    return str(value)
