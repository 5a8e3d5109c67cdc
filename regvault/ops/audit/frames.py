"""Makes frames of records, also in processes beside the one that reads them.

Reading records, and making of them what is stored, take about as long: so other cores do a part of
the latter. What comes back is small. No key is known there, and nothing is written.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.audit.split import split, split_ours
from regvault.model.stream import Arrived, Message
from regvault.ops.audit.seen import name_of
from regvault.ops.audit.terms import personal_terms_of, terms_of
from regvault.vault.audit.segment import (
    FRAME_BYTES,
    FrameContent,
    FrameMaker,
    MonthOfFrame,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from regvault.audit.split import Parts

__all__ = ["Aside", "Made", "Order", "Pending", "make", "serve"]

_MOST = 4
#: Each process has so many orders at once, in memory that both see, and each may be so large.
_ORDERS = 2
_ORDER_BYTES = 8 << 20
_COMMAND = "from regvault.ops.audit.frames import serve; serve({fd})"
#: What goes over a line: which order, and its bytes; `_NONE`: what was made is too large.
_WORD = struct.Struct("<iq")
_NONE = -1
_READY = -1


class Order(NamedTuple):
    """What frames are made of.

    Attributes:
        chain: its id.
        arrived: records.
        months: whose keys events may get: see `Collected`.
        otherwise: the month whose key all others get.
    """

    chain: str
    arrived: Sequence[Arrived]
    months: Collection[str]
    otherwise: str


class Made(NamedTuple):
    """Frames of some records.

    Attributes:
        frames: in order.
        names: of each record, in order: `name_of` its id.
        received: when the first and the last came in.
    """

    frames: list[FrameContent]
    names: list[bytes]
    received: tuple[str, str]


def make(order: Order, without: Collection[int] = ()) -> Made | None:
    """Return frames of records; None where there are no records.

    Args:
        order: the records.
        without: the places of those that are left out.
    """
    arrived = [each for place, each in enumerate(order.arrived) if place not in without]
    if not arrived:
        return None
    frames = []
    maker = FrameMaker()
    received, names = [], []
    months, otherwise = order.months, order.otherwise
    for each in arrived:
        parts = split_ours(each.message) or _split(order.chain, each)
        public, personal, event, persons = parts
        came = event.received
        received.append(came)
        names.append(name_of(event.id))
        month = came[:7] if came[:7] in months else otherwise
        size = maker.add(
            public, personal, event.time, month, terms_of(event), personal_terms_of(persons)
        )
        if size >= FRAME_BYTES:
            frames.append(maker.made())
            maker = FrameMaker()
    if maker.size:
        frames.append(maker.made())
    return Made(frames, names, (min(received), max(received)))


def _split(chain: str, each: Arrived) -> Parts:
    return split(each.message, f"{chain} {each.partition} {each.offset}")


# What goes from process to process is plain data, which `marshal` writes faster than `pickle`. Both
# are the same Python; nobody else can reach that memory.


def _packed(order: Order) -> bytes:
    import marshal

    flat = [(each.partition, each.offset, *each.message) for each in order.arrived]
    return marshal.dumps((order.chain, tuple(order.months), order.otherwise, flat))


def _unpacked(data: memoryview) -> Order:
    import marshal

    chain, months, otherwise, flat = marshal.loads(data)  # noqa: S302 (our own process)
    arrived = [Arrived(part, offset, Message(*rest)) for part, offset, *rest in flat]
    return Order(chain, arrived, set(months), otherwise)


def _packed_made(made: Made | None) -> bytes:
    import marshal

    if made is None:
        return marshal.dumps(None)
    frames = [(*each[:-1], [tuple(month) for month in each.months]) for each in made.frames]
    return marshal.dumps((frames, made.names, made.received))


def _unpacked_made(data: memoryview) -> Made | None:
    import marshal

    found: Any = marshal.loads(data)  # noqa: S302 (our own process)
    if found is None:
        return None
    frames = [
        FrameContent(public, size, lines, times, terms, [MonthOfFrame(*each) for each in months])
        for public, size, lines, times, terms, months in found[0]
    ]
    return Made(frames, found[1], found[2])


class Pending:
    """Frames that were ordered.

    Attributes:
        order: what they are made of.
    """

    def __init__(self, order: Order, process: _Process | None = None) -> None:
        self.order = order
        self._process = process
        self._made: Made | None = None

    def done(self) -> bool:
        """Return whether `result` does not wait."""
        if self._process is not None:
            self._process.look(wait=False)
        return self._process is None

    def result(self) -> Made | None:
        """Return what `make` makes of the order."""
        while self._process is not None:
            self._process.look(wait=True)
        return self._made

    def settle(self, made: Made | None) -> None:
        """Take what was made."""
        self._process = None
        self._made = made


class Aside:
    """Processes that make frames, one for each core but one. They are started when they are wanted.

    Where they have enough to do, or die, frames are made here.

    Attributes:
        processes: that were started.
    """

    def __init__(self, processes: int | None = None) -> None:
        """Start nothing yet.

        Args:
            processes: how many; None: as this machine has cores.
        """
        if processes is None:
            processes = min(_MOST, (os.cpu_count() or 1) - 1)
        self._wanted = processes
        self.processes: list[subprocess.Popen[bytes]] = []
        self._known: list[_Process] = []

    def make(self, order: Order) -> Pending:
        """Make frames, or let them be made."""
        if len(self._known) < self._wanted:
            try:
                self._known.append(_Process())
                self.processes.append(self._known[-1].popen)
            except OSError:  # none can be had
                self._wanted = 0
        for process in self._known:
            pending = process.take(order)
            if pending is not None:
                return pending
        pending = Pending(order)
        pending.settle(make(order))
        return pending

    def close(self) -> None:
        """End the processes. What was ordered and is not done will not be."""
        for process in self._known:
            process.close()
        self._known = []
        self._wanted = 0


class _Process:
    """One process, and what it has to do."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        with _shared_file() as file:
            self._memory = mmap.mmap(file.fileno(), _ORDERS * _ORDER_BYTES)
            self._line, other = socket.socketpair()
            with other:
                self.popen = subprocess.Popen(  # noqa: S603 (this Python)
                    [sys.executable, "-c", _COMMAND.format(fd=file.fileno())],
                    stdin=other.fileno(),
                    stdout=subprocess.DEVNULL,
                    pass_fds=[file.fileno()],
                )
        self._alive = True
        self._free: list[int] = []  # none before it says that it is ready
        self._waiting: dict[int, Pending] = {}

    def take(self, order: Order) -> Pending | None:
        """Let it make frames; None: it has enough to do, or cannot."""
        self.look(wait=False)
        if not self._free or not self._alive:
            return None
        data = _packed(order)
        if len(data) > _ORDER_BYTES:
            return None
        number = self._free.pop()
        at = number * _ORDER_BYTES
        self._memory[at : at + len(data)] = data
        pending = self._waiting[number] = Pending(order, self)
        try:
            self._line.sendall(_WORD.pack(number, len(data)))
        except OSError:
            self._died()
        return pending

    def look(self, *, wait: bool) -> None:
        """See what it has done. With `wait`, at least one order more is settled."""
        while self._alive:
            try:
                flags = socket.MSG_WAITALL if wait else socket.MSG_DONTWAIT
                word = self._line.recv(_WORD.size, flags)
            except BlockingIOError:
                return
            except OSError:
                word = b""
            if len(word) != _WORD.size:
                self._died()
                return
            number, size = _WORD.unpack(word)
            if number == _READY:
                self._free = list(range(_ORDERS))
                continue
            self._free.append(number)
            pending = self._waiting.pop(number)
            if size == _NONE:
                pending.settle(make(pending.order))
            else:
                at = number * _ORDER_BYTES
                with memoryview(self._memory) as view, view[at : at + size] as data:
                    pending.settle(_unpacked_made(data))
            wait = False

    def _died(self) -> None:
        """Make here what it has not."""
        self._alive = False
        for pending in self._waiting.values():
            pending.settle(make(pending.order))
        self._waiting.clear()

    def close(self) -> None:
        self._alive = False
        for pending in self._waiting.values():
            pending.settle(None)
        self._waiting.clear()
        self._line.close()
        self.popen.kill()
        self.popen.wait()
        self._memory.close()


def _shared_file() -> Any:
    """Return a file in memory, or one that goes with its last descriptor, for orders."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("regvault-frames"), "r+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (who asks for it closes it)
    file.truncate(_ORDERS * _ORDER_BYTES)
    return file


def serve(descriptor: int) -> None:
    """Make frames of what lies in shared memory, as standard input, a socket, says; until it ends.

    Args:
        descriptor: of the shared memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells both; one ends the other
    gc.disable()  # what is made here has no cycles, and there is much of it
    memory = memoryview(mmap.mmap(descriptor, _ORDERS * _ORDER_BYTES))
    with socket.socket(fileno=0) as line:
        try:
            line.sendall(_WORD.pack(_READY, 0))
            while len(word := line.recv(_WORD.size, socket.MSG_WAITALL)) == _WORD.size:
                number, size = _WORD.unpack(word)
                at = number * _ORDER_BYTES
                made = _packed_made(make(_unpacked(memory[at : at + size])))
                if len(made) <= _ORDER_BYTES:
                    memory[at : at + len(made)] = made
                line.sendall(_WORD.pack(number, len(made) if len(made) <= _ORDER_BYTES else _NONE))
        except OSError:  # whose process this is has ended
            return
