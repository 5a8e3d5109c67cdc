"""The tables of access statistics: a SQLite file of the local cache, which can be made anew."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import TemporaryError
from regvault.model.event import time_text
from regvault.policy.access_counts import DAY_US, first_day
from regvault.policy.coverage import Span
from regvault.vault.cache import CheckedFile, discard_database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["COLUMNS", "LATE_US", "ChainState", "Record", "Tables"]

LATE_US = 3 * 3600 * 10**6
"""Records of one request come in within so long, microseconds."""
_WAITED_US = 8 * DAY_US
_MONTHS = 13
_NAP_S = 0.05
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains (
    chain TEXT PRIMARY KEY, number INTEGER NOT NULL, sha256 TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, before INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
    chain TEXT, first INTEGER, last INTEGER, PRIMARY KEY (chain, first, last)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unread (chain TEXT, number INTEGER, PRIMARY KEY (chain, number))
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spools (
    chain TEXT, spool TEXT, seq INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (chain, spool)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS targets (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL,
    kind INTEGER NOT NULL, first INTEGER, last INTEGER, pulls INTEGER NOT NULL, pushed INTEGER,
    UNIQUE (digest, repository, tag)
);
CREATE TABLE IF NOT EXISTS days (
    target INTEGER, day INTEGER, pulls INTEGER NOT NULL, PRIMARY KEY (target, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clients (
    target INTEGER, month TEXT, sketch BLOB NOT NULL, PRIMARY KEY (target, month)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
    repository TEXT, tag TEXT, digest TEXT NOT NULL, since INTEGER NOT NULL, before TEXT NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags (digest);
CREATE INDEX IF NOT EXISTS tags_by_before ON tags (before) WHERE before <> '';
CREATE TABLE IF NOT EXISTS pending (
    time INTEGER, id BLOB, push INTEGER NOT NULL, kind INTEGER NOT NULL, repository TEXT, tag TEXT,
    digest TEXT, source TEXT NOT NULL, status INTEGER, request_id TEXT, actor BLOB, address BLOB,
    agent BLOB, month TEXT NOT NULL, ignored INTEGER NOT NULL, PRIMARY KEY (time, id)
) WITHOUT ROWID;
"""
COLUMNS = {
    "meta": "ti",
    "chains": "titiii",
    "gaps": "tii",
    "unread": "ti",
    "spools": "ttii",
    "targets": "itttiIIiI",
    "days": "iii",
    "clients": "itb",
    "tags": "tttit",
    "pending": "ibiiTTTtITBBBti",
}
"""Of each table what its columns hold: `i` whole numbers, `t` text, `b` bytes; capital: or NULL."""


class Record(NamedTuple):
    """What counts of one archived event: a row of `pending`.

    Attributes:
        time: when its answer ended, microseconds since the epoch.
        id: 12 bytes, of the event's.
        push: 1: it brought content; 0: it is a pull.
        kind: 1 of a manifest, 2 of a blob, 0 where that is not known.
        repository, tag, digest: of what.
        source: whose record it is, as they are put together.
        status, request_id: as the event has them.
        actor, address, agent: who it was: keyed hashes of 8 bytes, or None.
        month: whose key the hashes are made with.
        ignored: 1: it was no real client.
    """

    time: int
    id: bytes
    push: int
    kind: int
    repository: str | None
    tag: str | None
    digest: str | None
    source: str
    status: int | None
    request_id: str | None
    actor: bytes | None
    address: bytes | None
    agent: bytes | None
    month: str
    ignored: int


class ChainState(NamedTuple):
    """How far one chain is counted.

    Attributes:
        number, sha256: of the newest link that is.
        first, last: when the first and the last event came in, microseconds since the epoch.
        before: when the first of that link did.
    """

    number: int
    sha256: str
    first: int
    last: int
    before: int


