"""One cold mount, as it is reached from this host."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from regvault.errors import StoreError, StoreUnavailableError
from regvault.storage.cold_binding import bound_to
from regvault.storage.local_errors import MISSING, translated
from regvault.storage.local_tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.storage.cold_binding import Bound

__all__ = ["ColdRoot"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class ColdRoot:
    """A cold mount that a registry has; opened when something in it is asked for. Thread-safe.

    Below it no link is followed. What lies in a mount that is not there is unavailable, never gone.

    Attributes:
        bound: its name, its paths, and its id.
        location: for messages.
    """

    def __init__(self, bound: Bound, registry: str) -> None:
        """Take the mount `bound` of the registry at the location `registry`."""
        self.bound = bound
        self.location = f"the cold mount {bound.name} (file://{bound.path})"
        self._registry = registry
        self._lock = threading.Lock()
        self._tree: Tree | None = None

    @property
    def name(self) -> str:
        """Its name, which is the storage class of what lies there."""
        return self.bound.name

    def tree(self) -> Tree:
        """Return its directories.

        Raises:
            StoreUnavailableError: it is away, or another directory is in its place.
        """
        with self._lock, translated("open", self.location):
            if self._tree is None:
                place = self.check()
                tree = Tree(
                    self.bound.path,
                    self.location,
                    create=False,
                    follow=False,
                    dir_mode=None,
                    root_mode=None,
                    owner=None,
                )
                if _place(os.fstat(tree.fd)) != place:
                    tree.close()
                    raise self._away("it was just mounted or unmounted")
                self._tree = tree
            return self._tree

    def check(self) -> tuple[int, int]:
        """Look whether the mount is there now; return what its directory is known by.

        Raises:
            StoreUnavailableError: it is not.
        """
        problem = "there is no such directory"
        try:
            directory = os.open(self.bound.path, _DIRECTORY)
            try:
                found = bound_to(directory, f"file://{self.bound.path}")
                place = _place(os.fstat(directory))
            finally:
                os.close(directory)
        except OSError as error:
            if error.errno not in MISSING:
                problem = os.strerror(error.errno or 0)
        except StoreError as error:
            problem = error.message
        else:
            if found == (self.bound.name, self.bound.id):
                return place
            problem = "it is another directory" if found else "the directory is not it"
        raise self._away(problem)

    def _away(self, problem: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self.location} of {self._registry} is away: {problem}",
            hint="Mount it. If it is elsewhere on this host: registries.NAME.cold in the "
            "configuration. If it is lost: restore-runbooks/cold-mount-lost.md",
        )

    def problem(self) -> str:
        """Return why the mount cannot be read now, or ""."""
        try:
            self.check()
        except StoreUnavailableError as error:
            return error.message
        return ""

    @contextmanager
    def asked(self) -> Iterator[Tree]:
        """Give its directories; if something is not there, or fails, the mount may be away.

        Raises:
            StoreUnavailableError: it is.
            OSError: what was asked for is not there, or cannot be had, while the mount is there.
        """
        tree = self.tree()
        try:
            yield tree
        except OSError:
            if self.check() != _place(os.fstat(tree.fd)):
                raise self._away("it was mounted anew") from None
            raise

    def open_file(self, key: str) -> int:
        """Return a descriptor of a file below it. Raises OSError, StoreError."""
        with self.asked() as tree:
            return tree.open_file(key)

    def stat_file(self, key: str) -> os.stat_result:
        """Return the status of a file below it. Raises OSError, StoreError."""
        path, _, name = key.rpartition("/")
        with self.asked() as tree, tree.directory(path) as directory:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            tree, self._tree = self._tree, None
        if tree is not None:
            tree.close()
