"""The object list of a root: every object that a snapshot needs, by key.

A base tree of `<key> <size> <sha256>` lines and at most one delta tree of `<key> + <size> <sha256>`
and `<key> -` lines against it. Lists are read in the clear and need no catalog and no key
(`docs/vault-format.md`, "Object list").
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.oci.grammar import parse_number
from regvault.vault.fields import count, sha256, text
from regvault.vault.keys import check_key, plain_key
from regvault.vault.tree import ChunkRef, Tree, TreeBuilder, TreeRef

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from regvault.vault.tree import Node

__all__ = [
    "BASE_KIND",
    "DELTA_KIND",
    "Amendments",
    "ListRef",
    "ObjectList",
    "ObjectRef",
    "build_base",
    "build_delta",
    "followed",
]

BASE_KIND = "objects"
DELTA_KIND = "objects-delta"

#: A delta of more than this share of its base's lines gives way to a new base.
REBASE_SHARE = 0.05

#: A key is amended again where an object is mended twice. A longer chain is not followed to its
#: end: with one of all keys, each look-up would go through all of them.
_MAX_AMENDED = 100


class ObjectRef(NamedTuple):
    """One object: its key, its stored bytes' number, and their hex SHA-256."""

    key: str
    size: int
    sha256: str


#: Keys that changed after roots named them: the object that took its place, or None: purged.
Amendments = dict[str, ObjectRef | None]


