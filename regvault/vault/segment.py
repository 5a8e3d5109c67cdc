"""Catalog segments: sorted lines, digest -> object (`docs/vault-format.md`, "Catalog").

    <digest> <key> <offset> <length> <size> <proof>

A key of `-` is the plain key of a raw blob. The lines lie in zstd frames of about 256 KiB; a table
of each frame's first digest is in a skippable frame at the end, so that a look-up reads the end of
the segment and one frame.
"""

from __future__ import annotations

import bisect
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.oci.grammar import parse_number
from regvault.vault.age import OVERHEAD
from regvault.vault.fetch import sha256_of
from regvault.vault.fields import sha256
from regvault.vault.frames import compress, decompress
from regvault.vault.keys import blob_key, check_key, is_name, segment_key
from regvault.vault.sealing import PLAIN, Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ByteReader, ObjectStore
    from regvault.vault.keys import SegmentName

__all__ = [
    "Location",
    "Segment",
    "SegmentTable",
    "parse_line",
    "rewrite_table",
    "sealed_proof",
    "stored_sha256",
    "write_segment",
]

_FRAME_BYTES = 256 << 10
_MAX_FRAME = 1 << 20
_TAIL_BYTES = 64 << 10
#: No frame has more stored bytes, and no table more text (that of 100 GiB of lines).
_MAX_STORED = _MAX_FRAME + (64 << 10) + OVERHEAD
_MAX_TABLE = 32 << 20
_SKIPPABLE = 0x184D2A5E
_TRAILER = b" RVSEGT1"  # after eight hex digits: the length of the table


class Location(NamedTuple):
    """One catalog line: where a blob lies.

    Attributes:
        digest: the blob; in the catalog of a sealed vault its name, which is keyed.
        key: the object that holds it.
        offset, length: the range of the object: raw and packed, the blob itself (sealed: its age
            file); meta, the zstd frame that holds it as a tar member.
        size: the blob's own bytes.
        proof: who proved the bytes against the digest: `store` or `regvault`. Of a sealed raw blob
            `sealed:` and the hex SHA-256 of its age file.
    """

    digest: str
    key: str
    offset: int
    length: int
    size: int
    proof: str

    def line(self) -> bytes:
        """Return the line of a segment."""
        key = "-" if self.key == blob_key(self.digest) else self.key
        return f"{self.digest} {key} {self.offset} {self.length} {self.size} {self.proof}".encode()


_SEALED = "sealed:"


def sealed_proof(sha256: str) -> str:
    """Return the `proof` of a sealed raw blob, whose age file has this SHA-256."""
    return f"{_SEALED}{sha256}"


def stored_sha256(place: Location) -> str | None:
    """Return the hex SHA-256 of the age file of a sealed raw blob, as its line has it, or None."""
    if not place.proof.startswith(_SEALED):
        return None
    try:
        return sha256(place.proof.removeprefix(_SEALED))
    except ValueError:
        return None


def parse_line(line: bytes) -> Location:
    """Parse one line. Raises VaultDamagedError."""
    try:
        digest, key, offset, length, size, proof = line.decode("ascii").split(" ")
        numbers = parse_number(offset), parse_number(length), parse_number(size)
        if not is_name(digest):
            raise ValueError(digest)
        key = blob_key(digest) if key == "-" else check_key(key)
        return Location(digest, key, *numbers, proof)
    except ValueError:
        raise VaultDamagedError(f"a catalog line is none: {line[:300]!r}") from None


class SegmentTable(NamedTuple):
    """The table at the end of a segment.

    Attributes:
        lines: how many there are.
        firsts: the first digest of each frame.
        frames: (offset, stored length) of each frame.
        supersedes: keys of segments whose lines are all in this one.
    """

    lines: int
    firsts: list[str]
    frames: list[tuple[int, int]]
    supersedes: list[str]


