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

from regvault.errors import VaultDamagedError
from regvault.vault.age import OVERHEAD
from regvault.vault.audit.keys import is_month
from regvault.vault.fields import count, text
from regvault.vault.frames import compress, decompress
from regvault.vault.sealing import PLAIN, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ObjectStore, Stage
    from regvault.vault.audit.months import Months

__all__ = ["FRAME_BYTES", "Frame", "Line", "SegmentReader", "SegmentWriter", "Table", "term_of"]

FRAME_BYTES: Final = 256 << 10
"""Bytes of lines in a frame, about."""

_MAX_FRAME = 64 << 20
_MAX_INDEX = 64 << 20
_TAIL_BYTES = 4 << 10
_MAX_TABLE = 16 << 20
_SKIPPABLE = 0x184D2A5E
_TRAILER = b" RVAUDT1"


class Line(NamedTuple):
    """One event in its two parts.

    Attributes:
        public: JSON object of all that does not tell of persons.
        personal: JSON object of what does; None where it cannot be opened: its month was erased.
    """

    public: bytes
    personal: bytes | None


class Frame(NamedTuple):
    """Where some events of a segment lie.

    Attributes:
        offset, length: of their public lines.
        lines: how many.
        times: the first and the last time at which they happened.
        personal: (month, offset, length) of the other part of those lines.
    """

    offset: int
    length: int
    lines: int
    times: tuple[str, str]
    personal: tuple[tuple[str, int, int], ...]


class Table(NamedTuple):
    """What a segment says of itself at its end.

    Attributes:
        frames: in order.
        terms: (offset, length) of the index; (0, 0) where there are no terms.
        personal_index: (month, offset, length) of the indexes over what tells of persons.
        more: anything else, as it was given to the writer.
    """

    frames: list[Frame]
    terms: tuple[int, int]
    personal_index: list[tuple[str, int, int]]
    more: dict[str, Any]


