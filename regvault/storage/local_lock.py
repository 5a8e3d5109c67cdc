"""The lock of a store on a file system, under which it swaps and deletes."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from regvault.errors import StoreError, StoreUnavailableError
from regvault.storage.local_errors import translated
from regvault.storage.local_tree import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.storage.local_tree import Tree

__all__ = ["LOCK_WAIT_S", "locked_within", "write_lock"]

# A swap takes milliseconds, on a busy file server a second. Who holds its lock for longer is
# stopped or hangs, and could hold up everybody else for ever.
LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.02


@contextmanager
def write_lock(tree: Tree, *, create: bool) -> Iterator[None]:
    """Hold the lock that compare-and-swap is done under, across threads and processes.

    Without `create` there is nothing to hold where no compare-and-swap ever was.

    Raises:
        StoreUnavailableError: another process holds it for a minute.
        StoreError: the file system cannot lock, with `create` only.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    fd = -1
    try:
        with translated("lock", tree.location, write=True):
            fd = os.open(LOCK_NAME, flags, 0o666, dir_fd=tree.fd)
            locked = locked_within(fd, LOCK_WAIT_S)
    except StoreError:
        if create:
            if fd >= 0:
                os.close(fd)
            raise
        locked = True
    try:
        if not locked:
            raise StoreUnavailableError(
                f"another process has held the lock of {tree.location} for {LOCK_WAIT_S:.0f} s",
                hint=f"Is one stopped, or on a host that hangs? On this host: fuser"
                f" {tree.location.removeprefix('file://')}/{LOCK_NAME}",
            )
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def locked_within(fd: int, seconds: float) -> bool:
    """Lock an open file; return whether that was possible within so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_POLL_S)
        else:
            return True
