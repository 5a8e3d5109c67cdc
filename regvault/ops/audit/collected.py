"""What an archiver has taken out of a stream, and not yet made a link of the chain."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.event import time_text
from regvault.ops.audit.frames import Order, make
from regvault.vault.audit.keys import segment_key
from regvault.vault.audit.segment import SegmentWriter
from regvault.vault.keys import new_run_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.model.stream import Arrived
    from regvault.ops.audit.frames import Aside, Made, Pending
    from regvault.ops.audit.seen import SeenIds
    from regvault.vault.audit.months import Months
    from regvault.vault.vault import Vault

__all__ = ["Collected", "Stored"]

_MOST_BYTES = 256 << 20
_MOST_EVENTS = 200_000
#: Bytes of records of which frames are made at once, beside the reading; and how often.
_AT_ONCE = 2 << 20
_UNDER_WAY = 12


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

    def __init__(
        self, vault: Vault, months: Months, seen: SeenIds, aside: Aside, chain: str, today: str
    ) -> None:
        """Open a segment.

        Args:
            vault: where it goes.
            months: the keys of months.
            seen: ids of what the chain has.
            aside: makes frames, where there is much to do.
            chain: the id of the chain.
            today: the day on which ids are remembered to have come: that of archiving, however late
                they came.
        """
        self.run = new_run_id()
        self.start: dict[str, int] = {}
        self.next: dict[str, int] = {}
        self.repeats = 0
        self.in_months: set[str] = set()
        self._vault = vault
        self._seen = seen
        self._aside = aside
        self._chain = chain
        self._today = today
        self._began = time.monotonic()
        self._stage = vault.store.stage()
        self._writer = SegmentWriter(self._stage, months, self.run, vault.seal)
        self._months = _months_known(months)
        self._this_month = _this_month()
        self._received: list[str] = []
        self._times: list[str] = []
        self._taken = 0
        self._nbytes = 0
        self._waiting: list[Arrived] = []
        self._waiting_bytes = 0
        self._under_way: deque[Pending] = deque()

    @property
    def events(self) -> int:
        """How many events it has, once it is stored."""
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
            or self._nbytes >= _MOST_BYTES
            or self._taken >= _MOST_EVENTS
        )

    def take(self, arrived: Sequence[Arrived]) -> None:
        """Add records, those of each partition in order."""
        for each in arrived:
            self.next[each.partition] = each.offset + 1
            self._waiting_bytes += len(each.message.value)
        self._taken += len(arrived)
        self._waiting += arrived
        if self._waiting_bytes >= _AT_ONCE:
            self._under_way.append(self._aside.make(self._order()))
            while self._under_way and (
                self._under_way[0].done() or len(self._under_way) > _UNDER_WAY
            ):
                self._put_next()

    def _order(self) -> Order:
        order = Order(self._chain, self._waiting, self._months, self._this_month)
        self._nbytes += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0
        return order

    def _put_next(self) -> None:
        pending = self._under_way.popleft()
        self._put(pending.order, pending.result())

    def _put(self, order: Order, made: Made | None) -> None:
        """Put frames into the segment, but for repeats."""
        if made is not None:
            repeats = self._seen.add(made.names, self._today)
            if repeats:
                self.repeats += len(repeats)
                made = make(order, repeats)
        if made is None:
            return
        self._received = _spread(self._received, made.received)
        for frame in made.frames:
            self._times = _spread(self._times, frame.times)
            self.in_months.update(month.name for month in frame.months)
            self._writer.add(frame)

    def store(self, stream: dict[str, str]) -> Stored:
        """End it, and put it into the vault.

        Args:
            stream: what it is of.
        """
        while self._under_way:
            self._put_next()
        if self._waiting:
            order = self._order()
            self._put(order, make(order))
        store = self._vault.store
        size, table = self._writer.finish({"stream": stream})
        digest = self._stage.sha256()
        key = segment_key(self._chain, self.run, digest, sealed=self._vault.seal.sealed)
        store.barrier()
        self._stage.commit(key)
        store.barrier()
        return Stored(key, size, digest, table)

    def abort(self) -> None:
        """Throw away what is not in the vault."""
        self._under_way.clear()
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


def _spread(known: list[str], values: tuple[str, str]) -> list[str]:
    both = [*known, *values]
    return [min(both), max(both)]


def _pair(known: list[str]) -> tuple[str, str]:
    if known:
        return known[0], known[1]
    now = time_text(time.time_ns())
    return now, now


def _this_month() -> str:
    return time_text(time.time_ns())[:7]
