"""The local cache of a vault's catalog: one SQLite file for each vault id.

It holds exactly the segments of today's LIST, each checked when it was loaded. Deleting it costs
only time (invariant 11).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from regvault.errors import VaultDamagedError
from regvault.vault.keys import KEYED, blob_key, check_key
from regvault.vault.segment import Location, parse_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.segment import Segment

__all__ = [
    "CATALOG_FILE",
    "CatalogCache",
    "CheckedFile",
    "digest_bytes",
    "digest_text",
    "discard_database",
    "open_database",
]

_T = TypeVar("_T")
CATALOG_FILE = "catalog.sqlite"
_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS segments (id INTEGER PRIMARY KEY, key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS objects (id INTEGER PRIMARY KEY, key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS lines (
    digest BLOB, object INTEGER, offset INTEGER, length INTEGER, size INTEGER, proof TEXT,
    segment INTEGER, PRIMARY KEY (digest, object, segment)
) WITHOUT ROWID;
"""
_ALGORITHMS = {32: "sha256", 48: "sha384", 64: "sha512"}


def digest_bytes(digest: str) -> bytes:
    """Return a digest as the bytes of its hex; their number tells the algorithm."""
    return bytes.fromhex(digest.partition(":")[2])


def digest_text(data: bytes) -> str:
    """Undo `digest_bytes`."""
    return f"{_ALGORITHMS[len(data)]}:{data.hex()}"


def discard_database(directory: str | None, name: str) -> None:
    """Delete a SQLite file of the cache, if there is one."""
    if directory is None:
        return
    for suffix in ("", "-wal", "-shm", ".sum"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name + suffix))


def open_database(
    directory: str | None, name: str, version: int, tables: str, *, wait_s: float = 60
) -> sqlite3.Connection:
    """Open a SQLite file of the cache; made anew where it is of another version, or broken.

    Args:
        directory: of the vault's cache; None, or one that cannot be written: a temporary database.
        name: the file's name.
        version: of the tables; kept as `user_version`.
        tables: SQL that makes them.
        wait_s: for another process that writes to it; after that a temporary database has to do.
    """
    if directory is not None:
        path = os.path.join(directory, name)
        for _ in range(2):
            try:
                os.makedirs(directory, mode=0o700, exist_ok=True)
                db = sqlite3.connect(
                    path, timeout=wait_s, check_same_thread=False, isolation_level=None
                )
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                (found,) = db.execute("PRAGMA user_version").fetchone()
                if found in (0, version):
                    db.executescript(tables + f"PRAGMA user_version={version};")
                    return db
                db.close()
            except sqlite3.OperationalError:
                break  # not writable, or locked for long: do without
            except (sqlite3.DatabaseError, OSError):
                pass
            discard_database(directory, name)
    db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    db.executescript(tables)
    return db


