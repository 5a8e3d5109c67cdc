"""What was put into a cold mount, in a journal in the registry's root directory.

One JSON line for each step of a move, with a checksum, on the disk before the step after it. Only
what it knows is ever deleted. A line that is damaged is left out: who then finds too little in
it deletes too little. It lies with the registry, not in the mount, because a mount of object
storage may not append; and so it can still be read where the mount is lost.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from regvault.oci.grammar import is_digest
from regvault.storage.local_errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.storage.local_tree import Tree

__all__ = ["ENDED", "STEPS", "Journal", "Record", "journal_name"]

STEPS: Final = frozenset({"begin", "linked", "leaving", "left", "orphan", "gone"})
"""The steps of a blob in a cold mount.

- `begin`: it is about to be copied there;
- `linked`: the registry has a link to it;
- `leaving`: it is about to be copied elsewhere;
- `left`: the registry has it elsewhere again;
- `orphan`: the registry was seen without a link to it;
- `gone`: it is not there any more.
"""

ENDED: Final = "gone"

_SUM: Final = re.compile(rb',"sum":"([0-9a-f]{8})"}\Z')
#: A journal is written anew when it has so many bytes, and most of them are of what is gone.
_LARGE: Final = 4 << 20
_LINE_BYTES: Final = 150
_APPEND: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Record(NamedTuple):
    """The last that a journal says of one blob.

    Attributes:
        digest: of it.
        step: one of STEPS.
        at: when, seconds since the epoch.
        size: bytes.
    """

    digest: str
    step: str
    at: int
    size: int


def journal_name(name: str) -> str:
    """Return the name of the file for a cold mount."""
    return f"regvault-cold-{name}.journal"


def _line(record: Record) -> bytes:
    fields = {"at": record.at, "step": record.step, "digest": record.digest, "size": record.size}
    body = json.dumps(fields, separators=(",", ":")).encode()
    return b'%b,"sum":"%08x"}\n' % (body[:-1], crc32(body))


def _record(line: bytes) -> Record | None:
    """Return what a line says; None of one that is damaged."""
    found = _SUM.search(line)
    if found is None or crc32(line[: found.start()] + b"}") != int(found[1], 16):
        return None
    try:
        fields = json.loads(line)
        record = Record(fields["digest"], fields["step"], int(fields["at"]), int(fields["size"]))
    except (KeyError, TypeError, ValueError):
        return None
    return record if record.step in STEPS and is_digest(record.digest) else None


class Journal:
    """The journal of one cold mount. Thread-safe; one process at a time writes.

    Args:
        tree: of the registry's root directory.
        name: of the mount.
    """

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree = tree
        self._name = journal_name(name)
        self._lock = threading.Lock()
        self._fd = -1

    def write(self, step: str, digest: str, size: int) -> None:
        """Add a line; it is on the disk on return.

        Raises:
            StoreError: it cannot be written.
        """
        line = _line(Record(digest, step, int(time.time()), size))
        with self._lock, self._writing():
            if self._fd < 0:
                self._open()
            try:
                self._append(line)
                os.fsync(self._fd)
            except BaseException:
                self._close()  # the next line will not be added to half of this one
                raise

    def _writing(self) -> translated:
        return translated("write", self._tree.location, key=self._name, write=True)

    def _open(self) -> None:
        fd = os.open(self._name, _APPEND, 0o644, dir_fd=self._tree.fd)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.fsync(self._tree.fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        if torn:
            self._append(b"\n")

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def fold(self) -> Folded:
        """Read it: the last that it says of each blob.

        Raises:
            StoreError: it cannot be read.
        """
        with self._lock:
            return self._fold()

    def _fold(self) -> Folded:
        with translated("read", self._tree.location, key=self._name):
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                fd = os.open(self._name, flags, dir_fd=self._tree.fd)
            except FileNotFoundError:
                return Folded(())
            with os.fdopen(fd, "rb") as file:
                return Folded(file)

    def compact(self) -> bool:
        """Write it anew if it is large and mostly of what is gone; return whether that was done.

        Raises:
            StoreError: it cannot be read or written.
        """
        with self._lock, self._writing(), closing(self._fold()) as folded:
            if folded.bytes < max(_LARGE, 4 * _LINE_BYTES * folded.count()):
                return False
            temporary = f".regvault-{secrets.token_hex(8)}.tmp"
            fd = os.open(temporary, _NEW, 0o644, dir_fd=self._tree.fd)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.writelines(_line(record) for record in folded)
                    file.flush()
                    os.fsync(fd)
                at = self._tree.fd
                os.rename(temporary, self._name, src_dir_fd=at, dst_dir_fd=at)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._tree.fd)
                raise
            self._close()
            os.fsync(self._tree.fd)
        return True

    def remove(self) -> None:
        """Remove it, of a mount that is no more. Raises StoreError."""
        with self._lock, self._writing():
            self._close()
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._tree.fd)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # its lines are on the disk already
                os.close(fd)


class Folded:
    """The last of each blob that is not gone, in a database of its own on the disk.

    Attributes:
        bytes: how many were read.
        damaged: lines that are not what was written.
    """

    def __init__(self, lines: IO[bytes] | Iterable[bytes]) -> None:
        self.bytes = 0
        self.damaged = 0
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute(
            "CREATE TABLE blobs (digest TEXT PRIMARY KEY, step TEXT, at INTEGER, size INTEGER)"
            " WITHOUT ROWID"
        )
        self._db.execute("BEGIN")
        self._db.executemany("REPLACE INTO blobs VALUES (?, ?, ?, ?)", self._records(lines))
        self._db.execute("DELETE FROM blobs WHERE step = ?", (ENDED,))
        self._db.execute("COMMIT")

    def _records(self, lines: Iterable[bytes]) -> Iterator[Record]:
        for line in lines:
            self.bytes += len(line)
            record = _record(line.removesuffix(b"\n"))
            if record is None:
                self.damaged += line != b"\n"
            else:
                yield record

    def count(self) -> int:
        """Return how many blobs there are."""
        (count,) = self._db.execute("SELECT count(*) FROM blobs").fetchone()
        return int(count)

    def size(self) -> int:
        """Return how many bytes they have."""
        (size,) = self._db.execute("SELECT total(size) FROM blobs").fetchone()
        return int(size)

    def __iter__(self) -> Iterator[Record]:
        """Yield them in the order of their digests."""
        for row in self._db.execute("SELECT digest, step, at, size FROM blobs ORDER BY digest"):
            yield Record(*row)

    def close(self) -> None:
        """Forget it."""
        self._db.close()
