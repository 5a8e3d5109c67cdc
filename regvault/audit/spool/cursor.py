"""Cursors: how far a consumer of a spool is."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from regvault.audit.spool.files import own_directory, read_own, refused, sync_directory, write_whole
from regvault.audit.spool.record import encode, scan
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DIRECTORY", "GIVING_WAY", "Cursor", "cursors"]

DIRECTORY = "cursors"

GIVING_WAY = frozenset({"gaps", "signals"})
"""Consumers that only look. They deliver events to nobody: that they have one frees nothing, and
once the spool is half full what they lack is not kept for them any more."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,200}", re.ASCII)
_PREVIOUS = ".previous"


class Cursor:
    """The next number that one consumer wants of a spool; all before it are delivered.

    The file holds a checksum, and the one before it is kept: where both are unreadable the
    consumer begins at the oldest record, and delivers again what it had delivered.

    Attributes:
        name: of the consumer.
        next: the number; 0 where it has not taken any yet.
        lost: the file was there, and nothing in it could be read.
    """

    def __init__(self, directory: str, name: str) -> None:
        """Read the cursor of the spool in `directory`.

        Raises:
            UsageError: the name is an odd one.
            OSError: it cannot be read.
        """
        if not _NAME.fullmatch(name) or name.endswith((_PREVIOUS, ".tmp")):
            raise UsageError(f"{name!r} cannot be the name of a consumer of a spool")
        self.name = name
        self._path = os.path.join(own_directory(os.path.join(directory, DIRECTORY)), name)
        found = [_read(path) for path in (self._path, self._path + _PREVIOUS)]
        self.lost = any(value == -1 for value in found) and max(found) < 0
        self.next = next((value for value in found if value >= 0), 0)

    def advance(self, to: int) -> None:
        """Say durably that everything before this number is delivered."""
        data = json.dumps({"seq": to, "consumer": self.name}, separators=(",", ":")).encode()
        parent = os.path.dirname(self._path)
        if not os.path.isdir(parent):
            os.makedirs(parent, mode=0o700, exist_ok=True)
            sync_directory(os.path.dirname(parent))
        write_whole(self._path, encode(data), previous=self._path + _PREVIOUS)
        self.next = to

    def register(self) -> bool:
        """Keep what this consumer has not taken, from now on; return whether it is a new one."""
        if os.path.lexists(self._path):
            return False
        is_new = not os.path.lexists(self._path + _PREVIOUS)
        self.advance(self.next)
        return is_new

    def remove(self) -> None:
        """Forget the consumer: what it has not taken is not kept for it any more."""
        for path in (self._path, self._path + _PREVIOUS):
            if os.path.lexists(path):
                os.unlink(path)
        sync_directory(os.path.dirname(self._path))


def cursors(directory: str) -> Iterator[Cursor]:
    """Yield the cursors of all consumers of a spool."""
    parent = own_directory(os.path.join(directory, DIRECTORY))
    names = os.listdir(parent) if os.path.isdir(parent) else []
    known = {name.removesuffix(_PREVIOUS) for name in names if not name.endswith(".tmp")}
    for name in sorted(known):
        yield Cursor(directory, name)


def _read(path: str) -> int:
    """Return the number in the file of a cursor; -1: it is damaged, -2: there is none."""
    try:
        data = read_own(path, 4096)
    except FileNotFoundError:
        return -2
    except OSError as error:
        if refused(error) is None:
            raise
        return -1  # a symbolic link: `advance` puts a file in its place
    found = scan(data)
    if len(found.records) != 1 or found.damage or found.end != len(data):
        return -1
    value = json.loads(found.records[0])["seq"]
    return value if isinstance(value, int) and value >= 0 else -1
