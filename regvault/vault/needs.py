"""What one registry's newest snapshot needs: blob -> object, with counts, on the local disk.

Derived from the newest root: it makes the next object list cost what changed. It is kept in one
SQLite file for each registry, bound to the digest of the root that it describes; where it is
missing or describes another root it is built again from the root's states.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, NamedTuple

from regvault.vault.cache import (
    CheckedFile,
    digest_bytes,
    digest_text,
    discard_database,
    open_database,
)
from regvault.vault.objectlist import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Known", "NeedIndex", "needs_file"]

_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, size INTEGER, sha256 TEXT,
    uses INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0,
    listed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS blobs (
    digest BLOB PRIMARY KEY, refs INTEGER NOT NULL, object INTEGER, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_object ON blobs (object);
CREATE TABLE IF NOT EXISTS manifests (digest BLOB PRIMARY KEY, parsed BLOB) WITHOUT ROWID;
"""


def needs_file(registry: str) -> str:
    """Return the name of a registry's file in the vault's cache."""
    return f"needs-{registry}.sqlite"


class Known(NamedTuple):
    """Where a needed blob lies: the object, and the blob's own size in bytes."""

    key: str
    size: int


class _Filter:
    """Which blobs may be in an index that began empty: "no" is sure, "yes" has to be looked up.

    A Bloom filter: of three million digests, two in a thousand that are not there look as if they
    were. Digests are uniform, so their own bytes are its hashes.
    """

    BITS = 1 << 26

    def __init__(self) -> None:
        self._bits = bytearray(self.BITS >> 3)

    @classmethod
    def _places(cls, key: bytes) -> tuple[int, int, int]:
        whole = int.from_bytes(key[:12], "little")
        mask = cls.BITS - 1
        return whole & mask, whole >> 32 & mask, whole >> 64 & mask

    def add(self, key: bytes) -> None:
        for place in self._places(key):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, key: bytes) -> bool:
        bits = self._bits
        first, second, third = self._places(key)
        return bool(
            bits[first >> 3] >> (first & 7)
            & bits[second >> 3] >> (second & 7)
            & bits[third >> 3] >> (third & 7)
            & 1
        )


