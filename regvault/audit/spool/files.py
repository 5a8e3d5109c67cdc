"""Small files that are there whole or not at all, and the names of segments."""

from __future__ import annotations

import contextlib
import errno
import os
import re

from regvault.errors import RefusedError

__all__ = [
    "open_own",
    "own_directory",
    "read_own",
    "refused",
    "segment_name",
    "segments",
    "sync_directory",
    "write_whole",
]

_SEGMENT = re.compile(r"(\d{20})\.seg", re.ASCII)


def segment_name(first: int) -> str:
    """Return the name of the segment whose first record has this number."""
    return f"{first:020d}.seg"


def segments(directory: str) -> list[int]:
    """Return the first numbers of all segments, ascending."""
    matches = map(_SEGMENT.fullmatch, os.listdir(directory))
    return sorted(int(match[1]) for match in matches if match)


def open_own(path: str, flags: int) -> int:
    """Open a file of a spool, for this user alone; return its descriptor.

    Whoever may put names into the directory must not have other files read or written by ours.

    Raises:
        OSError: it cannot be opened; ELOOP: it is a symbolic link.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _link(path) from None
        raise


def refused(error: OSError) -> RefusedError | None:
    """Return what there is to say where an error is that of `open_own` on a symbolic link."""
    if error.errno != errno.ELOOP:
        return None
    return RefusedError(
        f"{error.filename}: {error.strerror}",
        hint="A spool has files of its own. Find out who put it there, and take it away.",
    )


def read_own(path: str, most: int = -1) -> bytes:
    """Return a file of a spool; `most`: bytes of it. Raises OSError, as `open_own` does."""
    with open(open_own(path, os.O_RDONLY), "rb") as file:
        return file.read(most)


def own_directory(path: str) -> str:
    """Return a directory in a spool. Raises OSError where it is a symbolic link."""
    if os.path.islink(path):
        raise _link(path)
    return path


def _link(path: str) -> OSError:
    return OSError(errno.ELOOP, f"{os.path.basename(path)} is a symbolic link", path)


def sync_directory(path: str) -> None:
    """Make names that were added to a directory, or taken from it, durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: str, data: bytes, *, previous: str | None = None) -> None:
    """Write a file atomically and durably.

    Args:
        path: where.
        data: all of it.
        previous: keep what is there now under this path.
    """
    temporary = f"{path}.tmp"
    fd = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    if previous is not None:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, previous)
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path))
