"""The catalog: digest -> where the blob lies. Derived; can be rebuilt from the objects.

Few look-ups in a large catalog go by range reads; many, or a small catalog, through the local
cache. (`docs/vault-format.md`, "Catalog".)
"""

from __future__ import annotations

import heapq
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

from regvault.errors import (
    CredentialError,
    ObjectArchivedError,
    ObjectNotFoundError,
    VaultDamagedError,
)
from regvault.vault import recover
from regvault.vault.cache import CATALOG_FILE, CatalogCache, discard_database
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import CATALOG, parse_segment_key
from regvault.vault.sealing import PLAIN, Seal
from regvault.vault.segment import Location, Segment, parse_line, write_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from regvault.model.store import ObjectStore
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.vault import Vault


__all__ = ["Catalog", "current_catalog", "vault_cache"]

_T = TypeVar("_T")

#: So many segments of one level are merged into one of the next.
MERGE_AT = 8
#: Segments of less than this are loaded into the cache even for a few look-ups.
_LOAD_BELOW_BYTES = 8 << 20


class Catalog:
    """Looks blobs up. Thread-safe once `prepare` was called.

    It knows blobs by their names: their digests; in a sealed vault, what `seal` makes of them.

    Attributes:
        seal: the vault's.
        damaged: segments that cannot be read: key -> why. They are left out.
    """

    def __init__(
        self,
        store: ObjectStore,
        directory: str | None,
        seal: Seal = PLAIN,
        condemned: Container[str] = (),
    ) -> None:
        """Wrap.

        Args:
            store: the vault's store.
            directory: of this vault's local cache; None for a temporary one.
            seal: the vault's.
            condemned: keys of segments that nobody needs any more, whole or not.
        """
        self.seal = seal
        self._store = store
        self._directory = directory
        self._condemned = condemned
        self._segments: list[Segment] | None = None
        self._listed: set[str] = set()
        self._nbytes = 0
        self._cache: CatalogCache | None = None
        self._lock = threading.RLock()
        self._recovered: set[str] = set()
        self._renewed = False
        self.damaged: dict[str, str] = {}

    def segments(self) -> list[Segment]:
        """Return the segments of one LIST, less those that a merged one supersedes."""
        if self._segments is None:
            found: dict[str, Segment] = {}
            self._listed = set()
            self._nbytes = 0
            for entry in self._store.list(CATALOG):
                name = parse_segment_key(entry.key)
                if name is not None:
                    self._listed.add(entry.key)
                    found[entry.key] = Segment(self._store, name, self.seal)
                    self._nbytes += entry.size
            # From the top: what is superseded is no loss, damaged or not.
            for segment in sorted(found.values(), key=lambda each: -each.name.level):
                if segment.name.level > 0:
                    of_use = segment.name.key in found and segment.name.key not in self._condemned
                    for key in self._superseded(segment, of_use=of_use):
                        found.pop(key, None)
            for key in [key for key in found if key in self._condemned]:
                del found[key]
            self._segments = [s for s in found.values() if s.name.key not in self.damaged]
        return self._segments

    def _superseded(self, segment: Segment, *, of_use: bool) -> list[str]:
        try:
            return segment.table().supersedes
        except VaultDamagedError as error:
            if of_use:
                self.damaged[segment.name.key] = error.message
            return []

    def _leave_out(self, damaged: dict[str, str]) -> None:
        self.damaged |= damaged
        self._segments = [s for s in self.segments() if s.name.key not in self.damaged]

    def prepare(self, lookups: int) -> None:
        """Choose how to look up: so many are to be expected."""
        self.segments()
        if self._cache is None and (lookups > 64 or self._nbytes < _LOAD_BELOW_BYTES):
            self._with_cache(CatalogCache.loaded)

    def _open_cache(self, directory: str | None) -> CatalogCache:
        cache = CatalogCache(directory, keyed=self.seal.sealed)
        damaged: dict[str, str] = {}
        try:
            try:
                cache.synchronise(self.segments(), damaged)
            except ObjectNotFoundError:  # merged and deleted since the LIST
                self._segments = None
                cache.synchronise(self.segments(), damaged)
        except BaseException:
            cache.close()
            raise
        self._leave_out(damaged)
        return cache

    def _with_cache(self, use: Callable[[CatalogCache], _T]) -> _T:
        """Use the local cache; where its file turns out to be broken, begin a new one."""
        try:
            if self._cache is None:
                self._cache = self._open_cache(self._directory)
            return use(self._cache)
        except sqlite3.DatabaseError as error:
            broken = self._cache
            with self._lock:
                if self._cache is broken:
                    self.close()
                    if isinstance(error, sqlite3.OperationalError):
                        self._directory = None  # another process has it for long, or no space
                    else:
                        discard_database(self._directory, CATALOG_FILE)
                    self._cache = self._open_cache(self._directory)
                fresh = self._cache
            assert fresh is not None
            return use(fresh)

    def renew(self) -> bool:
        """Load the cache anew from the segments; whether that can make a difference."""
        with self._lock:
            if self._directory is None or self._renewed:
                return False
            self._renewed = True
            self.close()
            discard_database(self._directory, CATALOG_FILE)
            self._with_cache(CatalogCache.loaded)
        return True

    def find(self, digest: str) -> list[Location]:
        """Return every place where a blob lies, as the catalog has it; [] where it knows none.

        The places are of this digest, however the vault names it.
        """
        return [place._replace(digest=digest) for place in self.find_name(self.seal.name(digest))]

    def find_name(self, name: str) -> list[Location]:
        """Return the same by the blob's name in the vault."""
        if self._cache is not None:
            return self._with_cache(lambda cache: cache.find(name))
        found: set[Location] = set()
        for segment in self.segments():
            try:
                found.update(segment.lookup(name))
            except VaultDamagedError as error:
                self._leave_out({segment.name.key: error.message})
        return sorted(found)

    def members(self, key: str) -> list[Location]:
        """Return the blobs that lie in one object, by offset, with their names in the vault."""
        return self._with_cache(lambda cache: cache.members(key))

    def end_of(self, key: str) -> int:
        """Return the first byte after the last blob or frame in an object, as far as is known."""
        return self._with_cache(lambda cache: cache.end_of(key))

    def uncovered(self, objects: ObjectList) -> list[ObjectRef]:
        """Return those packs and meta objects of a list of which no line tells the members.

        What a copy has under another name, lines of its first name tell.
        """
        told = self._covered()
        told = told | {objects.here(key) or "" for key in objects.changes() if key in told}
        return [
            ref
            for prefix in recover.PREFIXES
            for ref in objects.with_prefix(prefix)
            if ref.key not in told
        ]

    def objects(self) -> set[str]:
        """Return the keys of all packs and meta objects that lines name."""
        return self._covered()

    def _covered(self) -> set[str]:
        if self._directory is not None or self._cache is not None:
            return self._with_cache(lambda cache: cache.objects())
        covered: set[str] = set()
        for segment in list(self.segments()):
            try:
                places = map(parse_line, segment.read())
                covered.update(x.key for x in places if x.key.startswith(recover.PREFIXES))
            except VaultDamagedError as error:
                self._leave_out({segment.name.key: error.message})
        return covered

    def doubtful(self, objects: ObjectList) -> Iterator[ObjectRef]:
        """Yield the objects of a list that may hold more than lines tell.

        Packs whose lines do not fill them, and meta objects: nobody sees from outside how many
        members a frame has.
        """
        for ref in objects.with_prefix("packs/"):
            if not recover.tells_all(self.members(ref.key), ref):
                yield ref
        yield from objects.with_prefix("meta/")

    def recover(self, objects: ObjectList, *, doubted: bool = False) -> list[bytes]:
        """Tell anew what lies in the objects of a list that segments tell nothing of.

        Whatever can be read is found by `find` from now on; the lines are returned, in ascending
        order, for whoever can write them into a segment.

        Args:
            objects: the list.
            doubted: of those too that they may tell too little of.
        """
        lines: list[Location] = []
        with self._lock:
            for ref in self.doubtful(objects) if doubted else self.uncovered(objects):
                if ref.key in self._recovered:
                    continue
                self._recovered.add(ref.key)
                try:
                    found = recover.members_of(self._store, ref, self.seal)
                except (VaultDamagedError, ObjectNotFoundError, CredentialError):
                    continue  # a meta object tells only those who can open contents
                except ObjectArchivedError:
                    continue  # nor does a pack that is to be thawed before
                self.learn(ref.key, found)
                lines += found
        return sorted({place.line() for place in lines})

    def learn(self, key: str, places: Iterable[Location]) -> None:
        """Find from now on what an object itself told, once."""
        # No LIST will show this name, so the cache drops these lines when it is opened.
        self._add(f"recovered {key}", [place.line() for place in places])

    def _add(self, key: str, lines: Sequence[bytes]) -> None:
        self._with_cache(lambda cache: cache.add(key, map(parse_line, lines)))

    def write(self, lines: Sequence[bytes], run: str) -> str | None:
        """Write a segment of this run's lines, in ascending order; return its key."""
        self.prepare(1 << 30)
        key = write_segment(self._store, lines, level=0, run=run, seal=self.seal)
        if key is not None:
            self._add(key, lines)
            name = parse_segment_key(key)
            assert name is not None
            self.segments().append(Segment(self._store, name, self.seal))
        return key

    def merge(
        self, run: str, condemned: set[str], needed: Callable[[], set[str]] = set
    ) -> list[str]:
        """Merge each level that has eight segments into one of the next; return the new keys.

        Lines of condemned objects are dropped, but for those that `needed` returns: they tell of
        other objects, too. It is asked when there is something to merge. The segments merged stay
        until prune condemns them. Nothing depends on a merge: one that meets a damaged segment is
        left undone.
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
            if not made:
                condemned = condemned - needed()
            try:
                key = write_segment(
                    self._store,
                    _merged(some, condemned),
                    level=level + 1,
                    run=run,
                    supersedes=sorted(self._gone_with(some)),
                    seal=self.seal,
                )
            except (VaultDamagedError, ObjectNotFoundError):
                return made
            self._segments = [segment for segment in segments if segment not in some]
            if key is not None:
                made.append(key)
                name = parse_segment_key(key)
                assert name is not None
                self._segments.append(Segment(self._store, name, self.seal))
            level += 1

    def _gone_with(self, merged: list[Segment]) -> set[str]:
        """Return segments, and those that they supersede and that are there still.

        Else these would count again as soon as what superseded them is damaged or gone, and under
        a lock they stay long.
        """
        keys = {segment.name.key for segment in merged}
        for segment in merged:
            if segment.name.level > 0:
                keys.update(self._listed.intersection(segment.table().supersedes))
        return keys

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
        if line < last:
            raise VaultDamagedError(f"a segment's lines are out of order: {line[:300]!r}")
        last = line
        if parse_line(line).key not in condemned:
            yield line


def current_catalog(vault: Vault) -> Catalog:
    """Return the catalog without segments that are condemned.

    Under a lock they stay long, and count again once what superseded them is damaged or gone.
    """
    try:
        condemned = read_condemned(vault.store, vault.id)
    except VaultDamagedError:  # it is named where condemned lists are looked at
        condemned = set()
    return Catalog(vault.store, None, vault.seal, condemned)


def vault_cache(base: str | None, vault: str) -> str | None:
    """Return the directory of one vault's local cache below `base`."""
    return None if base is None else os.path.join(base, vault)