def _is_empty(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM blobs LIMIT 1").fetchone() is None


class NeedIndex:
    """Counts how many repository states need each blob, and which object serves it.

    All changes of a run are one transaction: `commit` binds them to the new root; without it they
    are gone. Thread-safe.
    """

    def __init__(self, directory: str | None, registry: str) -> None:
        self._file = CheckedFile(directory, needs_file(registry))
        self._db = self._open(directory, needs_file(registry))
        self._object_ids: dict[str, int] = {}
        self._lock = threading.RLock()
        # A first snapshot asks for millions of blobs that are not there.
        self._filter = _Filter() if self.is_empty() else None

    def _open(self, directory: str | None, name: str) -> sqlite3.Connection:
        """Open the file and begin; a temporary database where another process has it."""
        for _ in range(2):
            # Whoever has it now has it for a whole run: waiting is for those about to end.
            db = open_database(directory, name, _SCHEMA_VERSION, _TABLES, wait_s=2)
            db.execute("PRAGMA cache_size=-16384")
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:  # another process was quicker
                db.close()
                break
            # Nobody else writes it now. A bit that flipped in it would be taken for the truth.
            good = self._file.is_good()
            if good or (good is None and _is_empty(db)):
                return db
            db.close()
            discard_database(directory, name)
        self._file = CheckedFile(None, name)
        db = open_database(None, "", _SCHEMA_VERSION, _TABLES)
        db.execute("BEGIN IMMEDIATE")
        return db

    def root(self) -> str | None:
        """Return the hex SHA-256 of the root that this describes, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = 'root'").fetchone()
        return row[0] if row else None

    def is_empty(self) -> bool:
        """Return whether no blob is known."""
        return _is_empty(self._db)

    def clear(self) -> None:
        """Forget everything but the parsed manifests, which stay true for ever."""
        self._db.execute("DELETE FROM facts")
        self._db.execute("DELETE FROM objects")
        self._db.execute("DELETE FROM blobs")
        self._object_ids.clear()
        self._filter = _Filter()

    def _object_id(self, ref: ObjectRef) -> int:
        number = self._object_ids.get(ref.key)
        if number is None:
            self._db.execute(
                "INSERT OR IGNORE INTO objects (key, size, sha256) VALUES (?, ?, ?)", ref
            )
            (number,) = self._db.execute(
                "SELECT id FROM objects WHERE key = ?", (ref.key,)
            ).fetchone()
            if len(self._object_ids) > 10_000:
                self._object_ids.clear()
            self._object_ids[ref.key] = number
        return number

    def known(self, digest: str) -> Known | None:
        """Return where a blob lies, if the snapshot before needs it or this run placed it."""
        key = digest_bytes(digest)
        if self._filter is not None and key not in self._filter:
            return None
        row = self._db.execute(
            "SELECT o.key, b.size FROM blobs b JOIN objects o ON o.id = b.object"
            " WHERE b.digest = ?",
            (key,),
        ).fetchone()
        return Known(*row) if row else None

    def _insert(self, key: bytes, refs: int, number: int | None, size: int) -> None:
        self._db.execute("INSERT INTO blobs VALUES (?, ?, ?, ?)", (key, refs, number, size))
        if self._filter is not None:
            self._filter.add(key)

    def _blob(self, key: bytes) -> tuple[int, int | None] | None:
        if self._filter is not None and key not in self._filter:
            return None
        found = self._db.execute("SELECT refs, object FROM blobs WHERE digest = ?", (key,))
        row: tuple[int, int | None] | None = found.fetchone()
        return row

    def place(self, digest: str, ref: ObjectRef, size: int) -> None:
        """Say that a blob lies in an object from now on; the object before loses it."""
        key = digest_bytes(digest)
        with self._lock:
            number = self._object_id(ref)
            row = self._blob(key)
            if row is None:
                self._insert(key, 0, number, size)
                return
            refs, before = row
            if before == number:
                return
            self._db.execute(
                "UPDATE blobs SET object = ?, size = ? WHERE digest = ?", (number, size, key)
            )
            if refs > 0:
                self._use(number, 1)
                if before is not None:
                    self._use(before, -1)

    def need(self, digest: str, size: int, change: int) -> None:
        """Count one more (1) or one less (-1) line of a repository state that needs a blob."""
        key = digest_bytes(digest)
        with self._lock:
            row = self._blob(key)
            if row is None:
                self._insert(key, change, None, size)
                return
            refs, number = row
            self._db.execute("UPDATE blobs SET refs = refs + ? WHERE digest = ?", (change, key))
            if number is None:
                return
            if refs == 0 and change > 0:
                self._use(number, 1)
            elif refs > 0 and refs + change == 0:
                self._use(number, -1)

    def need_object(self, ref: ObjectRef, change: int) -> None:
        """Count one more or one less use of an object by itself (a chunk of a tree)."""
        with self._lock:
            self._use(self._object_id(ref), change)

    def unplaced(self) -> list[str]:
        """Return needed blobs that lie nowhere: with one of them nothing may be committed."""
        rows = self._db.execute(
            "SELECT digest FROM blobs WHERE refs > 0 AND object IS NULL LIMIT 10"
        )
        return [digest_text(digest) for (digest,) in rows]

    def sparse_packs(self, share: float) -> list[str]:
        """Return the changed packs of which less than `share` of their bytes is needed."""
        rows = self._db.execute(
            "SELECT o.key FROM objects o WHERE o.changed = 1 AND o.uses > 0"
            " AND o.key LIKE 'packs/%' AND o.size * ? > (SELECT"
            " total(512 + (b.size + 511) / 512 * 512)"  # a tar member's footprint
            " FROM blobs b WHERE b.object = o.id AND b.refs > 0)",
            (share,),
        )
        return [key for (key,) in rows]

    def _use(self, number: int, change: int) -> None:
        self._db.execute(
            "UPDATE objects SET uses = uses + ?, changed = 1 WHERE id = ?", (change, number)
        )

    def object_of(self, key: str) -> ObjectRef | None:
        """Return an object that is known, used or not."""
        row = self._db.execute(
            "SELECT key, size, sha256 FROM objects WHERE key = ?", (key,)
        ).fetchone()
        return ObjectRef(*row) if row else None

    def blobs_in(self, key: str) -> list[tuple[str, int]]:
        """Return (digest, size) of the needed blobs that lie in one object."""
        rows = self._db.execute(
            "SELECT b.digest, b.size FROM blobs b JOIN objects o ON o.id = b.object"
            " WHERE o.key = ? AND b.refs > 0 ORDER BY b.digest",
            (key,),
        )
        return [(digest_text(digest), size) for digest, size in rows]

    def changes(self) -> dict[str, ObjectRef | None]:
        """Return what changed since the root before: key -> its object, or None: not needed now."""
        rows = self._db.execute(
            "SELECT key, size, sha256, uses, listed FROM objects"
            " WHERE changed = 1 AND (uses > 0) != (listed > 0)"
        )
        return {
            key: ObjectRef(key, size, sha256) if uses > 0 else None
            for key, size, sha256, uses, _ in rows
        }

    def objects(self) -> Iterator[ObjectRef]:
        """Yield all objects that are needed, in byte order of their keys."""
        rows = self._db.execute("SELECT key, size, sha256 FROM objects WHERE uses > 0 ORDER BY key")
        for row in rows:
            yield ObjectRef(*row)

    def totals(self) -> tuple[int, int]:
        """Return (distinct blobs that are needed, their bytes)."""
        row = self._db.execute(
            # `sum` ends with an error where hostile sizes are too much for 64 bits.
            "SELECT count(*), CAST(total(size) AS INTEGER) FROM blobs WHERE refs > 0"
        ).fetchone()
        return row[0], row[1]

    def parsed(self, digest: str) -> bytes | None:
        """Return what `keep_parsed` kept of a manifest."""
        row = self._db.execute(
            "SELECT parsed FROM manifests WHERE digest = ?", (digest_bytes(digest),)
        ).fetchone()
        return row[0] if row else None

    def keep_parsed(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Keep what was parsed of manifests, so that they need not be read again."""
        with self._lock:
            self._db.executemany(
                "INSERT OR REPLACE INTO manifests VALUES (?, ?)",
                [(digest_bytes(digest), parsed) for digest, parsed in items],
            )

    def rebind(self, before: str, root: str) -> None:
        """Bind what describes `before` to a root that needs the very same objects."""
        self._db.execute(
            "UPDATE facts SET value = ? WHERE name = 'root' AND value = ?", (root, before)
        )
        self._db.execute("COMMIT")

    def commit(self, root: str) -> None:
        """Bind everything to the root that was just committed, and keep it."""
        self._db.execute("DELETE FROM objects WHERE uses = 0")
        self._db.execute("DELETE FROM blobs WHERE refs = 0")
        self._db.execute("UPDATE objects SET listed = 1, changed = 0 WHERE changed = 1")
        self._db.execute("INSERT OR REPLACE INTO facts VALUES ('root', ?)", (root,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close; what was not committed is gone."""
        self._filter = None  # not when the collector comes by: it is megabytes
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._db.close()
        self._file.write_sum()
