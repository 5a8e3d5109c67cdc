"""Trees: sorted lines of text, split into chunks by content (`docs/vault-format.md`, "Trees").

A change of one line rewrites the chunk that holds it and the index chunks above; all others keep
their digest, so they are shared by every snapshot that has them.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.oci.grammar import parse_digest, parse_number
from regvault.vault.fields import sha256
from regvault.vault.frames import compress, decompress
from regvault.vault.keys import check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "ChunkRef",
    "Node",
    "Tree",
    "TreeBuilder",
    "TreeRef",
    "diff",
    "merge_diff",
    "parse",
]

_MASK = 511  # one entry in 512 ends its chunk
_MIN_ENTRIES = 16
_MAX_ENTRIES = 4096
_MAX_CHUNK_BYTES = 1 << 20
#: No chunk decompresses to more; a frame that declares more is refused before it is opened.
MAX_DECOMPRESSED = 4 << 20
#: And no chunk has more stored bytes: what does not compress grows a little.
MAX_STORED = MAX_DECOMPRESSED + (64 << 10)
_MAX_LEVEL = 8


class ChunkRef(NamedTuple):
    """Where a chunk is: only object lists know the key and the size, other trees the digest.

    Attributes:
        digest: `sha256:<hex>` of the chunk's stored bytes.
        key: the object that holds it, or "" where only the digest is told.
        size: stored bytes; -1 where it is not told.
    """

    digest: str
    key: str = ""
    size: int = -1


class TreeRef(NamedTuple):
    """A whole tree: its top chunk and the number of its lines."""

    top: ChunkRef
    entries: int


class Node(NamedTuple):
    """One parsed chunk.

    Attributes:
        level: 0 for lines, above that for references to chunks of the level below.
        lines: level 0: the lines.
        children: above: (reference, entries below it, first line below it).
    """

    level: int
    lines: list[bytes]
    children: list[tuple[ChunkRef, int, bytes]]

    def first(self) -> bytes:
        """Return the first line of the tree in it or below it."""
        if self.level:
            return self.children[0][2] if self.children else b""
        return self.lines[0] if self.lines else b""

    def last(self) -> bytes:
        """Return the last line in it; of an index, the last that it tells of."""
        if self.level:
            return self.children[-1][2] if self.children else b""
        return self.lines[-1] if self.lines else b""


class TreeBuilder:
    """Makes a tree of lines that come in strictly ascending byte order.

    Holds one open chunk a level, whatever the number of lines.
    """

    def __init__(self, kind: str, put: Callable[[bytes], ChunkRef], *, keyed: bool = False) -> None:
        """Begin.

        Args:
            kind: what the lines are, for the header of each chunk.
            put: stores the compressed bytes of one chunk.
            keyed: index lines carry keys and sizes (object lists), not only digests.
        """
        self._kind = kind.encode()
        self._put = put
        self._keyed = keyed
        self._levels: list[_OpenChunk] = [_OpenChunk()]
        self._last = b""
        self.entries = 0

    def add(self, line: bytes) -> None:
        """Append one line (without its newline)."""
        if line <= self._last:
            raise ValueError(f"tree lines out of order: {line!r} after {self._last!r}")
        self._last = line
        self.entries += 1
        self._add(0, line, line, 1)

    def _add(self, level: int, line: bytes, first: bytes, entries: int) -> None:
        chunk = self._levels[level]
        if not chunk.lines:
            chunk.first = first
        chunk.lines.append(line)
        chunk.size += len(line) + 1
        chunk.entries += entries
        count = len(chunk.lines)
        if (
            (count >= _MIN_ENTRIES and zlib.crc32(first) & _MASK == 0)
            or count >= _MAX_ENTRIES
            or chunk.size >= _MAX_CHUNK_BYTES
        ):
            self._close(level)

    def _close(self, level: int) -> None:
        chunk = self._levels[level]
        ref = self._store(level, chunk.lines)
        if level + 1 == len(self._levels):
            self._levels.append(_OpenChunk())
        above = self._levels[level + 1]
        if not above.lines:
            above.only = ref
        first, entries = chunk.first, chunk.entries
        self._levels[level] = _OpenChunk()
        self._add(level + 1, self._index_line(ref, entries, first), first, entries)

    def _index_line(self, ref: ChunkRef, entries: int, first: bytes) -> bytes:
        if self._keyed:
            where = f"{ref.key} {ref.size} {ref.digest.partition(':')[2]} {entries} "
        else:
            where = f"{ref.digest} {entries} "
        return where.encode() + first

    def _store(self, level: int, lines: list[bytes]) -> ChunkRef:
        header = b"regvault-tree 1 %s %d\n" % (self._kind, level)
        body = b"\n".join(lines) + b"\n" if lines else b""
        return self._put(compress(header + body))

    def finish(self) -> TreeRef:
        """Close all chunks and return the tree."""
        level = 0
        while True:
            chunk = self._levels[level]
            is_top = level + 1 == len(self._levels)
            if is_top and level > 0 and len(chunk.lines) == 1 and chunk.only is not None:
                return TreeRef(chunk.only, self.entries)
            if is_top:
                return TreeRef(self._store(level, chunk.lines), self.entries)
            if chunk.lines:
                self._close(level)
            level += 1


class _OpenChunk:
    __slots__ = ("entries", "first", "lines", "only", "size")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.first = b""
        self.size = 0
        self.entries = 0
        self.only: ChunkRef | None = None


def parse(data: bytes, key: str, kind: str, *, keyed: bool = False) -> Node:
    """Decompress and check one chunk whose bytes are already proven against its digest.

    Raises:
        VaultDamagedError: it is no chunk of a tree of this kind, or its lines are out of order.
    """
    text = decompress(data, key, MAX_DECOMPRESSED)
    head, _, body = text.partition(b"\n")
    fields = head.split(b" ")
    if len(fields) != 4 or fields[:3] != [b"regvault-tree", b"1", kind.encode()]:
        raise VaultDamagedError(f"{key} is damaged: it is no chunk of a tree of {kind}")
    try:
        level = parse_number(fields[3].decode("ascii"))
    except ValueError:
        level = -1
    if not 0 <= level <= _MAX_LEVEL or (body and not body.endswith(b"\n")):
        raise VaultDamagedError(f"{key} is damaged: it is cut off")
    lines = body[:-1].split(b"\n") if body else []
    if level == 0:
        if any(a >= b for a, b in pairwise(lines)):
            raise VaultDamagedError(f"{key} is damaged: its lines are out of order")
        return Node(0, lines, [])
    try:
        children = [_parse_index(line, keyed=keyed) for line in lines]
    except ValueError:
        raise VaultDamagedError(f"{key} is damaged: an index line has not its fields") from None
    if any(a[2] >= b[2] for a, b in pairwise(children)):
        raise VaultDamagedError(f"{key} is damaged: its index is out of order")
    return Node(level, [], children)


def _parse_index(line: bytes, *, keyed: bool) -> tuple[ChunkRef, int, bytes]:
    if keyed:
        key, size, hexed, entries, first = line.split(b" ", 4)
        digest = f"sha256:{sha256(hexed.decode('ascii'))}"
        place = check_key(key.decode("ascii")), parse_number(size.decode("ascii"))
        ref = ChunkRef(digest, *place)
    else:
        whole, entries, first = line.split(b" ", 2)
        ref = ChunkRef(str(parse_digest(whole.decode("ascii"))))
    return ref, parse_number(entries.decode("ascii")), first


class Tree:
    """A stored tree that is read chunk by chunk, in order or from any line on."""

    def __init__(self, top: ChunkRef, load: Callable[[ChunkRef], Node]) -> None:
        """Wrap.

        Args:
            top: the tree's top chunk.
            load: fetches, proves and parses one chunk.
        """
        self._top = top
        self._load = load

    def fetch(self) -> None:
        """Have the top chunk in memory: for a small tree, that is all of it."""
        self._load(self._top)

    def lines(self, start: bytes = b"") -> Iterator[bytes]:
        """Yield the lines that are not less than `start`."""
        yield from self._walk(self._top, start, None)

    def with_prefix(self, prefix: bytes) -> Iterator[bytes]:
        """Yield the lines that begin with `prefix`."""
        for line in self.lines(prefix):
            if not line.startswith(prefix):
                return
            yield line

    def chunks(self) -> Iterator[ChunkRef]:
        """Yield the references of all chunks, the top first; leaves are not loaded."""
        yield self._top
        yield from self._chunks(self._load(self._top))

    def _chunks(self, node: Node, end: bytes | None = None) -> Iterator[ChunkRef]:
        for ref, first, before in _bounded(node, end):
            yield ref
            if node.level > 1:
                yield from self._chunks(self._below(ref, node.level - 1, first, before), before)

    def _below(self, ref: ChunkRef, level: int, first: bytes, end: bytes | None) -> Node:
        """Load a chunk that an index names, and check that it is the one that belongs there.

        Its lines begin where the index says, and end before `end`, where the next one begins. So
        no chunk is met twice in one tree: a few chunks that name each other over and over would
        make a walk that never ends.
        """
        node = self._load(ref)
        fits = end is None or node.last() < end
        if (node.level, node.first()) != (level, first) or not fits:
            key = ref.key or ref.digest
            raise VaultDamagedError(
                f"{key} is damaged: its index does not fit", key=ref.key or None
            )
        return node

    def leaves(self) -> list[ChunkRef]:
        """Return the references of the chunks that hold the lines, in order."""
        return [ref for ref, _ in self.leaves_from()]

    def leaves_from(self) -> list[tuple[ChunkRef, bytes]]:
        """Return the leaves, each with the line that its index says it begins with."""
        found: list[tuple[ChunkRef, bytes]] = []
        top = self._load(self._top)
        if top.level == 0:
            return [(self._top, top.first())]
        self._leaves(top, None, found)
        return found

    def _leaves(self, node: Node, end: bytes | None, found: list[tuple[ChunkRef, bytes]]) -> None:
        if node.level == 1:
            found.extend((child, first) for child, _, first in node.children)
            return
        for child, first, before in _bounded(node, end):
            self._leaves(self._below(child, node.level - 1, first, before), before, found)

    def _walk(
        self,
        ref: ChunkRef,
        start: bytes,
        level: int | None,
        first: bytes = b"",
        end: bytes | None = None,
    ) -> Iterator[bytes]:
        node = self._load(ref) if level is None else self._below(ref, level, first, end)
        if node.level == 0:
            yield from node.lines[bisect_left(node.lines, start) :] if start else node.lines
            return
        # The last child that does not begin after `start` may hold it, and so may all that follow.
        at = bisect_right(node.children, start, key=itemgetter(2)) - 1 if start else 0
        for child, below, before in _bounded(node, end, max(at, 0)):
            yield from self._walk(child, start, node.level - 1, below, before)

    def leaf_lines(self, ref: ChunkRef, first: bytes | None = None) -> list[bytes]:
        """Return the lines of one leaf; with `first`, check that it is what its index says."""
        return (self._load(ref) if first is None else self._below(ref, 0, first, None)).lines


def _bounded(
    node: Node, end: bytes | None, at: int = 0
) -> Iterator[tuple[ChunkRef, bytes, bytes | None]]:
    """Yield (reference, first line, line that it ends before) of what an index names, from `at`."""
    children = node.children
    last = len(children) - 1
    for number in range(at, last + 1):
        ref, _, first = children[number]
        yield ref, first, end if number == last else children[number + 1][2]


def diff(old: Tree | None, new: Tree | None) -> Iterator[tuple[bool, bytes]]:
    """Yield (True, line) for each line only in `new` and (False, line) for each only in `old`.

    In byte order; leaves that both share are not loaded.
    """
    before = old.leaves() if old is not None else []
    after = new.leaves() if new is not None else []
    shared = {ref.digest for ref in before} & {ref.digest for ref in after}

    def lines(tree: Tree | None, refs: Iterable[ChunkRef]) -> Iterator[bytes]:
        for ref in refs:
            if ref.digest not in shared:
                assert tree is not None
                yield from tree.leaf_lines(ref)

    yield from merge_diff(lines(old, before), lines(new, after))


def merge_diff(old: Iterator[bytes], new: Iterator[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Yield the differences of two ascending streams of lines, as `diff` does."""
    left, right = next(old, None), next(new, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left < right):
            assert left is not None
            yield False, left
            left = next(old, None)
        elif left is None or right < left:
            yield True, right
            right = next(new, None)
        else:
            left, right = next(old, None), next(new, None)
