"""Segments of archived events: zstd frames of JSON lines, and what helps to find and open them.

    zstd frame      JSON lines: of each event, all that does not tell of persons
    skippable       for each month of its events: nonce, AES-256-GCM of a zstd frame of JSON lines
    ... and so on, then
    skippable       index: a zstd frame of sorted lines, term -> frames
    skippable       for each month: the same of what tells of persons, encrypted
    skippable       table: a zstd frame of one JSON object, its length in 8 hex digits, ` RVAUDT1`

So `zstd -dc` shows the events. In a sealed vault each zstd frame but the encrypted ones is an age
file, and nothing is skippable.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from regvault.vault.fields import count, text
from regvault.vault.frames import compress
from regvault.vault.sealing import PLAIN, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import Stage
    from regvault.vault.audit.months import Months

__all__ = [
    "FRAME_BYTES",
    "SKIPPABLE",
    "TRAILER",
    "Frame",
    "Line",
    "Place",
    "SegmentWriter",
    "Table",
    "place_of",
    "term_of",
]

FRAME_BYTES: Final = 256 << 10
"""Bytes of lines in a frame, about."""

SKIPPABLE = 0x184D2A5E
TRAILER = b" RVAUDT1"


class Line(NamedTuple):
    """One event in its two parts.

    Attributes:
        public: JSON object of all that does not tell of persons.
        personal: JSON object of what does; None where it cannot be opened: its month was erased.
    """

    public: bytes
    personal: bytes | None


class Place(NamedTuple):
    """Where a part of an object lies.

    Attributes:
        offset, length: in the object.
        sha256: hex, of its stored bytes.
    """

    offset: int
    length: int
    sha256: str


def place_of(value: Any, most: int) -> Place:
    """Return the place that a table tells. Raises TypeError, ValueError, IndexError.

    Args:
        value: of the table.
        most: bytes that the part may have.
    """
    place = Place(count(value[0]), count(value[1]), text(value[2]))
    if place.length > most:
        raise ValueError(place.length)
    return place


class Frame(NamedTuple):
    """Where some events of a segment lie.

    Attributes:
        place: of their public lines.
        lines: how many.
        times: the first and the last time at which they happened.
        personal: (month, place) of the other part of those lines.
    """

    place: Place
    lines: int
    times: tuple[str, str]
    personal: tuple[tuple[str, Place], ...]


class Table(NamedTuple):
    """What a segment says of itself at its end.

    Attributes:
        frames: in order.
        terms: of the index; its length is 0 where there are no terms.
        personal_index: (month, place) of the indexes over what tells of persons.
        more: anything else, as it was given to the writer.
    """

    frames: list[Frame]
    terms: Place
    personal_index: list[tuple[str, Place]]
    more: dict[str, Any]


def term_of(kind: str, value: str) -> str:
    """Return what a value is called in an index: 16 hex digits.

    Args:
        kind: of the field, such as `digest`.
        value: of the field.
    """
    data = f"{kind}\n{value}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class _Month:
    """The personal parts of a frame's events that one key encrypts.

    Attributes:
        name: of the month.
        numbers: of the lines in the frame that these are of.
        lines: the parts.
        found: what is found by them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: list[int] = []
        self.lines: list[bytes] = []
        self.found: set[tuple[str, str]] = set()


