"""A spool as a stream to archive, for sites without Kafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from regvault.audit.envelope import message_of
from regvault.model.stream import Arrived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regvault.audit.spool.spool import Spool

__all__ = ["CONSUMER", "SpoolSource"]

CONSUMER = "archive"
_NAP_S = 0.05
_AT_ONCE = 2000


class SpoolSource:
    """One spool; its cursor says how far the archive is, so that segments can go."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._cursor = spool.cursor(CONSUMER)
        self._reader = spool.reader(self._cursor.next)
        self._is_new = False
        self._end = 0
        self._gone: list[dict[str, object]] = []

    @property
    def stream(self) -> dict[str, str]:
        """What names the spool for ever."""
        return {"kind": "spool", "spool": self._spool.id}

    def start(
        self,
        positions: Callable[[], Mapping[str, int]],
        yielding: Callable[[], None],  # noqa: ARG002 (nobody else reads it)
    ) -> None:
        """Begin to read. See `EventSource`."""
        self._is_new = self._cursor.register()
        usage = self._spool.usage()
        self._end = usage.next
        known = positions()
        self._is_new = self._is_new and self._spool.id not in known
        wanted = known.get(self._spool.id, usage.first)
        self._gone = []
        if self._spool.id in known and wanted < usage.first:
            self._gone = [{"partition": self._spool.id, "first": wanted, "next": usage.first}]
        self._reader.close()
        self._reader = self._spool.reader(wanted)

    def read(self, timeout_s: float) -> list[Arrived]:
        """Return what came. See `EventSource`."""
        deadline = time.monotonic() + timeout_s
        while not (found := self._reader.read(_AT_ONCE, 4 << 20)):
            if time.monotonic() >= deadline:
                return []
            time.sleep(_NAP_S)
        return [Arrived(self._spool.id, record.seq, message_of(record.data)) for record in found]

    def gone(self) -> list[dict[str, object]]:
        """Return what is not there any more. See `EventSource`."""
        return self._gone

    def caught_up(self) -> bool:
        """Return whether all that was there has been read. See `EventSource`."""
        return self._reader.next >= self._end

    def settle(self, positions: Mapping[str, int]) -> None:
        """Let the spool's segments go. See `EventSource`."""
        self._is_new = False
        offset = positions.get(self._spool.id, 0)
        if offset > self._cursor.next:
            self._cursor.advance(offset)
            self._spool.collect()

    def close(self) -> None:
        """Stop reading. A consumer that has never archived anything is forgotten."""
        self._reader.close()
        if self._is_new:
            self._cursor.remove()
            self._is_new = False
