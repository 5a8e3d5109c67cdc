"""A store in memory: the model of the contract, and what tests run on.

It is deterministic: its clock stands still except that each write moves it by one millisecond,
and an etag is the number of the write.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, PreconditionError, StoreError
from regvault.model.store import Entry, Space, Stored
from regvault.storage.keys import check_directory, check_key, check_prefix
from regvault.storage.streams import BytesReader, check_range, pump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import ByteReader, ObjectStore, SizedReader, Stage

__all__ = ["MemoryStore"]

_START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
_TICK_NS = 1_000_000


class _Object(NamedTuple):
    data: bytes
    etag: str
    modified_ns: int


class MemoryStore:
    """A dictionary with the manners of an object store.

    Attributes:
        clock_ns: the store's time; set it to travel.
    """

    def __init__(self, name: str = "memory", *, clock_ns: int = _START_NS) -> None:
        self.clock_ns = clock_ns
        self._name = name
        self._objects: dict[str, _Object] = {}
        self._writes = 0
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """Where this is, for messages."""
        return f"memory://{self._name}"

    def _find(self, key: str) -> _Object:
        found = self._objects.get(check_key(key))
        if found is None:
            raise ObjectNotFoundError(f"no object {key!r} in {self.location}", key=key)
        return found

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `key`, or a range of them."""
        check_range(start, length)
        data = self._find(key).data
        if start < 0:
            return data[max(0, len(data) + start) :]
        return data[start:] if length is None else data[start : start + length]

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Return a stream over the same bytes."""
        return BytesReader(self.get(key, start=start, length=length))

    def head(self, key: str) -> Entry:
        """Return what LIST would say of `key`."""
        found = self._find(key)
        return Entry(key, len(found.data), found.etag, found.modified_ns)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield the objects below `prefix` as they are at the first step."""
        check_prefix(prefix)
        return self._list(prefix, _order(after))

    def _list(self, prefix: str, after: bytes) -> Iterator[Entry]:
        with self._lock:
            found = [(k, o) for k, o in self._objects.items() if k.startswith(prefix)]
        found.sort(key=lambda item: _order(item[0]))
        for key, item in found:
            if _order(key) > after:
                yield Entry(key, len(item.data), item.etag, item.modified_ns)

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix` that hold further keys."""
        directory = check_directory(prefix)
        base = f"{directory}/" if directory else ""
        with self._lock:
            rests = [key[len(base) :] for key in self._objects if key.startswith(base)]
        names = {rest.partition("/")[0] for rest in rests if "/" in rest}
        return iter(sorted(names, key=lambda name: _order(name + "/")))

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> Stored:
        """Write a small object, on a condition or not."""
        check_key(key)
        with self._lock:
            found = self._objects.get(key)
            if if_none_match and found is not None:
                raise PreconditionError(f"{key!r} is already in {self.location}", key=key)
            if if_match is not None and (found is None or found.etag != if_match):
                raise PreconditionError(f"{key!r} in {self.location} was changed", key=key)
            return self._store(key, bytes(data), hashlib.sha256(data).hexdigest())

    def _store(self, key: str, data: bytes, sha256: str) -> Stored:
        self._writes += 1
        self.clock_ns += _TICK_NS
        etag = f"w{self._writes}"
        self._objects[key] = _Object(data, etag, self.clock_ns)
        return Stored(etag, len(data), sha256, "regvault")

    def place(self, key: str, data: bytes, etag: str, modified_ns: int) -> None:
        """Set an object up as it was at another time."""
        self._objects[check_key(key)] = _Object(data, etag, modified_ns)

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Write `size` bytes of `reader`, hashed here."""
        check_key(key)
        data = bytearray()
        digest = pump(reader, data.extend, key=key, size=size, sha256=sha256)
        with self._lock:
            return self._store(key, bytes(data), digest)

    def stage(self) -> Stage:
        """Begin an object whose key is not known yet."""
        return _MemoryStage(self)

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Return None: nothing is copied without passing through this process."""
        del source, source_key, key, size, sha256
        return None

    def stored_sha256(self, key: str) -> str | None:
        """Return None: no checksum is kept beside the bytes."""
        self.head(key)
        return None

    def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def barrier(self) -> None:
        """Do nothing: memory is as durable as it gets."""

    def now_ns(self) -> int:
        """Return `clock_ns`."""
        return self.clock_ns

    def space(self) -> Space:
        """Return that nothing is known."""
        return Space(None, None)

    def close(self) -> None:
        """Do nothing; what was stored stays."""


class _MemoryStage:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data: bytearray | None = bytearray()

    def _open(self) -> bytearray:
        if self._data is None:
            raise StoreError("this stage has ended")
        return self._data

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        before = self._open()
        count = len(before)
        before += data
        return len(before) - count

    def sha256(self) -> str:
        return hashlib.sha256(self._open()).hexdigest()

    def commit(self, key: str) -> Stored:
        stored = self._store.put(key, bytes(self._open()))
        self._data = None
        return stored

    def abort(self) -> None:
        self._data = None


def _order(key: str) -> bytes:
    """Return what keys are sorted by: their bytes, as S3 does."""
    return key.encode("utf-8", "surrogateescape")
