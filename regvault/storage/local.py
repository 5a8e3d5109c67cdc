"""A store in a directory of a file system.

- What `put` wrote is on the disk when it returns. `put_stream` and `stage` leave that to
  `barrier`, which pays once for many objects.
- A key appears by rename or link of a finished file, so it is whole or not there.
- Conditional writes hold between processes, and between hosts where the file system does links
  and flock between hosts (NFS 4 does).
- Names that begin with `.regvault-` are its own: temporary files and the lock.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    ReadOnlyStoreError,
    StoreError,
    StoreFullError,
)
from regvault.model.store import Entry, Space, Stored
from regvault.storage import local_children, local_read
from regvault.storage.keys import RESERVED, check_directory, check_key, check_prefix
from regvault.storage.local_errors import MISSING, os_error, translated
from regvault.storage.local_lock import write_lock
from regvault.storage.local_many import create_files
from regvault.storage.local_read import FileReader, etag_of
from regvault.storage.local_tree import Tree
from regvault.storage.local_write import (
    Attributes,
    FileStage,
    Temporary,
    store_stream,
    sweep,
    sweep_seen,
)
from regvault.storage.streams import check_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ByteReader, ObjectStore, Stage

    # `list` is a method below.
    Names = list[tuple[str, bool]]
    Statuses = list[tuple[str, int, int, int]]
    Contents = list[tuple[str, bytes | None]]
    Paths = list[str]

__all__ = ["LocalStore"]

# A file system's clock that is further off than this is another machine's.
_CLOCK_TOLERANCE_NS = 2_000_000_000


class LocalStore:
    """Objects as files below one directory.

    Args:
        root: the directory.
        create: make it if it is missing.
        follow_symlinks: read through symbolic links, as a registry does. Without, a link is
            never an object, and a key that leads through one is refused.
        file_mode: permissions of new files; None: as the umask says.
        dir_mode: permissions of new directories; None: as the umask says.
        root_mode: permissions of the root, where it is made; None: as `dir_mode` says.
        owner: user id and group id of what is new; None: the process's.
        writable: False refuses every write before it reaches the file system.

    Raises:
        StoreMissingError: the root does not exist, or is no directory.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = False,
        follow_symlinks: bool = False,
        file_mode: int | None = None,
        dir_mode: int | None = None,
        root_mode: int | None = None,
        owner: tuple[int, int] | None = None,
        writable: bool = True,
    ) -> None:
        self.root = os.path.abspath(root)
        self._attributes = Attributes(file_mode, owner)
        self._writable = writable
        self._clock_offset_ns: int | None = None
        self._tree = Tree(
            self.root,
            self.location,
            create=create and writable,
            follow=follow_symlinks,
            dir_mode=dir_mode,
            root_mode=dir_mode if root_mode is None else root_mode,
            owner=owner,
        )

    @property
    def location(self) -> str:
        """Where this is, for messages."""
        return f"file://{self.root}"

    # Reading

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `key`, or a range of them."""
        with self.open(key, start=start, length=length) as reader:
            return reader.read()

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> FileReader:
        """Return a stream over the same bytes; it is seekable and has a `fileno`."""
        check_range(start, length)
        self._split(key)
        with translated("read", self.location, key=key):
            fd = self._tree.open_file(key)
        return self._reader(fd, key, start, length, self.location)

    def _reader(
        self, fd: int, key: str, start: int, length: int | None, location: str
    ) -> FileReader:
        """Return a stream over a range of an open file, which is closed if it is none."""
        try:
            with translated("read", location, key=key):
                status = os.fstat(fd)
            self._refuse_non_file(key, status)
        except BaseException:
            os.close(fd)
            raise
        size = status.st_size
        begin = max(0, size + start) if start < 0 else min(start, size)
        count = size - begin if length is None else min(length, size - begin)
        return FileReader(fd, key, location, start=begin, size=count)

    def head(self, key: str) -> Entry:
        """Return what LIST would say of `key`."""
        path, name = self._split(key)
        with translated("look at", self.location, key=key):
            with self._tree.directory(path) as directory:
                status = os.stat(name, dir_fd=directory, follow_symlinks=self._tree.follow)
        self._refuse_non_file(key, status)
        return Entry(key, status.st_size, etag_of(status), status.st_mtime_ns)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield the objects below `prefix` in byte order of their keys."""
        directory, start = check_prefix(prefix)
        return local_read.walk(self._tree, directory, start, os.fsencode(after))

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the directories directly below `prefix`."""
        try:
            names = [n for n, is_directory in self.scandir(prefix) if is_directory]
        except ObjectNotFoundError:
            return
        yield from sorted(names, key=lambda name: os.fsencode(name + "/"))

    def scandir(self, prefix: str) -> Names:
        """Return (name, is a directory) of everything directly below `prefix`, unsorted."""
        path = check_directory(prefix)
        with translated("list", self.location, key=path):
            return local_read.scandir(self._tree, path)

    def stat_children(self, prefix: str, leaf: str, names: Iterable[str]) -> Statuses:
        """Return (name, size, mtime in ns, inode) of `<prefix>/<name>/<leaf>` for each name."""
        path = check_directory(prefix)
        check_directory(leaf)
        return local_children.stat_children(self._tree, path, leaf, names)

    def read_children(
        self, prefix: str, leaf: str, names: Iterable[str], *, limit: int
    ) -> Contents:
        """Return (name, content) of `<prefix>/<name>/<leaf>`, at most `limit` bytes each."""
        path = check_directory(prefix)
        leaf = leaf and check_key(leaf)
        return local_children.read_children(self._tree, path, leaf, names, limit=limit)

    # Writing

    def create_files(
        self, prefix: str, files: Iterable[tuple[str, bytes]], *, whole: bool
    ) -> Paths:
        """Create files below `prefix` that are not there yet; return the paths that are."""
        self._refuse_if_read_only(prefix)
        path = check_directory(prefix)
        return create_files(self._tree, path, files, self._attributes, whole=whole)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> Stored:
        """Write a small object, on a condition or not; it is on the disk on return."""
        path, name = self._split_to_write(key)
        with translated("write", self.location, key=key, write=True):
            with self._tree.directory(path, create=True) as directory:
                before = self._check(key, name, directory, if_none_match, if_match)
                temporary = Temporary(self._tree, directory, key, self._attributes)
                try:
                    temporary.write(data)
                    status = temporary.finish(sync=True, newer_than=before)
                    self._observe(status.st_mtime_ns)
                    if if_none_match:
                        temporary.publish_new(name)
                        self._tree.sync_parents(path, directory)
                    else:
                        with write_lock(self._tree, create=if_match is not None):
                            self._check(key, name, directory, if_none_match, if_match)
                            temporary.publish(name)
                            self._tree.sync_parents(path, directory)
                except BaseException:
                    temporary.discard()
                    raise
        return Stored(etag_of(status), len(data), hashlib.sha256(data).hexdigest(), "regvault")

    def _check(
        self, key: str, name: str, directory: int, if_none_match: bool, if_match: str | None
    ) -> int | None:
        """Check a condition; return the modification time (ns) of what is there, or None."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        if if_none_match and status is not None:
            raise PreconditionError(f"{key!r} is already in {self.location}", key=key)
        if if_match is not None and (status is None or etag_of(status) != if_match):
            raise PreconditionError(f"{key!r} in {self.location} was changed", key=key)
        return None if status is None else status.st_mtime_ns

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Write `size` bytes of `reader`, hashed here."""
        path, name = self._split_to_write(key)
        # Only our own calls are translated: an OSError of the reader is not one of this store.
        with translated("write", self.location, key=key, write=True):
            directory = self._tree.open_directory(path, create=True)
        try:
            return store_stream(
                Temporary(self._tree, directory, key, self._attributes),
                reader,
                name,
                size=size,
                sha256=sha256,
            )
        finally:
            os.close(directory)

    def stage(self) -> Stage:
        """Begin an object whose key is not known yet."""
        self._refuse_if_read_only()
        return FileStage(self._tree, self._attributes)

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Return None: nothing is copied without passing through this process."""
        del source, source_key, key, size, sha256
        return None

    def stored_sha256(self, key: str) -> str | None:
        """Return None: no checksum is kept beside the bytes."""
        self.head(key)
        return None

    def delete(self, key: str) -> None:
        """Remove `key`. Directories stay: another process may be about to write into them."""
        path, name = self._split_to_write(key)
        try:
            with self._tree.directory(path) as directory:
                with write_lock(self._tree, create=False):
                    os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            return
        except OSError as error:
            if error.errno not in MISSING:
                raise os_error(error, "delete", self.location, key=key, write=True) from error

    def barrier(self) -> None:
        """Wait until the file system has everything on its disk (syncfs)."""
        if self._writable:
            with translated("sync", self.location, write=True):
                self._tree.sync()

    def sweep_temporary(self, older_than_s: float = 86_400) -> int:
        """Remove temporary files that crashed runs left, and return how many.

        Args:
            older_than_s: seconds since the last write; a day is far beyond any that is alive.
        """
        self._refuse_if_read_only()
        return sweep(self._tree, self._before(older_than_s))

    def sweep_seen(self, older_than_s: float) -> int:
        """Remove the temporary files that listings came across, of killed writers."""
        if not self._writable:
            return 0
        self.scandir("")  # where objects begin whose name is not known yet
        return sweep_seen(self._tree, self._before(older_than_s))

    def _before(self, seconds: float) -> float:
        """Return the time so long ago, by the clock that files have their times from."""
        return self.now_ns() / 1e9 - seconds

    # The store as a whole

    def now_ns(self) -> int:
        """Return the time of the file system, which on a network is its server's.

        It is told from the file that was last written durably. What cannot be written has this
        machine's time.
        """
        if self._clock_offset_ns is None and self._writable:
            self._clock_offset_ns = 0
            # A full vault can still be read, and told who is at work in it.
            with suppress(ReadOnlyStoreError, StoreFullError):
                temporary = Temporary(self._tree, self._tree.fd, "", self._attributes)
                try:
                    temporary.write(b"\n")
                    self._observe(temporary.finish(sync=True).st_mtime_ns)
                finally:
                    temporary.discard()
        return time.time_ns() + (self._clock_offset_ns or 0)

    def _observe(self, written_ns: int) -> None:
        offset = written_ns - time.time_ns()
        self._clock_offset_ns = 0 if abs(offset) < _CLOCK_TOLERANCE_NS else offset

    def space(self) -> Space:
        """Return the free bytes and inodes of the root's file system."""
        with translated("look at", self.location):
            status = os.fstatvfs(self._tree.fd)
        inodes = status.f_favail if status.f_files else None
        return Space(status.f_bavail * status.f_frsize, inodes)

    def close(self) -> None:
        """Close the root."""
        self._tree.close()

    # Checks

    def _split(self, key: str) -> tuple[str, str]:
        if key.startswith(RESERVED) or f"/{RESERVED}" in key:
            raise StoreError(f"{key!r}: names with {RESERVED!r} are regvault's own", key=key)
        path, _, name = check_key(key).rpartition("/")
        return path, name

    def _split_to_write(self, key: str) -> tuple[str, str]:
        self._refuse_if_read_only(key)
        return self._split(key)

    def _refuse_if_read_only(self, key: str = "") -> None:
        if not self._writable:
            raise ReadOnlyStoreError(f"{self.location} was opened for reading only", key=key)

    def _refuse_non_file(self, key: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFoundError(f"no object {key!r} in {self.location}", key=key)
