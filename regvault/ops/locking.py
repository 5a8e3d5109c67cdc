"""Extends locks before they lapse (invariant 10): only what is due, in parallel.

Two things make something due. A *new* root may stand on objects that an earlier run stored: what it
needs and the root before it does not is looked at, and locked for as long as the rest. And once
half of the time is over *all* that any snapshot needs is locked anew, whoever stored it. What only
forgotten snapshots need is left to lapse.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.model.store import LockingStore
from regvault.ops.bounded import in_order
from regvault.vault.amendments import read_amendments
from regvault.vault.audit.chain import chains
from regvault.vault.audit.keys import link_key
from regvault.vault.condemned import read_condemned
from regvault.vault.envelope import to_time
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import (
    CATALOG,
    LOCKED_BESIDE,
    NOT_LOCKED,
    RETENTIONS,
    new_run_id,
    root_key,
)
from regvault.vault.locks import read_known, record_known
from regvault.vault.presence import list_objects
from regvault.vault.reach import needed_keys
from regvault.vault.root import RootName
from regvault.vault.stub import parse_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.store import Retention
    from regvault.vault.locks import LockPolicy
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Extension", "LockState", "extend_locks", "lock_state"]

#: Locks are extended once less than this share of their time is left.
DUE_SHARE = 0.5
#: So many objects are asked whether a record of locks is true.
_ASKED = 4


@dataclass(slots=True)
class LockState:
    """Until when a vault is known to be locked.

    Attributes:
        policy: of the vault.
        now_ns: by the store's clock.
        slots: keys of all filled slots of all chains.
        known: of them, until when all that they need is locked; nanoseconds since the epoch.
    """

    policy: LockPolicy
    now_ns: int
    slots: list[str]
    known: dict[str, int]

    @property
    def due_before_ns(self) -> int:
        """What is locked for no longer than until then is to be locked anew."""
        return self.now_ns + int(self.policy.seconds * DUE_SHARE * 1e9)

    def until_ns(self, roots: Iterable[str]) -> int | None:
        """Return until when all of some roots is locked; None where nothing is said of one."""
        found = [self.known.get(key) for key in roots]
        sure = [ns for ns in found if ns is not None]
        return min(sure) if sure and len(sure) == len(found) else None


@dataclass(slots=True)
class Extension:
    """What came of it.

    Attributes:
        until_ns: until when all that snapshots need is locked; nanoseconds since the epoch.
        looked: objects that were looked at.
        extended: of these, those that are locked for longer now.
        gone: of these, those that are not there any more.
        record: key of the record that says so; None where nothing was due.
    """

    until_ns: int | None = None
    looked: int = 0
    extended: int = 0
    gone: list[str] = field(default_factory=list)
    record: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the part of a document: `until`, `looked`, `extended`, `gone`, `record`."""
        return {
            "until": None if self.until_ns is None else to_time(self.until_ns),
            "looked": self.looked,
            "extended": self.extended,
            "gone": self.gone,
            "record": self.record,
        }


def lock_state(vault: Vault) -> LockState | None:
    """Return until when a vault is known to be locked; None where it is not to be."""
    store, policy = vault.store, vault.locks.policy
    if policy is None or not isinstance(store, LockingStore):
        return None
    slots = [root_key(name, number) for name in vault.registries() for number in vault.slots(name)]
    known = read_known(store, vault.id, policy, set(slots))
    return LockState(policy, store.now_ns(), slots, known)


