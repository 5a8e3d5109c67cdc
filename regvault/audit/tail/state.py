"""How far each file was read, durably."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.audit.spool.files import (
    open_own,
    read_own,
    refused,
    sync_directory,
    write_whole,
)
from regvault.audit.spool.record import encode, scan
from regvault.audit.tail.files import Mark, Print
from regvault.errors import LeaseHeldError, UnknownFormatError, UsageError

if TYPE_CHECKING:
    from regvault.audit.tail.names import Key

__all__ = ["Entry", "State"]

_FORMAT = 1
_NAME = "files"
_PREVIOUS = ".previous"
_SLOWEST = 20
_INTERVAL_S = 0.5
# Archives leave repeats out for 8 days: so long a file's fingerprint is not given to another one.
_FORGET_S = 9 * 86_400
_MOST = 20_000


@dataclass(slots=True)
class Entry:
    """A file that lines were read of.

    Attributes:
        printed: its fingerprint; one of no bytes where nothing was in it when it was seen.
        salt: what else the ids of its lines are made of: of the second file that begins so.
        path: where it was opened.
        real: that path without symbolic links.
        key: device and inode of the file that has it now; None: it was truncated, or another file
            has that inode.
        mark: how far its events are durable.
        mtime_ns: when it was written to last, as far as is known.
        ended: size and time of change of the compressed file that was read to its end.
        seen: the second when it was there last.
    """

    printed: Print
    salt: str
    path: str
    real: str
    key: Key | None
    mark: Mark = field(default_factory=Mark)
    mtime_ns: int = 0
    ended: tuple[int, int] | None = None
    seen: int = 0

    @property
    def identity(self) -> str:
        """What the ids of its lines are made of."""
        return f"{self.printed.digest}:{self.salt}" if self.salt else self.printed.digest

    def commit(self, mark: Mark) -> None:
        """Take how far its events are durable."""
        self.mark = mark

    def to_json(self) -> list[Any]:
        """Return it as the state holds it."""
        return [
            *self.printed,
            self.salt,
            self.path,
            self.real,
            self.key,
            self.mark,
            self.mtime_ns,
            self.ended,
            self.seen,
        ]

    @classmethod
    def from_json(cls, found: list[Any]) -> Entry:
        """Return what `to_json` wrote. Raises ValueError and TypeError."""
        digest, length, salt, path, real, key, mark, mtime_ns, ended, seen = found
        return cls(
            Print(str(digest), int(length)),
            str(salt),
            str(path),
            str(real),
            None if key is None else (int(key[0]), int(key[1])),
            Mark(*map(int, mark)),
            int(mtime_ns),
            None if ended is None else (int(ended[0]), int(ended[1])),
            int(seen),
        )


class State:
    """The entries of all files, in a directory of which one process has the lock.

    Attributes:
        entries: all of them.
        lost: there was a state, and nothing in it could be read.
        dirty: something changed since it was saved.
    """

    def __init__(self, directory: str) -> None:
        """Read the state in a directory, which is made where there is none.

        Raises:
            LeaseHeldError: another process uses it.
            UnknownFormatError: a newer regvault made it.
            UsageError: the directory cannot be made or written.
        """
        self._path = os.path.join(directory, _NAME)
        self._lock = -1
        self._cost = 0.0
        self._saved = 0.0
        self.dirty = False
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._lock = open_own(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_directory(os.path.dirname(os.path.abspath(directory)))
            found = [_read(path) for path in (self._path, self._path + _PREVIOUS)]
        except BlockingIOError:
            self.close()
            raise LeaseHeldError(
                f"another process follows files with the state in {directory}",
                hint="Give this one a directory of its own: --state DIR.",
            ) from None
        except OSError as error:
            raise refused(error) or UsageError(
                f"cannot keep positions in {directory}: {error.strerror}",
                hint="Name a directory that this user may write: --state DIR.",
            ) from error
        good = [entries for entries in found if isinstance(entries, list)]
        self.lost = not good and "damaged" in found
        self.entries: list[Entry] = good[0] if good else []

    def save(self) -> None:
        """Make it durable."""
        began = time.monotonic()
        self._forget()
        files = [entry.to_json() for entry in self.entries]
        data = json.dumps({"seq": 0, "format": _FORMAT, "files": files}, separators=(",", ":"))
        write_whole(self._path, encode(data.encode()), previous=self._path + _PREVIOUS)
        self.dirty = False
        self._saved = time.monotonic()
        self._cost = self._saved - began

    @property
    def is_due(self) -> bool:
        """Whether it should be saved: what was read since would be read again, and recognised."""
        wait = max(_INTERVAL_S, self._cost * _SLOWEST)
        return self.dirty and time.monotonic() - self._saved > wait

    def _forget(self) -> None:
        since = int(time.time()) - _FORGET_S
        if len(self.entries) > _MOST or any(entry.seen < since for entry in self.entries):
            self.entries.sort(key=lambda entry: entry.seen)
            self.entries = [one for one in self.entries[-_MOST:] if one.seen >= since]

    def close(self) -> None:
        """Let another process have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _read(path: str) -> list[Entry] | str:
    """Return the entries in a file, or why there are none."""
    try:
        data = read_own(path)
    except FileNotFoundError:
        return "none"
    found = scan(data)
    if len(found.records) != 1 or found.damage or found.end != len(data):
        return "damaged"
    try:
        body = json.loads(found.records[0])
        if body["format"] != _FORMAT:
            raise UnknownFormatError(
                f"the positions in {path} have format {body['format']!r}",
                hint="A newer regvault made them: use that one, or another --state.",
            )
        return [Entry.from_json(each) for each in body["files"]]
    except (ValueError, KeyError, TypeError):
        return "damaged"