def write_segment(
    store: ObjectStore,
    lines: Iterable[bytes],
    *,
    level: int,
    run: str,
    supersedes: Iterable[str] = (),
    seal: Seal = PLAIN,
) -> str | None:
    """Write one segment of ascending lines; return its key, or None where there are no lines.

    Everything stored before is durable before the segment has its name, and so are its own bytes:
    else a power cut could leave a damaged segment that nobody ever takes away.
    """
    stage = store.stage()
    try:
        firsts: list[bytes] = []
        frames: list[tuple[int, int]] = []
        at = count = 0
        last = b""
        frame: list[bytes] = []
        size = 0

        def close() -> None:
            nonlocal at, size
            data = seal.close_index(compress(b"\n".join(frame) + b"\n"))
            stage.write(data)
            firsts.append(frame[0].partition(b" ")[0])
            frames.append((at, len(data)))
            at += len(data)
            frame.clear()
            size = 0

        for line in lines:
            if line <= last:
                raise ValueError(f"catalog lines out of order: {line!r} after {last!r}")
            last = line
            count += 1
            frame.append(line)
            size += len(line) + 1
            if size >= _FRAME_BYTES:
                close()
        if frame:
            close()
        if not count:
            stage.abort()
            return None
        stage.write(_table(count, firsts, frames, supersedes))
        first, end = firsts[0].decode(), last.partition(b" ")[0].decode()
        key = segment_key(level, first, end, run, stage.sha256(), sealed=seal.sealed)
        store.barrier()
        stage.commit(key)
    except BaseException:
        stage.abort()
        raise
    return key


def _table(
    count: int,
    firsts: Iterable[bytes],
    frames: Iterable[tuple[int, int]],
    supersedes: Iterable[str],
) -> bytes:
    """Return the skippable frame of the table of a segment."""
    table = [b"regvault-segment 1 %d" % count]
    table += [b"frame %s %d %d" % (f, o, n) for f, (o, n) in zip(firsts, frames, strict=True)]
    table += [b"supersedes " + name.encode() for name in supersedes]
    text = b"\n".join(table) + b"\n"
    payload = text + b"%08x" % len(text) + _TRAILER
    return _SKIPPABLE.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload


def rewrite_table(
    source: ObjectStore,
    name: SegmentName,
    target: ObjectStore,
    *,
    run: str,
    supersedes: Iterable[str],
) -> str:
    """Store the frames of a segment, unopened, with a table that supersedes others; return its key.

    Raises:
        VaultDamagedError: the segment is not what its name says.
        ObjectNotFoundError: it is gone.
    """
    segment = Segment(source, name)
    table = segment.table()
    stage = target.stage()
    hasher = hashlib.sha256()
    try:
        with source.open(name.key) as reader:
            for _, length in table.frames:
                data = _read_exactly(reader, length, name.key)
                hasher.update(data)
                stage.write(data)
            while rest := reader.read(1 << 20):
                hasher.update(rest)
        if hasher.hexdigest() != name.sha256:
            raise VaultDamagedError(
                f"{name.key} is damaged: its bytes are not what its name says", key=name.key
            )
        firsts = [first.encode() for first in table.firsts]
        stage.write(_table(table.lines, firsts, table.frames, supersedes))
        digest = stage.sha256()
        target.barrier()
        key = name.key.replace(f"-{name.run}-{name.sha256}.", f"-{run}-{digest}.")
        stage.commit(key)
    except BaseException:
        stage.abort()
        raise
    return key


def _parse_table(data: bytes, key: str) -> SegmentTable | int:
    """Parse the table at the end of `data`; return its whole length where data is too short."""
    if len(data) < 16 or not data.endswith(_TRAILER):
        raise VaultDamagedError(f"{key} is damaged: it has no table at its end")
    try:
        length = int(data[-16:-8], 16)
        if length > _MAX_TABLE:
            raise ValueError(length)
        if length + 16 > len(data):
            return length + 16
        text = data[-16 - length : -16].decode("ascii")
        rows = [row.split(" ") for row in text.splitlines()]
        name, version, lines = rows[0]
        if (name, version) != ("regvault-segment", "1"):
            raise ValueError(name)
        frames = [row for row in rows if row[0] == "frame"]
        places = [(parse_number(row[2]), parse_number(row[3])) for row in frames]
        firsts = [row[1] for row in frames]
        if any(size > _MAX_STORED for _, size in places) or firsts != sorted(firsts):
            raise ValueError(frames)
        supersedes = [row[1] for row in rows if row[0] == "supersedes"]
        return SegmentTable(parse_number(lines), firsts, places, supersedes)
    except (ValueError, IndexError):
        raise VaultDamagedError(f"{key} is damaged: its table cannot be read") from None


