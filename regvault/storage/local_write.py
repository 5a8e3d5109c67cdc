"""Writing files so that each appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import PreconditionError, StoreError, StoreUnavailableError
from regvault.model.store import Stored
from regvault.storage.keys import RESERVED, check_key
from regvault.storage.local_errors import MISSING, os_error, translated
from regvault.storage.local_read import FileReader, etag_of
from regvault.storage.local_tree import FILE_READ, TEMPORARY_SUFFIX
from regvault.storage.streams import page_buffer, pump
from regvault.storage.syscalls import bypass_cache, rename_noreplace, start_writing, use_cache

if TYPE_CHECKING:
    from regvault.model.store import ByteReader
    from regvault.storage.local_tree import Tree

__all__ = [
    "Attributes",
    "FileStage",
    "Temporary",
    "store_stream",
    "sweep",
    "sweep_seen",
]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
# What link(2) answers where there are no hard links.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
# Two writes within one tick of a file system's clock differ by a nanosecond of ours.
_TICK_NS = 20_000_000
# Files of this size and more go past the page cache; where they cannot, the disk begins with them
# at once, instead of at the barrier.
_LARGE = 1 << 20
# Small writes to a stage are gathered up to this size, in whole pages.
_STAGE_BUFFER = 512 << 10


class Attributes:
    """Mode and owner that files get; None where the process decides."""

    def __init__(self, mode: int | None, owner: tuple[int, int] | None) -> None:
        self.mode = mode
        self.owner = owner

    def apply(self, fd: int) -> None:
        """Give them to an open file."""
        if self.mode is not None:
            os.fchmod(fd, self.mode)
        if self.owner is not None:
            os.fchown(fd, *self.owner)


class Temporary:
    """A new file under a hidden name, until it is published by link or rename.

    Attributes:
        name: its name in the directory.
        directory: descriptor of the directory; it belongs to the caller.
        key: what it is to become, for messages.
        location: where its store is, for messages.
    """

    def __init__(self, tree: Tree, directory: int, key: str, attributes: Attributes) -> None:
        self.name = f"{RESERVED}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        self.directory = directory
        self._tree = tree
        self.key = key
        self.location = tree.location
        with translated("write", tree.location, key=key, write=True):
            self._fd = os.open(self.name, _NEW, 0o666, dir_fd=directory)
            try:
                attributes.apply(self._fd)
            except OSError:
                self.discard()
                raise
        self._direct = False

    def bypass_cache(self) -> None:
        """Write what follows past the page cache, where that can be done: before the first write.

        What is backed up once a day and hardly ever read should not drive the registry's own files
        out of memory; and memory that is new to a machine costs more than the disk.
        """
        self._direct = bypass_cache(self._fd)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`; past the cache only whole pages, from a buffer of whole pages."""
        with translated("write", self.location, key=self.key, write=True):
            if self._direct:
                view = memoryview(data)
                data = view[self._write_direct(view[: len(view) & -mmap.PAGESIZE]) :]
                if not data:
                    return
                # What is left is the end of the file, or nothing for the disk to take as it is.
                self._direct = False
                use_cache(self._fd)
            count = os.write(self._fd, data)
            if count < len(data):
                view = memoryview(data)
                while count < len(view):
                    count += os.write(self._fd, view[count:])

    def _write_direct(self, pages: memoryview) -> int:
        """Write whole pages; return how much of them was written."""
        count = 0
        try:
            while count < len(pages):
                count += os.write(self._fd, pages[count:])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return count

    def finish(self, *, sync: bool, newer_than: int | None = None) -> os.stat_result:
        """Close the file and return its status.

        Args:
            sync: whether to wait until its bytes are on the disk.
            newer_than: modification time (ns) of what it replaces. Within one tick of the clock
                the file gets one a nanosecond later, so that no etag ever comes back with an
                inode that is used again.
        """
        with translated("write", self.location, key=self.key, write=True):
            try:
                status = os.fstat(self._fd)
                if newer_than is not None and 0 <= newer_than - status.st_mtime_ns < _TICK_NS:
                    os.utime(self._fd, ns=(status.st_atime_ns, newer_than + 1))
                    status = os.fstat(self._fd)
                if sync:
                    os.fsync(self._fd)
                elif status.st_size >= _LARGE and not self._direct:
                    start_writing(self._fd)
            finally:
                fd, self._fd = self._fd, -1
                os.close(fd)
        self._tree.wrote(status.st_dev, self.directory)
        return status

    def publish(self, name: str, directory: int | None = None) -> None:
        """Rename the finished file to `name`, in another directory if one is given.

        Raises:
            OSError: it cannot be renamed.
        """
        target = self.directory if directory is None else directory
        try:
            os.rename(self.name, name, src_dir_fd=self.directory, dst_dir_fd=target)
        except FileNotFoundError:
            raise self._swept() from None

    def _swept(self) -> StoreError:
        """Return what there is to say of a file that somebody has removed meanwhile."""
        return StoreUnavailableError(
            f"the temporary file of {self.key!r} in {self.location} is gone",
            key=self.key,
            hint="Runs remove what was not written to for a day: did this one sleep? Run it again.",
        )

    def publish_new(self, name: str) -> None:
        """Give the finished file its name, unless the name is taken.

        Raises:
            PreconditionError: it is taken.
            StoreError: the file system knows neither of the two ways to do this atomically.
        """
        key, location = self.key, self.location
        try:
            self._link(name)
        except FileExistsError as error:
            raise PreconditionError(f"{key!r} is already in {location}", key=key) from error
        except FileNotFoundError:
            raise self._swept() from None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS):
                raise StoreError(
                    f"cannot create {key!r} in {location} only if it is not there yet",
                    key=key,
                    hint="this file system has neither hard links nor"
                    " renameat2(RENAME_NOREPLACE): keep the vault on another one",
                ) from error
            raise os_error(error, "write", location, key=key, write=True) from error

    def _link(self, name: str) -> None:
        at = self.directory
        try:
            os.link(self.name, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileExistsError:
            # NFS repeats a request whose answer was lost: then it is our own link.
            if not _same_file(self.name, name, at):
                raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            rename_noreplace(at, self.name, name)
            return
        os.unlink(self.name, dir_fd=at)

    def discard(self) -> None:
        """Remove it, whatever became of it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # a network file system reports lost bytes here, of no interest
                os.close(fd)
        with suppress(OSError):
            os.unlink(self.name, dir_fd=self.directory)


def _same_file(one: str, other: str, directory: int) -> bool:
    first = os.stat(one, dir_fd=directory, follow_symlinks=False)
    second = os.stat(other, dir_fd=directory, follow_symlinks=False)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def store_stream(
    temporary: Temporary, reader: ByteReader, name: str, *, size: int, sha256: str | None
) -> Stored:
    """Fill a temporary file from `reader` and rename it to `name`, or remove it.

    Raises:
        DigestMismatchError: size or digest are not as promised.
        StoreError: it cannot be written.
    """
    if size >= _LARGE:
        temporary.bypass_cache()
    try:
        digest = pump(reader, temporary.write, key=temporary.key, size=size, sha256=sha256)
        status = temporary.finish(sync=taken(name, temporary.directory))
        with translated("write", temporary.location, key=temporary.key, write=True):
            temporary.publish(name)
    except BaseException:
        temporary.discard()
        raise
    return Stored(etag_of(status), size, digest, "regvault")


def taken(name: str, directory: int) -> bool:
    """Return whether something has a name: what replaces it must be on the disk before.

    Else a power cut could leave the new name without its bytes, and the old bytes gone.
    """
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:  # whatever else is wrong, the rename will say
        return False
    return True


class FileStage:
    """An object that is written before its key is known; see `regvault.model.store.Stage`."""

    def __init__(self, tree: Tree, attributes: Attributes) -> None:
        self._tree = tree
        self._attributes = attributes
        self._digest = hashlib.sha256()
        self._size = 0
        self._buffer = page_buffer(_STAGE_BUFFER)
        self._filled = 0
        # In the root, because no directory is known yet.
        self._temporary: Temporary | None = Temporary(tree, tree.fd, "a new object", attributes)
        self._temporary.bypass_cache()

    def _open(self) -> Temporary:
        if self._temporary is None:
            raise StoreError("this stage has ended")
        return self._temporary

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append to the object."""
        temporary = self._open()
        count = len(data)
        room = _STAGE_BUFFER - self._filled
        if count < room:
            self._buffer[self._filled : self._filled + count] = data
            self._filled += count
        else:
            rest = memoryview(data)
            while rest:
                part = rest[: _STAGE_BUFFER - self._filled]
                self._buffer[self._filled : self._filled + len(part)] = part
                self._filled += len(part)
                rest = rest[len(part) :]
                if self._filled == _STAGE_BUFFER:
                    self._flush(temporary)
        self._size += count
        return count

    def _flush(self, temporary: Temporary) -> None:
        if self._filled:
            with self._buffer[: self._filled] as data:
                temporary.write(data)
                self._digest.update(data)
            self._filled = 0

    def sha256(self) -> str:
        """Return the hex SHA-256 of what was written so far."""
        if self._filled:
            self._flush(self._open())
        return self._digest.hexdigest()

    def commit(self, key: str) -> Stored:
        """Publish under `key`."""
        check_key(key)
        temporary = self._open()
        path, _, name = key.rpartition("/")
        try:
            self._flush(temporary)
            with translated("write", self._tree.location, key=key, write=True):
                with self._tree.directory(path, create=True) as directory:
                    status = temporary.finish(sync=taken(name, directory))
                    try:
                        temporary.publish(name, directory)
                    except OSError as error:
                        if error.errno != errno.EXDEV:
                            raise
                        return self._copy(temporary, key, name, directory)
        finally:
            self.abort()
        return Stored(etag_of(status), self._size, self.sha256(), "regvault")

    def _copy(self, temporary: Temporary, key: str, name: str, directory: int) -> Stored:
        """Publish in a directory that another file system is mounted on."""
        fd = os.open(temporary.name, FILE_READ, dir_fd=temporary.directory)
        with FileReader(fd, key, self._tree.location, start=0, size=self._size) as reader:
            copy = Temporary(self._tree, directory, key, self._attributes)
            return store_stream(copy, reader, name, size=self._size, sha256=self.sha256())

    def abort(self) -> None:
        """Throw it away."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.discard()


def sweep(tree: Tree, before: float) -> int:
    """Remove temporary files that were last written to before a time, in seconds.

    Directories that cannot be read are left out.

    Returns:
        How many were removed.
    """
    removed = 0
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            with tree.directory(path, listing=True) as fd:
                with os.scandir(fd) as entries:
                    found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
                for name, is_directory in found:
                    if is_directory:
                        pending.append(f"{path}/{name}" if path else name)
                    elif name.startswith(RESERVED) and name.endswith(TEMPORARY_SUFFIX):
                        removed += _remove_if_old(name, fd, before)
        except OSError as error:
            if error.errno not in MISSING | {errno.EACCES, errno.EPERM}:
                raise os_error(error, "sweep", tree.location, key=path, write=True) from error
    return removed


def sweep_seen(tree: Tree, before: float) -> int:
    """Do the same with those that listings came across; what cannot be removed stays."""
    seen, tree.seen_temporary = tree.seen_temporary, set()
    removed = 0
    for path, name in seen:
        with suppress(OSError, StoreError), tree.directory(path) as fd:
            removed += _remove_if_old(name, fd, before)
    return removed


def _remove_if_old(name: str, directory: int, before: float) -> int:
    try:
        if os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > before:
            return 0
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return 0
    return 1
