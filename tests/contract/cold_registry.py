"""A registry's directory with a cold mount, for tests."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from regvault.registry.layout import BLOBS, blob_key
from regvault.storage.cold_bind import bind
from regvault.storage.cold_binding import bindings_of
from regvault.storage.local_cold import ColdStore

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Mounted:
    """A registry at `<directory>/registry` and its cold mount `hdd` at `<directory>/hdd`.

    Attributes:
        root, cold: their paths.
    """

    def __init__(self, directory: Path, *, seen: str | None = None) -> None:
        self.root = directory / "registry"
        self.cold = directory / "hdd"
        self.seen = seen or str(self.cold)
        self.root.mkdir(exist_ok=True)
        self.cold.mkdir()
        bind(str(self.root), "hdd", str(self.cold), seen, same_disk=True)
        self._open: list[ColdStore] = []

    def store(self, **words: Any) -> ColdStore:
        store = ColdStore(self.root, bindings_of(str(self.root)), blobs=BLOBS, **words)
        self._open.append(store)
        return store

    def reader(self) -> ColdStore:
        """As a snapshot reads it."""
        return self.store(follow_symlinks=True, writable=False, movable=False)

    def close(self) -> None:
        for store in self._open:
            store.close()

    def push(self, data: bytes, algorithm: str = "sha256") -> str:
        """Write a blob as a registry does; return its key."""
        key = blob_key(digest_of(data, algorithm))
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return key

    def hot(self, key: str) -> Path:
        return self.root / key

    def cold_file(self, key: str) -> Path:
        return self.cold / "blobs" / key.removeprefix(BLOBS)

    def journal(self) -> list[bytes]:
        path = self.root / "regvault-cold-hdd.journal"
        return path.read_bytes().splitlines() if path.exists() else []


def move(store: ColdStore, key: str, storage_class: str) -> Any:
    return store.change_class(key, storage_class, expected=store.placement(key))


def temporary_files(*roots: Path) -> list[str]:
    return [
        os.path.join(path, name)
        for root in roots
        for path, _, names in os.walk(root)
        for name in names
        if name.endswith(".tmp")
    ]
