"""What is needed: every key that some object list names, told in order, each chunk read once.

Hundreds of snapshots share nearly all chunks of their object lists. So a chunk is read once
(twice in a vault that has amendments: first to know which of them somebody needs), with the set of
the lists that have it: bit n of a number stands for the n-th list. `<key> ...` of a base counts for
all that have that base, `<key> -` of a delta against it takes those away that have the delta, and
`<key> +` of a delta counts for these. A key is needed if any list is left.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from regvault.errors import VaultDamagedError
from regvault.vault.keys import check_keys
from regvault.vault.objectlist import ObjectList, followed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.objectlist import Amendments, ObjectList
    from regvault.vault.tree import ChunkRef, Tree

__all__ = ["needed_by", "needed_keys"]

#: Leaves that are read at once: what is known of them is held.
_AT_ONCE: Final = 32


def needed_keys(lists: Iterable[ObjectList], amendments: Amendments) -> Iterator[str]:
    """Yield every key that must stay, in byte order, once.

    These are: what a list names, before amendments, and its own chunks; less what the vault's
    amendments replaced or purged, and what a copied root's own amendment replaced for that root;
    and what they put in the place of what is named. (What was put in the place of a key that no
    list names any more is needed by nobody.)

    Args:
        lists: of all snapshots that count. Read when the first key is asked for.
        amendments: of the vault, all of them.

    Raises:
        VaultDamagedError, ObjectNotFoundError: a list cannot be read: then nothing is known.
    """
    return (key for key, _ in needed_by(lists, amendments))


def needed_by(lists: Iterable[ObjectList], amendments: Amendments) -> Iterator[tuple[str, int]]:
    """Yield the same keys, each with the lists that need it: bit n stands for the n-th."""
    leaves = _Leaves()
    own: dict[str, int] = {}
    elsewhere: dict[str, int] = {}
    for number, each in enumerate(lists):
        bit = 1 << number
        leaves.add(each.base, bit, delta=False)
        if each.delta_tree is not None:
            leaves.add(each.delta_tree, bit, delta=True)
        _note(own, _checked(chunk.key for chunk in each.own_chunks()), bit)
        _note(own, _checked(each.brought_keys(but=amendments)), bit)
        _note(elsewhere, each.replaced_lines(but=amendments), bit)
    if not amendments:
        yield from _named(leaves, own, elsewhere)
        return
    brought: dict[str, int] = {}
    for key, which in _named(leaves, own, elsewhere):
        ref = followed(amendments, key) if key in amendments else None
        if ref is not None:
            _note(brought, [ref.key], which)
    for key, which in brought.items():
        _note(own, [key], which)
    replaced = amendments.keys() - brought.keys()
    yield from (row for row in _named(leaves, own, elsewhere) if row[0] not in replaced)


def _note(found: dict[str, int], keys: Iterable[str], which: int) -> None:
    """Note that these lists have keys, besides those that are known to."""
    for key in keys:
        found[key] = found.get(key, 0) | which


def _checked(keys: Iterable[str]) -> list[str]:
    """Return keys of an object list. Raises VaultDamagedError where one is none."""
    try:
        return check_keys(list(keys))
    except ValueError as error:
        raise VaultDamagedError(f"an object list is damaged: {error}") from None


class _Window:
    """What the leaves say of the keys of some part, in any order.

    Attributes:
        base: key -> the lists whose base has it.
        gone, there: key -> the lists whose delta takes it away, or has it.
    """

    def __init__(self) -> None:
        self.base: dict[str, int] = {}
        self.gone: dict[str, int] = {}
        self.there: dict[str, int] = {}

    def take(self, lines: list[bytes], which: int, *, delta: bool) -> None:
        """Take the lines of a leaf that these lists have."""
        keys = _checked(map(_key, lines))
        if not delta:
            _note(self.base, keys, which)
            return
        for key, line in zip(keys, lines, strict=True):
            rest = line[len(key) + 1 :]
            if rest != b"-" and not rest.startswith(b"+ "):
                raise VaultDamagedError(f"an object list has a delta line that is none: {line!r}")
            _note(self.gone if rest == b"-" else self.there, [key], which)

    def cut(self, keys: list[str]) -> _Window:
        """Return the same of these keys."""
        cut = _Window()
        for key in keys:
            for whole, part in zip(self.all, cut.all, strict=True):
                if key in whole:
                    part[key] = whole[key]
        return cut

    @property
    def all(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        return self.base, self.gone, self.there


class _Leaves:
    """The distinct leaves of many trees, and which of these each is in."""

    def __init__(self) -> None:
        self._which: dict[tuple[bytes, bool, str], int] = {}
        self._found: dict[tuple[bytes, bool, str], tuple[Tree, ChunkRef]] = {}

    def add(self, tree: Tree, bit: int, *, delta: bool) -> None:
        for ref, first in tree.leaves_from():
            leaf = first, delta, ref.digest
            self._which[leaf] = self._which.get(leaf, 0) | bit
            self._found.setdefault(leaf, (tree, ref))

    def windows(self) -> Iterator[tuple[list[str], _Window]]:
        """Yield keys, in byte order, with what is said of them: a part of all keys after another.

        The leaf that begins first of those that are left bounds what is known of all leaves.
        """
        waiting = sorted(self._found)
        window = _Window()
        for begin in range(0, len(waiting), _AT_ONCE):
            for leaf in waiting[begin : begin + _AT_ONCE]:
                tree, ref = self._found[leaf]
                window.take(tree.leaf_lines(ref, leaf[0]), self._which[leaf], delta=leaf[1])
            keys = sorted(window.base.keys() | window.there.keys() | window.gone.keys())
            place = len(keys)
            if begin + _AT_ONCE < len(waiting):
                place = bisect_left(keys, _key(waiting[begin + _AT_ONCE][0]))
            yield keys[:place], window
            window = window.cut(keys[place:])


def _named(
    leaves: _Leaves, own: dict[str, int], elsewhere: dict[str, int]
) -> Iterator[tuple[str, int]]:
    """Yield each key that some list has, with these lists, in byte order."""
    beside = sorted(own)
    at = 0
    for keys, window in leaves.windows():
        base, gone, there = window.all
        plain = not (gone or there or elsewhere)
        for key in keys:
            while at < len(beside) and beside[at] <= key:
                if beside[at] != key:
                    yield beside[at], own[beside[at]]
                at += 1
            which = base.get(key, 0)
            if not plain:
                which = which & ~gone.get(key, 0) | there.get(key, 0)
                which &= ~elsewhere.get(key, 0)
            if key in own:
                which |= own[key]
            if which:
                yield key, which
    for key in beside[at:]:
        yield key, own[key]


def _key(line: bytes) -> str:
    return line.partition(b" ")[0].decode("ascii", "replace")