class SegmentWriter:
    """Writes one segment, frame by frame.

    Attributes:
        events: so far.
        nbytes: of lines, so far.
    """

    def __init__(self, stage: Stage, months: Months, run: str, seal: Seal = PLAIN) -> None:
        """Begin.

        Args:
            stage: the object, which the caller commits or aborts.
            months: the keys of months.
            run: the run's id, which what is encrypted is bound to.
            seal: of the vault.
        """
        self.events = 0
        self.nbytes = 0
        self._stage = stage
        self._months = months
        self._run = run
        self._seal = seal
        self._at = 0
        self._frames: list[dict[str, Any]] = []
        self._terms: dict[tuple[str, str], list[int]] = {}
        self._personal: dict[str, dict[tuple[str, str], list[int]]] = {}
        self._clear()

    def _clear(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._times: list[str] = []
        self._found: set[tuple[str, str]] = set()
        self._by_month: dict[str, _Month] = {}
        self._month: _Month | None = None

    def add(
        self,
        line: Line,
        *,
        time: str,
        month: str,
        terms: Iterable[tuple[str, str]],
        personal_terms: Iterable[tuple[str, str]],
    ) -> None:
        """Append one event.

        Args:
            line: the event; neither part has a newline.
            time: when it happened.
            month: whose key its personal part is encrypted with.
            terms: (kind, value) to find it by: see `term_of`.
            personal_terms: (field, value) to find it by, which are kept with the personal part.
        """
        public, personal = line
        assert personal is not None
        now = self._month
        if now is None or now.name != month:
            now = self._month = self._by_month.setdefault(month, _Month(month))
        now.numbers.append(len(self._lines))
        now.lines.append(personal)
        now.found.update(personal_terms)
        self._lines.append(public)
        self._times.append(time)
        self._found.update(terms)
        self.events += 1
        self._size += len(public) + len(personal)
        if self._size >= FRAME_BYTES:
            self._close_frame()

    def _close_frame(self) -> None:
        if not self._lines:
            return
        number = len(self._frames)
        public = b"\n".join(self._lines) + b"\n"
        place = self._write(self._seal.close_index(compress(public)), shown=True)
        for pair in self._found:
            self._terms.setdefault(pair, []).append(number)
        personal = []
        for month in self._by_month.values():
            head = b"" if len(month.numbers) == len(self._lines) else _numbers(month.numbers)
            data = compress(head + b"\n" + b"\n".join(month.lines) + b"\n")
            closed = self._months.close(month.name, data, self._bound(number))
            personal.append([month.name, self._write(closed)])
            for pair in month.found:
                known = self._personal.setdefault(month.name, {})
                known.setdefault(pair, []).append(number)
        self._frames.append(
            {
                "at": place,
                "lines": len(self._lines),
                "times": [min(self._times), max(self._times)],
                "personal": personal,
            }
        )
        self.nbytes += self._size
        self._clear()

    def _bound(self, frame: int) -> bytes:
        return f"{self._run} {frame}".encode()

    def _write(self, data: bytes, *, shown: bool = False) -> Place:
        """Write a part, as a skippable frame unless it is to be shown; return where it lies."""
        if not shown and not self._seal.sealed:
            self._stage.write(SKIPPABLE.to_bytes(4, "little") + len(data).to_bytes(4, "little"))
            self._at += 8
        self._stage.write(data)
        place = Place(self._at, len(data), hashlib.sha256(data).hexdigest())
        self._at += len(data)
        return place

    def finish(self, more: dict[str, Any]) -> tuple[int, str]:
        """Write all that is left; return how many bytes it has, and the SHA-256 of its table.

        Args:
            more: what else is said of the segment; JSON.
        """
        import json

        self._close_frame()
        index = Place(0, 0, "")
        if self._terms:
            lines = [
                f"{term_of(*pair)} {','.join(map(str, frames))}\n"
                for pair, frames in self._terms.items()
            ]
            data = compress("".join(sorted(lines)).encode())
            index = self._write(self._seal.close_index(data))
        personal_index = []
        for month, found in self._personal.items():
            pairs = [[field, value, frames] for (field, value), frames in sorted(found.items())]
            data = compress(json.dumps({"pairs": pairs}, separators=(",", ":")).encode())
            closed = self._months.close(month, data, self._bound(-1))
            personal_index.append([month, self._write(closed)])
        table = {
            "format": 1,
            "run": self._run,
            "frames": self._frames,
            "index": index,
            "personal_index": personal_index,
            **more,
        }
        data = compress(json.dumps(table, separators=(",", ":")).encode())
        closed = self._seal.close_index(data)
        self._write(closed + b"%08x" % len(closed) + TRAILER)
        return self._at, hashlib.sha256(closed).hexdigest()


def _numbers(numbers: list[int]) -> bytes:
    return ",".join(map(str, numbers)).encode()
