"""A scene whose vault, or whose registry, lies on a disk while one verb is at work."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from scene import CLOCK_NS
from world import tree

from regvault.storage.keys import RESERVED
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def fill(root: Path, store: MemoryStore) -> None:
    """Write all of a store below a directory, as long ago as its clock says."""
    for key, data in tree(store).items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(CLOCK_NS, CLOCK_NS))  # old enough for prune


def memory_of(name: str, files: dict[str, bytes], *, clock_ns: int | None = None) -> MemoryStore:
    """Return a store that holds these files; its clock shows `clock_ns` afterwards."""
    store = MemoryStore(name)
    for key, data in files.items():
        store.put(key, data)
    if clock_ns is not None:
        store.clock_ns = clock_ns
    return store


def opened(root: Path, patch: pytest.MonkeyPatch) -> LocalStore:
    """Open a directory as a store in which it is always CLOCK_NS."""
    store = LocalStore(str(root))
    patch.setattr(store, "now_ns", lambda: CLOCK_NS)
    return store


class Template:
    """A directory with the files of a store, of which copies are made and mended in no time.

    A copy is made of hard links: no store of ours writes into a file that has its name.
    """

    def __init__(self, root: Path, store: MemoryStore) -> None:
        self._root = str(root)
        root.mkdir()
        fill(root, store)
        found = sorted(root.rglob("*"))
        self._directories = {str(path.relative_to(root)) for path in found if path.is_dir()}
        files = {str(p.relative_to(root)): p for p in found if p.is_file()}
        self._inodes = {name: path.stat().st_ino for name, path in files.items()}
        self._bytes = {name: path.read_bytes() for name, path in files.items()}

    def copy(self, to: Path) -> None:
        """Make a copy at `to`, or make one again of what became of it."""
        for name in ("", *sorted(self._directories)):
            os.makedirs(f"{to}/{name}", exist_ok=True)
        there = dict(self._files(str(to)))
        for name, inode in self._inodes.items():
            if there.pop(name, None) != inode:
                with suppress(FileNotFoundError):
                    os.unlink(f"{to}/{name}")
                os.link(f"{self._root}/{name}", f"{to}/{name}")
        for name in there:
            os.unlink(f"{to}/{name}")
        for directory, _, _ in os.walk(to, topdown=False):
            name = os.path.relpath(directory, to)
            if name != "." and name not in self._directories:
                os.rmdir(directory)

    @staticmethod
    def _files(root: str) -> Iterator[tuple[str, int]]:
        """Yield path -> inode of all files of a copy."""
        for directory, _, names in os.walk(root):
            base = directory[len(root) + 1 :]
            for name in names:
                inode = os.stat(f"{directory}/{name}").st_ino
                yield f"{base}/{name}" if base else name, inode

    def files(self, root: Path) -> dict[str, bytes]:
        """Return path -> bytes of all objects in a copy; temporary files are none."""
        found = {}
        for name, inode in self._files(str(root)):
            if self._inodes.get(name) == inode:
                found[name] = self._bytes[name]
            elif not os.path.basename(name).startswith(RESERVED):
                found[name] = (root / name).read_bytes()
        return found
