"""What is needed: every key that some object list names, told in order, each chunk read once.

Hundreds of snapshots share nearly all chunks of their object lists. So a chunk is read once
(twice in a vault that has amendments: first to know which of them somebody needs),
with the number of lists that have it, and a key is needed if it is more often there than taken
away: `<key> ...` of a base counts one, `<key> -` of a delta against it takes one, `<key> +` of a
delta counts one.
"""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.vault.keys import check_key
from regvault.vault.objectlist import ObjectList, followed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.objectlist import Amendments, ObjectList
    from regvault.vault.tree import ChunkRef, Tree

__all__ = ["needed_keys"]


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
    bases: _Leaves = _Leaves()
    deltas: _Leaves = _Leaves()
    own: set[str] = set()
    elsewhere: list[str] = []
    for each in lists:
        bases.add(each.base)
        if each.delta_tree is not None:
            deltas.add(each.delta_tree)
        own.update(_checked(chunk.key) for chunk in each.own_chunks())
        own.update(_checked(key) for key in each.brought_keys(but=amendments))
        elsewhere += each.replaced_lines(but=amendments)

    def named() -> Iterator[str]:
        rows = heapq.merge(
            bases.rows(delta=False),
            deltas.rows(delta=True),
            ((key, 1) for key in sorted(own)),
            ((key, -1) for key in sorted(elsewhere)),
        )
        for key, group in groupby(rows, key=itemgetter(0)):
            if sum(count for _, count in group) > 0:
                yield key

    moved = (
        [followed(amendments, key) for key in named() if key in amendments] if amendments else []
    )
    brought = {ref.key for ref in moved if ref is not None}
    own |= brought
    replaced = amendments.keys() - brought
    yield from (key for key in named() if key not in replaced)


def _checked(key: str) -> str:
    """Return a key of an object list. Raises VaultDamagedError where it is none."""
    try:
        return check_key(key)
    except ValueError as error:
        raise VaultDamagedError(f"an object list is damaged: {error}") from None


class _Leaves:
    """The distinct leaves of many trees, and in how many of these each is."""

    def __init__(self) -> None:
        self._count: Counter[tuple[bytes, str]] = Counter()
        self._found: dict[tuple[bytes, str], tuple[Tree, ChunkRef]] = {}

    def add(self, tree: Tree) -> None:
        for ref, first in tree.leaves_from():
            self._count[first, ref.digest] += 1
            self._found.setdefault((first, ref.digest), (tree, ref))

    def rows(self, *, delta: bool) -> Iterator[tuple[str, int]]:
        """Yield (key, how often it counts), in byte order of the keys."""
        open_rows: list[tuple[str, int, int, Iterator[tuple[str, int]]]] = []
        found = dict(self._found)
        waiting = sorted(found)
        waiting.reverse()
        number = 0
        while waiting or open_rows:
            while waiting and (not open_rows or _key(waiting[-1][0]) <= open_rows[0][0]):
                leaf = waiting.pop()
                tree, ref = found.pop(leaf)
                lines = tree.leaf_lines(ref, leaf[0])
                rows = _weighed(lines, self._count[leaf], delta=delta)
                number += 1
                _push(open_rows, number, rows)
            if open_rows:
                key, count, which, rows = heapq.heappop(open_rows)
                yield key, count
                _push(open_rows, which, rows)


def _push(
    open_rows: list[tuple[str, int, int, Iterator[tuple[str, int]]]],
    number: int,
    rows: Iterator[tuple[str, int]],
) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(open_rows, (*row, number, rows))


def _key(line: bytes) -> str:
    return line.partition(b" ")[0].decode("ascii", "replace")


def _weighed(lines: list[bytes], count: int, *, delta: bool) -> Iterator[tuple[str, int]]:
    for line in lines:
        key, _, rest = line.decode("ascii", "replace").partition(" ")
        _checked(key)
        if delta and rest == "-":
            yield key, -count
        elif not delta or rest.startswith("+ "):
            yield key, count
        else:
            raise VaultDamagedError(f"an object list has a delta line that is none: {line!r}")