class Segment:
    """Reads one segment: whole, or by range."""

    def __init__(self, store: ObjectStore, name: SegmentName, seal: Seal = PLAIN) -> None:
        self._store = store
        self._seal = seal
        self.name = name
        self._table: SegmentTable | None = None
        self._frame: tuple[int, list[bytes]] | None = None

    def table(self) -> SegmentTable:
        """Return the table at the end, by one range read, or two for a very large one."""
        if self._table is None:
            found = _parse_table(self._store.get(self.name.key, start=-_TAIL_BYTES), self.name.key)
            if isinstance(found, int):
                tail = self._store.get(self.name.key, start=-found)
                found = _parse_table(tail, self.name.key)
            if isinstance(found, int):
                raise VaultDamagedError(f"{self.name.key} is damaged: its table is cut off")
            self._table = found
        return self._table

    def _lines(self, number: int) -> list[bytes]:
        kept = self._frame  # read once: another thread may put its own frame there
        if kept is None or kept[0] != number:
            offset, length = self.table().frames[number]
            text = self._open(self._store.get(self.name.key, start=offset, length=length))
            kept = self._frame = number, text[:-1].split(b"\n")
        return kept[1]

    def _open(self, data: bytes) -> bytes:
        frame = self._seal.open_index(data, self.name.key)
        return decompress(frame, self.name.key, _MAX_FRAME)

    def lookup(self, digest: str) -> list[Location]:
        """Return all lines of `digest`; one range read where the table is known."""
        if not self.name.may_hold(digest):
            return []
        firsts = self.table().firsts
        # A digest's lines may begin in the frame before the first frame that starts with it.
        number = max(bisect.bisect_left(firsts, digest) - 1, 0)
        wanted = digest.encode() + b" "
        found: list[Location] = []
        while number < len(firsts) and firsts[number] <= digest:
            lines = self._lines(number)
            at = bisect.bisect_left(lines, wanted)
            while at < len(lines) and lines[at].startswith(wanted):
                found.append(parse_line(lines[at]))
                at += 1
            number += 1
        return found

    def read(self) -> Iterator[bytes]:
        """Yield all lines, one frame in memory at a time, and prove the whole against its name.

        The proof is complete only when the iterator ends without an error: whoever keeps lines
        must be able to drop them again.

        Raises:
            VaultDamagedError: its bytes are not what its name says.
        """
        table = self.table()
        hasher = hashlib.sha256()
        with self._store.open(self.name.key) as reader:
            for _, length in table.frames:
                data = _read_exactly(reader, length, self.name.key)
                hasher.update(data)
                text = self._open(data)
                yield from text[:-1].split(b"\n")
            while rest := reader.read(1 << 20):
                hasher.update(rest)
        self._check(hasher.hexdigest())

    def prove(self, *, unopened: bool = False) -> None:
        """Prove the whole against its name, and its lines, where they can be opened.

        Args:
            unopened: do not open any.

        Raises:
            VaultDamagedError: its bytes are not what its name says.
            SealedToOthersError: perhaps they are, but its lines are sealed to others.
        """
        if self._seal.opens_names and not unopened:
            for _ in self.read():
                pass
            return
        self.table()
        self._check(sha256_of(self._store, self.name.key))

    def _check(self, sha256: str) -> None:
        if sha256 != self.name.sha256:
            raise VaultDamagedError(
                f"{self.name.key} is damaged: its bytes are not what its name says"
            )


def _read_exactly(reader: ByteReader, length: int, key: str) -> bytes:
    parts: list[bytes] = []
    left = length
    while left > 0:
        part = reader.read(left)
        if not part:
            raise VaultDamagedError(f"{key} is damaged: it is cut off")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
