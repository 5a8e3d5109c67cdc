"""The grammar of keys, checked before a key reaches a file system or a server."""

from __future__ import annotations

import re

from regvault.errors import StoreError

__all__ = [
    "RESERVED",
    "check_directory",
    "check_key",
    "check_name",
    "check_prefix",
    "is_object",
]

# Parts of a key that begin so are the adapters' own (temporary files, probes), never objects.
RESERVED = ".regvault-"

# An empty part, ".", "..", or a NUL anywhere.
_BAD = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\0").search
# How a key that it finds begins, unless "//" or "/." is in it.
_ENDS = frozenset({"", ".", "/"})
_BAD_NAME = re.compile(r"\A\.{0,2}\Z|[/\0]").search


def check_key(key: str) -> str:
    """Return `key` if it names an object.

    Raises:
        StoreError: it is empty or absolute, has an empty, `.` or `..` part, or a NUL, or cannot
            be encoded.
    """
    # Nearly no key has what is looked for; a search for two characters costs next to nothing.
    suspect = "//" in key or "/." in key or "\0" in key or key[:1] in _ENDS or key[-1:] == "/"
    if (suspect and _BAD(key)) or not (key.isascii() or _encodable(key)):
        raise StoreError(f"not a valid key: {key!r}", key=key)
    return key


def _encodable(key: str) -> bool:
    """Return whether `key` has bytes: file names that are no UTF-8 are surrogate-escaped."""
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def check_prefix(prefix: str) -> tuple[str, str]:
    """Split a LIST prefix, which may end in the middle of a name.

    Returns:
        The directory ("" or without trailing slash), and the beginning of a name in it.

    Raises:
        StoreError: the directory is not a valid key.
    """
    directory, slash, start = prefix.rpartition("/")
    if (slash and _BAD(directory)) or "\0" in start:
        raise StoreError(f"not a valid prefix: {prefix!r}", key=prefix)
    return directory, start


def check_directory(prefix: str) -> str:
    """Return a prefix that means a directory ("", "a", "a/") without its trailing slash.

    Raises:
        StoreError: it is not a valid key.
    """
    directory = prefix.removesuffix("/")
    return check_key(directory) if prefix else ""


def check_name(name: str) -> str:
    """Return `name` if it is one part of a key.

    Raises:
        StoreError: it is empty, `.`, `..`, or has a slash or a NUL.
    """
    if _BAD_NAME(name):
        raise StoreError(f"not a valid name: {name!r}", key=name)
    return name


def is_object(key: str) -> bool:
    """Return whether a key that a listing showed is an object: no folder marker, nothing hidden."""
    if RESERVED in key and any(part.startswith(RESERVED) for part in key.split("/")):
        return False
    return not _BAD(key)
