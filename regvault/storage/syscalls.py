"""Linux system calls that Python's `os` does not have."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from functools import cache

__all__ = [
    "bypass_cache",
    "rename_noreplace",
    "start_writing",
    "sync_directory",
    "syncfs",
    "use_cache",
]

_RENAME_NOREPLACE = 1
_SYNC_FILE_RANGE_WRITE = 2
# Where O_DIRECT is what it was made for (statfs(2): EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC). Others take
# a round trip for each write (NFS), copy anyway, or refuse it.
_DIRECT = frozenset({0xEF53, 0x58465342})
_NOTHING_TO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


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


def sync_directory(fd: int) -> None:
    """Make the names in a directory durable, where its file system has something to do for that.

    Raises:
        OSError: the disk did not take it.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        # A mount of object storage: there are no directories.
        if error.errno not in _NOTHING_TO_SYNC:
            raise


def start_writing(fd: int) -> None:
    """Let the disk begin to write what was written to a file, without waiting for it.

    A hint: `syncfs` then finds little left to do. It promises nothing, so what it answers is of no
    interest; a write that fails is reported by `syncfs`.
    """
    function = _function("sync_file_range")
    if function is not None:
        whole = ctypes.c_int64(0)
        function(fd, whole, whole, ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))


def bypass_cache(fd: int) -> bool:
    """Let writes to a file go past the page cache, where its file system does that well.

    From then on data must begin at a page of memory and of the file, and be whole pages.

    Returns:
        Whether they do.
    """
    function = _function("fstatfs") if sys.platform == "linux" else None
    status = ctypes.create_string_buffer(512)  # f_type is the first word of it
    if function is None or function(fd, status) != 0:
        return False
    if ctypes.c_long.from_buffer(status).value not in _DIRECT:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    except OSError:
        return False
    return True


def use_cache(fd: int) -> None:
    """Let writes to a file go to the page cache again."""
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)


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
