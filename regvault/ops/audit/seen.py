"""Which events a chain has had, so that repeats are left out: on the disk, made anew if lost."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from regvault.vault.cache import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DAYS", "SeenIds", "name_of"]

DAYS = 8
"""Days for which an id is remembered: a registry, a spool or a shipper that repeats later than
seven days after does not exist."""

_AT_ONCE = 500
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS ids (id BLOB PRIMARY KEY, day TEXT) WITHOUT ROWID;
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

    def add(self, ids: Sequence[tuple[bytes, str]]) -> set[int]:
        """Remember ids, and return the places of those that were known, or come twice.

        Args:
            ids: each by `name_of`, with the day when it came in (`2026-11-20`).
        """
        self._db.execute("SAVEPOINT batch")
        before = self._db.total_changes
        self._insert(ids)
        repeats: set[int] = set()
        if self._db.total_changes - before != len(ids):
            self._db.execute("ROLLBACK TO batch")
            fresh, repeats = self._told_apart(ids)
            self._insert(fresh)
        self._db.execute("RELEASE batch")
        return repeats

    def _insert(self, ids: Sequence[tuple[bytes, str]]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", ids)

    def _told_apart(
        self, ids: Sequence[tuple[bytes, str]]
    ) -> tuple[list[tuple[bytes, str]], set[int]]:
        """Return the ids that are new, and the places of the others."""
        known: set[bytes] = set()
        for part in _parts(ids):
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                f"SELECT id FROM ids WHERE id IN ({marks})",  # noqa: S608 (only marks)
                [name for name, _ in part],
            )
            known.update(row[0] for row in rows)
        repeats: set[int] = set()
        fresh: list[tuple[bytes, str]] = []
        for place, pair in enumerate(ids):
            if pair[0] in known:
                repeats.add(place)
            else:
                known.add(pair[0])
                fresh.append(pair)
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
        oldest = self._db.execute("SELECT min(day) FROM (SELECT day FROM ids LIMIT 1)").fetchone()
        if oldest[0] is not None and oldest[0] < since:
            self._db.execute("DELETE FROM ids WHERE day < ?", (since,))

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


def _parts(ids: Sequence[tuple[bytes, str]]) -> Iterator[Sequence[tuple[bytes, str]]]:
    for at in range(0, len(ids), _AT_ONCE):
        yield ids[at : at + _AT_ONCE]
