"""Where the vaults of a trial are: on its disk here, on S3 in `buckets`."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from asleep import Timeline

    from regvault.model.store import ObjectStore


class Place(Protocol):
    """Where vaults are.

    Attributes:
        environment: what processes need to get there.
    """

    environment: dict[str, str]

    def __init__(self, root: Path, timeline: Timeline) -> None:
        """Be a place of one trial, which has this directory and lives in this time."""

    def fill(self, name: str, source: Path) -> str:
        """Copy a vault out of a directory, as old as it is; return what a command calls it."""

    def copied(self, name: str) -> AbstractContextManager[ObjectStore]:
        """Give a copy of all that a vault has now."""

    def locked(self, name: str) -> bool:
        """Say whether someone holds the lock of the file system that swaps are made under."""

    def remove(self) -> None:
        """Forget all of it."""


class OnDisk:
    """Vaults in directories."""

    def __init__(self, root: Path, timeline: Timeline) -> None:
        del timeline  # processes read the times of files by it themselves
        self._root = root
        self.environment: dict[str, str] = {}

    def fill(self, name: str, source: Path) -> str:
        shutil.copytree(source, self._root / name)
        return str(self._root / name)

    @contextmanager
    def copied(self, name: str) -> Iterator[ObjectStore]:
        copy = self._root / f"copy-of-{name}"
        shutil.copytree(self._root / name, copy)
        store = LocalStore(str(copy))
        yield store
        store.close()
        shutil.rmtree(copy)

    def locked(self, name: str) -> bool:
        try:
            with (self._root / name / ".regvault-lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def remove(self) -> None:
        """Leave it to who removes the directory of the trial."""
