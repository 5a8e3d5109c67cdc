"""What stores hold at a moment, and the memory store that works on it."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

from regvault.model.store import Stored
from regvault.storage.memory import MemoryStore, _Object


class Shelf(NamedTuple):
    """What one store holds. Never changed once it was made.

    Attributes:
        objects: by key.
        writes: how often each key was written: so an etag tells nothing of other keys.
        mark: a hash of both.
    """

    objects: dict[str, _Object]
    writes: dict[str, int]
    mark: int


class Model(MemoryStore):
    """The memory store, over whatever a shelf holds; its clock stands still while it writes."""

    def _store(self, key: str, data: bytes, sha256: str) -> Stored:
        self.writes[key] = number = self.writes.get(key, 0) + 1
        self._objects[key] = _Object(data, f"{number}", self.clock_ns)
        return Stored(f"{number}", len(data), sha256, "regvault")

    def load(self, shelf: Shelf, clock_ns: int) -> None:
        self._objects, self.writes, self.clock_ns = shelf.objects, shelf.writes, clock_ns


def shelf_of(store: MemoryStore) -> Shelf:
    """Return what a store holds, as if each key had been written once."""
    objects = {
        key: _Object(item.data, "1", item.modified_ns) for key, item in store._objects.items()
    }
    mark = 0
    for key, item in objects.items():
        mark ^= hash((key, item, 1))
    return Shelf(objects, dict.fromkeys(objects, 1), mark)


def mark_of(shelf: Shelf, key: str) -> int:
    writes = shelf.writes.get(key)
    return hash((key, shelf.objects.get(key), writes)) if writes else 0


def do(model: Model, verb: str, key: str, more: tuple[Any, ...]) -> Any:
    if verb == "get":
        return model.get(key, start=more[0], length=more[1])
    if verb == "head":
        return model.head(key)
    if verb == "list":
        return tuple(model.list(key, after=more[0]))
    if verb == "list_prefixes":
        return tuple(model.list_prefixes(key))
    if verb == "put":
        return model.put(key, more[0], if_none_match=more[1], if_match=more[2])
    if verb == "put_stream":
        return model.put_stream(key, BytesIO(more[0]), size=more[1], sha256=more[2])
    if verb == "delete":
        return model.delete(key)
    assert verb == "now_ns", verb
    return model.now_ns()
