"""A registry and a vault whose objects lie in classes, for tests of tiering a vault."""

from __future__ import annotations

from typing import Any

from world import World, noise

from regvault.storage.memory_classes import ClassedMemoryStore

MIB = 1 << 20
DAY_NS = 86_400 * 10**9
CLASSES = ("STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
DATA = ("blobs/", "packs/")


class Shelved(World):
    """A `World` whose vault lies in a store with classes."""

    def __init__(self, **more: Any) -> None:
        store = ClassedMemoryStore(
            "vault", classes=CLASSES, archives=("GLACIER", "DEEP_ARCHIVE")
        )
        super().__init__(store=store, **more)

    def image(self, repository: str, *tags: str, size: int = 2 * MIB, word: object = "") -> Any:
        """Push an image of a raw blob, and a small layer that goes into a pack."""
        layers = noise(size, repository, tags, word), noise(5000, "small", repository, tags, word)
        return self.push.image(repository, *tags, layers=layers)

    def shelf(self, *prefixes: str) -> dict[str, str]:
        """Every object of data with its class."""
        return {
            entry.key: name
            for prefix in prefixes or DATA
            for entry, name in self.store.list_classes(prefix)
        }

    def archive(self, *keys: str, name: str = "GLACIER") -> None:
        """Put objects into an archive behind everybody's back."""
        for key in keys:
            self.store.change_class(key, name, expected=self.store.placement(key))

    def needs(self, sequence: int | None = None) -> set[str]:
        """Keys of the data that a snapshot needs."""
        objects = self.vault().object_list(self.root(sequence))
        return {ref.key for ref in objects if ref.key.startswith(DATA)}

    def later(self, days: float) -> None:
        """Let time pass."""
        self.store.clock_ns += int(days * DAY_NS)


__all__ = ["CLASSES", "DATA", "DAY_NS", "MIB", "Shelved"]
