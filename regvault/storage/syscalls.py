"""Linux system calls that Python's `os` does not have."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

__all__ = ["rename_noreplace", "start_writing", "syncfs"]

_RENAME_NOREPLACE = 1
_SYNC_FILE_RANGE_WRITE = 2


@cache
def _function(name: str) -> ctypes._NamedFuncPointer | None:
    """Return a function of the C library, or None where it has none of this name."""
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError):
        return None


def syncfs(fd: int) -> None:
    """Write everything of the file system of `fd` to its disk.

    From Linux 5.8 on this also reports a write that failed since `fd` was opened. Where there is
    no syncfs all file systems are synced, which reports nothing.

    Raises:
        OSError: something could not be written.
    """
    function = _function("syncfs")
    if function is None:
        os.sync()
    elif function(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def start_writing(fd: int) -> None:
    """Let the disk begin to write what was written to a file, without waiting for it.

    A hint: `syncfs` then finds little left to do. It promises nothing, so what it answers is of no
    interest; a write that fails is reported by `syncfs`.
    """
    function = _function("sync_file_range")
    if function is not None:
        whole = ctypes.c_int64(0)
        function(fd, whole, whole, ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def rename_noreplace(directory: int, source: str, target: str) -> None:
    """Rename within the directory of the descriptor `directory`, unless `target` exists.

    Raises:
        FileExistsError: it exists.
        OSError: EINVAL or ENOSYS where the file system or the kernel cannot do it.
    """
    function = _function("renameat2")
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    old, new = os.fsencode(source), os.fsencode(target)
    if function(directory, old, directory, new, ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
