"""What is remembered of events that have gone by: in a database beside the spool.

All that one batch of events taught is in it at once, with the number of the next event; so after a
crash it is as if what came later had not been read. Names and networks are kept as hashes under a
key of this database, and what was not seen for a year is forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import sqlite3
import time
from collections import OrderedDict
from typing import Any, Final, TypeVar

from regvault.audit.spool.files import open_own

__all__ = ["Memory", "as_saved"]

_T = TypeVar("_T")

_MOST: Final = 500_000
_CACHED: Final = 50_000
_KEPT_S: Final = 400 * 86400.0
_RENEW_S: Final = 86400.0
_PRUNE_EVERY: Final = 1000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (
    kind TEXT, key BLOB, value TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_at ON known (at);
"""
#: Whoever can write into the file is not whoever it is from.
_ODD: Final = (
    "SELECT 1 FROM known WHERE typeof(kind) != 'text' OR typeof(key) != 'blob'"
    " OR typeof(value) != 'text' OR typeof(at) != 'real' LIMIT 1"
)
_is_secret = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def as_saved(value: Any, kind: type[_T]) -> _T:
    """Return a document, or a part of one, as what it was when it was saved.

    Args:
        value: JSON.
        kind: what it has to be.

    Raises:
        ValueError: it is not that.
    """
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"what was saved is not what it has to be: {error}") from None


class Memory:
    """Documents by name, and what is known by kind and key.

    Attributes:
        lost: what was there could not be read, and was put aside.
        path: of the database.
    """

    def __init__(self, path: str) -> None:
        """Open the database; it is made where there is none.

        Raises:
            OSError, sqlite3.Error: it cannot be.
        """
        self.path = path
        self.lost = False
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._begin_anew()
        self._cache: OrderedDict[tuple[str, bytes], tuple[str, float] | None] = OrderedDict()
        self._dirty: dict[tuple[str, bytes], tuple[str, float] | None] = {}
        self._commits = 0

    def put_aside(self) -> None:
        """Begin anew: what is in it is not what was saved. Raises OSError, sqlite3.Error."""
        self._db.close()
        self._begin_anew()
        self._cache.clear()
        self._dirty.clear()

    def _begin_anew(self) -> None:
        self.lost = True
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path + ending)
        os.replace(self.path, self.path + ".damaged")
        self._open()

    def _open(self) -> None:
        os.close(open_own(self.path, os.O_RDWR | os.O_CREAT))
        self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            self._db.text_factory = _text
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
            secret = self.document("secret")
            if secret is None:
                secret = secrets.token_hex(16)
                self._store("secret", secret)
            self._check(secret)
        except BaseException:
            self._db.close()
            raise
        self._secret = bytes.fromhex(secret)

    def _check(self, secret: Any) -> None:
        """Raise sqlite3.DataError where rows are not of the types that are written."""
        odd = self._db.execute(_ODD).fetchone() is not None
        if odd or not isinstance(secret, str) or not _is_secret(secret):
            raise sqlite3.DataError("its rows are not what was written")

    # Documents

    def document(self, name: str) -> Any:
        """Return what was committed under a name, or None.

        Raises:
            sqlite3.Error: it cannot be read, or is no JSON.
        """
        row = self._db.execute("SELECT value FROM document WHERE name = ?", (name,)).fetchone()
        try:
            return None if row is None else json.loads(row[0])
        except (TypeError, ValueError, RecursionError):
            raise sqlite3.DataError(f"the document {name} is no JSON") from None

    def _store(self, name: str, value: Any) -> None:
        text = json.dumps(value, separators=(",", ":"))
        self._db.execute("INSERT OR REPLACE INTO document VALUES (?, ?)", (name, text))

    # What is known

    def get(self, kind: str, *parts: str) -> str | None:
        """Return the value of what these parts name, or None."""
        found = self._entry(kind, self._key(parts))
        return None if found is None else found[0]

    def put(self, kind: str, *parts: str, value: str, at: float) -> None:
        """Remember a value for what these parts name, seen at a time (since the epoch)."""
        key = self._key(parts)
        found = self._entry(kind, key)
        if found is not None and found[0] == value and at - found[1] < _RENEW_S:
            return
        self._remember(kind, key, (value, at))

    def drop(self, kind: str, *parts: str) -> None:
        """Forget what these parts name."""
        self._remember(kind, self._key(parts), None)

    def values(self, kind: str) -> list[str]:
        """Return all committed values of a kind, the oldest first."""
        rows = self._db.execute("SELECT value FROM known WHERE kind = ? ORDER BY at, key", (kind,))
        return [row[0] for row in rows]

    def _entry(self, kind: str, key: bytes) -> tuple[str, float] | None:
        at = kind, key
        if at in self._cache:
            self._cache.move_to_end(at)
            return self._cache[at]
        row = self._db.execute(
            "SELECT value, at FROM known WHERE kind = ? AND key = ?", at
        ).fetchone()
        self._cache[at] = row
        return self._cache[at]

    def _remember(self, kind: str, key: bytes, entry: tuple[str, float] | None) -> None:
        self._cache[kind, key] = self._dirty[kind, key] = entry

    def _key(self, parts: tuple[str, ...]) -> bytes:
        made = hashlib.blake2b(digest_size=16, key=self._secret)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            made.update(b"%d:" % len(data))
            made.update(data)
        return made.digest()

    def commit(self, **documents: Any) -> None:
        """Make durable what is known now, together with documents by their names.

        Raises:
            sqlite3.Error: it is not; what was committed before still is.
        """
        rows = [(*at, *entry) for at, entry in self._dirty.items() if entry is not None]
        gone = [at for at, entry in self._dirty.items() if entry is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", rows)
            self._db.executemany("DELETE FROM known WHERE kind = ? AND key = ?", gone)
            for name, value in documents.items():
                self._store(name, value)
            if self._commits % _PRUNE_EVERY == 0:
                self._prune()
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._commits += 1
        self._dirty.clear()
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    def _prune(self) -> None:
        self._db.execute("DELETE FROM known WHERE at < ?", (time.time() - _KEPT_S,))
        count = self._db.execute("SELECT count(*) FROM known").fetchone()[0]
        if count > _MOST:
            oldest = "SELECT at FROM known ORDER BY at LIMIT 1 OFFSET ?"
            (at,) = self._db.execute(oldest, (count - _MOST,)).fetchone()
            self._db.execute("DELETE FROM known WHERE at < ?", (at,))

    def close(self) -> None:
        """Close it; what was not committed is forgotten."""
        self._db.close()
