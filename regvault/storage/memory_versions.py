"""A store in memory that keeps versions and locks them: the model of a bucket with Object Lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import StoreAccessError, StoreError
from regvault.model.store import Retention
from regvault.storage.keys import check_key
from regvault.storage.memory import MemoryStore
from regvault.storage.read_only import ReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.store import Entry, ObjectStore, SizedReader, Stored

__all__ = ["Version", "VersionedMemoryStore"]


class Version(NamedTuple):
    """One version of a key.

    Attributes:
        data: its bytes; None of a delete marker.
        etag, modified_ns: as in Entry.
        retention: what locks it, or None.
    """

    data: bytes | None
    etag: str
    modified_ns: int
    retention: Retention | None


class VersionedMemoryStore(MemoryStore):
    """A MemoryStore that forgets nothing.

    Args:
        name: for messages.
        object_lock: whether objects can be locked.
        default: mode and nanoseconds of the lock that a new object gets which brings none.

    Attributes:
        versions: key -> its versions, the oldest first.
    """

    def __init__(
        self,
        name: str = "memory",
        *,
        object_lock: bool = True,
        default: tuple[str, int] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        self.versions: dict[str, list[Version]] = {}
        self._object_lock = object_lock
        self._default = default
        self._rule: Callable[[str], Retention | None] | None = None

    def _store(self, key: str, data: bytes, sha256: str) -> Stored:
        retention = self._rule(key) if self._rule is not None else None
        if retention is not None and not self._object_lock:
            raise StoreError(f"{self.location} cannot lock objects", key=key)
        if retention is None and self._default is not None:
            retention = Retention(self._default[0], self.clock_ns + self._default[1])
        stored = super()._store(key, data, sha256)
        self._append(key, Version(data, stored.etag, self.clock_ns, retention))
        return stored

    def _append(self, key: str, version: Version) -> None:
        self.versions.setdefault(key, []).append(version)

    def delete(self, key: str) -> None:
        """Hide `key` behind a delete marker: its versions stay, locked or not."""
        there = check_key(key) in self._objects
        super().delete(key)
        if there:
            self.clock_ns += 1_000_000
            self._append(key, Version(None, "", self.clock_ns, None))

    def remove_version(self, key: str, number: int = -1) -> None:
        """Remove one version for good, as who has that right may, once its lock has lapsed.

        Raises:
            StoreAccessError: it is locked.
        """
        version = self.versions[key][number]
        if version.retention is not None and version.retention.until_ns > self.clock_ns:
            raise StoreAccessError(f"{key!r} in {self.location} is locked", key=key)
        del self.versions[key][number]
        left = self.versions[key]
        if number == -1 and (not left or left[-1].data is None):
            super().delete(key)

    # Locks

    def locks(self) -> bool:
        """Return whether objects can be locked."""
        return self._object_lock

    def lock_writes(self, rule: Callable[[str], Retention | None] | None) -> None:
        """Give every object its retention from now on."""
        self._rule = rule

    def retention(self, key: str) -> Retention | None:
        """Return what locks the present version of `key`."""
        self.head(key)
        return self.versions[key][-1].retention

    def extend_retention(self, key: str, retention: Retention) -> bool:
        """Lock the present version of `key` at least until then."""
        found = self.retention(key)
        if not self._object_lock:
            raise StoreError(f"{self.location} cannot lock objects", key=key)
        if found is not None and found.until_ns >= retention.until_ns:
            return False
        if found is not None and found.mode == "compliance":
            retention = retention._replace(mode="compliance")
        self.versions[key][-1] = self.versions[key][-1]._replace(retention=retention)
        return True

    # Versions

    def versioned(self) -> bool:
        """Return True."""
        return True

    def as_of(self, moment_ns: int) -> ObjectStore:
        """Return the store as it was."""
        past = MemoryStore(self._name, clock_ns=self.clock_ns)
        for key, versions in self.versions.items():
            then = [version for version in versions if version.modified_ns <= moment_ns]
            if then and then[-1].data is not None:
                past.place(key, then[-1].data, then[-1].etag, then[-1].modified_ns)
        return _Past(past)


class _Past(ReadOnly):
    """A MemoryStore that cannot be written."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    @property
    def location(self) -> str:
        return self._inner.location

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(key, start=start, length=length)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        return self._inner.open(key, start=start, length=length)

    def head(self, key: str) -> Entry:
        return self._inner.head(key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return self._inner.list(prefix, after=after)

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        return self._inner.list_prefixes(prefix)

    def stored_sha256(self, key: str) -> str | None:
        return self._inner.stored_sha256(key)

    def now_ns(self) -> int:
        return self._inner.now_ns()

    def close(self) -> None:
        self._inner.close()
