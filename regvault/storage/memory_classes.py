"""A store in memory with storage classes: what tests of tiering run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regvault.errors import ObjectArchivedError, PreconditionError, StoreError
from regvault.model.classes import Moved, Placement
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import Entry

__all__ = ["ClassedMemoryStore"]

_DAY_NS: Final = 86_400 * 10**9


class ClassedMemoryStore(MemoryStore):
    """A `MemoryStore` whose objects lie in classes; what is written goes into the first one.

    Attributes:
        classes: their names.
        archives: those of which nothing can be read before it is thawed.
        requests: the (key, way, days) that were thawed, in order.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        classes: Iterable[str] = ("STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER"),
        archives: Iterable[str] = ("GLACIER",),
    ) -> None:
        super().__init__(name)
        self.classes = tuple(classes)
        self.archives = frozenset(archives)
        self.requests: list[tuple[str, str, int]] = []
        self._class_of: dict[str, tuple[str, str]] = {}
        self._thawing: dict[str, int] = {}
        self._thawed: dict[str, int] = {}

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `key`, or a range of them, unless it is archived."""
        if self.placement(key).archived:
            raise ObjectArchivedError(f"{key!r} in {self.location} is archived", key=key)
        return super().get(key, start=start, length=length)

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        """Yield what `list` does, each with the name of its class."""
        return ((entry, self._class(entry)) for entry in self.list(prefix, after=after))

    def _class(self, entry: Entry) -> str:
        # What is written anew is hot, whatever was there.
        etag, name = self._class_of.get(entry.key, ("", ""))
        return name if etag == entry.etag else self.classes[0]

    def placement(self, key: str) -> Placement:
        """Return in which class an object lies."""
        entry = self.head(key)
        storage_class = self._class(entry)
        if storage_class not in self.archives:
            return Placement(entry, storage_class)
        until = self._thawed.get(key)
        until = until if until is not None and until > self.clock_ns else None
        thawing = key in self._thawing
        return Placement(entry, storage_class, until is None, thawing, until)

    def change_class(self, key: str, storage_class: str, *, expected: Placement) -> Moved:
        """Move an object to another class."""
        seen = self.placement(key)
        if (seen.entry.size, seen.entry.etag) != (expected.entry.size, expected.entry.etag):
            raise PreconditionError(f"{key!r} in {self.location} is not what it was", key=key)
        if storage_class not in self.classes:
            raise StoreError(f"{self.location} has no class {storage_class}", key=key)
        if seen.storage_class == storage_class:
            return Moved(seen, None)
        data = self.get(key)
        stored = self.put(key, data)
        self._class_of[key] = stored.etag, storage_class
        self._thawing.pop(key, None)
        self._thawed.pop(key, None)
        return Moved(self.placement(key), stored.sha256)

    def thaw(self, key: str, *, way: str, days: int) -> None:
        """Ask for an archived object to be brought back: `finish_thaws` does it."""
        if self.placement(key).storage_class not in self.archives:
            raise StoreError(f"{key!r} in {self.location} is not archived", key=key)
        self.requests.append((key, way, days))
        self._thawing[key] = days

    def finish_thaws(self, keys: Iterable[str] | None = None) -> None:
        """Bring back what was asked for; of these keys only, if some are given."""
        for key in list(self._thawing) if keys is None else list(keys):
            self._thawed[key] = self.clock_ns + self._thawing.pop(key) * _DAY_NS
