"""What the operating system answers, told as errors of a store."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    ReadOnlyStoreError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MISSING", "os_error", "translated"]

# A name that is not there, or that lies below something that is not a directory.
MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_GONE = frozenset(
    {
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENOTCONN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EREMOTEIO,
        errno.ESHUTDOWN,
    }
)
_TABLE_FULL = frozenset({errno.EMFILE, errno.ENFILE})

_HINTS = {
    errno.EIO: "the disk or its connection fails: look at the kernel log (dmesg) first",
    errno.ELOOP: "symbolic links are not followed here",
    errno.EISDIR: "a file system cannot hold an object and a directory of one name",
    errno.ENOTDIR: "a file system cannot hold an object and a directory of one name",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EFBIG: "the file system or `ulimit -f` does not allow a file of this size",
}


def os_error(
    error: OSError, what: str, location: str, *, key: str = "", write: bool = False
) -> StoreError:
    """Translate an error of the operating system.

    Args:
        error: what was raised.
        what: the verb that failed, for the message.
        location: where the store is.
        key: the key, or "" where the whole store is meant.
        write: whether it was a write: then missing rights mean a store that cannot be written.
    """
    code = error.errno or 0
    where = f"{key!r} in {location}" if key else location
    message = f"cannot {what} {where}: {os.strerror(code) if code else error}"
    if code in MISSING and not write:
        return ObjectNotFoundError(f"no object {where}", key=key)
    if code == errno.EROFS:
        return ReadOnlyStoreError(message, key=key, hint="it is mounted read-only")
    if code in _DENIED:
        hint = f"check owner and mode for user id {os.geteuid()}"
        kind = ReadOnlyStoreError if write else StoreAccessError
        return kind(message, key=key, hint=hint)
    if code in _FULL:
        hint = "free some space or inodes (`df -h`, `df -i`), or raise the quota"
        return StoreFullError(message, key=key, hint=hint)
    if code in _GONE:
        return StoreUnavailableError(message, key=key, hint="check that it is still mounted")
    if code in _TABLE_FULL:
        hint = "raise the limit of open files (`ulimit -n`)"
        return StoreUnavailableError(message, key=key, hint=hint)
    return StoreError(message, key=key, hint=_HINTS.get(code))


class translated:  # noqa: N801  (a block of this name, as contextlib's are)
    """Turn an OSError of the block into an error of the store (see `os_error`).

    A class: around each read and write, a generator would take as long as they do.
    """

    __slots__ = ("_key", "_location", "_what", "_write")

    def __init__(self, what: str, location: str, *, key: str = "", write: bool = False) -> None:
        self._what = what
        self._location = location
        self._key = key
        self._write = write

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            what, where = self._what, self._location
            raise os_error(error, what, where, key=self._key, write=self._write) from error
