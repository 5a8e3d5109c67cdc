"""Follows all files that were asked for."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.audit.spool import SpoolFullError
from regvault.audit.tail.batch import Batch
from regvault.audit.tail.files import Mark, Source, UnreadableError
from regvault.audit.tail.lines import Counts, Lines
from regvault.audit.tail.names import Found, Wanted, family_of, is_rotated, shown
from regvault.audit.tail.reader import Reader, StandardInput, TruncatedError, prime
from regvault.audit.tail.scan import Files
from regvault.errors import RegvaultError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.formats.detect import Stream
    from regvault.audit.spool import Spool
    from regvault.audit.tail.batch import Owner
    from regvault.audit.tail.names import Key
    from regvault.audit.tail.state import Entry, State

__all__ = ["Follower", "Tailed"]

_POLL_S = 0.25
_NAP_S = 0.05
_CLOSE_S = 10.0
_CLOSE_NAMELESS_S = 600.0
_TRIES = 3


@dataclass
class Tailed:
    """What was read.

    Attributes:
        files: that were looked at.
        counts: lines and bytes.
        events: that are durable in the spool.
        unreadable: why a file could not be read, by its name.
        lag: bytes that were there and not taken: lines without an end, and what did not fit.
        dropped: events of standard input that were read and did not fit.
    """

    files: int = 0
    counts: Counts = field(default_factory=Counts)
    events: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    lag: int = 0
    dropped: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "files": self.files,
            "lines": self.counts.lines,
            "events": self.events,
            "bytes": self.counts.nbytes,
            "unreadable": [
                {"file": file, "reason": reason} for file, reason in self.unreadable.items()
            ],
            "lag": self.lag,
        }


class Follower:
    """Puts the lines of files into a spool.

    Attributes:
        tailed: what it has done, once it has ended.
    """

    def __init__(
        self,
        spool: Spool,
        state: State,
        paths: list[str],
        make: Callable[[], Stream],
        *,
        follow: bool,
        warn: Callable[..., None],
        most_open: int = 900,
    ) -> None:
        """Begin where the last run ended.

        Args:
            spool: where events go.
            state: how far files were read.
            paths: of files, patterns, and `-` for standard input.
            make: makes a stream of the format.
            follow: stay and read what comes.
            warn: is told what a person should look at, with a `hint`.
            most_open: files that are open at a time.

        Raises:
            UsageError: a path is a directory.
        """
        self.tailed = Tailed()
        self._state = state
        self._make = make
        self._follow = follow
        self._warn = warn
        self._batch = Batch(spool)
        self._files = Files(
            state,
            Wanted([path for path in paths if path != "-"]),
            self._begin,
            follow=follow,
            most=max(1, most_open),
            save=self._save,
            warn=warn,
        )
        self._input = StandardInput() if "-" in paths else None
        if self._input is not None:
            identity = f"stdin:{secrets.token_hex(16)}"
            self._input.lines = self._lines(make(), identity, "-", Mark(), self._input.owner)
        self._told: set[str] = set()
        self._scanned = 0.0

    def _lines(self, stream: Stream, identity: str, path: str, mark: Mark, owner: Owner) -> Lines:
        store = None if path == "-" else self._store
        counts = self.tailed.counts
        return Lines(
            self._batch, stream, identity, path, mark, owner=owner, counts=counts, store=store
        )

    def _begin(self, entry: Entry, source: Source, found: Found) -> Reader:
        """Return the reader of a file. Raises UnreadableError."""
        stream = self._make()
        if entry.mark.offset:
            prime(stream, source)
        source.go(entry.mark.offset)
        if source.position < entry.mark.offset:
            raise UnreadableError("it ends before the place that was read to")
        lines = self._lines(stream, entry.identity, shown(found.path), entry.mark, entry)
        bounded = not (self._follow or source.packed)
        return Reader(entry, source, lines, limit=found.size if bounded else None)

    def run(self) -> Tailed:
        """Read what is there, and with `follow` what comes, until an exception ends it.

        Raises:
            SpoolFullError: the spool is full, and it does not follow.
            UsageError: there is no file, and it does not follow.
        """
        try:
            self._scan(first=True)
            if not (self._follow or self._input or self._files.any):
                raise UsageError(
                    f"there is no file {', '.join(map(shown, self._files.wanted.missing))}",
                    hint="Put patterns in quotes. With --follow it waits for files.",
                )
            while self._step():
                pass
        finally:
            self._end()
        return self.tailed

    def _scan(self, *, first: bool = False) -> None:
        self._files.scan(first=first)
        self._scanned = time.monotonic()

    def _step(self) -> bool:
        """Do some work, or wait for some; return whether there may be more."""
        busy, waits = self._pass()
        self._store()
        if self._state.is_due:
            self._save()
        if self._input is not None and not self._input.ended:
            self._read_input(0 if busy else _POLL_S)
        elif self._follow and not (self._input is not None and not self._files.wanted.patterns):
            if not busy:
                time.sleep(_POLL_S)
        elif not (busy or waits):
            if not self._files.again:
                return False
            time.sleep(_NAP_S)
            self._scanned = 0.0
        if waits and not busy:
            time.sleep(_NAP_S)
        pause = max(_POLL_S * 0.9, self._files.cost_s * 20)
        if (self._follow or self._files.again) and time.monotonic() - self._scanned > pause:
            self._scan()
        return True

    def _read_input(self, wait_s: float) -> None:
        """Read standard input for a moment; wait for it where nothing is there."""
        assert self._input is not None
        deadline = time.monotonic() + _POLL_S
        try:
            while not self._input.ended and self._input.turn(wait_s):
                wait_s = 0
                if self._batch.is_full:
                    self._store()
                if time.monotonic() > deadline:
                    break
        except UnreadableError as error:
            self._files.say_unreadable("-", str(error))
        self._store()

    # What is durable

    def _store(self) -> None:
        """Make durable what was read; with `follow`, wait until the spool has room for it."""
        tries = 0
        while True:
            try:
                if self._batch.store():
                    self._state.dirty = True
            except SpoolFullError as error:
                if not self._follow:
                    raise
                self._tell(error.message, "Nothing is read until it takes events again.")
                time.sleep(_POLL_S)
            except OSError as error:  # perhaps they are durable: they are given again
                tries += 1
                if tries >= _TRIES and not self._follow:
                    raise TemporaryError(
                        f"cannot write to the spool: {error.strerror}", hint="Look at its disk."
                    ) from error
                self._tell(f"cannot write to the spool: {error.strerror}", "Look at its disk.")
                time.sleep(_POLL_S)
            else:
                self._told.clear()
                return

    def _save(self) -> None:
        """Make durable how far files were read; with `follow`, until that has gone well."""
        while True:
            try:
                self._state.save()
            except OSError as error:
                message = f"cannot save how far files were read: {error.strerror}"
                hint = "Look at the disk of the state (--state, else that of the spool)."
                if not self._follow:
                    raise TemporaryError(message, hint=hint) from error
                self._tell(message, hint)
                time.sleep(_POLL_S)
            else:
                return

    def _tell(self, message: str, hint: str) -> None:
        """Warn once, until it goes well again."""
        if message not in self._told:
            self._told.add(message)
            self._warn(message, hint=hint)

    def _end(self) -> None:
        """Make durable what was read, and then how far that is."""
        with contextlib.suppress(RegvaultError, OSError):
            self._batch.store()
        if self._input is not None:
            self.tailed.dropped = self._batch.waiting
        self._batch.settle()
        self.tailed.events = self._batch.stored
        self.tailed.files = self._files.used
        self.tailed.unreadable = self._files.unreadable
        self.tailed.lag = self._files.lag()
        try:
            self._state.save()
        except OSError as error:
            self._warn(
                f"cannot save how far files were read: {error.strerror}",
                hint="What was read since it was saved is read again, with the same ids.",
            )

    # Reading

    def _pass(self) -> tuple[bool, bool]:
        """Read some of each file, a rotated one before the one that follows it.

        Returns:
            whether there is more; whether the end of one is waited for.
        """
        busy = waits = False
        blocked = set()
        order = sorted(self._files.open.items(), key=lambda each: each[1].entry.mtime_ns)
        order.sort(key=lambda each: not each[1].away)
        for key, reader in order:
            family = family_of(reader.entry.real)
            if family in blocked or self._files.open.get(key) is not reader:
                continue
            try:
                if reader.turn():
                    waits = self._at_end(key, reader) or waits
                    continue
                blocked.add(family)
            except TruncatedError:
                self._store()
                self._files.truncated(key)
            except UnreadableError as error:
                self._store()
                self._files.failed(key, error)
            busy = True
        return busy, waits

    def _at_end(self, key: Key, reader: Reader) -> bool:
        """Do what is to be done where all was read; return whether something is waited for."""
        if not reader.away:
            if not self._follow:
                self._store()
                self._files.close(key, forever=True)
            return False
        quiet = reader.is_quiet()
        if reader.lines.waits:
            if not quiet:
                return True
            reader.finish()
        if reader.source.packed:
            self._store()
            *_, size, mtime_ns, _ = reader.source.stat()
            reader.entry.ended = size, mtime_ns
            self._state.dirty = True
            self._files.close(key, forever=not self._follow)
        elif not self._follow:
            self._store()
            self._files.close(key, forever=True)
        else:
            idle = time.monotonic() - reader.idle_since
            found = self._files.present.get(key)
            named = found is not None and is_rotated(found.path)
            if idle > (_CLOSE_S if named else _CLOSE_NAMELESS_S) or (quiet and reader.is_gone()):
                self._store()
                self._files.close(key)
        return False
