"""Private keys in text: found by how they are written, so that none is ever shown."""

from __future__ import annotations

import re

__all__ = ["conceal", "is_private_key"]

_PRIVATE = re.compile(
    r"AGE-SECRET-KEY-1[0-9A-Z]{6,}"
    # To its end, or as far as it was cut off: within a text that quotes it.
    r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:[^\"']*?-----END [A-Z0-9 ]*PRIVATE KEY-----|[^\"']*)"
    # The beginning of every Ed25519 key in PKCS#8, in Base64.
    r"|MC4CAQAwBQYDK2VwBCIEI[A-Za-z0-9+/]*=*",
    re.IGNORECASE,
)


def is_private_key(text: str) -> bool:
    """Return whether there is a private key in `text`, or a part of one."""
    return _PRIVATE.search(text) is not None


def conceal(text: str) -> str:
    """Return `text` with every private key in it replaced by `***`."""
    return _PRIVATE.sub("***", text)
