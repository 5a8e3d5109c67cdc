"""Reads archived events: only the links, frames and parts that may have what is asked for."""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.audit.split import event_of
from regvault.errors import VaultDamagedError
from regvault.ops.audit.terms import term
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.event import Event
    from regvault.ops.audit.select import Wanted
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["ArchivedEvents"]

_THREADS = 8
#: Clocks may differ by so much: what happened at a time came in at most so long before it.
_SKEW_DAYS = 1


class ArchivedEvents:
    """The archived events of a vault.

    Attributes:
        read_bytes: how many bytes of links and segments were read.
        erased: an event was met whose month tells of nobody any more.
        damaged: what cannot be read, and was passed over: key -> why.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._months = Months(vault)
        self.read_bytes = 0
        self.erased = False
        self.damaged: dict[str, str] = {}

    def links(self, since: str = "", until: str = "9999") -> list[Link]:
        """Return the links of all chains that may have events of a time, by their first time.

        Args:
            since: the first time at which they happened.
            until: the one before which they did.
        """
        found: list[Link] = []
        for name in chains(self._vault):
            chain = Chain(self._vault, name)
            numbers = chain.numbers()
            first = self._first(chain, numbers, _day_before(since))
            with ThreadPoolExecutor(_THREADS) as pool:
                links = pool.map(lambda n, c=chain: self._read(c, n), numbers[first:])
            found += [
                link
                for link in links
                if link is not None and link.times[1] >= since and link.times[0] < until
            ]
        return sorted(found, key=lambda link: (link.times, link.chain, link.number))

    def _first(self, chain: Chain, numbers: list[int], day: str) -> int:
        """Return the place of the first link that was closed on a day or later."""
        low, high = 0, len(numbers)
        while day and low < high:
            middle = (low + high) // 2
            link = self._read(chain, numbers[middle])
            if link is not None and link.closed < day:
                low = middle + 1
            else:
                high = middle
        return low

    def _read(self, chain: Chain, number: int) -> Link | None:
        try:
            return chain.read(number)
        except VaultDamagedError as error:
            self.damaged[error.key or f"{chain.id}@{number}"] = error.message
            return None

    def find(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for, in the order of their times."""
        links = self.links(wanted.since, wanted.until)
        heap: list[tuple[str, int, Event]] = []
        count = 0
        for place, link in enumerate(links):
            for event in self._of(link, wanted):
                count += 1
                heapq.heappush(heap, (event["time"], count, event))
            following = links[place + 1].times[0] if place + 1 < len(links) else "~"
            while heap and heap[0][0] < following:
                yield heapq.heappop(heap)[2]

    def _of(self, link: Link, wanted: Wanted) -> Iterator[Event]:
        reader = SegmentReader(self._vault.store, link.key, self._months, self._vault.seal)
        try:
            for number in self._frames(reader, wanted):
                yield from self._in_frame(reader, number, wanted)
        except VaultDamagedError as error:
            self.damaged[error.key or link.key] = error.message
        self.read_bytes += reader.read_bytes

    def _in_frame(self, reader: SegmentReader, number: int, wanted: Wanted) -> Iterator[Event]:
        for line in reader.lines(number):
            if line.personal is None:
                self.erased = True
            event = event_of(line.public, line.personal)
            if wanted.has(event):
                yield event

    def _frames(self, reader: SegmentReader, wanted: Wanted) -> Iterable[int]:
        """Return the frames of a segment that may have what is asked for, ascending."""
        frames = reader.table().frames
        found = {
            number
            for number, frame in enumerate(frames)
            if frame.times[1] >= wanted.since and frame.times[0] < wanted.until
        }
        for group in wanted.terms():
            if found:
                found &= reader.frames_with(term(*each) for each in group)
        for name, values in (("actor", wanted.actors), ("address", wanted.addresses)):
            if found and values:
                matches: Callable[[str], bool] = values.__contains__
                some = reader.frames_of_persons(name, matches)
                if some is None:
                    self.erased = True
                else:
                    found &= some
        return sorted(found)


def _day_before(time: str) -> str:
    """Return the day before that of a time, "" for none."""
    from datetime import date, timedelta

    if not time:
        return ""
    return (date.fromisoformat(time[:10]) - timedelta(days=_SKEW_DAYS)).isoformat()
