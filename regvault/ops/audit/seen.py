"""Which events a chain has had, so that repeats are left out: on the disk, made anew if lost."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from datetime import date
from typing import TYPE_CHECKING

from regvault.vault.cache import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DAYS", "SeenIds", "name_of"]

DAYS = 8
"""Days for which an id is remembered: a registry, a spool or a shipper that repeats later than
seven days after does not exist."""

_AT_ONCE = 500
_VERSION = 2
#: The bits of a row that tell the day: its proleptic Gregorian ordinal.
_DAY_BITS = 22
_DAY_MASK = (1 << _DAY_BITS) - 1
_TABLES = """
CREATE TABLE IF NOT EXISTS ids (id INTEGER PRIMARY KEY, more INTEGER);
CREATE TABLE IF NOT EXISTS chain (one INTEGER PRIMARY KEY, link INTEGER);
"""


def name_of(event_id: str) -> bytes:
    """Return what an id is remembered by: 12 bytes."""
    data = event_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=12).digest()


class SeenIds:
    """Ids of events, each with the day when it came in. One writer.

    What is added counts at once, and lasts from the next `keep` on; `drop` forgets it.

    Attributes:
        link: the newest link of the chain whose events are all in it; 0: none.
    """

    def __init__(self, directory: str | None, chain: str) -> None:
        """Open the file of a chain, made where there is none, or it is damaged.

        Args:
            directory: of the vault's local cache; None: keep nothing.
            chain: its id.
        """
        name = f"audit-{chain}.sqlite"
        self._lock = -1
        if directory is not None and not self._is_mine(directory, f"{name}.lock"):
            directory = None  # another archiver of this host has it
        self._db = open_database(directory, name, _VERSION, _TABLES)
        self._db.execute("PRAGMA cache_size=-32768")
        row = self._db.execute("SELECT link FROM chain").fetchone()
        self.link: int = row[0] if row else 0
        self._db.execute("BEGIN")

    def _is_mine(self, directory: str, name: str) -> bool:
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            path = os.path.join(directory, name)
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def add(self, names: Sequence[bytes], day: str) -> set[int]:
        """Remember ids, and return the places of those that were known, or come twice.

        Args:
            names: of each, `name_of` it.
            day: when they came in (`2026-11-20`).
        """
        rows = _rows(names, day)
        self._db.execute("SAVEPOINT batch")
        before = self._db.total_changes
        self._insert(rows)
        repeats: set[int] = set()
        if self._db.total_changes - before != len(rows):
            self._db.execute("ROLLBACK TO batch")
            fresh, repeats = self._told_apart(rows)
            self._insert(fresh)
        self._db.execute("RELEASE batch")
        return repeats

    def _insert(self, rows: Sequence[tuple[int, int]]) -> None:
        # In their order: the tree is gone through once.
        self._db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", sorted(rows))

    def _told_apart(
        self, rows: Sequence[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], set[int]]:
        """Return the rows that are new, and the places of the others.

        Of two ids that only the rest tells apart the second is new, and not remembered.
        """
        known: set[tuple[int, int]] = set()
        for part in _parts(rows):
            marks = ",".join("?" * len(part))
            found = self._db.execute(
                f"SELECT id, more FROM ids WHERE id IN ({marks})",  # noqa: S608 (only marks)
                [number for number, _ in part],
            )
            known.update((number, more >> _DAY_BITS) for number, more in found)
        repeats: set[int] = set()
        fresh: list[tuple[int, int]] = []
        for place, (number, more) in enumerate(rows):
            pair = number, more >> _DAY_BITS
            if pair in known:
                repeats.add(place)
            else:
                known.add(pair)
                fresh.append((number, more))
        return fresh, repeats

    def keep(self, link: int, since: str) -> None:
        """Make what was added last.

        Args:
            link: of the chain, which has these events.
            since: forget ids of earlier days.
        """
        self._db.execute("INSERT OR REPLACE INTO chain VALUES (1, ?)", (link,))
        self._db.execute("COMMIT")
        self.link = link
        self._db.execute("BEGIN")
        self._forget(since)

    def _forget(self, since: str) -> None:
        first = date.fromisoformat(since).toordinal()
        row = self._db.execute("SELECT more FROM ids LIMIT 1").fetchone()
        if row is not None and row[0] & _DAY_MASK < first:
            self._db.execute(f"DELETE FROM ids WHERE more & {_DAY_MASK} < ?", (first,))  # noqa: S608

    def drop(self) -> None:
        """Forget what was added since the last `keep`."""
        self._db.execute("ROLLBACK")
        self._db.execute("BEGIN")

    def clear(self) -> None:
        """Forget all."""
        self._db.execute("DELETE FROM ids")
        self._db.execute("DELETE FROM chain")
        self.link = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = -1


def _rows(names: Sequence[bytes], day: str) -> list[tuple[int, int]]:
    """Return each name as its row: 64 bits of it to find it by, and the rest with the day."""
    ordinal = date.fromisoformat(day).toordinal()
    flat = struct.unpack(">" + "qi" * len(names), b"".join(names))
    return [
        (number, rest << _DAY_BITS | ordinal)
        for number, rest in zip(flat[::2], flat[1::2], strict=True)
    ]


def _parts(rows: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    for at in range(0, len(rows), _AT_ONCE):
        yield rows[at : at + _AT_ONCE]
