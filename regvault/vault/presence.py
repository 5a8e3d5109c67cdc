"""What is really in the vault: this run's LIST, compared with what the newest root needs.

A snapshot counts an object as present only if this run saw it with the right size and nothing
condemned it (invariant 3). That is enough where a root or a segment names the object: whoever wrote
those waited until it was stored for good. What only LIST shows may be left from a run that a power
cut ended, and then a file system may give it its name and its size, but not its bytes.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.model.classes import ClassedStore, archives_of
from regvault.vault.keys import OBJECT_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.store import Entry, ObjectStore
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.tiering import Announced

    #: Is told the key and the class of what LIST shows.
    Told = Callable[[str, str], None]

__all__ = ["Archived", "KeySizes", "Presence", "list_objects", "list_parallel"]

_HEX = "0123456789abcdef"
#: A prefix with more keys than this is listed by sub-prefixes, in parallel.
_FAN_OUT_AFTER = 1000
#: Above this estimate, sub-prefixes have two digits, so that one of them fits in memory.
_SPLIT_TWICE_ABOVE = 50_000
_SPILL_AFTER = 100_000


class KeySizes:
    """key -> size: a dictionary while it is small, then a temporary SQLite table."""

    def __init__(self, spill_after: int = _SPILL_AFTER) -> None:
        self._small: dict[str, int] = {}
        self._spill_after = spill_after
        self._db: sqlite3.Connection | None = None

    def __setitem__(self, key: str, size: int) -> None:
        self._small[key] = size
        if len(self._small) >= self._spill_after:
            self._spill()

    def _spill(self) -> None:
        if self._db is None:
            # "" is a private temporary database that SQLite keeps in memory or on disk by size.
            self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            self._db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, size INT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", self._small.items())
        self._db.execute("COMMIT")
        self._small.clear()

    def get(self, key: str) -> int | None:
        """Return the size stored for `key`, or None."""
        size = self._small.get(key)
        if size is None and self._db is not None:
            row = self._db.execute("SELECT size FROM seen WHERE key = ?", (key,)).fetchone()
            size = row[0] if row else None
        return size

    def close(self) -> None:
        """Free the temporary table."""
        if self._db is not None:
            self._db.close()


class Archived:
    """Which objects a run does not reuse: they are archived, or a tiering has moved them.

    What a tiering has put into a colder class costs something to bring back, though it can be read
    at once. What the newest root needs, and the tiering counts in what it promises, stays where it
    is: that snapshot relies on it, and so may the next.

    Args:
        store: the vault's.
        announced: what tierings say of the objects that they move.
    """

    def __init__(self, store: ObjectStore, announced: Announced) -> None:
        self._archives = archives_of(store)
        self._announced = announced
        self._there = KeySizes()
        self._lock = threading.Lock()
        self._any = False

    def saw(self, key: str, storage_class: str) -> None:
        """Note in which class LIST shows an object. Thread-safe."""
        hot = self._announced.cold.get(key)
        if storage_class in self._archives or (hot is not None and hot != storage_class):
            with self._lock:
                self._any = True
                self._there[key] = 1

    def __contains__(self, key: str) -> bool:
        """Return whether an object is, or may come while this run is at work, where it is cold."""
        if key in self._announced.moving:
            return True
        if not self._any:
            return False
        with self._lock:
            return self._there.get(key) is not None

    def close(self) -> None:
        """Free what is held."""
        self._there.close()

    def promised(self, key: str) -> bool:
        """Return whether a tiering counts an object as one that comes back in time.

        Where it is not known what they say, that is so of what lies in no archive.
        """
        if key in self._announced.promised:
            return True
        if not self._announced.unread:
            return False
        with self._lock:
            return self._there.get(key) is None


class Presence:
    """The keys and sizes that this run saw, or wrote itself.

    Attributes:
        missing: objects of the newest root's list that LIST does not show with their size, or that
            are bad.
        bad: objects whose bytes turned out to be wrong. They are there, and no use.
        archived: objects that are there, and not to be reused; None: all lie where they can be
            read.
        cold: those of them that the newest root needs.
    """

    def __init__(
        self,
        base: ObjectList | None,
        bad: set[str] | None = None,
        archived: Archived | None = None,
    ) -> None:
        self._base = base
        self._seen = KeySizes()
        self._sure = KeySizes()
        self.missing: dict[str, ObjectRef] = {}
        self.bad = set() if bad is None else bad
        self.archived = archived
        self.cold: dict[str, ObjectRef] = {}

    def compare(self, listing: Iterable[Entry]) -> None:
        """Merge the LIST of all objects, in byte order, with the newest root's object list."""
        needed: Iterator[ObjectRef] = iter(self._base) if self._base is not None else iter(())
        # The list's own chunks are needed as well, and are not in the list.
        own = sorted(self._base.own_objects()) if self._base is not None else []
        needed = heapq.merge(needed, own)
        own_keys = {ref.key for ref in own}
        wanted = next(needed, None)
        for entry in listing:
            while wanted is not None and wanted.key < entry.key:
                self.missing[wanted.key] = wanted
                wanted = next(needed, None)
            if wanted is not None and wanted.key == entry.key:
                if wanted.size != entry.size or entry.key in self.bad:
                    self.missing[wanted.key] = wanted
                    self._seen[entry.key] = entry.size
                elif entry.key in own_keys:  # `size` does not find it in the list
                    self.add(entry.key, entry.size)
                elif self.archived is not None and entry.key in self.archived:
                    self.cold[entry.key] = wanted
                wanted = next(needed, None)
            else:
                self._seen[entry.key] = entry.size
        while wanted is not None:
            self.missing[wanted.key] = wanted
            wanted = next(needed, None)

    def usable(self, key: str) -> bool:
        """Return whether what is under `key` may be counted on, if anything is there."""
        return key not in self.missing and key not in self.bad and not self.is_cold(key)

    def is_cold(self, key: str) -> bool:
        """Return whether what is under `key` is, or may get, cold, without a promise.

        What the newest root needs under a promise may be relied on.
        """
        if self.archived is None or key not in self.archived:
            return False
        return not (key in self.cold and self.archived.promised(key))

    def add(self, key: str, size: int) -> None:
        """Note an object that this run stored."""
        self._sure[key] = size

    def sure_size(self, key: str) -> int | None:
        """Return the size of what this run stored or the newest root needs and LIST shows."""
        size = self._sure.get(key)
        if size is None and self._base is not None and key not in self.missing:
            ref = self._base.get(key)
            if ref is not None and ref.key == key:
                return ref.size
        return size

    def variants(self, key: str) -> list[ObjectRef]:
        """Return what the newest root needs under `key` or a renamed form of it."""
        return [] if self._base is None else self._base.variants(key)

    def size(self, key: str) -> int | None:
        """Return the size of what is under `key`, or None where nothing is."""
        size = self.sure_size(key)
        return self._seen.get(key) if size is None else size

    def close(self) -> None:
        """Free what is held."""
        self._seen.close()
        self._sure.close()
        if self.archived is not None:
            self.archived.close()