class CheckedFile:
    """A file of the cache with its checksum beside it, for what has no proof in the vault.

    Args:
        directory: of the vault's cache; None: there is no file, and all is good.
        name: the file's name.
    """

    def __init__(self, directory: str | None, name: str) -> None:
        self._path = None if directory is None else os.path.join(directory, name)

    def is_good(self) -> bool | None:
        """Return whether the file is what it was when its checksum was written.

        None where there is no checksum: it is new, or its last run was killed.
        """
        if self._path is None:
            return True
        try:
            with open(f"{self._path}.sum", encoding="ascii") as file:
                return file.read() == self._sum()
        except OSError:
            return None
        except ValueError:  # no text
            return False

    def _sum(self) -> str:
        assert self._path is not None
        with open(self._path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write_sum(self) -> None:
        """Write the checksum; the file must be closed. Without one the next run does without it."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            text = self._sum()
            with open(f"{self._path}.sum.new", "w", encoding="ascii") as file:
                file.write(text)
            os.replace(f"{self._path}.sum.new", f"{self._path}.sum")


class CatalogCache:
    """digest -> locations, for all segments of the vault. Thread-safe."""

    def __init__(self, directory: str | None, *, keyed: bool = False) -> None:
        """Open it.

        Args:
            directory: None keeps it in a temporary database.
            keyed: it is of a sealed vault, in which names of blobs are keyed.
        """
        self._keyed = keyed
        self._db = open_database(directory, CATALOG_FILE, _SCHEMA_VERSION, _TABLES)
        self._db.execute("PRAGMA cache_size=-16384")
        self._lock = threading.RLock()
        self._ends: dict[str, int] | None = None

    def loaded(self) -> set[str]:
        """Return the keys of the segments that it holds."""
        with self._lock:
            return {key for (key,) in self._db.execute("SELECT key FROM segments")}

    def synchronise(
        self, segments: Iterable[Segment], damaged: dict[str, str] | None = None
    ) -> None:
        """Load what is new among `segments`, and drop what is no longer there.

        Args:
            segments: of today's LIST.
            damaged: is told of segments whose bytes are not what their name says: key -> why.

        Raises:
            VaultDamagedError: there is such a one, and no `damaged`; nothing of it is kept.
        """
        segments = list(segments)
        names = {segment.name.key for segment in segments}
        loaded = self.loaded()
        if gone := loaded - names:
            self._drop(gone)
        for segment in segments:
            if segment.name.key in loaded:
                continue
            try:
                self._load(segment)
            except VaultDamagedError as error:
                if damaged is None:
                    raise
                damaged[segment.name.key] = error.message

    def _drop(self, keys: set[str]) -> None:
        with self._lock, self._transaction():
            for key in keys:
                row = self._db.execute("SELECT id FROM segments WHERE key = ?", (key,)).fetchone()
                if row:
                    self._db.execute("DELETE FROM lines WHERE segment = ?", row)
                    self._db.execute("DELETE FROM segments WHERE id = ?", row)
            self._db.execute("DELETE FROM objects WHERE id NOT IN (SELECT object FROM lines)")

    def _load(self, segment: Segment) -> None:
        with self._lock, self._transaction():
            number = self._segment_id(segment.name.key)
            if number is not None:
                lines = (parse_line(line) for line in segment.read())
                for some in batches(lines, 5000):
                    self._insert(some, number)

    def add(self, key: str, locations: Iterable[Location]) -> None:
        """Add the lines of a segment that this process wrote itself."""
        with self._lock, self._transaction():
            number = self._segment_id(key)
            if number is not None:
                for some in batches(locations, 5000):
                    self._insert(some, number)

    def _segment_id(self, key: str) -> int | None:
        """Make a segment's row; None where another process was first."""
        cursor = self._db.execute("INSERT OR IGNORE INTO segments (key) VALUES (?)", (key,))
        return cursor.lastrowid if cursor.rowcount else None

    def _insert(self, locations: list[Location], segment: int) -> None:
        # A raw blob under its plain key needs no row of `objects`: id 0 says so.
        keys = {x.key for x in locations if x.key != blob_key(x.digest)}
        self._db.executemany(
            "INSERT OR IGNORE INTO objects (key) VALUES (?)", ((key,) for key in sorted(keys))
        )
        ids: dict[str, int] = {}
        for key in keys:
            (ids[key],) = self._db.execute(
                "SELECT id FROM objects WHERE key = ?", (key,)
            ).fetchone()
        self._db.executemany(
            "INSERT OR IGNORE INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    digest_bytes(x.digest),
                    ids.get(x.key, 0),
                    x.offset,
                    x.length,
                    x.size,
                    x.proof,
                    segment,
                )
                for x in locations
            ),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def find(self, digest: str) -> list[Location]:
        """Return every place where a blob lies."""
        with self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT o.key, l.offset, l.length, l.size, l.proof FROM lines l"
                " LEFT JOIN objects o ON o.id = l.object WHERE l.digest = ?",
                (digest_bytes(digest),),
            ).fetchall()
        plain = blob_key(digest)
        return [_checked(digest, key or plain, *rest) for key, *rest in rows]

    def objects(self) -> set[str]:
        """Return the keys of the objects that lines name, raw blobs under plain keys left out."""
        with self._lock:
            return {key for (key,) in self._db.execute("SELECT key FROM objects")}

    def members(self, key: str) -> list[Location]:
        """Return all blobs that lie in one object, by offset.

        The first time makes an index, which reads the whole catalog.
        """
        with self._lock:
            self._db.execute("CREATE INDEX IF NOT EXISTS by_object ON lines (object)")
            rows = self._db.execute(
                "SELECT DISTINCT l.digest, l.offset, l.length, l.size, l.proof FROM lines l"
                " JOIN objects o ON o.id = l.object WHERE o.key = ? ORDER BY l.offset, l.digest",
                (key,),
            ).fetchall()
        return [_checked(self._name(digest), key, *rest) for digest, *rest in rows]

    def _name(self, data: Any) -> str:
        """Return what `digest_bytes` made these of, of 32 bytes in a sealed vault a keyed name."""
        name = _digest(data)
        return f"{KEYED}{name.partition(':')[2]}" if self._keyed else name

    def end_of(self, key: str) -> int:
        """Return the first byte after the last blob or frame in one object; 0 where none is.

        All are looked up at the first time, which reads the whole catalog once.
        """
        with self._lock:
            if self._ends is None:
                self._ends = dict(
                    self._db.execute(
                        "SELECT o.key, max(l.offset + l.length) FROM lines l"
                        " JOIN objects o ON o.id = l.object GROUP BY l.object"
                    )
                )
            return int(self._ends.get(key, 0))  # a sum beyond 64 bits is no integer

    def close(self) -> None:
        """Close the database; not while another thread asks it something."""
        with self._lock:
            self._db.close()


def _checked(digest: str, key: Any, offset: Any, length: Any, size: Any, proof: Any) -> Location:
    """Return a row as a place.

    Raises:
        sqlite3.DatabaseError: no line of a segment says this: the file is not what we wrote.
    """
    numbers = (offset, length, size)
    if all(type(number) is int and number >= 0 for number in numbers) and isinstance(proof, str):
        with contextlib.suppress(ValueError, TypeError):
            return Location(digest, check_key(key), offset, length, size, proof)
    raise sqlite3.DatabaseError("the local cache has a row that is none")


def _digest(data: Any) -> str:
    try:
        return digest_text(data)
    except (KeyError, TypeError, AttributeError):
        raise sqlite3.DatabaseError("the local cache has a digest that is none") from None


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield lists of at most `size` items."""
    source = iter(items)
    while some := list(islice(source, size)):
        yield some
