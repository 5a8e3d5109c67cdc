"""One open file, and standard input."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

from regvault.audit.tail.files import CHUNK, HEAD, Mark, UnreadableError
from regvault.audit.tail.names import is_new
from regvault.model.event import time_text

if TYPE_CHECKING:
    from regvault.audit.formats.detect import Stream
    from regvault.audit.tail.files import Source
    from regvault.audit.tail.lines import Lines
    from regvault.audit.tail.state import Entry

__all__ = ["Reader", "StandardInput", "TruncatedError", "prime"]

_CHUNKS = 4
_QUIET_S = 1.0
_STDIN_CHUNK = 32 << 10
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TruncatedError(Exception):
    """A file does not begin any more as it did: it was truncated, and perhaps written anew."""


def prime(stream: Stream, source: Source) -> None:
    """Tell a stream that begins within a file what the header of the file says."""
    for line in source.head(HEAD).decode("utf-8", "backslashreplace").split("\n")[:-1]:
        if line and not line.startswith("#"):
            break
        stream.feed(line, "")


class Reader:
    """Reads one file on, whatever becomes of its name.

    Attributes:
        entry: of the file.
        source: the open file.
        lines: makes events of it.
        away: another file is where it was, or none: it was rotated.
        done: nothing is read of it any more by this run.
        idle_since: when it was at its end and had not grown, on the monotonic clock.
    """

    def __init__(self, entry: Entry, source: Source, lines: Lines, *, limit: int | None) -> None:
        """Begin to read.

        Args:
            entry: of the file.
            source: open, where `entry.mark` is.
            lines: of the file.
            limit: how much of it is read at least, then no more; None: no limit.
        """
        self.entry = entry
        self.source = source
        self.lines = lines
        self.away = source.packed
        self.done = False
        self.idle_since = time.monotonic()
        self._limit = limit
        self._caught_up = False
        self._seen = (-1, -1)

    def turn(self) -> bool:
        """Read some; return whether that was all there is now.

        Raises:
            TruncatedError: it is not the same any more.
            UnreadableError: it cannot be read.
        """
        *_, size, mtime_ns, _links = self.source.stat()
        if not self.source.packed and self._seen == (size, mtime_ns):
            return True
        for _ in range(_CHUNKS):
            data = self.source.read(CHUNK)
            if not self.source.packed:
                # Looked at after reading: what was read before it changed is the old content.
                same = self.source.has(self.entry.printed, self.entry.mark)
                if not same or self.source.stat()[2] < self.source.position:
                    raise TruncatedError
                self.entry.mtime_ns = mtime_ns
            if not data:
                self._seen = size, mtime_ns
                self._caught_up = True
                return True
            self.idle_since = time.monotonic()
            self.lines.feed(data, self.fallback(mtime_ns))
            if self._limit is not None and self.source.position >= self._limit:
                self.done = not self.away
                return self.done
        return False

    def is_other(self) -> bool:
        """Return whether it was truncated, and perhaps written anew, since it was read."""
        *_, size, mtime_ns, _links = self.source.stat()
        if self.source.packed or self._seen == (size, mtime_ns):
            return False
        try:
            same = self.source.has(self.entry.printed, self.entry.mark)
        except UnreadableError:
            return False
        return not same or self.source.stat()[2] < self.source.position

    def fallback(self, mtime_ns: int) -> str:
        """Return the time of lines that have none: now for new ones, else that of the file."""
        now = time.time_ns()
        old = self.source.packed or not self._caught_up
        return time_text(min(max(0, mtime_ns), now) if old else now)

    def is_quiet(self) -> bool:
        """Return whether it was not written to for a moment."""
        return self.source.packed or not is_new(self.source.stat()[3], _QUIET_S)

    def is_gone(self) -> bool:
        """Return whether it has no name any more."""
        return self.source.stat()[4] == 0

    def finish(self) -> None:
        """Take what is there as all that there ever is."""
        self.lines.finish(self.fallback(self.source.stat()[3]))

    def lag(self) -> int:
        """Return how many bytes are there and not durable in the spool."""
        if self.source.packed:
            return 0
        return max(0, self.source.stat()[2] - self.entry.mark.offset)


class _Nobody:
    """Standard input: nothing can be read of it twice, so nobody wants to know."""

    def commit(self, mark: Mark) -> None:
        """Do nothing."""


class StandardInput:
    """Reads standard input. What is read of it is all made events before a signal is raised.

    Attributes:
        ended: it has come to its end.
        owner: of its lines.
    """

    def __init__(self) -> None:
        self.ended = False
        self.owner = _Nobody()
        self.lines: Lines | None = None

    def turn(self, wait_s: float) -> bool:
        """Read what is there, waiting for that; return whether there was something."""
        assert self.lines is not None
        try:
            if not select.select([0], [], [], wait_s)[0]:
                return False
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            try:
                data = os.read(0, _STDIN_CHUNK)
                now = time_text(time.time_ns())
                if data:
                    self.lines.feed(data, now)
                else:
                    self.ended = True
                    self.lines.finish(now)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BlockingIOError:
            return False
        except (OSError, ValueError) as error:
            self.ended = True
            raise UnreadableError(getattr(error, "strerror", None) or str(error)) from error
        return True