def extend_locks(vault: Vault, *, progress: Progress, threads: int) -> Extension | None:
    """Lock what snapshots need for longer, where that is due; None where the vault has no locks.

    Damage stops nothing: where it cannot be known what is needed, all that is there is locked.

    Args:
        vault: where.
        progress: is told how far it is.
        threads: that ask the store.

    Raises:
        StoreAccessError: these credentials may not extend locks.
    """
    state = lock_state(vault)
    if state is None:
        return None
    if not state.slots:
        return _extend_archive(vault, state, progress, threads)
    fresh = {key: ns for key, ns in state.known.items() if ns > state.due_before_ns}
    believed = _is_true(vault, fresh)
    if len(fresh) == len(state.slots) and believed:
        return Extension(min(fresh.values(), default=None))
    wanted = state.policy.from_now(state.now_ns)
    extension = Extension(wanted.until_ns)
    keys: Iterable[str]
    if len(fresh) < len(state.known) or not fresh or not believed:
        vouched, keys = _everything(vault, state.slots, progress)
    else:
        extension.until_ns = min(wanted.until_ns, *fresh.values())
        vouched, keys = _what_is_new(vault, state.slots, fresh)
        if not vouched:  # nothing but voids
            return extension
        vouched |= fresh.keys()
    progress.phase("Extending locks")
    _extend(vault, state, keys, wanted, extension, progress, threads)
    assert extension.until_ns is not None
    run = new_run_id()
    extension.record = record_known(
        vault.store, vault.id, run, state.policy, extension.until_ns, vouched
    )
    return extension


def _extend_archive(
    vault: Vault, state: LockState, progress: Progress, threads: int
) -> Extension | None:
    """Lock archived events for longer where there are no snapshots, which would see to it.

    All of a chain is as old as its first link, or younger.
    """
    store = vault.store
    assert isinstance(store, LockingStore)
    wanted = state.policy.from_now(state.now_ns)
    extension = Extension(wanted.until_ns)
    for name in chains(vault):
        try:
            found = store.retention(link_key(name, 1))
        except ObjectNotFoundError:
            continue  # `audit verify` says so
        if found is None or found.until_ns <= state.due_before_ns:
            progress.phase("Extending locks")
            _extend(vault, state, _beside_objects(vault), wanted, extension, progress, threads)
            break
        assert extension.until_ns is not None
        extension.until_ns = min(extension.until_ns, found.until_ns)
    return extension


def _is_true(vault: Vault, fresh: dict[str, int]) -> bool:
    """Return whether what records say of locks holds for some roots, lest one was forged."""
    store = vault.store
    assert isinstance(store, LockingStore)
    for key in random.sample(sorted(fresh), min(_ASKED, len(fresh))):
        try:
            found = store.retention(key)
        except ObjectNotFoundError:
            continue  # `verify` says so
        if found is None or found.until_ns < fresh[key]:
            return False
    return True


def _extend(
    vault: Vault,
    state: LockState,
    keys: Iterable[str],
    wanted: Retention,
    extension: Extension,
    progress: Progress,
    threads: int,
) -> None:
    store = vault.store
    assert isinstance(store, LockingStore)
    asked = 0

    def due(key: str) -> bool:
        """Return whether an object is looked at: not if this very run has stored it, but a few."""
        nonlocal asked
        until_ns = vault.locks.stored_until_ns(key)
        if until_ns is None or until_ns <= state.due_before_ns:
            return True
        if asked < _ASKED:
            asked += 1
            if not _is_true(vault, {key: until_ns}):
                return True
        assert extension.until_ns is not None
        extension.until_ns = min(extension.until_ns, until_ns)
        return False

    def one(key: str) -> tuple[str, bool | None]:
        try:
            return key, store.extend_retention(key, wanted)
        except ObjectNotFoundError:
            return key, None

    for key, done in in_order(filter(due, keys), one, threads=threads, name="lock"):
        progress.advance(1)
        extension.looked += 1
        extension.extended += bool(done)
        if done is None:
            extension.gone.append(key)


def _root_in(vault: Vault, key: str) -> tuple[Root | None, bool]:
    """Return the root in a slot, and whether what is there can be vouched for: a void cannot.

    A copier puts a root into the place of a void, and nothing in that of a stub.
    """
    registry, number = key.split("/")[1], int(key.split("/")[2].partition(".")[0])
    name = RootName(registry, number)
    root, stub = parse_slot(fetch_document(vault.store, key), name, vault.id, vault.seal)
    return root, root is not None or stub is not None