def list_objects(
    store: ObjectStore,
    threads: int = 8,
    told: Told | None = None,
    prefixes: Iterable[str] = OBJECT_PREFIXES,
) -> Iterator[Entry]:
    """Yield everything below the object prefixes, in byte order of the keys.

    Args:
        store: the vault's.
        threads: that LIST.
        told: is told the class of each before it is yielded, where the store has classes.
        prefixes: some of them, in byte order.
    """
    for prefix in prefixes:
        if prefix == "blobs/":
            for algorithm in store.list_prefixes(prefix):
                yield from list_parallel(store, f"{prefix}{algorithm}/", threads, told)
        else:
            yield from list_parallel(store, prefix, threads, told)


def _entries(store: ObjectStore, prefix: str, after: str, told: Told | None) -> Iterator[Entry]:
    if told is None or not isinstance(store, ClassedStore):
        yield from store.list(prefix, after=after)
        return
    for entry, storage_class in store.list_classes(prefix, after=after):
        told(entry.key, storage_class)
        yield entry


def list_parallel(
    store: ObjectStore, prefix: str, threads: int, told: Told | None = None
) -> Iterator[Entry]:
    """Yield everything below `prefix`, whose names begin with hex digits, in byte order.

    The first page comes alone; where there is more, the rest comes by first digit, in parallel.
    """
    last = ""
    for count, entry in enumerate(_entries(store, prefix, "", told), start=1):
        yield entry
        last = entry.key
        if count >= _FAN_OUT_AFTER and threads > 1:
            break
    else:
        return

    # Names of this prefix begin with hex digits, so these sub-prefixes hold all that is left; what
    # sorts between or after them is no name of ours, and nothing needs it. The place of the last
    # name among all possible ones tells how many there are, since digests are uniform.
    name = last.removeprefix(prefix).replace("/", "")
    share = int(name[:4], 16) / 65536 if set(name[:4]) <= set(_HEX) else 1.0
    parts = list(_HEX)
    if _FAN_OUT_AFTER / max(share, 1e-4) > _SPLIT_TWICE_ABOVE:
        parts = [a + b for a in _HEX for b in _HEX]
    rest = [prefix + part for part in parts if part >= name[: len(part)]]

    def one(part: str) -> list[Entry]:
        return list(_entries(store, part, last if last.startswith(part) else "", told))

    with ThreadPoolExecutor(threads, thread_name_prefix="list") as pool:
        ahead = max(2, threads)
        pending = [pool.submit(one, part) for part in rest[:ahead]]
        following = iter(rest[ahead:])
        while pending:
            yield from pending.pop(0).result()
            part = next(following, None)
            if part is not None:
                pending.append(pool.submit(one, part))
