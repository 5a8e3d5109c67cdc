"""The tables of access statistics: a SQLite file of the local cache, which can be made anew."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import TemporaryError
from regvault.model.event import time_text
from regvault.policy.access_counts import DAY_US, first_day
from regvault.policy.coverage import Span
from regvault.vault.cache import discard_database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["COLUMNS", "LATE_US", "ChainState", "Record", "Tables"]

LATE_US = 3 * 3600 * 10**6
"""Records of one request come in within so long, microseconds."""
_WAITED_US = 8 * DAY_US
_MONTHS = 13
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
    month TEXT NOT NULL, ignored INTEGER NOT NULL, PRIMARY KEY (time, id)
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
    "pending": "ibiiTTTtITBBti",
}
"""Of each table what its columns hold: `i` whole numbers, `t` text, `b` bytes; capital: or NULL."""


class Record(NamedTuple):
    """What counts of one archived event: a row of `pending`.

    Attributes:
        time: when it happened, microseconds since the epoch.
        id: 12 bytes, of the event's.
        push: 1: it brought content; 0: it is a pull.
        kind: 1 of a manifest, 2 of a blob, 0 where that is not known.
        repository, tag, digest: of what.
        source, status, request_id: as the event has them.
        actor, address: who it was: keyed hashes of 8 bytes, or None.
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
    """The tables of one vault and one set of rules.

    Attributes:
        db: for those who read and fill them.
    """

    def __init__(self, directory: str | None, rules: str) -> None:
        """Open them, made where there are none, or they are damaged.

        Args:
            directory: of the vault's local cache; None, or one that cannot be written: a temporary
                database.
            rules: id of the rules.
        """
        self._directory = directory
        self._name = f"access-{rules}.sqlite"
        self.db = open_database(directory, self._name, _VERSION, _TABLES)
        self.db.execute("PRAGMA cache_size=-65536")

    def make_anew(self) -> None:
        """Throw all away, also what cannot be read."""
        self.close()
        discard_database(self._directory, self._name)
        self.db = open_database(self._directory, self._name, _VERSION, _TABLES)
        self.db.execute("PRAGMA cache_size=-65536")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Do all that is done within, or nothing.

        Args:
            keep: False: undo it in any case.

        Raises:
            TemporaryError: another process is at work on them for more than a minute.
        """
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise TemporaryError(
                f"the access statistics are in use: {error}", hint="Try again in a minute."
            ) from None
        try:
            yield
        except BaseException:
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
            # A spool that others overtook may yet send what it has: for a while it is waited for.
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
