"""Indexes over many links of a chain, so that a year is not read for a day, or for one digest.

    frames of sorted lines, `<term> <link> <frames>`, each about 64 KiB of text
    frames of JSON lines, one for each link: what is needed of it to read its segment
    table: JSON, its length in 8 hex digits, ` RVAUDI1`

Each frame is zstd, in a sealed vault in an age file. They are derived from the segments, and proven
by the link that names them: its `table` is the SHA-256 of the table, which has those of the frames.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.oci.manifest import load_json_object
from regvault.vault.age import OVERHEAD
from regvault.vault.audit.chain import Index
from regvault.vault.audit.keys import chain_prefix
from regvault.vault.audit.segment import Place, place_of
from regvault.vault.fields import count, sha256, text
from regvault.vault.frames import compress, decompress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import Stage
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["IndexReader", "Summary", "summary_of", "write_index"]

_FRAME_BYTES = 64 << 10
_LINKS_IN_FRAME = 64
_MAX_FRAME = 4 << 20
_MAX_PART = _MAX_FRAME + OVERHEAD
_MAX_TABLE = 16 << 20
_TAIL_BYTES = 4 << 10
_TRAILER = b" RVAUDI1"


class Summary(NamedTuple):
    """What is needed of a link to read its segment.

    Attributes:
        number: of the link.
        key, table: of its segment: its key, and the SHA-256 of its table.
        times: the first and the last time at which its events happened.
        months: whose keys open what they tell of persons.
    """

    number: int
    key: str
    table: str
    times: tuple[str, str]
    months: tuple[str, ...]

    def line(self) -> bytes:
        """Return its line in an index."""
        return json.dumps(self, separators=(",", ":")).encode()


def summary_of(link: Link) -> Summary:
    """Return what is needed of a link."""
    return Summary(link.number, link.key, link.table, link.times, link.months)


def write_index(
    vault: Vault,
    chain: str,
    run: str,
    links: Iterable[Summary],
    terms: Iterable[tuple[str, int, list[int]]],
) -> Index:
    """Write an index; return what a link says of it.

    Args:
        vault: where.
        chain: whose.
        run: this run's id.
        links: that it is over, ascending.
        terms: ascending: term, number of the link, frames of its segment.
    """
    stage = vault.store.stage()
    try:
        writer = _Writer(stage, vault)
        for term, link, frames in terms:
            writer.term(term, f"{term} {link} {','.join(map(str, frames))}")
        writer.end_terms()
        numbers = [writer.link(summary) for summary in links]
        size, table = writer.finish()
        digest = stage.sha256()
        key = f"{chain_prefix(chain)}index-{numbers[0]:08d}-{numbers[-1]:08d}-{run}-{digest}.zst"
        vault.store.barrier()
        stage.commit(key)
        vault.store.barrier()
    except BaseException:
        stage.abort()
        raise
    return Index(numbers[0], numbers[-1], key, size, digest, table)


class _Writer:
    def __init__(self, stage: Stage, vault: Vault) -> None:
        self._stage = stage
        self._seal = vault.seal
        self._at = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._first = ""
        self._terms: list[tuple[str, Place]] = []
        self._links: list[tuple[int, Place]] = []
        self._number = 0

    def _frame(self) -> Place:
        data = self._seal.close_index(compress(b"\n".join(self._lines) + b"\n"))
        self._lines = []
        self._size = 0
        place = Place(self._at, len(data), hashlib.sha256(data).hexdigest())
        self._stage.write(data)
        self._at += len(data)
        return place

    def term(self, term: str, line: str) -> None:
        if not self._lines:
            self._first = term
        self._lines.append(line.encode())
        self._size += len(line)
        if self._size >= _FRAME_BYTES:
            self.end_terms()

    def end_terms(self) -> None:
        if self._lines:
            self._terms.append((self._first, self._frame()))

    def link(self, summary: Summary) -> int:
        if not self._lines:
            self._number = summary.number
        self._lines.append(summary.line())
        if len(self._lines) >= _LINKS_IN_FRAME:
            self._links.append((self._number, self._frame()))
        return summary.number

    def finish(self) -> tuple[int, str]:
        if self._lines:
            self._links.append((self._number, self._frame()))
        table = {"format": 1, "terms": self._terms, "links": self._links}
        data = self._seal.close_index(compress(json.dumps(table, separators=(",", ":")).encode()))
        self._stage.write(data + b"%08x" % len(data) + _TRAILER)
        return self._at + len(data) + 16, hashlib.sha256(data).hexdigest()


class IndexReader:
    """Reads an index by range. Hostile input, as all of a vault.

    Attributes:
        read_bytes: how many of it were read.
    """

    def __init__(self, vault: Vault, index: Index) -> None:
        self.index = index
        self.read_bytes = 0
        self._store = vault.store
        self._seal = vault.seal
        self._terms: list[tuple[str, Place]] | None = None
        self._links: list[tuple[int, Place]] = []

    def _damaged(self, what: str) -> VaultDamagedError:
        return VaultDamagedError(f"{self.index.key} is damaged: {what}", key=self.index.key)

    def _open(self, place: Place) -> list[bytes]:
        data = self._store.get(self.index.key, start=place.offset, length=place.length)
        self.read_bytes += len(data)
        if hashlib.sha256(data).hexdigest() != place.sha256:
            raise self._damaged(f"what lies at {place.offset} is not what its table says")
        frame = self._seal.open_index(data, self.index.key)
        return decompress(frame, self.index.key, _MAX_FRAME)[:-1].split(b"\n")

    def _table(self) -> list[tuple[str, Place]]:
        if self._terms is None:
            tail = self._store.get(self.index.key, start=-_TAIL_BYTES)
            self.read_bytes += len(tail)
            try:
                length = int(tail[-16:-8], 16)
                if not tail.endswith(_TRAILER) or length > _MAX_TABLE:
                    raise ValueError(length)
                if length + 16 > len(tail):
                    tail = self._store.get(self.index.key, start=-length - 16)
                    self.read_bytes += len(tail)
                closed = tail[-16 - length : -16]
                if hashlib.sha256(closed).hexdigest() != self.index.table:
                    raise ValueError(length)
                opened = self._seal.open_index(closed, self.index.key)
                body = load_json_object(decompress(opened, self.index.key, _MAX_TABLE))
                if body["format"] != 1:
                    raise ValueError(body["format"])
                self._links = [
                    (count(number), place_of(place, _MAX_PART)) for number, place in body["links"]
                ]
                self._terms = [
                    (text(first), place_of(place, _MAX_PART)) for first, place in body["terms"]
                ]
            except (KeyError, TypeError, ValueError, IndexError):
                raise self._damaged("its table is not what its link says") from None
        return self._terms

    def find(self, term: str) -> dict[int, list[int]]:
        """Return the links that have a term, each with the frames of its segment."""
        found: dict[int, list[int]] = {}
        table = self._table()
        firsts = [first for first, _ in table]
        # Its lines may begin in the frame before the first one that starts with it.
        low, high = max(0, bisect_left(firsts, term) - 1), bisect_right(firsts, term)
        for _, place in table[low:high]:
            for each, link, frames in map(self._line, self._open(place)):
                if each == term:
                    found.setdefault(link, []).extend(frames)
        return found

    def _line(self, line: bytes) -> tuple[str, int, list[int]]:
        try:
            term, link, frames = line.decode("ascii").split(" ")
            return term, int(link), [int(frame) for frame in frames.split(",")]
        except ValueError:
            raise self._damaged(f"a line of it is none: {line[:100]!r}") from None

    def terms(self) -> Iterator[tuple[str, int, list[int]]]:
        """Yield all terms, ascending."""
        for _, place in self._table():
            yield from map(self._line, self._open(place))

    def links(self, numbers: Iterable[int] | None = None) -> Iterator[Summary]:
        """Yield the links of some numbers, ascending; None: all."""
        self._table()
        wanted = None if numbers is None else sorted(numbers)
        for at, (first, place) in enumerate(self._links):
            end = self._links[at + 1][0] if at + 1 < len(self._links) else self.index.last + 1
            if wanted is not None:
                low, high = bisect_left(wanted, first), bisect_left(wanted, end)
                if low == high:
                    continue
            for line in self._open(place):
                summary = self._summary(line)
                if wanted is None or summary.number in wanted:
                    yield summary

    def _summary(self, line: bytes) -> Summary:
        try:
            number, key, table, times, months = json.loads(line)
            return Summary(
                count(number),
                text(key),
                sha256(table),
                (text(times[0]), text(times[1])),
                tuple(map(text, months)),
            )
        except (TypeError, ValueError, IndexError, RecursionError):
            raise self._damaged("it does not tell of its links") from None


def merged_terms(
    sources: Iterable[Iterator[tuple[str, int, list[int]]]],
) -> Iterator[tuple[str, int, list[int]]]:
    """Merge the terms of several indexes or segments, each ascending."""
    return heapq.merge(*sources, key=lambda each: each[:2])
