"""Reads a spool beside all else, tells a watcher of its events, and puts back what it says.

It stands in nobody's way: what goes wrong is reported and tried again, what the spool does not keep
is left out and counted, and events that it cannot put into a full spool wait here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Protocol

from regvault.audit.intake import body_of
from regvault.audit.signals.memory import Memory, as_saved
from regvault.audit.spool.files import open_own, own_directory
from regvault.errors import LeaseHeldError, RegvaultError, TemporaryError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from regvault.audit.spool import Reader, Spool
    from regvault.model.event import Event

__all__ = ["Follower", "Watcher", "memory_path"]

_DIRECTORY = "signals"
_AT_ONCE = 250
_NAP_S = 0.2
_TICK_S = 5.0
_SETTLE_S = 1.0
_AGAIN_S = (1.0, 60.0)
#: What comes of a memory that holds what nobody has saved.
_NOT_SAVED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    sqlite3.DataError,
)


def memory_path(spool: str, name: str) -> str:
    """Return where the memory of a watcher of the spool in a directory is."""
    return os.path.join(spool, _DIRECTORY, f"{name}.db")


class Watcher(Protocol):
    """Takes the events of a spool, and has events to say."""

    def take(self, event: Event) -> list[Event]:
        """Take the next event; return those to put into the spool."""

    def tick(self, now: float) -> list[Event]:
        """Return what there is to say when all that came was taken; `now` since the epoch."""

    def saved(self) -> dict[str, Any]:
        """Return the documents that its memory has to commit."""


class Follower:
    """A consumer of a spool that gives way to all others.

    Attributes:
        watcher: as it is now; a new one after something went wrong. None before the first step.
        problem: what is wrong just now, or None.
        failures: how often something went wrong.
        skipped: events that the spool did not keep for it.
        lag: events that it has not taken yet, as far as is known.
    """

    def __init__(
        self,
        spool: Spool,
        name: str,
        make: Callable[[Memory], Watcher],
        *,
        report: Callable[..., None] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            spool: that is watched.
            name: of the cursor, one of `GIVING_WAY`, and of the memory.
            make: makes the watcher of a memory.
            report: is told what goes wrong, with a `hint`, once until it goes well again.
        """
        self.watcher: Watcher | None = None
        self.problem: str | None = None
        self.failures = 0
        self.skipped = 0
        self.lag = 0
        self._spool = spool
        self._name = name
        self._make = make
        self._report = report
        self._cursor = spool.cursor(name)
        self._memory: Memory | None = None
        self._reader: Reader | None = None
        self._lock = -1
        self._expected = 0
        self._settled = self._ticked = time.monotonic()

    def run(
        self,
        stop: threading.Event,
        *,
        follow: bool,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Take what is there, and with `follow` what comes, until told to stop.

        Args:
            stop: set from elsewhere to end it.
            follow: wait for more, and try again whatever goes wrong.
            between: called whenever all that came was taken.

        Raises:
            LeaseHeldError: another process does it.
            TemporaryError: without `follow`, it went wrong.
        """
        tries = 0
        try:
            while not stop.is_set():
                try:
                    busy = self.step()
                    if between is not None and not busy:
                        between()
                except LeaseHeldError as error:
                    if not follow:
                        raise
                    self._failed(error.message)
                except (RegvaultError, OSError, sqlite3.Error) as error:
                    self._failed(str(error))
                    if not follow:
                        raise TemporaryError(
                            f"{self._name}: {error}", hint="Nothing is lost: run it again."
                        ) from error
                except Exception as error:  # nothing may end the thread of a receiver
                    self._failed(f"{type(error).__name__}: {error}")
                    if not follow:
                        raise
                else:
                    self.problem, tries = None, 0
                    if busy:
                        continue
                    if not follow:
                        self.say()
                        return
                    stop.wait(_NAP_S)
                    continue
                self._forget()
                low, high = _AGAIN_S
                stop.wait(min(high, low * 2**tries))
                tries = min(tries + 1, 10)
        finally:
            self.close()

    def step(self) -> bool:
        """Take the next events; return whether there were some.

        Raises:
            LeaseHeldError: another process does it.
            OSError, RegvaultError, sqlite3.Error: it is as if they had not been taken.
        """
        reader, memory, watcher = self._opened()
        records = reader.read(_AT_ONCE, 1 << 20)
        self._skip(records[0].seq if records else None)
        said: list[Event] = []
        for record in records:
            said += self._taken(watcher, record.data)
        caught_up = len(records) < _AT_ONCE
        if caught_up and time.monotonic() - self._ticked >= _TICK_S:
            self._ticked = time.monotonic()
            said += watcher.tick(time.time())
        if said:
            self._spool.append([body_of(event) for event in said])
        if records or said:
            memory.commit(next=reader.next, **watcher.saved())
        self._settle(reader.next)
        if caught_up:
            self.lag = 0
        return not caught_up

    def say(self) -> list[Event]:
        """Put into the spool what the watcher has to say now, and return it.

        Raises:
            OSError, RegvaultError, sqlite3.Error: it is not said, and will be.
        """
        reader, memory, watcher = self._opened()
        said = watcher.tick(time.time())
        if said:
            self._spool.append([body_of(event) for event in said])
        memory.commit(next=reader.next, **watcher.saved())
        return said

    def _taken(self, watcher: Watcher, data: bytes) -> list[Event]:
        """Return what the watcher says to an event; one that it cannot take is left out."""
        import orjson

        try:
            return watcher.take(orjson.loads(data))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._failed(f"an event was left out: {type(error).__name__}")
            return []

    def _skip(self, first: int | None) -> None:
        """Count what the spool has not any more, or never had."""
        assert self._reader is not None
        if first is not None and first > self._expected > 0:
            self.skipped += first - self._expected
        self._expected = self._reader.next

    def _opened(self) -> tuple[Reader, Memory, Watcher]:
        if self._reader is None or self._memory is None or self.watcher is None:
            self._take_lock()
            place = memory_path(self._spool.directory, self._name)
            self._memory = Memory(place)
            try:
                begin, self.watcher = self._known(self._memory)
            except _NOT_SAVED:
                self._memory.put_aside()
                begin, self.watcher = self._known(self._memory)
            if self._memory.lost and self._report is not None:
                self._report(
                    f"{place} was damaged, and is put aside", hint="What was learned begins anew."
                )
            self._cursor.register()
            self._reader = self._spool.reader(begin)
            self._expected = begin
        return self._reader, self._memory, self.watcher

    def _known(self, memory: Memory) -> tuple[int, Watcher]:
        """Return the number of the next event, and a watcher that knows what the memory does."""
        return _next(memory), self._make(memory)

    def _take_lock(self) -> None:
        if self._lock >= 0:
            return
        directory = own_directory(os.path.join(self._spool.directory, _DIRECTORY))
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, f"{self._name}.lock")
        lock = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise LeaseHeldError(
                f"another process watches the spool {self._spool.directory} ({self._name})",
                hint="One is enough; its memory is in the spool's directory.",
            ) from None
        self._lock = lock

    def _settle(self, to: int) -> None:
        """Let the spool's segments go that were read, once in a while."""
        usage_due = time.monotonic() - self._settled >= _SETTLE_S
        if usage_due and to > self._cursor.next:
            self._settled = time.monotonic()
            self._cursor.advance(to)
            self._spool.collect()
            self.lag = max(0, self._spool.usage().next - to)

    def _failed(self, what: str) -> None:
        """Report it once, and begin again with what was committed."""
        self.failures += 1
        if self._report is not None and self.problem != what:
            self._report(f"{self._name}: {what}", hint="Events are taken as before.")
        self.problem = what

    def close(self) -> None:
        """Close all; what was not committed is read again."""
        self._forget()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _forget(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(OSError, sqlite3.Error, ValueError):
                committed = 0 if self._memory is None else _next(self._memory)
                if committed > self._cursor.next:
                    self._cursor.advance(committed)
            self._reader.close()
            self._reader = None
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self.watcher = None


def _next(memory: Memory) -> int:
    """Return the number of the next event. Raises ValueError, sqlite3.Error."""
    saved = memory.document("next")
    found = 0 if saved is None else as_saved(saved, int)
    if found < 0:
        raise ValueError(found)
    return found