class ListRef(NamedTuple):
    """What a root says of its object list.

    Attributes:
        base: the tree of all lines.
        delta: the tree of + and - lines, or None.
        entries: objects, the list's own chunks not included.
        nbytes: their stored bytes.
    """

    base: TreeRef
    delta: TreeRef | None
    entries: int
    nbytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the form that a root carries."""

        def tree(ref: TreeRef) -> dict[str, Any]:
            top = ref.top
            return {
                "key": top.key,
                "size": top.size,
                "sha256": top.digest.partition(":")[2],
                "entries": ref.entries,
            }

        return {
            "base": tree(self.base),
            "delta": None if self.delta is None else tree(self.delta),
            "count": self.entries,
            "bytes": self.nbytes,
        }

    @classmethod
    def from_json(cls, data: Any) -> ListRef:
        """Read what `to_json` wrote. Raises KeyError, TypeError, ValueError."""

        def tree(part: Any) -> TreeRef:
            digest = f"sha256:{sha256(part['sha256'])}"
            top = ChunkRef(digest, check_key(text(part["key"])), count(part["size"]))
            return TreeRef(top, count(part["entries"]))

        delta = data["delta"]
        return cls(
            tree(data["base"]),
            None if delta is None else tree(delta),
            count(data["count"]),
            count(data["bytes"]),
        )


def followed(amendments: Amendments, key: str) -> ObjectRef | None:
    """Return what lies in the place of an amended key in the end; None where it was purged."""
    seen: set[str] = set()
    ref: ObjectRef | None = None
    while key in amendments and key not in seen and len(seen) < _MAX_AMENDED:
        seen.add(key)
        ref = amendments[key]
        if ref is None:
            return None
        key = ref.key
    return ref


class ObjectList:
    """Reads one object list, in order or by key. Holds the delta, and some chunks, in memory."""

    def __init__(
        self,
        ref: ListRef,
        load: Callable[[str, ChunkRef], Node],
        amendments: Amendments | None = None,
    ) -> None:
        """Wrap.

        Args:
            ref: what the root says.
            load: fetches, proves and parses one chunk of a kind; should cache some.
            amendments: of the vault; applied to every line.
        """
        self.ref = ref
        self._amendments = amendments or {}
        self.base = Tree(ref.base.top, lambda chunk: load(BASE_KIND, self._here(chunk)))
        self.delta_tree = (
            Tree(ref.delta.top, lambda chunk: load(DELTA_KIND, self._here(chunk)))
            if ref.delta
            else None
        )
        self._delta: dict[str, ObjectRef | None] | None = None
        self._brought: dict[str, ObjectRef] | None = None

    def delta(self) -> dict[str, ObjectRef | None]:
        """Return the delta: key to what is there instead, None for a removed one."""
        if self._delta is None:
            found: dict[str, ObjectRef | None] = {}
            if self.delta_tree is not None:
                for line in self.delta_tree.lines():
                    key, ref = _parse_delta(line)
                    found[key] = ref
            self._delta = found
        return self._delta

    def base_refs(self) -> Iterator[ObjectRef]:
        """Yield the objects of the base alone, in byte order of their keys."""
        return map(_parse, self.base.lines())

    def original(self) -> Iterator[ObjectRef]:
        """Yield the objects as the root named them, in byte order of their keys."""
        delta = self.delta()
        added = iter(sorted(ref for ref in delta.values() if ref is not None))
        kept = (ref for ref in map(_parse, self.base.lines()) if ref.key not in delta)
        yield from heapq.merge(kept, added)

    def __iter__(self) -> Iterator[ObjectRef]:
        """Yield the objects as amended, in byte order of their keys."""
        amendments = self._amendments
        if not amendments:
            yield from self.original()
            return
        replaced = sorted(
            {ref for ref in map(self._amended, filter(self.lists, amendments)) if ref is not None}
        )
        kept = (ref for ref in self.original() if ref.key not in amendments)
        yield from heapq.merge(kept, replaced)

    def lists(self, key: str) -> bool:
        """Return whether the root named `key`, whatever became of it since."""
        return self.line(key) is not None

    def named(self, key: str) -> bool:
        """Return whether the root named `key`, or amendments put it in the place of what it did."""
        keys, seen = {key}, {key}
        while keys and len(seen) < _MAX_AMENDED:
            if any(map(self.lists, keys)):
                return True
            pairs = self._amendments.items()
            keys = {old for old, new in pairs if new is not None and new.key in keys} - seen
            seen |= keys
        return False

    def _amended(self, key: str) -> ObjectRef | None:
        return followed(self._amendments, key)

    def line(self, key: str) -> ObjectRef | None:
        """Return what the root said of a key, whatever became of it since."""
        delta = self.delta()
        return delta[key] if key in delta else self.base_line(key)

    def base_line(self, key: str) -> ObjectRef | None:
        """Return what the base says of a key, whatever the delta says."""
        for line in self.base.with_prefix(key.encode() + b" "):
            return _parse(line)
        return None

    def get(self, key: str) -> ObjectRef | None:
        """Return the object that the list has under `key` (amended: what took its place).

        A key that an amendment brought in is one of the list's too.
        """
        if not self._amendments:
            return self.line(key)
        if key in self._amendments and self.lists(key):
            return self._amended(key)
        if self._brought is None:
            changed = map(self._amended, filter(self.lists, self._amendments))
            self._brought = {ref.key: ref for ref in changed if ref is not None}
        return self.line(key) or self._brought.get(key)

    def has(self, key: str) -> bool:
        """Return whether an object of the list lies under `key` itself."""
        ref = self.get(key)
        return ref is not None and ref.key == key

    def replaced(self, key: str) -> bool:
        """Return whether an amendment put another object in the place of `key`, or purged it."""
        return key in self._amendments and not self.has(key)

    def here(self, key: str) -> str | None:
        """Return the key that an object of a catalog line lies under here; None: it was replaced.

        A copy may have a pack or a meta object under a renamed key: it has the same bytes, since
        its name states their digest, and lines of the original name tell what lies in it.
        """
        if not self.replaced(key):
            return key
        ref = self._amended(key)
        named = ref is not None and key.startswith(("meta/", "packs/"))
        return ref.key if ref and named and plain_key(ref.key) == plain_key(key) else None

    def holds(self, key: str) -> bool:
        """Return whether the object that a catalog line names is in the list, as it lies here."""
        here = self.here(key)
        return here is not None and self.has(here)

    def brought_keys(self, *, but: Amendments) -> list[str]:
        """Return the keys that amendments put in the place of others, but some of these."""
        pairs = self._amendments.items()
        return [ref.key for key, ref in pairs if ref is not None and but.get(key) != ref]

    def replaced_lines(self, *, but: Container[str]) -> list[str]:
        """Return the keys of its lines that amendments replaced or purged, but some of them."""
        return [key for key in self._amendments if key not in but and self.lists(key)]

    def with_prefix(self, prefix: str) -> Iterator[ObjectRef]:
        """Yield the objects whose keys begin with `prefix`, as amended."""
        delta = self.delta()
        base = (ref.key for ref in map(_parse, self.base.with_prefix(prefix.encode())))
        added = sorted(key for key in delta if key.startswith(prefix))
        for key in heapq.merge((key for key in base if key not in delta), added):
            ref = self.get(key)
            if ref is not None:
                yield ref

    def variants(self, key: str) -> list[ObjectRef]:
        """Return the objects whose key is `key` or a renamed form of it (`<key>.<run>-<n>`)."""
        delta = self.delta()
        found = {
            ref.key: ref
            for ref in map(_parse, self.base.with_prefix(key.encode()))
            if ref.key not in delta
        }
        for ref in delta.values():
            if ref is not None and ref.key.startswith(key):
                found[ref.key] = ref
        refs = [self.get(name) for name in found]
        return [ref for ref in refs if ref is not None]

    def original_chunks(self) -> Iterator[ChunkRef]:
        """Yield the references of the list's own chunks as the root names them."""
        yield from self.base.chunks()
        if self.delta_tree is not None:
            yield from self.delta_tree.chunks()

    def own_chunks(self) -> Iterator[ChunkRef]:
        """Yield the references of the list's own chunks, as amended."""
        return map(self._here, self.original_chunks())

    def own_objects(self) -> Iterator[ObjectRef]:
        """Yield the same as the objects that they are."""
        for chunk in self.own_chunks():
            yield ObjectRef(chunk.key, chunk.size, chunk.digest.partition(":")[2])

    def _here(self, chunk: ChunkRef) -> ChunkRef:
        ref = self._amended(chunk.key) if chunk.key in self._amendments else None
        return chunk if ref is None else chunk._replace(key=ref.key)

    def changes(self) -> Amendments:
        """Return those amendments that are about this list: of its lines and of its own chunks."""
        if not self._amendments:
            return {}
        own = {chunk.key for chunk in self.original_chunks()}
        return {
            key: self._amended(key) for key in self._amendments if key in own or self.lists(key)
        }


