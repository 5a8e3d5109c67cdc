"""Questions in bulk about what lies below one directory of a tree of files."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from regvault.storage.keys import check_name
from regvault.storage.local_errors import MISSING, os_error
from regvault.storage.local_tree import FILE_READ

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.storage.local_tree import Tree

__all__ = ["NOT_THERE", "read_children", "stat_below", "stat_children"]


def stat_children(
    tree: Tree, directory: str, leaf: str, names: Iterable[str]
) -> list[tuple[str, int, int, int]]:
    """Return (name, size, mtime in ns, inode) of `<directory>/<name>/<leaf>` for each name.

    Size is -1 where there is no such file. Any other error of a name raises: then ask singly.
    """
    found: list[tuple[str, int, int, int]] = []
    want = stat.S_IFDIR if not leaf or leaf.endswith("/") else stat.S_IFREG
    follow = tree.follow
    try:
        with tree.directory(directory) as fd:
            for name in names:
                if "/" in name or "\0" in name or name in _DOTS:
                    check_name(name)
                try:
                    if follow:
                        status = os.stat(f"{name}/{leaf}", dir_fd=fd)
                    else:
                        status = stat_below(name, leaf, fd)
                except OSError as error:
                    if error.errno not in NOT_THERE:
                        raise
                    found.append((name, -1, 0, 0))
                    continue
                if status.st_mode & _TYPE == want:
                    found.append((name, status.st_size, status.st_mtime_ns, status.st_ino))
                else:
                    found.append((name, -1, 0, 0))
    except OSError as error:
        if error.errno not in MISSING:
            raise os_error(error, "look into", tree.location, key=directory) from error
        return [(name, -1, 0, 0) for name in names]
    return found


_DOTS = frozenset({"", ".", ".."})
_TYPE = 0o170000
NOT_THERE = MISSING | {errno.ELOOP, errno.EISDIR, errno.EAGAIN}
_PART = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


def _below(name: str, leaf: str, fd: int) -> tuple[int, str]:
    """Open the directory of `<name>/<leaf>` without following a link."""
    *parts, last = f"{name}/{leaf}".rstrip("/").split("/")
    below = fd
    for part in parts:
        try:
            step = os.open(part, _PART, dir_fd=below)
        finally:
            if below != fd:
                os.close(below)
        below = step
    return below, last


def stat_below(name: str, leaf: str, fd: int) -> os.stat_result:
    """Return the status of `<name>/<leaf>` below a directory; no link is followed."""
    below, last = _below(name, leaf, fd)
    try:
        return os.stat(last, dir_fd=below, follow_symlinks=False)
    finally:
        if below != fd:
            os.close(below)


def _open_below(name: str, leaf: str, fd: int) -> int:
    below, last = _below(name, leaf, fd)
    try:
        return os.open(last, FILE_READ | os.O_NOFOLLOW, dir_fd=below)
    finally:
        if below != fd:
            os.close(below)


def _read(file: int, limit: int) -> bytes:
    """Return the content of a file, at most `limit` bytes: a read may bring less than there is."""
    data = os.read(file, limit)
    while 0 < len(data) < limit and (more := os.read(file, limit - len(data))):
        data += more
    return data


def read_children(
    tree: Tree, directory: str, leaf: str, names: Iterable[str], *, limit: int
) -> list[tuple[str, bytes | None]]:
    """Return (name, content) of `<directory>/<name>/<leaf>`, at most `limit` bytes each.

    With an empty `leaf` the names are those of files. Content is None where there is no such
    file. Any other error of a name raises: then ask singly.
    """
    found: list[tuple[str, bytes | None]] = []
    follow = tree.follow
    below = f"/{leaf}" if leaf else ""
    try:
        with tree.directory(directory) as fd:
            for name in names:
                if "/" in name or "\0" in name or name in _DOTS:
                    check_name(name)
                try:
                    if follow:
                        file = os.open(name + below, FILE_READ, dir_fd=fd)
                    else:
                        file = _open_below(name, leaf, fd)
                    try:
                        found.append((name, _read(file, limit)))
                    finally:
                        os.close(file)
                except OSError as error:
                    if error.errno not in NOT_THERE:
                        raise
                    found.append((name, None))
    except OSError as error:
        if error.errno not in MISSING:
            raise os_error(error, "look into", tree.location, key=directory) from error
        return [(name, None) for name in names]
    return found