def term_of(kind: str, value: str) -> str:
    """Return what a value is called in an index: 16 hex digits.

    Args:
        kind: of the field, such as `digest`.
        value: of the field.
    """
    data = f"{kind}\n{value}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


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
        self._terms: dict[str, list[int]] = {}
        self._personal: dict[str, dict[tuple[str, str], list[int]]] = {}
        self._clear()

    def _clear(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._times: tuple[str, str] | None = None
        self._by_month: dict[str, tuple[list[int], list[bytes]]] = {}

    def add(
        self,
        line: Line,
        *,
        time: str,
        month: str,
        terms: Iterable[str],
        personal_terms: Iterable[tuple[str, str]],
    ) -> None:
        """Append one event.

        Args:
            line: the event; neither part has a newline.
            time: when it happened.
            month: whose key its personal part is encrypted with.
            terms: to find it by: see `term_of`.
            personal_terms: (field, value) to find it by, which are kept with the personal part.
        """
        frame = len(self._frames)
        assert line.personal is not None
        numbers, lines = self._by_month.setdefault(month, ([], []))
        numbers.append(len(self._lines))
        lines.append(line.personal)
        self._lines.append(line.public)
        self._size += len(line.public) + len(line.personal)
        if self._times is None:
            self._times = (time, time)
        else:
            self._times = min(self._times[0], time), max(self._times[1], time)
        for term in terms:
            found = self._terms.setdefault(term, [])
            if not found or found[-1] != frame:
                found.append(frame)
        if personal_terms:
            known = self._personal.setdefault(month, {})
            for pair in personal_terms:
                found = known.setdefault(pair, [])
                if not found or found[-1] != frame:
                    found.append(frame)
        self.events += 1
        if self._size >= FRAME_BYTES:
            self._close_frame()

    def _close_frame(self) -> None:
        if not self._lines:
            return
        public = b"\n".join(self._lines) + b"\n"
        offset, length = self._write(self._seal.close_index(compress(public)), shown=True)
        personal = []
        for month, (numbers, lines) in self._by_month.items():
            head = b"" if len(numbers) == len(self._lines) else _numbers(numbers)
            data = compress(head + b"\n" + b"\n".join(lines) + b"\n")
            closed = self._months.close(month, data, self._bound(len(self._frames)))
            personal.append([month, *self._write(closed)])
        assert self._times is not None
        self._frames.append(
            {
                "at": [offset, length],
                "lines": len(self._lines),
                "times": list(self._times),
                "personal": personal,
            }
        )
        self.nbytes += self._size
        self._clear()

    def _bound(self, frame: int) -> bytes:
        return f"{self._run} {frame}".encode()

    def _write(self, data: bytes, *, shown: bool = False) -> tuple[int, int]:
        """Write a part, as a skippable frame unless it is to be shown; return where it lies."""
        if not shown and not self._seal.sealed:
            self._stage.write(_SKIPPABLE.to_bytes(4, "little") + len(data).to_bytes(4, "little"))
            self._at += 8
        self._stage.write(data)
        place = self._at, len(data)
        self._at += len(data)
        return place

    def finish(self, more: dict[str, Any]) -> int:
        """Write all that is left; return how many bytes the segment has.

        Args:
            more: what else is said of the segment; JSON.
        """
        import json

        self._close_frame()
        index: tuple[int, int] = (0, 0)
        if self._terms:
            lines = [
                f"{term} {','.join(map(str, frames))}\n" for term, frames in self._terms.items()
            ]
            data = compress("".join(sorted(lines)).encode())
            index = self._write(self._seal.close_index(data))
        personal_index = []
        for month, found in self._personal.items():
            pairs = [[field, value, frames] for (field, value), frames in sorted(found.items())]
            data = compress(json.dumps({"pairs": pairs}, separators=(",", ":")).encode())
            closed = self._months.close(month, data, self._bound(-1))
            personal_index.append([month, *self._write(closed)])
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
        self._write(closed + b"%08x" % len(closed) + _TRAILER)
        return self._at


def _numbers(numbers: list[int]) -> bytes:
    return ",".join(map(str, numbers)).encode()


class SegmentReader:
    """Reads one segment: whole, or by range. Hostile input, as all of a vault.

    Attributes:
        key: of its object.
        read_bytes: how many of it were read.
    """

    def __init__(self, store: ObjectStore, key: str, months: Months, seal: Seal = PLAIN) -> None:
        """Read nothing yet.

        Args:
            store: the vault's store.
            key: of the object.
            months: the keys of months.
            seal: of the vault.
        """
        self.key = key
        self.read_bytes = 0
        self._store = store
        self._months = months
        self._seal = seal
        self._run = ""
        self._table: Table | None = None

    def _get(self, start: int, length: int | None = None) -> bytes:
        data = self._store.get(self.key, start=start, length=length)
        self.read_bytes += len(data)
        return data

    def _damaged(self, what: str) -> VaultDamagedError:
        return VaultDamagedError(f"{self.key} is damaged: {what}", key=self.key)

    def table(self) -> Table:
        """Return the table at the end, by one range read, or two for a very large one.

        Raises:
            VaultDamagedError: there is none.
            CredentialError: the vault is sealed, and no identity opens its names.
        """
        if self._table is None:
            tail = self._get(-_TAIL_BYTES)
            try:
                if not tail.endswith(_TRAILER):
                    raise ValueError(tail[-8:])
                length = int(tail[-16:-8], 16)
                if length > _MAX_TABLE:
                    raise ValueError(length)
                if length + 16 > len(tail):
                    tail = self._get(-length - 16)
                closed = tail[-16 - length : -16]
                if len(closed) != length:
                    raise ValueError(length)
            except ValueError:
                raise self._damaged("it has no table at its end") from None
            self._table = self._parse(closed)
        return self._table

    def _parse(self, closed: bytes) -> Table:
        from regvault.oci.manifest import load_json_object

        data = decompress(self._seal.open_index(closed, self.key), self.key, _MAX_TABLE)
        try:
            body = load_json_object(data)
            if body.pop("format") != 1:
                raise ValueError("format")
            self._run = text(body.pop("run"))
            frames = [_frame(item) for item in body.pop("frames")]
            index = _place(body.pop("index"), _MAX_INDEX)
            personal = [_of_month(item) for item in body.pop("personal_index")]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise self._damaged("its table cannot be read") from None
        return Table(frames, index, personal, body)

    def lines(self, number: int, *, personal: bool = True) -> list[Line]:
        """Return the events of one frame.

        Args:
            number: of the frame.
            personal: open what tells of persons, too.

        Raises:
            VaultDamagedError: they are not what was stored.
        """
        frame = self.table().frames[number]
        frames = self._seal.open_index(self._get(frame.offset, frame.length), self.key)
        public = decompress(frames, self.key, _MAX_FRAME)[:-1].split(b"\n")
        if len(public) != frame.lines:
            raise self._damaged(f"frame {number} has {len(public)} lines, not {frame.lines}")
        others: list[bytes | None] = [None] * len(public)
        for month, offset, length in frame.personal if personal else ():
            data = self._open(month, offset, length, number)
            if data is None:
                continue
            head, *rest = data[:-1].split(b"\n")
            try:
                places = [int(place) for place in head.split(b",")] if head else range(len(public))
                for place, line in zip(places, rest, strict=True):
                    others[place] = line
            except (ValueError, IndexError):
                raise self._damaged(f"frame {number} has other lines than it says") from None
        return [Line(*pair) for pair in zip(public, others, strict=True)]

    def _open(self, month: str, offset: int, length: int, number: int) -> bytes | None:
        bound = f"{self._run} {number}".encode()
        data = self._months.open(month, self._get(offset, length), bound, self.key)
        return None if data is None else decompress(data, self.key, _MAX_FRAME)

    def frames_with(self, terms: Iterable[str]) -> set[int]:
        """Return the frames that may hold events with one of these terms: see `term_of`."""
        wanted = set(terms)
        return {frame for term, frames in self.index() if term in wanted for frame in frames}

    def index(self) -> Iterator[tuple[str, list[int]]]:
        """Yield all terms, ascending, each with its frames. Raises VaultDamagedError."""
        table = self.table()
        offset, length = table.terms
        if not length:
            return
        data = self._seal.open_index(self._get(offset, length), self.key)
        for line in decompress(data, self.key, _MAX_INDEX).splitlines():
            term, _, frames = line.decode("ascii", "replace").partition(" ")
            try:
                numbers = [int(frame) for frame in frames.split(",")]
            except ValueError:
                raise self._damaged("its index cannot be read") from None
            if not all(0 <= number < len(table.frames) for number in numbers):
                raise self._damaged("its index names frames that it has not")
            yield term, numbers

    def frames_of_persons(self, field: str, matches: Any) -> set[int] | None:
        """Return the frames that may hold events of some persons.

        Args:
            field: `actor` or `address`.
            matches: value -> whether it is one that is looked for.

        Returns:
            None where a month was erased, and nobody knows.
        """
        from regvault.oci.manifest import load_json_object

        found: set[int] = set()
        for month, offset, length in self.table().personal_index:
            data = self._open(month, offset, length, -1)
            if data is None:
                return None
            try:
                for kind, value, frames in load_json_object(data)["pairs"]:
                    if kind == field and matches(value):
                        found.update(frames)
            except (KeyError, TypeError, ValueError):
                raise self._damaged("its index over persons cannot be read") from None
        return found


def _place(value: Any, most: int = _MAX_FRAME + OVERHEAD) -> tuple[int, int]:
    offset, length = count(value[0]), count(value[1])
    if length > most:
        raise ValueError(length)
    return offset, length


def _of_month(value: Any) -> tuple[str, int, int]:
    month = text(value[0])
    if not is_month(month):
        raise ValueError(month)
    return month, *_place(value[1:])


def _frame(value: Any) -> Frame:
    times = value["times"]
    return Frame(
        *_place(value["at"]),
        count(value["lines"]),
        (text(times[0]), text(times[1])),
        tuple(_of_month(item) for item in value["personal"]),
    )
