"""Look at a registry in processes of their own, ahead of who compares or reads it.

On a file system a survey is tens of thousands of system calls of a microsecond each. Threads would
only take turns at the interpreter; processes use the other cores, while this one opens the vault.

A process is a fork that surveys a share of the names and sends `<name> <fingerprint>` lines through
a pipe. Then it waits: told to, it goes through its share once more and sends what can be read
ahead of each repository. Nothing depends on it: what it did not send is looked at here.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import pickle
import signal
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

from regvault.registry.gather import Gathered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.registry import RepositoryLinks, Survey

__all__ = ["Glimpse", "LookAhead", "LookAheadError"]

_PROCESSES = 4
# The last line: no repository has such a name.
_END = ". end"
_READ = b"r"
# So much may wait in a pipe. Linux has 64 KiB of its own, and lets anyone ask for a megabyte.
_PIPE_BYTES = 1 << 20


class LookAheadError(Exception):
    """A process ended before it had sent everything."""


class Glimpse:
    """A survey of which only the fingerprint was seen (implements Survey)."""

    def __init__(self, repository: str, fingerprint: str, survey: Callable[[str], Survey]) -> None:
        """Make one.

        Args:
            repository: its name.
            fingerprint: as a process saw it.
            survey: looks at it anew, for its links.
        """
        self._repository = repository
        self._fingerprint = fingerprint
        self._survey = survey

    @property
    def repository(self) -> str:
        """Its name."""
        return self._repository

    @property
    def fingerprint(self) -> str:
        """`kind:version:hash`, or "" where it was not settled."""
        return self._fingerprint

    def links(self) -> RepositoryLinks:
        """Survey it now. What changed meanwhile shows, and makes the next fingerprint differ."""
        return self._survey(self._repository).links()


class LookAhead:
    """Processes that survey, and what they have seen.

    Attributes:
        began_ns: when, in nanoseconds since the epoch.

    Args:
        survey: surveys the names that a predicate wants, in byte order. It runs in the processes.
        gather: reads a repository ahead. It runs in the processes.
        processes: at most so many, and not more than there are cores.
    """

    def __init__(
        self,
        survey: Callable[[Callable[[str], bool]], Iterable[Survey]],
        gather: Callable[[Survey], Gathered],
        *,
        processes: int = _PROCESSES,
    ) -> None:
        self.began_ns = time.time_ns()
        self._survey = survey
        self._gather = gather
        self._pids: list[int] = []
        self._pipes: list[IO[bytes]] = []
        self._orders: list[int] = []
        count = min(processes, _PROCESSES, len(os.sched_getaffinity(0)))
        # With other threads about, a fork could inherit a lock that nobody gives back.
        if count < 2 or threading.active_count() > 1:
            return
        try:
            for share in range(count):
                self._fork(share, count)
        except OSError:  # no process more, or no descriptor: this one does it alone
            self.close()

    def _fork(self, share: int, count: int) -> None:
        ends = [*os.pipe()]
        try:
            ends += os.pipe()
            pid = os.fork()
        except OSError:
            for fd in ends:
                os.close(fd)
            raise
        reading, writing, orders, ordering = ends
        if pid == 0:
            # With the other ends open here, nobody would notice that no one is there any more.
            mine = (reading, ordering, *(pipe.fileno() for pipe in self._pipes), *self._orders)
            for fd in mine:
                os.close(fd)
            self._be_a_process(writing, orders, share, count)
        os.close(writing)
        os.close(orders)
        self._pids.append(pid)
        self._pipes.append(os.fdopen(reading, "rb"))
        self._orders.append(ordering)

    @property
    def working(self) -> bool:
        """Whether there are processes."""
        return bool(self._pids)

    def seen(self) -> Iterator[tuple[str, str]]:
        """Yield (name, fingerprint) of all repositories in byte order of the names, once.

        Raises:
            LookAheadError: a process ended early; what was yielded before is good.
        """
        yield from heapq.merge(*map(_lines, self._pipes))

    def gathered(self) -> Iterator[Gathered]:
        """Yield what processes read of all repositories in byte order of the names, once.

        In place of `seen`. They begin now, and are ahead by what a pipe holds.

        Raises:
            LookAheadError: a process ended early; what was yielded before is good.
        """
        with suppress(BrokenPipeError):  # its pipe will say that it ended
            for ordering in self._orders:
                os.write(ordering, _READ)
        for pipe in self._pipes:
            for _ in _lines(pipe):
                pass
        yield from heapq.merge(*map(_items, self._pipes), key=_name)

    def close(self) -> None:
        """Stop the processes."""
        for pipe in self._pipes:
            pipe.close()
        for ordering in self._orders:
            os.close(ordering)
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._pids, self._pipes, self._orders = [], [], []

    def _be_a_process(self, writing: int, orders: int, share: int, count: int) -> None:
        """Send what the share of names shows, and end: without a word, and whatever happens."""

        def wanted(name: str) -> bool:
            return crc32(name.encode()) % count == share

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)  # who waits for their end does not wait for this process
            with suppress(OSError):
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            with os.fdopen(writing, "wb") as pipe:
                for seen in self._survey(wanted):
                    pipe.write(f"{seen.repository} {seen.fingerprint}\n".encode("ascii"))
                pipe.write(f"{_END}\n".encode("ascii"))
                pipe.flush()
                if os.read(orders, 1) == _READ:
                    for seen in self._survey(wanted):
                        pickle.dump(tuple(self._gather(seen)), pipe)
                    pickle.dump(None, pipe)
        finally:
            os._exit(0)


def _lines(pipe: IO[bytes]) -> Iterator[tuple[str, str]]:
    for line in iter(pipe.readline, b""):
        text = line.decode("ascii")
        if text == f"{_END}\n":
            return
        if not text.endswith("\n"):
            break
        name, _, fingerprint = text[:-1].partition(" ")
        yield name, fingerprint
    raise LookAheadError


def _items(pipe: IO[bytes]) -> Iterator[Gathered]:
    while True:
        try:
            # From a fork of this very process, through a pipe that nobody else has.
            item: Any = pickle.load(pipe)  # noqa: S301
        except (EOFError, pickle.UnpicklingError):
            raise LookAheadError from None
        if item is None:
            return
        yield Gathered(*item)


def _name(item: Gathered) -> str:
    return item.repository
