"""The catalog: digest -> where the blob lies. Derived; can be rebuilt from the objects.

Few look-ups in a large catalog go by range reads; many, or a small catalog, through the local
cache. (`docs/vault-format.md`, "Catalog".)
"""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError
from regvault.vault.cache import CatalogCache
from regvault.vault.keys import CATALOG, blob_key, parse_segment_key
from regvault.vault.segment import Segment, write_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.segment import Location

__all__ = ["Catalog", "vault_cache"]

#: So many segments of one level are merged into one of the next.
MERGE_AT = 8
#: Segments of less than this are loaded into the cache even for a few look-ups.
_LOAD_BELOW_BYTES = 8 << 20


class Catalog:
    """Looks blobs up. Thread-safe once `prepare` was called."""

    def __init__(self, store: ObjectStore, directory: str | None) -> None:
        """Wrap.

        Args:
            store: the vault's store.
            directory: of this vault's local cache; None for a temporary one.
        """
        self._store = store
        self._directory = directory
        self._segments: list[Segment] | None = None
        self._nbytes = 0
        self._cache: CatalogCache | None = None

    def segments(self) -> list[Segment]:
        """Return the segments of one LIST, less those that a merged one supersedes."""
        if self._segments is None:
            found: dict[str, Segment] = {}
            self._nbytes = 0
            for entry in self._store.list(CATALOG):
                name = parse_segment_key(entry.key)
                if name is not None:
                    found[entry.key] = Segment(self._store, name)
                    self._nbytes += entry.size
            for segment in list(found.values()):
                if segment.name.level > 0 and segment.name.key in found:
                    for key in segment.table().supersedes:
                        found.pop(key, None)
            self._segments = list(found.values())
        return self._segments

    def prepare(self, lookups: int) -> None:
        """Choose how to look up: so many are to be expected."""
        segments = self.segments()
        if self._cache is None and (lookups > 64 or self._nbytes < _LOAD_BELOW_BYTES):
            self._cache = CatalogCache(self._directory)
            try:
                self._cache.synchronise(segments)
            except ObjectNotFoundError:  # merged and deleted since the LIST
                self._segments = None
                self._cache.synchronise(self.segments())

    def find(self, digest: str) -> list[Location]:
        """Return every place where a blob lies, as the catalog has it; [] where it knows none."""
        if self._cache is not None:
            return self._cache.find(digest)
        found: set[Location] = set()
        for segment in self.segments():
            found.update(segment.lookup(digest))
        return sorted(found)

    def members(self, key: str) -> list[Location]:
        """Return the blobs that lie in one object, by offset."""
        self.prepare(1 << 30)
        assert self._cache is not None
        return self._cache.members(key)

    def write(self, locations: Iterable[Location], run: str) -> str | None:
        """Write a segment of this run's lines, in ascending order; return its key."""
        self.prepare(1 << 30)
        kept = list(locations)
        key = write_segment(self._store, (x.line() for x in kept), level=0, run=run)
        if key is not None:
            assert self._cache is not None
            self._cache.add(key, kept)
            name = parse_segment_key(key)
            assert name is not None
            self.segments().append(Segment(self._store, name))
        return key

    def merge(self, run: str, condemned: set[str]) -> list[str]:
        """Merge each level that has eight segments into one of the next; return the new keys.

        Lines of condemned objects are dropped. The segments merged stay until prune condemns them.
        """
        made: list[str] = []
        level = 0
        while True:
            segments = self.segments()
            some = [segment for segment in segments if segment.name.level == level]
            if len(some) < MERGE_AT:
                if not any(segment.name.level > level for segment in segments):
                    return made
                level += 1
                continue
            key = write_segment(
                self._store,
                _merged(some, condemned),
                level=level + 1,
                run=run,
                supersedes=sorted(segment.name.key for segment in some),
            )
            self._segments = [segment for segment in segments if segment not in some]
            if key is not None:
                made.append(key)
                name = parse_segment_key(key)
                assert name is not None
                self._segments.append(Segment(self._store, name))
            level += 1

    def cache(self) -> CatalogCache:
        """Return the local cache, loaded."""
        self.prepare(1 << 30)
        assert self._cache is not None
        return self._cache

    def close(self) -> None:
        """Close the cache."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None


def _merged(segments: list[Segment], condemned: set[str]) -> Iterator[bytes]:
    last = b""
    for line in heapq.merge(*(segment.read() for segment in segments)):
        if line == last:
            continue
        last = line
        fields = line.split(b" ", 2)
        key = fields[1].decode() if fields[1] != b"-" else blob_key(fields[0].decode())
        if key not in condemned:
            yield line


def vault_cache(base: str | None, vault: str) -> str | None:
    """Return the directory of one vault's local cache below `base`."""
    return None if base is None else os.path.join(base, vault)
