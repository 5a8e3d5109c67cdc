"""Small files that are there whole or not at all, and the names of segments."""

from __future__ import annotations

import contextlib
import os
import re

__all__ = ["segment_name", "segments", "sync_directory", "write_whole"]

_SEGMENT = re.compile(r"(\d{20})\.seg", re.ASCII)


def segment_name(first: int) -> str:
    """Return the name of the segment whose first record has this number."""
    return f"{first:020d}.seg"


def segments(directory: str) -> list[int]:
    """Return the first numbers of all segments, ascending."""
    matches = map(_SEGMENT.fullmatch, os.listdir(directory))
    return sorted(int(match[1]) for match in matches if match)


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
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
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
