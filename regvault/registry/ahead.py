"""Look at a registry's links in processes of their own, ahead of who compares them.

On a file system a survey is tens of thousands of system calls of a microsecond each. Threads would
only take turns at the interpreter; processes use the other cores, while this one opens the vault.

A process is a fork that surveys a share of the names, sends `<name> <fingerprint>` lines through a
pipe, and ends. Nothing depends on it: what it did not send is surveyed here.
"""

from __future__ import annotations

import heapq
import os
import signal
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.registry import RepositoryLinks, Survey

__all__ = ["Glimpse", "LookAhead", "LookAheadError"]

_PROCESSES = 4
# The last line: no repository has such a name.
_END = ". end"


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
        processes: at most so many, and not more than there are cores.
    """

    def __init__(
        self,
        survey: Callable[[Callable[[str], bool]], Iterable[Survey]],
        *,
        processes: int = _PROCESSES,
    ) -> None:
        self.began_ns = time.time_ns()
        self._pids: list[int] = []
        self._pipes: list[IO[str]] = []
        count = min(processes, _PROCESSES, len(os.sched_getaffinity(0)))
        # With other threads about, a fork could inherit a lock that nobody gives back.
        if count < 2 or threading.active_count() > 1:
            return
        try:
            for share in range(count):
                self._fork(survey, share, count)
        except OSError:  # no process more, or no descriptor: this one does it alone
            self.close()

    def _fork(
        self,
        survey: Callable[[Callable[[str], bool]], Iterable[Survey]],
        share: int,
        count: int,
    ) -> None:
        reading, writing = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if pid == 0:
            # With an end to read from open here, nobody would notice that no one reads any more.
            for fd in (reading, *(pipe.fileno() for pipe in self._pipes)):
                os.close(fd)
            _be_a_process(writing, survey, share, count)
        os.close(writing)
        self._pids.append(pid)
        self._pipes.append(os.fdopen(reading, encoding="ascii"))

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

    def close(self) -> None:
        """Stop the processes."""
        for pipe in self._pipes:
            pipe.close()
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._pids, self._pipes = [], []


def _lines(pipe: IO[str]) -> Iterator[tuple[str, str]]:
    for line in pipe:
        if not line.endswith("\n"):
            break
        if line == f"{_END}\n":
            return
        name, _, fingerprint = line[:-1].partition(" ")
        yield name, fingerprint
    raise LookAheadError


def _be_a_process(
    writing: int,
    survey: Callable[[Callable[[str], bool]], Iterable[Survey]],
    share: int,
    count: int,
) -> None:
    """Send what the share of names shows, and end: without a word, and whatever happens."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)  # who waits for their end does not wait for this process
        with os.fdopen(writing, "w", encoding="ascii") as pipe:
            for seen in survey(lambda name: crc32(name.encode()) % count == share):
                pipe.write(f"{seen.repository} {seen.fingerprint}\n")
            pipe.write(f"{_END}\n")
    finally:
        os._exit(0)
