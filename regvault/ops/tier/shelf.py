"""How the data of a vault lies: its blobs and packs with their classes, and who needs them.

Only blobs and packs: manifests, trees, the catalog, roots, records and attachments are read by
every run, or first of all in a disaster, and are never moved. A vault may have millions of objects,
so they are columns.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from regvault.model.classes import archives_of
from regvault.ops.forget import points_of
from regvault.ops.tier.cold import DATA
from regvault.ops.tier.contents import HOT, Texts
from regvault.policy.retention import retain
from regvault.policy.tiering.lifetimes import days_kept
from regvault.vault.certain import claimed_lists, copied_by, read_chain, unfinished_since
from regvault.vault.condemned import read_condemned
from regvault.vault.presence import list_objects
from regvault.vault.reach import needed_by, needed_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import tzinfo

    from regvault.model.progress import Progress
    from regvault.policy.retention import Point, Retention
    from regvault.policy.tiering.history import Bools, Floats, Ints
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Needed", "Newest", "Shelf", "newest_of", "read_needed", "read_shelf"]

T = TypeVar("T")

#: What was stored so lately may belong to a run that has not committed yet.
_YOUNG_NS = 24 * 3600 * 10**9


class Shelf:
    """The data of a vault, by number: in byte order of the keys.

    Attributes:
        sizes: bytes of each.
        modified: when it was written, nanoseconds since the epoch by the store's clock.
        classes: the names of the classes that something lies in.
        present: of each object, the number of its class.
    """

    def __init__(self) -> None:
        self._keys = Texts()
        self._etags = Texts()
        self._sizes, self._modified, self._present = array("q"), array("q"), array("b")
        self._numbers: dict[str, int] = {}
        self.sizes: Ints = np.zeros(0, dtype=np.int64)
        self.modified: Ints = np.zeros(0, dtype=np.int64)
        self.present: Ints = np.zeros(0, dtype=np.int64)

    def add(self, key: str, size: int, etag: str, modified_ns: int, storage_class: str) -> None:
        """Add one more, in byte order of the keys."""
        self._keys.add(key)
        self._etags.add(etag)
        self._sizes.append(size)
        self._modified.append(modified_ns)
        self._present.append(self._numbers.setdefault(storage_class, len(self._numbers)))

    def close(self) -> None:
        """Say that these are all."""
        self.sizes = np.array(self._sizes, dtype=np.int64)
        self.modified = np.array(self._modified, dtype=np.int64)
        self.present = np.array(self._present, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def classes(self) -> list[str]:
        """The names of the classes that something lies in, by number."""
        return list(self._numbers)

    def key(self, number: int) -> str:
        """Return the key of an object."""
        return self._keys[number]

    def etag(self, number: int) -> str:
        """Return its etag, as it was listed."""
        return self._etags[number]

    def keys(self) -> Iterator[str]:
        """Yield all keys."""
        return (self._keys[number] for number in range(len(self)))

    def among(self, keys: Iterable[str]) -> Ints:
        """Return the numbers of those of these keys that are there; both in byte order."""
        there = self.matching((key, None) for key in keys)
        return np.array(array("q", (number for number, _ in there)), dtype=np.int64)

    def matching(self, rows: Iterable[tuple[str, T]]) -> Iterator[tuple[int, T]]:
        """Yield the numbers of those keys that are there, with what is said of them."""
        here = enumerate(self.keys())
        number, key = next(here, (-1, ""))
        for wanted, said in rows:
            while number >= 0 and key < wanted:
                number, key = next(here, (-1, ""))
            if number < 0:
                return
            if key == wanted:
                yield number, said


def read_shelf(vault: Vault, *, threads: int, progress: Progress) -> Shelf:
    """LIST the data of a vault. Raises StoreError."""
    progress.phase("Listing the vault")
    shelf = Shelf()
    archives = archives_of(vault.store)
    told: dict[str, str] = {}
    say = told.__setitem__ if archives else None
    for entry in list_objects(vault.store, threads, say, DATA):
        shelf.add(*entry, told.pop(entry.key, HOT))
        progress.advance(1)
    shelf.close()
    return shelf


class Newest(NamedTuple):
    """A snapshot under the promise.

    Attributes:
        root: of it.
        newest: whether it is the newest of its registry that is complete and not held.
    """

    root: Root
    newest: bool


class _Chain(NamedTuple):
    registry: str
    points: list[tuple[Point, Root]]


class Needed(NamedTuple):
    """Who needs what.

    Attributes:
        newest: the snapshots under the promise.
        sets: each a set of these, by their numbers: those that need one and the same object.
        of: of each object, the number of its set; 0: none of them needs it.
        days: for how long retention keeps a snapshot that needs it; -1: nobody needs it.
        owners: of each object, the number of a registry that needs it; -1: none.
        registries: their names.
        kept: objects that nothing may be done to, and why.
    """

    newest: list[Newest]
    sets: list[tuple[int, ...]]
    of: Ints
    days: Floats
    owners: Ints
    registries: list[str]
    kept: list[tuple[str, Bools]]


def newest_of(
    points: list[tuple[Point, Root]], count: int, retention: Retention | None, timezone: tzinfo
) -> list[Newest]:
    """Return the snapshots of one registry that are under the promise.

    These are the newest that are complete and not held, now and once retention has dropped what it
    drops; and what is newer than the oldest of the former: what is held may be confirmed. A pin
    does not bring a snapshot under it: it keeps it, for years perhaps.
    """
    good = [point.sequence for point, _ in points if point.good]
    if not good:
        return [Newest(root, newest=False) for _, root in points]
    chosen = {point.sequence for point, _ in points if point.sequence >= good[-count:][0]}
    if retention is not None and not retention.empty:
        unpinned = [point._replace(pinned=False) for point, _ in points]
        stay = {
            each.point.sequence
            for each in retain(unpinned, retention, timezone=timezone)
            if each.keep
        }
        chosen |= set([sequence for sequence in good if sequence in stay][-count:])
    return [
        Newest(root, newest=point.sequence == good[-1])
        for point, root in points
        if point.sequence in chosen
    ]


def read_needed(
    vault: Vault,
    shelf: Shelf,
    *,
    newest: int,
    policies: Mapping[str, Retention],
    horizon: float,
    timezone: tzinfo,
    progress: Progress,
    claims: bool,
) -> Needed:
    """Read all roots and what they need.

    Args:
        vault: where.
        shelf: what its LIST showed, before.
        newest: how many snapshots of each registry are under the promise.
        policies: retention by registry; of others nothing is dropped.
        horizon: days that are looked at.
        timezone: whose days retention counts.
        progress: is told how far it is.
        claims: look at what readers claim, too; claims of the dead are ended.

    Raises:
        VaultDamagedError: something cannot be read: then nothing is known.
        UnknownFormatError: a newer regvault wrote something.
    """
    vault.require_amendments()
    chains = [_Chain(name, points_of(vault, name)) for name in vault.registries()]
    rules = [policies.get(vault.title(chain.registry)) for chain in chains]
    promised = [
        each
        for chain, retention in zip(chains, rules, strict=True)
        for each in newest_of(chain.points, newest, retention, timezone)
    ]
    roots = [root for chain in chains for _, root in chain.points]
    bits = {root.name: 1 << number for number, root in enumerate(roots)}
    who, groups = _groups(vault, shelf, roots, progress)
    of, sets = _sets([bits[each.root.name] for each in promised], groups)
    now = datetime.fromtimestamp(vault.store.now_ns() / 1e9, UTC)
    spans: dict[float, int] = {}
    for chain, retention in zip(chains, rules, strict=True):
        kept = days_kept(
            [point for point, _ in chain.points],
            retention,
            now=now,
            horizon=horizon,
            timezone=timezone,
        )
        for point, root in chain.points:
            span = kept[point.sequence]
            spans[span] = spans.get(span, 0) | bits[root.name]
    longest = sorted(spans.items(), reverse=True)
    owning = [sum(bits[root.name] for _, root in chain.points) for chain in chains]
    days = [next((span for span, bit in longest if bit & one), -1.0) for one in groups]
    owners = [next((n for n, bit in enumerate(owning) if bit & one), -1) for one in groups]
    return Needed(
        promised,
        sets,
        np.array(of, dtype=np.int64)[who],
        np.array(days)[who],
        np.array(owners, dtype=np.int64)[who],
        [vault.title(chain.registry) for chain in chains],
        _kept(vault, shelf, claims=claims),
    )


def _groups(
    vault: Vault, shelf: Shelf, roots: list[Root], progress: Progress
) -> tuple[Ints, list[int]]:
    """Return the number of a group for each object, and who needs it: bit n is the n-th root."""
    progress.phase("Reading what snapshots need")
    numbers = {0: 0}
    who = array("q", bytes(8 * len(shelf)))
    needs = needed_by(map(vault.object_list, roots), vault.amendments)
    for at, which in shelf.matching(needs):
        who[at] = numbers.setdefault(which, len(numbers))
        progress.advance(1)
    return np.array(who, dtype=np.int64), list(numbers)


def _sets(promised: list[int], groups: list[int]) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the sets of snapshots under the promise that need something, and which a group has.

    Args:
        promised: the bit of each.
        groups: as `_groups` tells.
    """
    numbers: dict[tuple[int, ...], int] = {(): 0}
    every = sum(promised)
    of = [
        numbers.setdefault(
            tuple(n for n, bit in enumerate(promised) if bit & one) if one & every else (),
            len(numbers),
        )
        for one in groups
    ]
    return of, list(numbers)


def _kept(vault: Vault, shelf: Shelf, *, claims: bool) -> list[tuple[str, Bools]]:
    """Return what must stay as it is, whoever needs it."""
    condemned = np.zeros(len(shelf), dtype=bool)
    condemned[shelf.among(sorted(read_condemned(vault.store, vault.id)))] = True
    committed: set[str] = set()
    for registry in vault.registries():
        for slot in read_chain(vault, registry):
            if slot.root is not None:
                committed |= {slot.root.run, copied_by(slot.root)}
            elif slot.stub is not None:
                committed.add(slot.stub.run)
    before = vault.store.now_ns() - _YOUNG_NS
    since = unfinished_since(vault, committed)
    before = before if since is None else min(before, since)
    found = [
        ("condemned: see prune", condemned),
        ("stored lately: a run may be about to need it", shelf.modified >= before),
    ]
    if claims:
        claimed = np.zeros(len(shelf), dtype=bool)
        lists = list(claimed_lists(vault))
        if lists:
            keys = needed_keys(lists, vault.amendments)
            claimed[shelf.among(key for key in keys if key.startswith(DATA))] = True
        found.append(("somebody reads a snapshot that needs it", claimed))
    return found
