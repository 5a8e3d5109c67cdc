"""The directories below one root, reached without leaving it.

Each directory is opened part by part, relative to the descriptor of its parent and without
following links, so that no link that appears meanwhile leads elsewhere: a check before the use
could not promise that. It costs about a microsecond a part, less than a cache of descriptors
that threads would have to share. With `follow` the whole path is opened at once, as any reader
of a registry does.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from regvault.errors import StoreError, StoreMissingError
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import os_error
from regvault.storage.syscalls import syncfs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE_READ", "LOCK_NAME", "TEMPORARY_SUFFIX", "Tree"]

TEMPORARY_SUFFIX = ".tmp"
LOCK_NAME = RESERVED + "lock"

# O_NONBLOCK: a FIFO must not stop a run. It means nothing for a regular file.
FILE_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SEEN_AT_MOST = 10_000
_PASSAGE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Tree:
    """The directories of a local store.

    Attributes:
        fd: descriptor of the root. It stays open, so that syncfs reports every failed write
            since then.
        no_follow: os.O_NOFOLLOW, or 0 where links are followed.
        follow: whether links are followed.
        seen_temporary: (directory, name) of temporary files that listings came across.
    """

    def __init__(
        self,
        root: str,
        location: str,
        *,
        create: bool,
        follow: bool,
        dir_mode: int | None,
        root_mode: int | None,
        owner: tuple[int, int] | None,
    ) -> None:
        self.location = location
        self.follow = follow
        self.no_follow = 0 if follow else os.O_NOFOLLOW
        self._dir_mode = dir_mode
        self._owner = owner
        self._lock = threading.Lock()
        # Directories with a new entry that is not known to be on the disk, and its number.
        self._fresh: dict[str, int] = {}
        # (directory, name) of temporary files that were seen; those of killed writers stay.
        self.seen_temporary: set[tuple[str, str]] = set()
        self._made = 0
        self.fd = self._open_root(root, 0o777 if root_mode is None else root_mode, create=create)
        # One descriptor for each file system that was written to below the root.
        try:
            self._devices = {os.fstat(self.fd).st_dev: self.fd}
        except OSError as error:
            os.close(self.fd)
            raise os_error(error, "open", location, write=create) from error

    def _open_root(self, root: str, mode: int, *, create: bool) -> int:
        try:
            if create:
                os.makedirs(root, mode=mode, exist_ok=True)
            return os.open(root, _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
            raise StoreMissingError(
                f"{self.location} is not a directory"
                if os.path.lexists(root)
                else f"{self.location} does not exist",
                hint="check the path, and that its file system is mounted",
            ) from error
        except OSError as error:
            raise os_error(error, "open", self.location, write=create) from error

    def close(self) -> None:
        """Close all descriptors."""
        with self._lock:
            for fd in {self.fd, *self._devices.values()} - {-1}:
                os.close(fd)
            self._devices.clear()
            self.fd = -1

    def is_reserved(self, directory: str, name: str) -> bool:
        """Return whether a name is none of an object; remember it if it is a temporary file's."""
        if not name.startswith(RESERVED):
            return False
        if name.endswith(TEMPORARY_SUFFIX) and len(self.seen_temporary) < _SEEN_AT_MOST:
            self.seen_temporary.add((directory, name))
        return True

    @contextmanager
    def directory(self, path: str, *, create: bool = False, listing: bool = False) -> Iterator[int]:
        """Open the directory `path` for the time of the block; see `open_directory`."""
        fd = self.open_directory(path, create=create, listing=listing)
        try:
            yield fd
        finally:
            os.close(fd)

    def open_directory(self, path: str, *, create: bool = False, listing: bool = False) -> int:
        """Return a new descriptor of the directory `path`.

        Args:
            path: a checked key, or "" for the root.
            create: make what is missing of it.
            listing: the descriptor must serve for scandir, fsync or fchmod too, which needs the
                right to read the directory; else the right to pass through it is enough.

        Raises:
            OSError: it cannot be opened; ENOENT and ENOTDIR where there is no such directory.
            StoreError: a part of it is a symbolic link, and links are not followed.
        """
        flags = _DIRECTORY if create or listing else _PASSAGE
        if not path:
            return os.open(".", flags, dir_fd=self.fd)
        if self.follow:
            try:
                return os.open(path, flags, dir_fd=self.fd)
            except FileNotFoundError:
                if not create:
                    raise
        parts = path.split("/")
        fd = self.fd
        for depth, part in enumerate(parts):
            step = flags if create or depth == len(parts) - 1 else _PASSAGE
            try:
                below = self._step(fd, part, step, "/".join(parts[:depth]) if create else None)
            except OSError as error:
                raise self._explain(error, fd, part, path) from error
            finally:
                if fd != self.fd:
                    os.close(fd)
            fd = below
        return fd

    def _step(self, fd: int, part: str, flags: int, create_in: str | None) -> int:
        """Open one part below `fd`; make it where `create_in`, the path of its parent, is given."""
        try:
            return os.open(part, flags | self.no_follow, dir_fd=fd)
        except FileNotFoundError:
            if create_in is None:
                raise
        try:
            os.mkdir(part, 0o777 if self._dir_mode is None else self._dir_mode, dir_fd=fd)
            made = True
        except FileExistsError:
            made = False
        below = os.open(part, flags | self.no_follow, dir_fd=fd)
        if made:
            if self._dir_mode is not None:
                os.fchmod(below, self._dir_mode)
            if self._owner is not None:
                os.fchown(below, *self._owner)
            with self._lock:
                self._made += 1
                self._fresh[create_in] = self._made
        return below

    def make_directory(self, fd: int, path: str) -> bool:
        """Make `path` below the descriptor `fd`; return False where something is there.

        Its entry is durable after `sync`, not before. Raises OSError.
        """
        try:
            os.mkdir(path, 0o777 if self._dir_mode is None else self._dir_mode, dir_fd=fd)
        except FileExistsError:
            return False
        if self._dir_mode is not None:
            os.chmod(path, self._dir_mode, dir_fd=fd)
        if self._owner is not None:
            os.chown(path, *self._owner, dir_fd=fd, follow_symlinks=False)
        return True

    def _explain(self, error: OSError, fd: int, part: str, path: str) -> Exception:
        """Tell a link that is not followed from a directory that is not there."""
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and not self.follow:
            try:
                mode = os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode
            except OSError:
                return error
            if stat.S_ISLNK(mode):
                return StoreError(
                    f"{part!r} of {path!r} in {self.location} is a symbolic link",
                    key=path,
                    hint="links are not followed here: put the directory itself in its place",
                )
        return error

    def open_file(self, key: str) -> int:
        """Open a file for reading; it may turn out to be something else than a regular file.

        Raises:
            OSError: as os.open.
            StoreError: it is a symbolic link, and links are not followed.
        """
        if self.follow:
            return os.open(key, FILE_READ, dir_fd=self.fd)
        path, _, name = key.rpartition("/")
        with self.directory(path) as directory:
            try:
                return os.open(name, FILE_READ | self.no_follow, dir_fd=directory)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._explain(error, directory, name, key) from error
                raise

    def wrote(self, device: int, directory: int) -> None:
        """Remember that a file was written in the directory of the descriptor `directory`."""
        if device not in self._devices:
            with self._lock:
                if device not in self._devices:
                    self._devices[device] = os.open(".", _DIRECTORY, dir_fd=directory)

    def sync_parents(self, path: str, directory: int) -> None:
        """Make a new entry of the directory `path` durable, and those that lead to it.

        Raises:
            OSError: the disk did not take it.
        """
        os.fsync(directory)
        while path and self._fresh:
            path = path.rpartition("/")[0]
            number = self._fresh.get(path)
            if number is not None:
                with self.directory(path, listing=True) as fd:
                    os.fsync(fd)
                self._settle({path: number})

    def _settle(self, durable: dict[str, int]) -> None:
        """Forget entries that are on the disk now, but none that were made meanwhile."""
        with self._lock:
            for path, number in durable.items():
                if self._fresh.get(path) == number:
                    del self._fresh[path]

    def sync(self) -> None:
        """Make everything durable that was written below the root, by whomever.

        It never skips: objects of an earlier run that died may still be in memory only, and this
        run counts on those that it saw.

        Raises:
            OSError: a write failed since the store was opened.
        """
        with self._lock:
            fresh = dict(self._fresh)
            descriptors = list(self._devices.values())
        for fd in descriptors:
            syncfs(fd)
        self._settle(fresh)
