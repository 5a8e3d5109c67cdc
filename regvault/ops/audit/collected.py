"""What an archiver has taken out of a stream, and not yet made a link of the chain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.event import time_text
from regvault.ops.audit.terms import personal_terms_of, terms_of
from regvault.vault.audit.keys import segment_key
from regvault.vault.audit.segment import Line, SegmentWriter
from regvault.vault.keys import new_run_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from regvault.audit.split import Parts
    from regvault.model.stream import Arrived
    from regvault.vault.audit.months import Months
    from regvault.vault.vault import Vault

__all__ = ["Collected", "Stored"]

_MOST_BYTES = 256 << 20
_MOST_EVENTS = 200_000


class Stored(NamedTuple):
    """A segment that is in the vault, and in no chain yet.

    Attributes:
        key: of the segment.
        size: its bytes.
        digest: hex, SHA-256 of them.
        table: hex, SHA-256 of its table.
    """

    key: str
    size: int
    digest: str
    table: str


class Collected:
    """An open segment, with what its link will say.

    Attributes:
        run: its id.
        start: of each partition, the first offset that this is of.
        next: of each partition, the offset after it.
        repeats: how many were left out.
        in_months: whose keys encrypt its events.
    """

    def __init__(self, vault: Vault, months: Months) -> None:
        """Open a segment.

        Args:
            vault: where it goes.
            months: the keys of months.
        """
        self.run = new_run_id()
        self.start: dict[str, int] = {}
        self.next: dict[str, int] = {}
        self.repeats = 0
        self.in_months: set[str] = set()
        self._vault = vault
        self._began = time.monotonic()
        self._stage = vault.store.stage()
        self._writer = SegmentWriter(self._stage, months, self.run, vault.seal)
        self._months = _months_known(months)
        self._this_month = _this_month()
        self._received: list[str] = []
        self._times: list[str] = []

    @property
    def events(self) -> int:
        """How many events it has."""
        return self._writer.events

    @property
    def received(self) -> tuple[str, str]:
        """When its first and its last event came in; without events: now."""
        return _pair(self._received)

    @property
    def times(self) -> tuple[str, str]:
        """When its first and its last event happened; without events: now."""
        return _pair(self._times)

    def is_due(self, seconds: float) -> bool:
        """Return whether it ends: it has been open for so long, or much is in it."""
        return (
            time.monotonic() - self._began >= seconds
            or self._writer.nbytes >= _MOST_BYTES
            or self._writer.events >= _MOST_EVENTS
        )

    def take(
        self, arrived: Sequence[Arrived], parts: Sequence[Parts], repeats: Collection[int]
    ) -> None:
        """Add records.

        Args:
            arrived: the records, those of each partition in order.
            parts: of each.
            repeats: the places of those that are left out.
        """
        for each in arrived:
            self.next[each.partition] = each.offset + 1
        self.repeats += len(repeats)
        if repeats:
            parts = [part for place, part in enumerate(parts) if place not in repeats]
        if not parts:
            return
        self._received = _spread(self._received, [part.event.received for part in parts])
        self._times = _spread(self._times, [part.event.time for part in parts])
        known, add = self._months, self._writer.add
        for public, personal, event, persons in parts:
            month = event.received[:7]
            if month not in known:
                month = self._this_month
            self.in_months.add(month)
            add(
                Line(public, personal),
                time=event.time,
                month=month,
                terms=terms_of(event),
                personal_terms=personal_terms_of(persons),
            )

    def store(self, stream: dict[str, str], chain: str) -> Stored:
        """End it, and put it into the vault.

        Args:
            stream: what it is of.
            chain: the id of the chain.
        """
        store = self._vault.store
        size, table = self._writer.finish({"stream": stream})
        digest = self._stage.sha256()
        key = segment_key(chain, self.run, digest, sealed=self._vault.seal.sealed)
        store.barrier()
        self._stage.commit(key)
        store.barrier()
        return Stored(key, size, digest, table)

    def abort(self) -> None:
        """Throw away what is not in the vault."""
        self._stage.abort()


def _months_known(months: Months) -> set[str]:
    """Return the months that events may be of: those of the last year that are not erased.

    Any other is not true, and its events get the key of this month: nobody can so make keys of
    months without end, or write into one that is erased.
    """
    year, month = map(int, _this_month().split("-"))
    last = {
        f"{year + (month - 1 - back) // 12:04d}-{(month - 1 - back) % 12 + 1:02d}"
        for back in range(13)
    }
    return last - {name for name, when in months.known().items() if when is not None}


def _spread(known: list[str], values: list[str]) -> list[str]:
    both = known + values
    return [min(both), max(both)]


def _pair(known: list[str]) -> tuple[str, str]:
    if known:
        return known[0], known[1]
    now = time_text(time.time_ns())
    return now, now


def _this_month() -> str:
    return time_text(time.time_ns())[:7]
