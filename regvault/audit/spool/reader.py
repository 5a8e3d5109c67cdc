"""Reads a spool in order, beside those who append to it."""

from __future__ import annotations

import os
from typing import NamedTuple

from regvault.audit.spool.files import open_own, refused, segment_name, segments
from regvault.audit.spool.record import HEADER, MAX_BYTES, scan, seq_of

__all__ = ["Damage", "Reader", "Record"]

_CHUNK = 1 << 20


class Record(NamedTuple):
    """One record.

    Attributes:
        seq: its number.
        data: the JSON of the event.
    """

    seq: int
    data: bytes


class Damage(NamedTuple):
    """Bytes of a segment that are no records.

    Attributes:
        segment: the name of its file.
        offset, length: where it lies, bytes.
        after: the number of the last good record before it; -1 where there is none.
        torn: it is the end of a segment: most likely a write that power or the process was cut
            off from, and that nobody was told is durable.
    """

    segment: str
    offset: int
    length: int
    after: int
    torn: bool


class Reader:
    """Yields the records of a spool from a number on, each once, in order.

    What it returns is durable: it makes it so itself before, since who appends may not have come
    to that yet. Nothing is returned twice, and no number goes back.

    Attributes:
        next: the number that the next record has at least.
        damage: found so far, in order. Who reports it may clear it.
    """

    def __init__(self, directory: str, start: int = 0) -> None:
        """Begin with the first record whose number is at least `start`."""
        self._directory = directory
        self.next = start
        self.damage: list[Damage] = []
        self._segment: int | None = None
        self._fd = -1
        self._offset = 0
        self._rest = b""
        self._last = start - 1

    def read(self, limit: int = 1000, max_bytes: int = 4 << 20) -> list[Record]:
        """Return the next records, [] where there are none now.

        Args:
            limit: records, at most.
            max_bytes: of JSON; it may be passed by one chunk.

        Raises:
            RefusedError: a segment is a symbolic link.
        """
        found: list[Record] = []
        nbytes = 0
        while len(found) < limit and nbytes < max_bytes:
            if self._fd < 0 and not self._open_next():
                break
            records, more = self._chunk(limit - len(found))
            found += records
            nbytes += sum(len(record.data) for record in records)
            if not more and not self._finish():
                break
        return found

    def _chunk(self, limit: int) -> tuple[list[Record], bool]:
        """Return records of the open segment, and whether there may be more in it."""
        filled = self._rest.find(b"\n") < 0 and self._fill()
        result = scan(self._rest, limit=limit)
        records = []
        numbers = [self._last]
        for data in result.records:
            seq = seq_of(data)
            if seq >= self.next:
                records.append(Record(seq, data))
                self.next = seq + 1
            numbers.append(seq)
        name = "" if self._segment is None else segment_name(self._segment)
        base = self._offset - len(self._rest)
        for at, length, before in result.damage:
            self.damage.append(Damage(name, base + at, length, numbers[before], torn=False))
        self._last = numbers[-1]
        self._rest = self._rest[result.end :]
        return records, result.end > 0 or filled

    def _fill(self) -> bool:
        """Read on in the open segment; return whether there was something."""
        size = os.fstat(self._fd).st_size
        if size <= self._offset:
            return False
        os.fdatasync(self._fd)
        want = min(size - self._offset, max(_CHUNK, len(self._rest)))
        data = os.pread(self._fd, want, self._offset)
        self._offset += len(data)
        self._rest += data
        if len(self._rest) > MAX_BYTES + HEADER + 1 and b"\n" not in self._rest:
            # No record is so long: what was overwritten has no newline for a while.
            base = self._offset - len(self._rest)
            name = segment_name(self._segment or 0)
            self.damage.append(Damage(name, base, len(self._rest), self._last, torn=False))
            self._rest = b""
        return True

    def _open_next(self) -> bool:
        """Open the segment that has the next number, or the first after it."""
        firsts = segments(self._directory)
        if self._segment is not None:
            later = [first for first in firsts if first > self._segment]
        else:
            before = [first for first in firsts if first <= self.next]
            later = [*before[-1:], *(first for first in firsts if first > self.next)]
        for first in later:
            try:
                path = os.path.join(self._directory, segment_name(first))
                self._fd = open_own(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise refused(error) or error from error
            self._segment, self._offset, self._rest = first, 0, b""
            return True
        return False

    def _finish(self) -> bool:
        """Leave a segment that is read to its end, if there is a newer one."""
        assert self._segment is not None
        if not any(first > self._segment for first in segments(self._directory)):
            return False
        if os.fstat(self._fd).st_size > self._offset:  # written to before the newer one was made
            return True
        if self._rest:
            base = self._offset - len(self._rest)
            name = segment_name(self._segment)
            self.damage.append(Damage(name, base, len(self._rest), self._last, torn=True))
        self.close()
        return True

    def close(self) -> None:
        """Close the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._rest = b""
