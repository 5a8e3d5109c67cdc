"""What `doctor` asks a file system about the directory of a store."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from regvault.errors import StoreMissingError
from regvault.model.doctor import Above, Asked, DiskFacts
from regvault.storage.local_errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.storage.local import LocalStore

__all__ = ["DirectoryProbe", "file_system_type", "look_above", "nearest"]

_OCTAL = re.compile(rb"\\([0-7]{3})")


class DirectoryProbe:
    """Probes of one local store (implements StoreProbe)."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def reach(self) -> Asked[bool]:
        """List the directory itself."""
        self._store.scandir("")
        return Asked(True)

    def look(self) -> DiskFacts:
        """Ask for space, inodes, permissions, and what kind of file system it is."""
        return _facts(self._store.root, self._store.location)

    def try_writes(self, key: Callable[[], str]) -> None:
        """Do nothing: a file system has no more than what every store has."""

    def sweep(self, keys: Iterable[str]) -> None:
        """Do nothing: what is deleted is gone."""


def look_above(path: str) -> Above:
    """Look at where a directory is to be made. Raises StoreMissingError; see `nearest`."""
    found = nearest(path)
    writable = os.access(found, os.W_OK | os.X_OK, effective_ids=True)
    return Above(found, _facts(found, f"file://{found}"), writable)


def nearest(path: str) -> str:
    """Return the nearest directory that exists, at a path or above it.

    Raises:
        StoreMissingError: something that is no directory is in the way.
    """
    found = os.path.abspath(path)
    while not os.path.isdir(found):
        if os.path.lexists(found):
            raise StoreMissingError(
                f"file://{found} is not a directory", hint="Name another place, or move it away."
            )
        found = os.path.dirname(found)
    return found


def _facts(path: str, location: str) -> DiskFacts:
    root = os.path.realpath(path)
    with translated("look at", location):
        status = os.statvfs(root)
        mode = stat.S_IMODE(os.stat(root).st_mode)
    return DiskFacts(
        free_bytes=status.f_bavail * status.f_frsize,
        total_bytes=status.f_blocks * status.f_frsize,
        free_inodes=status.f_favail if status.f_files else None,
        total_inodes=status.f_files or None,
        kind=file_system_type(root),
        mode=mode,
        closed_above=_closed_above(root),
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )


def _closed_above(path: str) -> bool:
    """Return whether some directory above `path` lets no one else pass."""
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        try:
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return True
        except OSError:
            return True
    return False


def file_system_type(path: str) -> str:
    """Return the type of the file system that the real path `path` is in, or "".

    By mount points (proc(5), mountinfo): device numbers are not those of stat(2) everywhere.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.readlines()
    except OSError:
        return ""
    wanted, found, longest = os.fsencode(path), b"", -1
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields.split(b" ")[4])
        inside = wanted == point or wanted.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= longest:  # a later mount hides an earlier one
            longest, found = len(point), rest.split(b" ")[0]
    return found.decode("ascii", "replace")
