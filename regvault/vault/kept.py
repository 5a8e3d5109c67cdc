"""Chunks of trees that one command reads several times, kept on this machine meanwhile."""

from __future__ import annotations

import sqlite3
import threading

from regvault.vault.cache import digest_bytes

__all__ = ["KeptChunks"]


class KeptChunks:
    """digest -> stored bytes of a chunk, proven when it was read. Thread-safe.

    In a private temporary database, which SQLite keeps in memory or on disk by its size.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("CREATE TABLE chunks (digest BLOB PRIMARY KEY, data BLOB) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self._lock = threading.Lock()

    def get(self, digest: str) -> bytes | None:
        """Return a chunk that is kept, or None."""
        with self._lock:
            row = self._db.execute(
                "SELECT data FROM chunks WHERE digest = ?", (digest_bytes(digest),)
            ).fetchone()
        return row[0] if row else None

    def add(self, digest: str, data: bytes) -> None:
        """Keep a chunk."""
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO chunks VALUES (?, ?)", (digest_bytes(digest), data)
            )

    def close(self) -> None:
        """Free the database."""
        self._db.close()
