"""Reads archived events: only the links, frames and parts that may have what is asked for."""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.audit.split import event_of
from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.ops.audit.indexing import covered
from regvault.ops.audit.known import known_heads
from regvault.ops.audit.select import Wanted
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired
from regvault.vault.audit.index import IndexReader, Summary, summary_of
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment import term_of
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.errors import RegvaultError
    from regvault.model.event import Event
    from regvault.vault.audit.chain import Index, Link
    from regvault.vault.vault import Vault

__all__ = ["ArchivedEvents"]

_THREADS = 8


class ArchivedEvents:
    """The archived events of a vault.

    Attributes:
        read_bytes: how many bytes of links and segments were read.
        erased: an event was met whose month tells of nobody any more.
        expired: what came in until then, and is not kept any more, may have been asked for; or "".
        damaged: what cannot be read, and was passed over: key -> why.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._months = Months(vault)
        self.read_bytes = 0
        self.erased = False
        self.expired = ""
        self.damaged: dict[str, str] = {}

    def links(self, since: str = "", until: str = "9999") -> list[Summary]:
        """Return the links of all chains that may have events of a time, by their first time.

        Args:
            since: the first time at which they happened.
            until: the one before which they did.
        """
        return [link for link, _ in self._candidates(Wanted(since=since, until=until))]

    def _head(self, chain: Chain, known: int) -> Link | None:
        """Return the newest link that can be read; one that is gone, or cannot be, is noted."""
        numbers = chain.numbers()
        last = numbers[-1] if numbers else 0
        if last < known:
            self.damaged[f"audit/{chain.id}/"] = (
                f"links {last + 1} to {known} are gone, which a snapshot or a verification knew"
            )
        for number in reversed(numbers):
            link = self._read(chain, number)
            if link is not None:
                return link
        return None

    def _read(self, chain: Chain, number: int) -> Link | None:
        try:
            link = chain.read(number)
        except (VaultDamagedError, ObjectNotFoundError) as error:
            self.damaged[f"{chain.id}@{number}"] = error.message
            return None
        self.read_bytes += link.nbytes
        return link

    def _not_indexed(self, chain: Chain, head: Link | None) -> list[Summary]:
        """Return the links after the last index, the head with them."""
        if head is None:
            return []
        numbers = range(covered(head.indexes) + 1, head.number)
        return [*self._summaries(chain, numbers), summary_of(head)]

    def _summaries(self, chain: Chain, numbers: Iterable[int]) -> list[Summary]:
        """Return what links themselves say."""
        with ThreadPoolExecutor(_THREADS) as pool:
            links = pool.map(lambda number: self._read(chain, number), numbers)
            return [summary_of(link) for link in links if link is not None]

    def _instead_of(self, chain: Chain, index: Index, error: RegvaultError) -> list[Summary]:
        """Return the links that an index is over that cannot be read: nothing hides behind it."""
        self.damaged[index.key] = error.message
        return self._summaries(chain, range(index.first, index.last + 1))

    def _from_index(self, chain: Chain, index: Index) -> list[Summary]:
        reader = IndexReader(self._vault, index)
        try:
            return list(reader.links())
        except (VaultDamagedError, ObjectNotFoundError) as error:
            return self._instead_of(chain, index, error)
        finally:
            self.read_bytes += reader.read_bytes

    def _candidates(self, wanted: Wanted) -> list[tuple[Summary, set[int] | None]]:
        """Return links that may have what is asked for, with the frames that may; None: any."""
        groups = [[term_of(*each) for each in group] for group in wanted.terms()]
        found: list[tuple[Summary, set[int] | None]] = []
        known = known_heads(self._vault)
        for name in sorted({*chains(self._vault), *known}):
            chain = Chain(self._vault, name)
            head = self._head(chain, known.get(name, 0))
            here: list[tuple[Summary, set[int] | None]] = []
            for index in [] if head is None else head.indexes:
                here += self._in_index(chain, index, groups)
            here += [(summary, None) for summary in self._not_indexed(chain, head)]
            found += self._kept(name, here, wanted)
        kept = _of_time([summary for summary, _ in found], wanted.since, wanted.until)
        frames = dict(found)
        return [(summary, frames[summary]) for summary in kept]

    def _kept(
        self, chain: str, links: list[tuple[Summary, set[int] | None]], wanted: Wanted
    ) -> list[tuple[Summary, set[int] | None]]:
        """Return the links whose segments are kept."""
        gone = expired(self._vault, chain)
        if gone.through and gone.received >= wanted.since:
            self.expired = max(self.expired, gone.received)
        return [each for each in links if each[0].number > gone.through]

    def _in_index(
        self, chain: Chain, index: Index, groups: list[list[str]]
    ) -> list[tuple[Summary, set[int] | None]]:
        if not groups:
            return [(summary, None) for summary in self._from_index(chain, index)]
        reader = IndexReader(self._vault, index)
        places: dict[int, set[int]] | None = None
        try:
            for group in groups:
                some: dict[int, set[int]] = {}
                for each in group:
                    for number, frames in reader.find(each).items():
                        some.setdefault(number, set()).update(frames)
                if places is not None:
                    some = {n: some[n] & places[n] for n in some.keys() & places.keys()}
                places = {number: frames for number, frames in some.items() if frames}
            assert places is not None
            return [(summary, places[summary.number]) for summary in reader.links(places)]
        except (VaultDamagedError, ObjectNotFoundError) as error:
            return [(summary, None) for summary in self._instead_of(chain, index, error)]
        finally:
            self.read_bytes += reader.read_bytes

    def find(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for, in the order of their times."""
        links = self._candidates(wanted)
        heap: list[tuple[str, int, Event]] = []
        count = 0
        for place, (link, frames) in enumerate(links):
            for event in self._of(link, frames, wanted):
                count += 1
                heapq.heappush(heap, (event["time"], count, event))
            following = links[place + 1][0].times[0] if place + 1 < len(links) else "~"
            while heap and heap[0][0] < following:
                yield heapq.heappop(heap)[2]

    def _of(self, link: Summary, among: set[int] | None, wanted: Wanted) -> Iterator[Event]:
        reader = SegmentReader(self._vault, link.key, link.table, self._months)
        try:
            for number in self._frames(reader, among, wanted):
                yield from self._in_frame(reader, number, wanted)
        except (VaultDamagedError, ObjectNotFoundError) as error:
            self.damaged[link.key] = error.message
        self.read_bytes += reader.read_bytes

    def _in_frame(self, reader: SegmentReader, number: int, wanted: Wanted) -> Iterator[Event]:
        for line in reader.lines(number):
            if line.personal is None:
                self.erased = True
            event = event_of(line.public, line.personal)
            if wanted.has(event):
                yield event

    def _frames(
        self, reader: SegmentReader, among: set[int] | None, wanted: Wanted
    ) -> Iterable[int]:
        """Return the frames of a segment that may have what is asked for, ascending.

        Args:
            reader: of the segment.
            among: those that an index over it names; None: its own is asked.
            wanted: what is asked for.
        """
        frames = reader.table().frames
        found = {
            number
            for number, frame in enumerate(frames)
            if frame.times[1] >= wanted.since and frame.times[0] < wanted.until
        }
        if among is not None:
            found &= among
        for group in wanted.terms() if among is None else ():
            if found:
                found &= reader.frames_with(term_of(*each) for each in group)
        for name, values in (("actor", wanted.actors), ("address", wanted.addresses)):
            if found and values:
                matches: Callable[[str], bool] = values.__contains__
                some = reader.frames_of_persons(name, matches)
                if some is None:
                    self.erased = True
                else:
                    found &= some
        return sorted(found)


def _of_time(links: Iterable[Summary], since: str, until: str) -> list[Summary]:
    """Return the links that may have events of a time, by their first time."""
    found = [link for link in links if link.times[1] >= since and link.times[0] < until]
    return sorted(found, key=lambda link: (link.times, link.key))