class Tables:
    """The tables of one vault and one set of rules; of one process at a time.

    Attributes:
        db: for those who read and fill them.
    """

    def __init__(self, directory: str | None, rules: str, *, wait_s: float = 60) -> None:
        """Open them, made where there are none, or they are damaged.

        Args:
            directory: of the vault's local cache; None, or one that cannot be written: a temporary
                database.
            rules: id of the rules.
            wait_s: for another process that has them.

        Raises:
            TemporaryError: another process has them for longer.
        """
        self._name = f"access-{rules}.sqlite"
        self._lock = -1
        self._directory = directory if self._is_ours(directory, wait_s) else None
        # A bit that flipped in it would be taken for the truth. Where there is no checksum a run
        # was killed, and that alone damages nothing.
        self._file = CheckedFile(self._directory, self._name)
        good = self._file.is_good()
        if good is False:
            discard_database(self._directory, self._name)
        self.db = self._open()
        if good is None and not self._is_whole():
            self.make_anew()
        self._without_sum()

    def _is_ours(self, directory: str | None, wait_s: float) -> bool:
        """Take the lock; return False where there can be no file."""
        if directory is None:
            return False
        deadline = time.monotonic() + wait_s
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            path = os.path.join(directory, f"{self._name}.lock")
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._lock)
                    raise TemporaryError(
                        "another process has the access statistics", hint="Try again in a minute."
                    ) from None
                time.sleep(_NAP_S)
            except OSError:  # no locks there
                return False
            else:
                return True

    def _open(self) -> sqlite3.Connection:
        db = open_database(self._directory, self._name, _VERSION, _TABLES)
        db.execute("PRAGMA cache_size=-65536")
        return db

    def _is_whole(self) -> bool:
        try:
            (said,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError:
            return False
        return bool(said == "ok")

    def _without_sum(self) -> None:
        if self._directory is not None:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._directory, f"{self._name}.sum"))

    def make_anew(self) -> None:
        """Throw all away, also what cannot be read."""
        self.db.close()
        discard_database(self._directory, self._name)
        self.db = self._open()

    def close(self) -> None:
        """Close the file, and write down what it is now."""
        self.db.close()
        self._file.write_sum()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Do all that is done within, or nothing.

        Args:
            keep: False: undo it in any case.
        """
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.db.in_transaction:  # a full disk ends it
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT" if keep else "ROLLBACK")

    def clear(self) -> None:
        """Forget all, within a transaction."""
        for name in COLUMNS:
            self.db.execute(f"DELETE FROM {name}")  # noqa: S608 (only ours)

    def meta(self, name: str) -> int:
        """Return a number that is kept under a name; 0 where there is none."""
        row = self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_meta(self, name: str, value: int) -> None:
        """Keep a number under a name."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def chains(self) -> dict[str, ChainState]:
        """Return how far each chain is counted."""
        rows = self.db.execute("SELECT chain, number, sha256, first, last, before FROM chains")
        return {chain: ChainState(*rest) for chain, *rest in rows}

    def newest_us(self) -> int:
        """Return when the newest event came in, of all chains; 0 where there is none."""
        (last,) = self.db.execute("SELECT max(last) FROM chains").fetchone()
        return int(last or 0)

    def wait(self, records: Iterable[Record]) -> None:
        """Let records wait for others of their requests; one that is there already stays one."""
        marks = ",".join("?" * len(Record._fields))
        self.db.executemany(f"INSERT OR IGNORE INTO pending VALUES ({marks})", records)  # noqa: S608

    def spans(self) -> dict[str, tuple[Span, list[Span]]]:
        """Return of each chain for which time it tells what happened, and the gaps in it."""
        found: dict[str, tuple[Span, list[Span]]] = {}
        for chain, state in self.chains().items():
            end = state.last - LATE_US
            # A spool, or a log, that others overtook may yet come: for a while it is waited for.
            (silent,) = self.db.execute(
                "SELECT min(last) FROM spools WHERE chain = ? AND last > ? AND last < ?",
                (chain, state.last - _WAITED_US, state.last - DAY_US),
            ).fetchone()
            end = max(state.first, end if silent is None else min(end, silent))
            rows = self.db.execute("SELECT first, last FROM gaps WHERE chain = ?", (chain,))
            found[chain] = Span(state.first, end), [Span(*row) for row in rows]
        return found

    def settled_before(self, following: dict[str, int]) -> int:
        """Return the time before which no record comes any more that waits for others.

        Args:
            following: of the chains that have more links: when the first event of the next came in.
        """
        chains = self.chains()
        newest = max((state.last for state in chains.values()), default=0)
        ends = [
            state.last
            for chain, state in chains.items()
            if chain not in following and state.last > newest - _WAITED_US
        ]
        found = min([*ends, *following.values()], default=0) - LATE_US
        return max(found, self.meta("settled"))

    def age(self) -> None:
        """Count what is old by blocks of days, and forget the clients of a year ago."""
        newest = self.newest_us() // DAY_US
        cut = first_day(newest)
        if cut > self.meta("days_from"):
            # Blocks begin with a day that is a multiple of 32, so they stay as they are.
            self.db.execute(
                "CREATE TEMP TABLE old AS SELECT target, day / 32 * 32 AS day, sum(pulls) AS pulls"
                " FROM days WHERE day < ? GROUP BY target, day / 32",
                (cut,),
            )
            self.db.execute("DELETE FROM days WHERE day < ?", (cut,))
            self.db.execute("INSERT INTO days SELECT target, day, pulls FROM old")
            self.db.execute("DROP TABLE old")
            self.set_meta("days_from", cut)
        year, month = map(int, time_text(self.newest_us() * 1000)[:7].split("-"))
        back = year * 12 + month - 1 - _MONTHS
        oldest = f"{back // 12:04d}-{back % 12 + 1:02d}"
        self.db.execute("DELETE FROM clients WHERE month <= ?", (oldest,))