def _everything(
    vault: Vault, slots: list[str], progress: Progress
) -> tuple[set[str], Iterator[str]]:
    """Return the slots that can be vouched for, and all keys that snapshots need."""
    vouched: set[str] = set()
    lists: list[ObjectList] = []
    progress.phase("Reading what snapshots need")
    try:
        vault.require_amendments()
        for key in slots:
            root, sure = _root_in(vault, key)
            if sure:
                vouched.add(key)
            if root is not None:
                lists.append(vault.object_list(root))
        amendments = read_amendments(vault.store, vault.id).changes
        # Read twice: an object list that is damaged shows before anything is locked by it.
        for _ in needed_keys(lists, amendments):
            pass
        objects = needed_keys(lists, amendments)
    except (VaultDamagedError, ObjectNotFoundError) as error:
        progress.warn(
            f"{error.message}; so all objects are locked, needed or not",
            hint="See what is damaged: regvault verify",
        )
        vouched = set(slots)
        objects = _all_objects(vault)
    return vouched, chain(_beside_objects(vault), objects)


def _all_objects(vault: Vault) -> Iterator[str]:
    condemned = _condemned(vault)
    return (entry.key for entry in list_objects(vault.store) if entry.key not in condemned)


def _condemned(vault: Vault) -> set[str]:
    try:
        return set(read_condemned(vault.store, vault.id))
    except VaultDamagedError:
        return set()


def _beside_objects(vault: Vault) -> Iterator[str]:
    """Yield what is not in object lists: identity, slots, records, segments; few, and all small."""
    condemned = _condemned(vault)
    for prefix in LOCKED_BESIDE:
        for entry in vault.store.list(prefix):
            if entry.key not in condemned and not entry.key.startswith((RETENTIONS, *NOT_LOCKED)):
                yield entry.key


def _what_is_new(
    vault: Vault, slots: list[str], fresh: dict[str, int]
) -> tuple[set[str], Iterator[str]]:
    """Return the new slots that can be vouched for, and what they need beyond what is locked."""
    vouched: set[str] = set()
    pairs: list[tuple[Root, Root | None]] = []
    before: dict[str, list[str]] = {}  # registry -> the slots so far of which all is locked
    for key in slots:
        known = before.setdefault(key.split("/")[1], [])
        if key in fresh:
            known.append(key)
            continue
        root, sure = _root_in(vault, key)
        if sure:
            vouched.add(key)
        if root is not None:
            roots = (_root_in(vault, each)[0] for each in reversed(known))
            pairs.append((root, next((each for each in roots if each is not None), None)))
    segments = (entry.key for entry in vault.store.list(CATALOG))
    condemned = _condemned(vault)
    new = chain.from_iterable(_added(vault, root, base) for root, base in pairs)
    return vouched, chain((key for key in segments if key not in condemned), new)


def _added(vault: Vault, root: Root, base: Root | None) -> Iterator[str]:
    """Yield what a root needs, and the one before it does not."""
    yield root.name.key
    now = vault.object_list(root)
    if base is None:
        yield from (ref.key for ref in now)
        yield from (chunk.key for chunk in now.own_chunks())
        return
    before = vault.object_list(base)
    if now.ref.base == before.ref.base:
        had, has = before.delta(), now.delta()
        changed = [key for key, ref in has.items() if ref is not None and had.get(key) != ref]
        back = [key for key, ref in had.items() if ref is None and key not in has]
        refs = (now.get(key) for key in (*changed, *back))
        yield from (ref.key for ref in refs if ref is not None)
    else:
        yield from _minus((ref.key for ref in now), (ref.key for ref in before))
    own = {chunk.key for chunk in before.own_chunks()}
    yield from (chunk.key for chunk in now.own_chunks() if chunk.key not in own)


def _minus(left: Iterable[str], right: Iterable[str]) -> Iterator[str]:
    """Yield what is in the first and not in the second, both in byte order."""
    last = None
    for key, side in heapq.merge(((k, 1) for k in left), ((k, 0) for k in right)):
        if side == 0:
            last = key
        elif key != last:
            yield key