def _parse(line: bytes) -> ObjectRef:
    try:
        key, size, digest = line.decode("ascii").split(" ")
        return ObjectRef(check_key(key), parse_number(size), sha256(digest))
    except ValueError:
        raise VaultDamagedError(f"an object list has a line that is none: {line[:300]!r}") from None


def _parse_delta(line: bytes) -> tuple[str, ObjectRef | None]:
    try:
        key, sign, *rest = line.decode("ascii").split(" ")
        check_key(key)
        if sign == "-" and not rest:
            return key, None
        if sign == "+":
            size, digest = rest
            return key, ObjectRef(key, parse_number(size), sha256(digest))
    except ValueError:
        pass
    raise VaultDamagedError(f"an object list has a delta line that is none: {line[:300]!r}")


def build_base(
    refs: Iterable[ObjectRef], put: Callable[[bytes], ChunkRef]
) -> tuple[TreeRef, int, int]:
    """Write a new base of objects in byte order; return it with their number and bytes."""
    builder = TreeBuilder(BASE_KIND, put, keyed=True)
    nbytes = 0
    for ref in refs:
        builder.add(f"{ref.key} {ref.size} {ref.sha256}".encode())
        nbytes += ref.size
    return builder.finish(), builder.entries, nbytes


def build_delta(
    changes: Mapping[str, ObjectRef | None], put: Callable[[bytes], ChunkRef]
) -> TreeRef:
    """Write a delta: key to what is there now, None where the base's line goes."""
    builder = TreeBuilder(DELTA_KIND, put, keyed=True)
    for key in sorted(changes):
        ref = changes[key]
        line = f"{key} -" if ref is None else f"{key} + {ref.size} {ref.sha256}"
        builder.add(line.encode())
    return builder.finish()
