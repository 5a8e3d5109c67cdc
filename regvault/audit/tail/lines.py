"""The lines of one file, as events in a batch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regvault.audit.formats.common import log_event
from regvault.audit.intake import body_of, with_raw
from regvault.audit.tail.batch import MAX_BYTES, MAX_EVENTS, Stretch
from regvault.audit.tail.files import Mark, mark_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.formats.detect import Stream
    from regvault.audit.tail.batch import Batch, Owner
    from regvault.model.event import Event

__all__ = ["MAX_LINE", "Counts", "Lines"]

MAX_LINE: Final = 1 << 20
"""Bytes of a line that are kept."""

_HOLE: Final = 1 << 10
_HELD: Final = 4 << 20
_AFTER_FILE: Final = ("severity", "reason", "joined")


@dataclass
class Counts:
    """What was read.

    Attributes:
        lines: of all files.
        nbytes: of these lines.
    """

    lines: int = 0
    nbytes: int = 0


class Lines:
    """Takes the bytes of a file, in their order, and makes events of its lines.

    What it holds is bounded: the beginning of a line that has no end yet, and how long it is.

    Attributes:
        mark: where the line begins that comes next, or is not complete.
    """

    def __init__(
        self,
        batch: Batch,
        stream: Stream,
        identity: str,
        path: str,
        mark: Mark,
        *,
        owner: Owner,
        counts: Counts,
        store: Callable[[], None] | None,
    ) -> None:
        """Begin at a mark.

        Args:
            batch: where events go.
            stream: of the format.
            identity: what the ids of lines are made of.
            path: what events call the file.
            mark: where the next bytes are.
            owner: is told how far the events are durable.
            counts: of what is read.
            store: stores the batch when it is full; None: who gives bytes sees to that.
        """
        self.mark = mark
        self._owner = owner
        self._counts = counts
        self._batch = batch
        self._stream = stream
        self._store = store
        self._file = b',"file":' + json.dumps(path, ensure_ascii=False).encode()
        self._hash = hashlib.blake2b(digest_size=16)
        for part in (b"line", identity.encode()):
            self._hash.update(b"%d:%b" % (len(part), part))
        self._pin: Mark | None = None  # of the first line that the stream holds
        self._held: dict[str, bytes] = {}
        self._held_bytes = 0
        self._rest = b""
        self._skipped = self._hole = 0
        self._long: Mark | None = None  # after what there is of a line that is too long

    @property
    def waits(self) -> bool:
        """Whether there is a line without an end, or a part of one that the stream holds."""
        return bool(self._rest) or self._pin is not None

    def feed(self, data: bytes, time: str) -> None:
        """Take the next bytes.

        Args:
            data: of the file.
            time: of lines without one.
        """
        if self._long is not None:
            end = data.find(b"\n") + 1
            self._skip(data[:end] if end else data)
            if not end:
                return
            self._finish_long(time)
            data = data[end:]
        whole = self._rest + data
        cut = whole.rfind(b"\n") + 1
        self._rest = whole[cut:]
        if cut:
            self._take(whole[:cut], time)
        if len(self._rest) > MAX_LINE:
            self._long, rest = self.mark, self._rest
            self._rest = b""
            self._skip(rest)

    def finish(self, time: str) -> None:
        """Take what there is as all that there ever is."""
        if self._long is not None:
            self._finish_long(time)
        elif self._rest:
            rest, self._rest = self._rest, b""
            self._take(rest, time)
        events = self._stream.flush()
        if events or self._pin is not None:
            first = len(self._batch.bodies)
            for number, event in enumerate(events):
                data = event["raw"].encode()
                self._dress(event)
                event["id"] = self._id(self.mark.offset, data, b"end%d" % number)
                self._put(event, self._pin or self.mark)
            self._release()
            self._close(b"", 0, 0, self.mark, first)

    def _skip(self, data: bytes) -> None:
        """Take some more of a line that is too long."""
        assert self._long is not None
        self._long = mark_after(self._long, data)
        if not self._rest:
            kept = data.lstrip(b"\0")
            self._hole += len(data) - len(kept)
            data = kept
        data = data.removesuffix(b"\n")
        room = MAX_LINE - len(self._rest)
        self._rest += data[:room]
        self._skipped += max(0, len(data) - room)

    def _finish_long(self, time: str) -> None:
        assert self._long is not None
        line, begin, end = self._rest, self.mark, self._long
        first = len(self._batch.bodies)
        hole, skipped = self._hole, self._skipped
        self._rest, self._long, self._hole, self._skipped = b"", None, 0, 0
        self._line(line, begin.offset, time, hole=hole, skipped=skipped)
        self.mark = end
        self._count(1, end.offset - begin.offset)
        self._close(b"", 0, 0, end, first)

    def _take(self, data: bytes, time: str) -> None:
        """Take whole lines."""
        batch = self._batch
        bodies, starts = batch.bodies, batch.starts
        feed, copy, low, at = self._stream.feed, self._hash.copy, 0, 0
        begin = self.mark.offset
        first = len(bodies)
        nbytes = 0
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            start = begin + at
            length = len(line)
            try:
                if length > MAX_LINE or line[:1] == b"\0":
                    raise ValueError
                events = feed(line.decode(), time)
            except ValueError:
                self._line(line, start, time, before=data[low:at])
                events = None
            at += length + 1
            if events is not None:
                if not events or self._pin is not None or len(events) > 1:
                    self._unusual(events, line, start, data[low : at - length - 1])
                else:
                    event = events[0]
                    hashed = copy()
                    offset = b"%d" % start
                    hashed.update(b"%d:%b%d:%b" % (len(offset), offset, length, line))
                    event["id"] = hashed.hexdigest()
                    body = self._body(event)
                    bodies.append(body)
                    starts.append(start)
                    nbytes += len(body)
            full = len(bodies) >= MAX_EVENTS or batch.nbytes + nbytes >= MAX_BYTES
            if full and self._store is not None:
                batch.nbytes += nbytes
                nbytes = 0
                self._close(data, low, min(at, len(data)), None, first)
                low = at
                self._store()
                bodies, starts, first = batch.bodies, batch.starts, len(batch.bodies)
        batch.nbytes += nbytes
        self._count(len(lines), len(data))
        self._close(data, low, len(data), None, first)

    def _close(self, data: bytes, low: int, high: int, mark: Mark | None, first: int) -> None:
        """Tell the batch which part of the file its last events are of."""
        start = self.mark
        if mark is None:
            self.mark = mark_after(start, data[low:high])
        durable = self._pin or self.mark
        end = len(self._batch.bodies)
        self._batch.add(Stretch(self._owner, data, low, high, start, durable, first, end))

    def _count(self, lines: int, nbytes: int) -> None:
        self._counts.lines += lines
        self._counts.nbytes += nbytes

    # Lines that are not as most are

    def _line(
        self,
        line: bytes,
        start: int,
        time: str,
        *,
        before: bytes = b"",
        hole: int = 0,
        skipped: int = 0,
    ) -> None:
        """Take a line that is too long, or no UTF-8, or after a hole.

        Args:
            line: what is there of it.
            start: its offset.
            time: of a line without one.
            before: the bytes between the last mark and it.
            hole: bytes before `line` that were left out.
            skipped: bytes after it that were.
        """
        kept = line.lstrip(b"\0") if line[:_HOLE] == b"\0" * _HOLE else line
        hole += len(line) - len(kept)
        length = len(kept) + skipped
        kept = kept[:MAX_LINE]
        reasons = []
        if hole:
            reasons.append(f"{hole} NUL bytes before it are left out")
        if length > len(kept):
            reasons.append(f"a line of {length} bytes, of which {len(kept)} are kept")
        text = kept.decode("utf-8", "backslashreplace")
        events = self._stream.feed(text, time)
        if text.encode() != kept:
            self._remember(text, kept)
        if reasons and not events:
            events = [log_event(time, "unknown", text)]
        if reasons:
            for event in events:
                given = event.get("reason")
                event["reason"] = "; ".join([*([given] if given else []), *reasons])
        self._unusual(events, kept, start, before)

    def _unusual(self, events: list[Event], line: bytes, start: int, before: bytes) -> None:
        """Put the events of a line into the batch where they are none, several, or come late."""
        place: int | Mark = self._pin or (start if before else self.mark)
        for number, event in enumerate(events):
            self._dress(event)
            event["id"] = self._id(start, line, b"%d" % number if number else None)
            self._put(event, place)
        if not self._stream.holds:
            self._release()
        elif self._pin is None:
            self._pin = mark_after(self.mark, before)

    def _put(self, event: Event, place: int | Mark) -> None:
        body = self._body(event)
        self._batch.bodies.append(body)
        self._batch.starts.append(place)
        self._batch.nbytes += len(body)

    def _id(self, start: int, line: bytes, more: bytes | None) -> str:
        hashed = self._hash.copy()
        for part in (b"%d" % start, line, *([more] if more is not None else [])):
            hashed.update(b"%d:%b" % (len(part), part))
        return hashed.hexdigest()

    def _body(self, event: Event) -> bytes:
        """Return the JSON of an event, with the file in its place."""
        after = "actor"
        for name in _AFTER_FILE:
            if name in event:
                after = name
                break
        # A quote in a text is escaped: what looks like a field is one.
        before, mark, rest = body_of(event).partition(b',"%b":' % after.encode())
        return b"".join((before, self._file, mark, rest))

    def _remember(self, text: str, line: bytes) -> None:
        """Keep the bytes of a line that is no UTF-8, as long as the stream may hold it."""
        if self._held_bytes + len(line) <= _HELD:
            self._held[text] = line
            self._held_bytes += len(line)

    def _dress(self, event: Event) -> None:
        """Put the bytes of a record that is no UTF-8 into its event."""
        if not self._held:
            return
        raw: str = event["raw"]
        pieces = raw.split("\n")
        if any(piece in self._held for piece in pieces):
            found = [self._held.get(piece) or piece.encode() for piece in pieces]
            with_raw(event, b"\n".join(found))

    def _release(self) -> None:
        self._pin = None
        self._held.clear()
        self._held_bytes = 0
