"""Puts a stream of events into a vault: segments of at most an hour, each a link of a chain."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, TemporaryError, VaultDamagedError
from regvault.model.event import time_text
from regvault.ops.audit.collected import Collected
from regvault.ops.audit.frames import Aside
from regvault.ops.audit.indexing import covered, with_more
from regvault.ops.audit.seen import DAYS, SeenIds, name_of
from regvault.vault.audit.chain import Chain, Link, MovedError
from regvault.vault.audit.keys import chain_id
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment_reader import SegmentReader
from regvault.vault.envelope import to_time
from regvault.vault.keys import new_run_id
from regvault.vault.signing import require_key

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from regvault.model.stream import Arrived, EventSource
    from regvault.vault.audit.chain import Index
    from regvault.vault.vault import Vault

__all__ = ["Archived", "Archiver", "chain_of"]

#: A segment ends after so long.
SEGMENT_S = 3600.0
_POLL_S = 0.5
#: Whoever keeps one ahead of us so often is no other archiver, but a fault.
_MOVED_TIMES = 20
#: So many links in a row that are old end the search for ids.
_OLD_LINKS = 8


@dataclass
class Archived:
    """What an archiver has done.

    Attributes:
        events: archived.
        repeats: left out, since the chain has an event of the same id.
        segments: links written.
        nbytes: of segments.
        gaps: what was gone before it could be archived.
        chain: its id.
        head: the number of its newest link, where this run wrote one.
    """

    events: int = 0
    repeats: int = 0
    segments: int = 0
    nbytes: int = 0
    gaps: list[dict[str, Any]] = field(default_factory=list)
    chain: str = ""
    head: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "chain": self.chain,
            "head": self.head,
            "events": self.events,
            "repeats": self.repeats,
            "segments": self.segments,
            "bytes": self.nbytes,
            "gaps": self.gaps,
        }


def chain_of(vault: Vault, stream: dict[str, str]) -> str:
    """Return the id of the chain of a stream in a vault."""
    name = "\n".join(f"{key}={stream[key]}" for key in sorted(stream))
    return chain_id(name, vault.seal.name("audit") if vault.seal.sealed else "")


class Archiver:
    """Archives one stream; exactly once, whatever is killed when.

    What is archived is what links say: each says how far its chain is in every partition, and is
    created once. Where another archiver was quicker, what was read meanwhile is thrown away if it
    overlaps, and read again.

    Attributes:
        done: what it has done.
    """

    def __init__(
        self,
        vault: Vault,
        source: EventSource,
        *,
        cache: str | None = None,
        segment_s: float = SEGMENT_S,
        say: Callable[[str], None] = lambda _: None,
        linked: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the chain of a stream.

        Args:
            vault: where it is kept.
            source: the stream.
            cache: directory of the vault's local cache; None: keep nothing.
            segment_s: seconds after which a segment ends.
            say: tells people.
            linked: called after each link that was written.

        Raises:
            CredentialError: links are signed here, and there is no key to sign with.
        """
        require_key(vault.id)
        self.done = Archived()
        self._vault = vault
        self._source = source
        self._segment_s = segment_s
        self._say = say
        self._linked = linked
        self._months = Months(vault)
        self._chain = Chain(vault, chain_of(vault, source.stream))
        self.done.chain = self._chain.id
        self._seen = SeenIds(cache, self._chain.id)
        self._head: Link | None = None
        self._indexes: list[Index] = []
        self._moved = False
        self._aside = Aside()
        self._open: Collected | None = None

    def run(self, stop: threading.Event, *, follow: bool) -> Archived:
        """Archive what is there, and with `follow` what comes, until told to stop.

        Raises:
            RegvaultError: the stream, or the vault, cannot be used.
        """
        try:
            self._restart()
            while not stop.is_set() and (follow or not self._source.caught_up()):
                arrived = self._source.read(_POLL_S)
                if self._moved:
                    self._say("another archiver has these events; what it has not is read again")
                    self._restart()
                    continue
                if arrived:
                    self._take(arrived)
                if self._open is not None and self._open.is_due(self._segment_s):
                    self._close()
            self._close()
        finally:
            self._abort()
            self._aside.close()
            self._source.close()
            self._seen.close()
        return self.done

    # Reading

    def _restart(self) -> None:
        """Begin to read where the chain ends."""
        self._abort()
        self._moved = False
        self._head = self._chain.head()
        self._catch_up()
        self._source.start(self._positions, self._close)

    def _positions(self) -> dict[str, int]:
        """Return the next offset that is wanted of each partition, as it is now."""
        if self._open is None:
            for link in self._chain.follow(self._head):
                self._head = link
            self._catch_up()
        return self._wanted()

    def _wanted(self) -> dict[str, int]:
        known = {} if self._head is None else self._head.positions
        return known if self._open is None else {**known, **self._open.next}

    def _catch_up(self) -> None:
        """Learn the ids of what the chain has, as far back as repeats may come."""
        head = 0 if self._head is None else self._head.number
        if self._seen.link > head:  # of another chain of the same name, or the tail was cut off
            self._seen.clear()
        oldest = _oldest(self._head)
        wanted: list[Link] = []
        old = 0
        for number in range(head, self._seen.link, -1):
            link = self._chain.read(number)
            # Some in a row: the clock of one run may have been wrong.
            old = old + 1 if link.closed[:10] < oldest else 0
            if old > _OLD_LINKS:
                break
            wanted.append(link)
        for link in reversed(wanted):
            reader = SegmentReader.of(self._vault, link, self._months)
            self._seen.add(list(_names(reader)), max(link.closed[:10], oldest))
            self._seen.keep(link.number, oldest)

    def _take(self, arrived: list[Arrived]) -> None:
        """Put records into the open segment, but for repeats."""
        wanted = self._wanted()
        arrived = [each for each in arrived if each.offset >= wanted.get(each.partition, 0)]
        if not arrived:
            return
        if self._open is None:
            self._open = Collected(
                self._vault,
                self._months,
                self._seen,
                self._aside,
                self._chain.id,
                _today(self._head),
            )
        known = {} if self._head is None else self._head.positions
        for each in arrived:
            if each.partition not in self._open.start:
                self._open.start[each.partition] = known.get(each.partition, each.offset)
        self._open.take(arrived)

    # Writing

    def _close(self) -> None:
        """End the open segment, and make it a link of the chain."""
        gaps = self._source.gone()
        segment = self._open
        if segment is None:
            return
        stored = segment.store(self._source.stream)
        link = Link(
            chain=self._chain.id,
            number=0,
            previous=None,
            run=segment.run,
            closed=to_time(time.time_ns()),
            key=stored.key,
            size=stored.size,
            digest=stored.digest,
            table=stored.table,
            events=segment.events,
            repeats=segment.repeats,
            received=segment.received,
            times=segment.times,
            months=tuple(sorted(segment.in_months)),
            positions={},
            gaps=gaps,
            stream=self._source.stream,
        )
        if self._head is not None:
            self._index(self._head)
        made = self._append(link, segment)
        if made is None:
            self._abort()
            self._moved = True
            return
        self._head = made
        self._seen.keep(made.number, _oldest(made))
        self.done.events += made.events
        self.done.repeats += made.repeats
        self.done.segments += 1
        self.done.nbytes += made.size
        self.done.gaps += made.gaps
        self.done.head = made.number
        gaps.clear()
        self._open = None
        self._source.settle(made.positions)
        self._linked()

    def _append(self, link: Link, segment: Collected) -> Link | None:
        """Put a link at the end of the chain; None where another run has archived the same."""
        head = self._head
        for _ in range(_MOVED_TIMES):
            positions = {} if head is None else head.positions
            if any(positions.get(name, first) != first for name, first in segment.start.items()):
                return None
            filled = Link(
                **{
                    **link.__dict__,
                    "number": 1 if head is None else head.number + 1,
                    "previous": None if head is None else head.sha256,
                    "positions": {**positions, **segment.next},
                    "indexes": self._known_indexes(head),
                }
            )
            try:
                return self._chain.append(filled)
            except MovedError as error:
                head = error.head
                self._learn(head)
        raise TemporaryError(
            f"other archivers were quicker {_MOVED_TIMES} times",
            hint="How many run at once? One for each partition is enough.",
        )

    def _known_indexes(self, head: Link | None) -> list[Index]:
        """Return the indexes that the next link names: the newest that are known."""
        theirs = [] if head is None else head.indexes
        return max(theirs, self._indexes, key=covered)

    def _index(self, head: Link) -> None:
        """Write the indexes that are due: nothing is lost where that fails."""
        try:
            indexes = self._known_indexes(head)
            run = new_run_id()
            self._indexes = with_more(
                self._vault, self._chain, self._months, indexes, head.number, run
            )
        except (VaultDamagedError, ObjectNotFoundError) as error:
            self._say(f"no index is made: {error.message}")

    def _learn(self, link: Link) -> None:
        """Remember the ids of what another archiver has put into the chain."""
        reader = SegmentReader.of(self._vault, link, self._months)
        self._seen.add(list(_names(reader)), _today(link))

    def _abort(self) -> None:
        if self._open is not None:
            self._open.abort()
            self._open = None
        self._seen.drop()


def _names(reader: SegmentReader) -> Iterator[bytes]:
    """Yield the names of the ids of a segment's events. A segment that is gone has none."""
    import orjson

    try:
        frames = len(reader.table().frames)
        for number in range(frames):
            for line in reader.lines(number, personal=False):
                event = orjson.loads(line.public)
                yield name_of(event["id"])
    except (ObjectNotFoundError, VaultDamagedError):
        return


def _oldest(head: Link | None) -> str:
    """Return the first day of which ids are remembered: a clock that runs ahead forgets nothing."""
    now = time_text(time.time_ns())[:10]
    return _day_before(now if head is None else min(now, head.closed[:10]), DAYS)


def _today(head: Link | None) -> str:
    """Return the day of what is archived now: a clock that runs behind forgets nothing."""
    now = time_text(time.time_ns())[:10]
    return now if head is None else max(now, head.closed[:10])


def _day_before(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()
