"""Who moves blobs now: one process for each registry, and for each blob one of its threads."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from regvault.errors import StoreUnavailableError
from regvault.storage import local_lock
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.storage.local_tree import Tree

__all__ = ["TURN_LOCK", "Turn"]

TURN_LOCK: Final = RESERVED + "cold-lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Turn:
    """The right to move blobs of a registry.

    Other processes wait while this one is at work; who dies gives it back.

    Args:
        tree: of the registry's root directory, where the lock file is.
        ended: is called when no thread moves any more, before others may.
    """

    def __init__(self, tree: Tree, ended: Callable[[], None]) -> None:
        self._tree = tree
        self._ended = ended
        self._lock = threading.Lock()
        self._idle = threading.Condition()
        self._busy: set[str] = set()
        self._count = 0
        self._fd = -1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Move, or clean up.

        Raises:
            StoreUnavailableError: another process is at work, for a minute already.
            StoreError: the file system cannot lock, or cannot be written.
        """
        with self._lock:
            if self._count == 0:
                self._fd = self._acquired()
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    fd, self._fd = self._fd, -1
                    try:
                        self._ended()
                    finally:
                        with suppress(OSError):  # nothing was written into it
                            os.close(fd)

    def _acquired(self) -> int:
        location = self._tree.location
        with translated("lock", location, write=True):
            fd = os.open(TURN_LOCK, _FLAGS, 0o644, dir_fd=self._tree.fd)
            try:
                locked = local_lock.locked_within(fd, local_lock.LOCK_WAIT_S)
            except BaseException:
                os.close(fd)
                raise
        if not locked:
            os.close(fd)
            raise StoreUnavailableError(
                f"another process moves blobs of {location} to or from its cold mounts",
                hint=f"Wait for it. To see which one, on its host: fuser"
                f" {location.removeprefix('file://')}/{TURN_LOCK}",
            )
        return fd

    @contextmanager
    def of(self, digest: str) -> Iterator[None]:
        """Work at one blob; other threads wait."""
        with self._idle:
            self._idle.wait_for(lambda: digest not in self._busy)
            self._busy.add(digest)
        try:
            yield
        finally:
            with self._idle:
                self._busy.discard(digest)
                self._idle.notify_all()
