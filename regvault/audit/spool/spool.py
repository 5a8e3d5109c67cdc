"""Appends to a spool, and takes away what all consumers have."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from regvault.audit.spool.cursor import GIVING_WAY, Cursor, cursors
from regvault.audit.spool.files import (
    open_own,
    read_own,
    refused,
    segment_name,
    segments,
    sync_directory,
    write_whole,
)
from regvault.audit.spool.reader import Reader
from regvault.audit.spool.record import MAX_BYTES, encode, scan, seq_of
from regvault.errors import RefusedError, TemporaryError, UsageError
from regvault.model.event import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DEFAULT_LIMIT", "Spool", "SpoolFullError", "Usage"]

DEFAULT_LIMIT: Final = 8 << 30
"""Bytes of segments that a spool may have, where nothing else is said."""

_SEGMENT_BYTES = 32 << 20
_FORMAT = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HINT = "Nothing is dropped: it takes events again once its consumers have some of them."


class SpoolFullError(TemporaryError):
    """The spool takes nothing more: its bound is reached, or the disk is full.

    Attributes:
        stored: how many events of the batch, from its first, are durable all the same.
    """

    code = "spool-full"

    def __init__(self, message: str, *, stored: int = 0) -> None:
        super().__init__(message, hint=_HINT)
        self.stored = stored


class Usage(NamedTuple):
    """How full a spool is.

    Attributes:
        nbytes: of all segments.
        limit: bytes that they may have.
        first: the number of the oldest record that is kept; equal to `next` where there is none.
        next: the number that the next event gets.
    """

    nbytes: int
    limit: int
    first: int
    next: int


class Spool:
    """A spool to append to. Several processes may, and several threads.

    Attributes:
        directory: where it is.
        id: random, hex; it is in every event with the event's number.
    """

    def __init__(
        self,
        directory: str,
        *,
        limit: int = DEFAULT_LIMIT,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        """Open the spool in a directory; it is made where there is none.

        Raises:
            RefusedError: a newer regvault made it, or a file of it is a symbolic link.
            UsageError: the directory cannot be made or written, or something else is in it.
        """
        self.directory = directory
        self._limit = limit
        self._segment_bytes = max(1, min(segment_bytes, limit // 8))
        self._threads = threading.Lock()
        self._fd = -1
        self._segment: int | None = None
        self._size = 0
        self._older = 0
        self._next = 1
        self._received = (0, b"")
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            _refuse_others(directory)
            path = os.path.join(directory, "lock")
            self._lock = open_own(path, os.O_RDWR | os.O_CREAT)
            with self._locked():
                self.id = _identity(directory)
                self._catch_up()
        except OSError as error:
            raise refused(error) or UsageError(
                f"cannot use {directory} as a spool: {error.strerror}",
                hint="Name a directory that this user may write.",
            ) from error

    def append(self, bodies: Sequence[bytes]) -> int:
        """Store events durably; return the number of the first, the others follow.

        Args:
            bodies: JSON objects without `seq`, `spool` and `received`, which are put in front.

        Raises:
            OSError: it cannot be said whether they are durable. Give them again.
            SpoolFullError: not all are stored.
        """
        if not bodies:
            return self._next
        with self._locked():
            self._catch_up()
            if self._fd < 0 or self._size >= self._segment_bytes:
                self._roll()
            first = self._next
            records = [encode(self._numbered(first + n, body)) for n, body in enumerate(bodies)]
            total = sum(map(len, records))
            if self._older + self._size + total > self._limit:
                self._count()
                if self._older + self._size + total > self._limit:
                    raise SpoolFullError(f"the spool {self.directory} is full")
            self._write(records, total)
            return first

    def _numbered(self, seq: int, body: bytes) -> bytes:
        second = time.time_ns() // 1_000_000
        if self._received[0] != second:
            text = time_text(second * 1_000_000)
            self._received = second, f'"spool":"{self.id}","received":"{text}",'.encode()
        data = b'{"seq":%d,%b%b' % (seq, self._received[1], body[1:])
        if len(data) > MAX_BYTES:
            raise ValueError(f"an event of {len(data)} bytes is too large")
        return data

    def _write(self, records: list[bytes], total: int) -> None:
        """Write records behind the newest segment, and make them durable."""
        try:
            done = os.write(self._fd, b"".join(records))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            done = 0
        if done == total:
            count = len(records)
        else:
            # What is a beginning of a record is taken back: nobody has read it, since no newline
            # ends it. Whole ones may have been read, and stay.
            count = whole = 0
            while whole + len(records[count]) <= done:
                whole += len(records[count])
                count += 1
            os.ftruncate(self._fd, self._size + whole)
            total = whole
        self._next += count
        self._size += total
        try:
            os.fdatasync(self._fd)
        except OSError:
            # Nobody knows what the disk has of this segment; nothing more goes into it.
            self._next += len(records) - count
            with contextlib.suppress(OSError):
                self._roll()
            raise
        if count < len(records):
            raise SpoolFullError(f"the disk of the spool {self.directory} is full", stored=count)

    # The newest segment

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Find what others have appended since this process did."""
        named = os.pread(self._lock, 20, 0)
        if self._fd < 0 or self._segment is None or named != b"%020d" % self._segment:
            self._close()
            firsts = segments(self.directory)
            self._next = max(self._next, *(cursor.next for cursor in cursors(self.directory)), 1)
            if not firsts:
                return
            name = segment_name(firsts[-1])
            self._fd = open_own(os.path.join(self.directory, name), os.O_RDWR | os.O_APPEND)
            self._segment, self._size = firsts[-1], 0
            self._next = max(self._next, self._segment)
            os.pwrite(self._lock, b"%020d" % self._segment, 0)
            self._count()
        size = os.fstat(self._fd).st_size
        if size != self._size:
            self._scan(size)

    def _scan(self, size: int) -> None:
        """Look at the newest segment from where it was known to end."""
        at, rest, bad = self._size, b"", size < self._size
        lost = 0
        while at < size and (part := os.pread(self._fd, 4 << 20, at)):
            at += len(part)
            found = scan(rest + part)
            rest = (rest + part)[found.end :]
            for data in found.records[-1:]:
                self._next = max(self._next, seq_of(data) + 1)
            lost += len(found.damage)
        self._size = size
        if rest or lost or bad:
            # Who wrote it was cut off, or it was damaged since. What follows goes elsewhere, and a
            # number that something unreadable may have had is not given again.
            self._next += 1 + lost
            self._roll()

    def _roll(self) -> None:
        """Begin a new segment."""
        self._close()
        path = os.path.join(self.directory, segment_name(self._next))
        try:
            self._fd = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            sync_directory(self.directory)
        except OSError as error:
            self._close()
            if error.errno in _FULL:
                raise SpoolFullError(f"the disk of the spool {self.directory} is full") from error
            raise
        self._segment, self._size = self._next, 0
        os.pwrite(self._lock, b"%020d" % self._next, 0)
        self._count()

    def _count(self) -> None:
        """Count the bytes of all segments but the newest."""
        self._older = 0
        for first in segments(self.directory):
            if first != self._segment:
                with contextlib.suppress(FileNotFoundError):
                    path = os.path.join(self.directory, segment_name(first))
                    self._older += os.lstat(path).st_size

    # What consumers have

    def collect(self) -> int:
        """Delete segments that every consumer has; return how many. The newest one stays.

        Consumers that give way are waited for while the spool is less than half full.
        """
        with self._locked():
            found = list(cursors(self.directory))
            wanted = [cursor.next for cursor in found if cursor.name not in GIVING_WAY]
            if wanted and self._is_below_half():
                wanted += [cursor.next for cursor in found]
            firsts = segments(self.directory)
            gone = 0
            for first, following in pairwise(firsts):
                if not wanted or following > min(wanted):
                    break
                os.unlink(os.path.join(self.directory, segment_name(first)))
                gone += 1
            if gone:
                sync_directory(self.directory)
                self._count()
            return gone

    def _is_below_half(self) -> bool:
        self._catch_up()
        self._count()
        return (self._older + self._size) * 2 < self._limit

    def cursor(self, name: str) -> Cursor:
        """Return the cursor of a consumer."""
        return Cursor(self.directory, name)

    def reader(self, start: int = 0) -> Reader:
        """Return a reader that begins with this number."""
        return Reader(self.directory, start)

    def usage(self) -> Usage:
        """Return how full it is."""
        with self._locked():
            self._catch_up()
            self._count()
            firsts = segments(self.directory)
            first = firsts[0] if firsts else self._next
            return Usage(self._older + self._size, self._limit, first, self._next)

    def free_bytes(self) -> int:
        """Return what the disk has left for this user."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Close its files."""
        with self._threads:
            self._close()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1


def _refuse_others(directory: str) -> None:
    """Raise UsageError where a directory holds other things than a spool."""
    names = set(os.listdir(directory))
    if names and not names & {"spool.json", "lock", "spool.json.tmp"}:
        raise UsageError(
            f"{directory} holds other things than a spool: {min(names)}",
            hint="Name a directory of its own.",
        )


def _identity(directory: str) -> str:
    """Return the id of the spool, which is made where there is none."""
    path = os.path.join(directory, "spool.json")
    try:
        found = scan(read_own(path, 4096)).records
    except FileNotFoundError:
        found = []
    if found:
        body = json.loads(found[0])
        if body.get("format") != _FORMAT:
            raise RefusedError(
                f"the spool {directory} has format {body.get('format')!r}",
                hint="A newer regvault made it: use that one.",
            )
        return str(body["id"])
    made = secrets.token_hex(8)
    body = {"seq": 0, "format": _FORMAT, "id": made}
    write_whole(path, encode(json.dumps(body, separators=(",", ":")).encode()))
    return made
