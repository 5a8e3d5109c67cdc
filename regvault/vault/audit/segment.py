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
from collections import defaultdict
from functools import lru_cache
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
    "FrameContent",
    "FrameMaker",
    "Line",
    "MonthOfFrame",
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


@lru_cache(20_000)  # of many events the fields are the same
def term_of(kind: str, value: str) -> str:
    """Return what a value is called in an index: 16 hex digits.

    Args:
        kind: of the field, such as `digest`.
        value: of the field.
    """
    data = f"{kind}\n{value}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class MonthOfFrame(NamedTuple):
    """The personal parts of a frame's events that one key encrypts.

    Attributes:
        name: of the month.
        data: a zstd frame of lines.
        found: what they are found by: a field, a newline, a value.
    """

    name: str
    data: bytes
    found: list[str]


class FrameContent(NamedTuple):
    """A frame that is not in a segment yet.

    Attributes:
        public: a zstd frame of lines.
        size: bytes of all parts, before they were compressed.
        lines: how many.
        times: the first and the last time at which they happened.
        found: what they are found by: see `term_of`.
        months: the other part of those lines.
    """

    public: bytes
    size: int
    lines: int
    times: tuple[str, str]
    found: list[str]
    months: list[MonthOfFrame]


class _Month:
    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: list[int] = []
        self.lines: list[bytes] = []
        self.found: set[tuple[str, str]] = set()

    def part(self, lines: int) -> MonthOfFrame:
        """Return it compressed; `lines`: how many the frame has."""
        numbers = self.numbers if len(self.numbers) != lines else ()
        head = ",".join(map(str, numbers)).encode()
        data = compress(head + b"\n" + b"\n".join(self.lines) + b"\n")
        return MonthOfFrame(self.name, data, ["\n".join(pair) for pair in self.found])


class FrameMaker:
    """Collects the events of one frame.

    Attributes:
        size: bytes of both parts of them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._lines: list[bytes] = []
        self._times: list[str] = []
        self._found: set[tuple[str, str]] = set()
        self._months: dict[str, _Month] = {}
        self._month: _Month | None = None

    def add(
        self,
        public: bytes,
        personal: bytes,
        time: str,
        month: str,
        terms: Iterable[tuple[str, str]],
        personal_terms: Iterable[tuple[str, str]],
    ) -> int:
        """Append one event; return the bytes of all so far.

        Args:
            public: the event, but for what tells of persons; without a newline.
            personal: what does; without a newline.
            time: when it happened.
            month: whose key its personal part is encrypted with.
            terms: (kind, value) to find it by: see `term_of`.
            personal_terms: (field, value) to find it by, which are kept with the personal part.
        """
        now = self._month
        if now is None or now.name != month:
            now = self._month = self._months.setdefault(month, _Month(month))
        now.numbers.append(len(self._lines))
        now.lines.append(personal)
        now.found.update(personal_terms)
        self._lines.append(public)
        self._times.append(time)
        self._found.update(terms)
        self.size = size = self.size + len(public) + len(personal)
        return size

    def made(self) -> FrameContent:
        """Return the frame, which has one event at least."""
        count = len(self._lines)
        return FrameContent(
            compress(b"\n".join(self._lines) + b"\n"),
            self.size,
            count,
            (min(self._times), max(self._times)),
            [term_of(*pair) for pair in self._found],
            [month.part(count) for month in self._months.values()],
        )


class SegmentWriter:
    """Writes one segment, frame by frame.

    Attributes:
        events: so far.
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
        self._stage = stage
        self._months = months
        self._run = run
        self._seal = seal
        self._at = 0
        self._frames: list[dict[str, Any]] = []
        self._terms: defaultdict[str, list[int]] = defaultdict(list)
        self._personal: dict[str, defaultdict[str, list[int]]] = {}

    def add(self, content: FrameContent) -> None:
        """Append one frame."""
        number = len(self._frames)
        place = self._write(self._seal.close_index(content.public), shown=True)
        terms = self._terms
        for term in content.found:
            terms[term].append(number)
        personal = []
        for month, data, found in content.months:
            closed = self._months.close(month, data, self._bound(number))
            personal.append([month, self._write(closed)])
            known = self._personal.setdefault(month, defaultdict(list))
            for pair in found:
                known[pair].append(number)
        self._frames.append(
            {
                "at": place,
                "lines": content.lines,
                "times": list(content.times),
                "personal": personal,
            }
        )
        self.events += content.lines

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

        index = Place(0, 0, "")
        if self._terms:
            lines = [
                f"{term} {','.join(map(str, frames))}\n" for term, frames in self._terms.items()
            ]
            data = compress("".join(sorted(lines)).encode())
            index = self._write(self._seal.close_index(data))
        personal_index = []
        for month, found in self._personal.items():
            pairs = [[*pair.split("\n", 1), frames] for pair, frames in sorted(found.items())]
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
