"""Which blobs a restore writes, and where they lie; kept on disk when there are many."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING

from regvault.vault.cache import digest_bytes, digest_text
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.blobs import BlobReader

__all__ = ["Worklist"]

_TABLES = """
CREATE TABLE wanted (digest BLOB PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE existing (digest BLOB PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE places (key TEXT, offset INTEGER, digest BLOB, length INTEGER, size INTEGER,
    proof TEXT, existing INTEGER, PRIMARY KEY (key, offset, digest)) WITHOUT ROWID;
"""


class Worklist:
    """Distinct blobs, with their places in the vault and what the target has. One thread only."""

    def __init__(self) -> None:
        # "" is a private temporary database that SQLite keeps in memory or on disk by size.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def want(self, blobs: dict[str, int]) -> None:
        """Add blobs: digest -> size."""
        self._db.executemany(
            "INSERT OR IGNORE INTO wanted VALUES (?, ?)",
            [(digest_bytes(digest), size) for digest, size in blobs.items()],
        )

    def exists(self, found: Iterable[tuple[str, int]]) -> None:
        """Add what the target has: (digest, size)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO existing VALUES (?, ?)",
            ((digest_bytes(digest), size) for digest, size in found),
        )

    def count(self) -> int:
        """Return how many blobs are wanted."""
        (count,) = self._db.execute("SELECT count(*) FROM wanted").fetchone()
        return int(count)

    def totals(self) -> tuple[int, int, int, int]:
        """Return (blobs, bytes) that the target lacks, (blobs, bytes) that it has by size."""
        query = (
            "SELECT count(*), CAST(total(w.size) AS INTEGER) FROM wanted w"
            " LEFT JOIN existing e ON e.digest = w.digest WHERE e.size IS {} w.size"
        )
        missing = self._db.execute(query.format("NOT")).fetchone()
        present = self._db.execute(query.format("")).fetchone()
        return (*missing, *present)

    def locate(self, blobs: BlobReader) -> list[str]:
        """Look up where each blob lies; return the digests that the vault does not know."""
        unknown: list[str] = []

        def places() -> Iterator[tuple[str, int, bytes, int, int, str, int]]:
            rows = self._db.execute(
                "SELECT w.digest, w.size, coalesce(e.size = w.size, 0) FROM wanted w"
                " LEFT JOIN existing e ON e.digest = w.digest"
            )
            for packed, size, existing in rows:
                place = next(blobs.places(digest_text(packed)), None)
                if place is None:
                    unknown.append(digest_text(packed))
                else:
                    at = (place.key, place.offset, packed, place.length)
                    yield (*at, size, place.proof, existing)

        self._db.executemany("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?, ?, ?)", places())
        return unknown

    def objects(self) -> list[str]:
        """Return the keys of the objects that are to be read, in the order of `by_object`.

        Not those of which the target has everything, by its size.
        """
        rows = self._db.execute("SELECT DISTINCT key FROM places WHERE NOT existing ORDER BY key")
        return [key for (key,) in rows]

    def wanted_of(self, key: str) -> list[tuple[str, int]]:
        """Return (digest, size) of the blobs that are to be read from one object."""
        rows = self._db.execute(
            "SELECT digest, size FROM places WHERE key = ? AND NOT existing ORDER BY offset",
            (key,),
        )
        return [(digest_text(digest), size) for digest, size in rows]

    def move(self, digest: str, place: Location, before: str) -> None:
        """Say that a blob is read from another place than from the object `before`."""
        packed = digest_bytes(digest)
        self._db.execute("DELETE FROM places WHERE key = ? AND digest = ?", (before, packed))
        self._db.execute(
            "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?, ?, 0)",
            (place.key, place.offset, packed, place.length, place.size, place.proof),
        )

    def by_object(self) -> Iterator[tuple[str, list[tuple[Location, bool]]]]:
        """Yield each object with what is wanted of it: (place, the target has its size)."""
        rows = self._db.execute(
            "SELECT key, offset, digest, length, size, proof, existing FROM places"
            " ORDER BY key, offset"
        )
        for key, group in groupby(rows, key=lambda row: str(row[0])):
            yield (
                key,
                [
                    (
                        Location(digest_text(digest), key, offset, length, size, proof),
                        bool(existing),
                    )
                    for _, offset, digest, length, size, proof, existing in group
                ],
            )

    def close(self) -> None:
        """Free the temporary database."""
        self._db.close()
