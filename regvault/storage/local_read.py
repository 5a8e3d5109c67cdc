"""Reading a tree of files: streams, and listings in the order of keys."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from regvault.errors import StoreError
from regvault.model.store import Entry
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import MISSING, os_error, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from regvault.storage.local_tree import Tree

__all__ = ["FileReader", "Links", "etag_of", "scandir", "walk"]

# What a file of an attached or foreign disk may have besides, and only root may read.
_UNREADABLE_AT_ROOT = "lost+found"


def etag_of(status: os.stat_result) -> str:
    """Return an etag: every write of ours makes a new inode, so it changes with each."""
    return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"


class FileReader:
    """A stream over a range of an open file.

    It is seekable, `fileno` lets the kernel send the file, and it ends where the file ended when
    it was opened.
    """

    def __init__(self, fd: int, key: str, location: str, *, start: int, size: int) -> None:
        self._fd = fd
        self._key = key
        self._location = location
        self._start = start
        self._end = start + size
        self._position = start

    @property
    def size(self) -> int:
        """The bytes of the range."""
        return self._end - self._start

    def fileno(self) -> int:
        """Return the descriptor of the file; reading from it does not move this stream."""
        return self._fd

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position - self._start

    def seek(self, offset: int, /) -> int:
        """Go to `offset` bytes from the beginning of the stream."""
        self._position = self._start + offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        if self._fd < 0:
            raise StoreError(f"the stream of {self._key!r} is closed", key=self._key)
        left = max(0, self._end - self._position)
        want = left if size < 0 else min(size, left)
        with translated("read", self._location, key=self._key):
            data = os.pread(self._fd, want, self._position)
            self._position += len(data)
            while 0 < len(data) < want:
                more = os.pread(self._fd, want - len(data), self._position)
                if not more:
                    break
                self._position += len(more)
                data += more
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill `buffer`, unless the stream ends before."""
        if self._fd < 0:
            raise StoreError(f"the stream of {self._key!r} is closed", key=self._key)
        view = memoryview(buffer)[: max(0, self._end - self._position)]
        done = 0
        with translated("read", self._location, key=self._key):
            while done < len(view):
                count = os.preadv(self._fd, [view[done:]], self._position)
                if not count:
                    break
                done += count
                self._position += count
        return done

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Links(Protocol):
    """Files in whose place a link may lie that is not the file system's to follow."""

    def covers(self, key: str) -> bool:
        """Return whether a key is that of such a file."""

    def status(self, key: str) -> os.stat_result:
        """Return the status of the file itself, wherever it lies. Raises OSError, StoreError."""


class _Child(NamedTuple):
    order: bytes  # what it sorts by: a directory's keys all begin with its name and a slash
    name: str
    is_directory: bool


def scandir(tree: Tree, path: str, *, follow: bool | None = None) -> list[tuple[str, bool]]:
    """Return (name, is a directory) of everything in a directory, unsorted.

    A link that leads back to a directory on the way is no directory: a walk would not end.

    Args:
        tree: of the store.
        path: of the directory.
        follow: whether a link to a directory is one; None: as in the tree.
    """
    follow = tree.follow if follow is None else follow
    with tree.directory(path, listing=True) as fd:
        found: list[tuple[str, bool]] = []
        links: list[os.DirEntry[str]] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(RESERVED) and tree.is_reserved(path, name):
                    continue
                try:
                    is_directory = entry.is_dir(follow_symlinks=follow)
                except OSError:
                    is_directory = leads_to_directory(entry, follow=follow)
                if is_directory and entry.is_symlink():
                    links.append(entry)
                else:
                    found.append((name, is_directory))
        if links:
            above = _identities(tree, path)
            found += [(entry.name, _identity(entry.stat()) not in above) for entry in links]
        return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identities(tree: Tree, path: str) -> set[tuple[int, int]]:
    """Return what tells the directories apart that a path leads through, the root among them."""
    parts = path.split("/") if path else []
    found = {_identity(os.fstat(tree.fd))}
    for depth in range(1, len(parts) + 1):
        found.add(_identity(os.stat("/".join(parts[:depth]), dir_fd=tree.fd)))
    return found


def leads_to_directory(entry: os.DirEntry[str], *, follow: bool) -> bool:
    """Return whether an entry is a directory; a link to itself is nothing.

    Raises:
        OSError: it cannot be told.
    """
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _leads_to_file(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_file(follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _children(tree: Tree, fd: int, directory: str, start: str, links: Links | None) -> list[_Child]:
    """Return the objects and directories in `fd` whose names begin with `start`, in order."""
    base = f"{directory}/" if directory else ""
    children = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(start) or tree.is_reserved(directory, name):
                continue
            if links is not None and links.covers(base + name) and entry.is_symlink():
                children.append(_Child(os.fsencode(name), name, is_directory=False))
                continue
            is_directory = leads_to_directory(entry, follow=tree.follow)
            if is_directory or _leads_to_file(entry, follow=tree.follow):
                order = os.fsencode(name) + (b"/" if is_directory else b"")
                children.append(_Child(order, name, is_directory))
    children.sort()
    if not directory and os.geteuid() != 0:
        children = [c for c in children if not (c.is_directory and c.name == _UNREADABLE_AT_ROOT)]
    return children


def walk(
    tree: Tree, directory: str, start: str, after: bytes, links: Links | None = None
) -> Iterator[Entry]:
    """Yield the objects of `directory` whose names begin with `start`, in byte order of keys.

    The names of one directory for each level are held in memory, and its descriptor is held open.
    What vanishes meanwhile is left out.
    """
    yield from _walk(tree, directory, start, after, frozenset(), links)


def _walk(
    tree: Tree,
    directory: str,
    start: str,
    after: bytes,
    above: frozenset[tuple[int, int]],
    links: Links | None,
) -> Iterator[Entry]:
    base = f"{directory}/" if directory else ""
    base_order = os.fsencode(base)
    try:
        with tree.directory(directory, listing=True) as fd:
            if tree.follow:
                status = os.fstat(fd)
                identity = (status.st_dev, status.st_ino)
                if identity in above:  # a link to a directory that holds it
                    return
                above |= {identity}
            children = _children(tree, fd, directory, start, links)
            run: list[Entry] = []
            for child in children:
                order = base_order + child.order
                if child.is_directory:
                    yield from run
                    run.clear()
                    if order > after or after.startswith(order):
                        yield from _walk(tree, base + child.name, "", after, above, links)
                elif order > after:
                    entry = _entry(tree, fd, base, child.name, links)
                    if entry is not None:
                        run.append(entry)
                        if len(run) >= _RUN:
                            yield from run
                            run.clear()
            yield from run
    except OSError as error:
        if error.errno not in MISSING:
            raise os_error(error, "list", tree.location, key=directory) from error


# Files whose sizes are asked for in one go before the first of them is yielded.
_RUN = 256


def _entry(tree: Tree, fd: int, base: str, name: str, links: Links | None) -> Entry | None:
    """Return a file as LIST shows it, or None if it has gone or is no file any more."""
    try:
        if links is not None and links.covers(base + name):
            status = links.status(base + name)
        else:
            status = os.stat(name, dir_fd=fd, follow_symlinks=tree.follow)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(base + name, status.st_size, etag_of(status), status.st_mtime_ns)
