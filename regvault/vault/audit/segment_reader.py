"""Reads segments of archived events: whole, or by range, each part proven by its link."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from regvault.errors import VaultDamagedError
from regvault.oci.manifest import load_json_object
from regvault.vault.age import OVERHEAD
from regvault.vault.audit.keys import is_month
from regvault.vault.audit.segment import TRAILER, Frame, Line, Place, Table, place_of
from regvault.vault.fields import count, text
from regvault.vault.frames import decompress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.audit.chain import Link
    from regvault.vault.audit.months import Months
    from regvault.vault.vault import Vault

__all__ = ["SegmentReader"]

_MAX_FRAME = 64 << 20
_MAX_PART = _MAX_FRAME + OVERHEAD
_MAX_INDEX = 64 << 20
_TAIL_BYTES = 4 << 10
_MAX_TABLE = 16 << 20


class SegmentReader:
    """Reads one segment: whole, or by range. Hostile input, as all of a vault.

    Attributes:
        key: of its object.
        read_bytes: how many of it were read.
    """

    def __init__(self, vault: Vault, key: str, table: str, months: Months) -> None:
        """Read nothing yet.

        Args:
            vault: where it is.
            key: of the object.
            table: hex SHA-256 of its table, which proves all else.
            months: the keys of months.
        """
        self.key = key
        self.read_bytes = 0
        self._table_sha256 = table
        self._store = vault.store
        self._months = months
        self._seal = vault.seal
        self._whole: bytes | None = None
        self._run = ""
        self._table: Table | None = None

    @classmethod
    def of(cls, vault: Vault, link: Link, months: Months) -> SegmentReader:
        """Return a reader of the segment of a link."""
        return cls(vault, link.key, link.table, months)

    def read_whole(self) -> bytes:
        """Read all of the object at once, for all that is asked afterwards; return its bytes.

        Raises:
            ObjectNotFoundError: it is gone.
        """
        self._whole = self._store.get(self.key)
        self.read_bytes += len(self._whole)
        return self._whole

    def _get(self, start: int, length: int | None = None) -> bytes:
        if self._whole is not None:
            end = None if length is None else start + length
            return self._whole[start:end]
        data = self._store.get(self.key, start=start, length=length)
        self.read_bytes += len(data)
        return data

    def _part(self, place: Place) -> bytes:
        data = self._get(place.offset, place.length)
        if hashlib.sha256(data).hexdigest() != place.sha256:
            raise self._damaged(f"what lies at {place.offset} is not what its table says")
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
                if not tail.endswith(TRAILER):
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
            if hashlib.sha256(closed).hexdigest() != self._table_sha256:
                raise self._damaged("its table is not what its link says")
            self._table = self._parse(closed)
        return self._table

    def _parse(self, closed: bytes) -> Table:
        data = decompress(self._seal.open_index(closed, self.key), self.key, _MAX_TABLE)
        try:
            body = load_json_object(data)
            if body.pop("format") != 1:
                raise ValueError("format")
            self._run = text(body.pop("run"))
            frames = [_frame(item) for item in body.pop("frames")]
            index = place_of(body.pop("index"), _MAX_INDEX)
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
        frames = self._seal.open_index(self._part(frame.place), self.key)
        public = decompress(frames, self.key, _MAX_FRAME)[:-1].split(b"\n")
        if len(public) != frame.lines:
            raise self._damaged(f"frame {number} has {len(public)} lines, not {frame.lines}")
        others: list[bytes | None] = [None] * len(public)
        for month, place in frame.personal if personal else ():
            data = self._open(month, place, number)
            if data is None:
                continue
            head, *rest = data[:-1].split(b"\n")
            try:
                numbers = [int(each) for each in head.split(b",")] if head else range(len(public))
                for at, line in zip(numbers, rest, strict=True):
                    others[at] = line
            except (ValueError, IndexError):
                raise self._damaged(f"frame {number} has other lines than it says") from None
        return [Line(*pair) for pair in zip(public, others, strict=True)]

    def _open(self, month: str, place: Place, number: int) -> bytes | None:
        bound = f"{self._run} {number}".encode()
        data = self._months.open(month, self._part(place), bound, self.key)
        return None if data is None else decompress(data, self.key, _MAX_FRAME)

    def frames_with(self, terms: Iterable[str]) -> set[int]:
        """Return the frames that may hold events with one of these terms: see `term_of`."""
        wanted = set(terms)
        return {frame for term, frames in self.index() if term in wanted for frame in frames}

    def index(self) -> Iterator[tuple[str, list[int]]]:
        """Yield all terms, ascending, each with its frames. Raises VaultDamagedError."""
        table = self.table()
        if not table.terms.length:
            return
        data = self._seal.open_index(self._part(table.terms), self.key)
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
        found: set[int] = set()
        for month, place in self.table().personal_index:
            data = self._open(month, place, -1)
            if data is None:
                return None
            try:
                for kind, value, frames in load_json_object(data)["pairs"]:
                    if kind == field and matches(value):
                        found.update(frames)
            except (KeyError, TypeError, ValueError):
                raise self._damaged("its index over persons cannot be read") from None
        return found


def _of_month(value: Any) -> tuple[str, Place]:
    month = text(value[0])
    if not is_month(month):
        raise ValueError(month)
    return month, place_of(value[1], _MAX_PART)


def _frame(value: Any) -> Frame:
    times = value["times"]
    return Frame(
        place_of(value["at"], _MAX_PART),
        count(value["lines"]),
        (text(times[0]), text(times[1])),
        tuple(_of_month(item) for item in value["personal"]),
    )
