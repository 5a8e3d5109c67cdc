"""Events of several files into the spool together; positions follow once they are durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from regvault.audit.spool import SpoolFullError
from regvault.audit.tail.files import Mark, mark_after

if TYPE_CHECKING:
    from regvault.audit.spool import Spool

__all__ = ["MAX_BYTES", "MAX_EVENTS", "Batch", "Owner", "Stretch"]

MAX_EVENTS = 1000
MAX_BYTES = 4 << 20


class Owner(Protocol):
    """Who wants to know how far the events of a file are durable."""

    def commit(self, mark: Mark) -> None:
        """Take what is durable."""
        ...  # pylint: disable=unnecessary-ellipsis


@dataclass(slots=True)
class Stretch:
    """A part of a file whose events are in a batch.

    Attributes:
        owner: of the file.
        data: bytes of the file.
        low, high: where in them the part is.
        start: the mark at its beginning.
        mark: how far its events are durable, when all of the batch are.
        first: which event of the batch is its first one.
        end: which event is the first after it.
    """

    owner: Owner
    data: bytes
    low: int
    high: int
    start: Mark
    mark: Mark
    first: int
    end: int


class Batch:
    """Events that are not in the spool yet.

    Attributes:
        bodies: of the events.
        starts: of each, where its file has to be read from to make it again.
        nbytes: of the bodies.
        stored: events that are durable, of all batches.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._stretches: list[Stretch] = []
        self._done = 0
        self.bodies: list[bytes] = []
        self.starts: list[int | Mark] = []
        self.nbytes = 0
        self.stored = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing should be added before it is stored."""
        return len(self.bodies) >= MAX_EVENTS or self.nbytes >= MAX_BYTES

    def add(self, stretch: Stretch) -> None:
        """Take a part of a file whose events are in the lists already."""
        self._stretches.append(stretch)

    def store(self) -> bool:
        """Put the events into the spool, and say how far that is; return whether that is new.

        Raises:
            SpoolFullError: not all of them fit; to try again stores the others.
        """
        part = len(self.bodies)
        while self._done < len(self.bodies):
            bodies = self.bodies[self._done : self._done + part]
            try:
                self._spool.append(bodies)
            except SpoolFullError as error:
                self._done += error.stored
                self.stored += error.stored
                if error.stored or part == 1:
                    raise
                part = max(1, len(bodies) // 4)  # it may have room for some of them
            else:
                self._done += len(bodies)
                self.stored += len(bodies)
        new = bool(self._stretches)
        self.settle()
        return new

    def settle(self) -> None:
        """Say how far events are durable, and forget all of them, the others too."""
        for stretch in self._stretches:
            if stretch.end <= self._done:
                stretch.owner.commit(stretch.mark)
            elif stretch.first < self._done:
                stretch.owner.commit(self._cut(stretch))
        self._stretches = []
        self.bodies, self.starts = [], []
        self._done = self.nbytes = 0

    def _cut(self, stretch: Stretch) -> Mark:
        start = self.starts[self._done]
        if isinstance(start, Mark):
            return start
        length = start - stretch.start.offset
        return mark_after(stretch.start, stretch.data[stretch.low : stretch.low + length])

    @property
    def waiting(self) -> int:
        """How many events are not durable."""
        return len(self.bodies) - self._done
