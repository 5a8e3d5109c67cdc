"""What must be true in every state, and of every end."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from actors import HERE
from scene import NOW

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    TemporaryError,
)
from regvault.storage.memory import MemoryStore
from regvault.vault.condemned import parse_condemned
from regvault.vault.keys import OBJECT_PREFIXES, sequence_of
from regvault.vault.root import RootName, parse_root
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from actors import Node
    from explorer import Request, State
    from scenarios import Scenario
    from shelves import Shelf

    from regvault.storage.memory import _Object

#: How a party may fail: another one was at work, it was declared dead, what it was to read was
#: forgotten; or it slept between its look at the clock and that at the store's.
MAY_FAIL = {
    "snapshot": (LeaseHeldError, LeaseLostError, TemporaryError),
    "prune": (LeaseHeldError, LeaseLostError, RefusedError),
    "forget": (RefusedError,),
    "copy": (LeaseHeldError, LeaseLostError, TemporaryError, NotFoundError),
    "restore": (NotFoundError,),
}
_LONG_NS = 9 * 86_400_000_000_000

#: What may take another's place in a slot: a stub that of a root, and what a copier, or who ends
#: one, puts there that of a void.
_MAY_FOLLOW = frozenset({("root", "stub"), ("void", "void"), ("void", "root"), ("void", "stub")})

#: What a snapshot needs: key, size, SHA-256.
Needs = frozenset[tuple[str, int, str]]


class Oracle:
    """Looks at a scenario's states.

    Attributes:
        destroyers: numbers of the parties that delete, or forget.
        forgetters: those that forget.
        outcomes: how the parties ended, how often.
        restored: how many snapshots were restored, byte for byte.
        converged: after how many ends a snapshot and a prune were run.
    """

    def __init__(self, scenario: Scenario, *, every: int = 1) -> None:
        self._scenario = scenario
        self._every = every
        self.destroyers = frozenset(scenario.numbers("prune", "forget"))
        self.forgetters = frozenset(scenario.numbers("forget"))
        self.outcomes: Counter[str] = Counter()
        self.restored = self.converged = self.ends = 0
        self._needs: dict[tuple[str, bytes], Needs | None] = {}
        self._condemned: dict[bytes, frozenset[str]] = {}
        self._sums: dict[bytes, str] = {}
        self._good: set[int] = set()
        self._all_needed: dict[tuple[bytes, ...], frozenset[str]] = {}

    # -- in every state ---------------------------------------------------------------------------

    def look(self, state: State, request: Request, before: _Object | None) -> None:
        """Look at what a request changed."""
        shelf = state.shelves[request.store]
        if request.verb == "delete" and request.key.startswith((*OBJECT_PREFIXES, "catalog/")):
            condemned = self._all_condemned(shelf)
            assert request.key in condemned, f"{request.key} was deleted, and not condemned"
        if before is not None and request.key.startswith(("snapshots/", "condemned/")):
            now = shelf.objects.get(request.key)
            kinds = _kind(before.data), _kind(now.data if now is not None else b"")
            assert kinds in _MAY_FOLLOW, f"{request.key} was {kinds[0]}, and is {kinds[1]}"
        if request.verb == "delete" or request.key.startswith(("snapshots/", "condemned/")):
            self._nothing_is_lost(state, request.store)

    def _nothing_is_lost(self, state: State, store: int) -> None:
        shelf = state.shelves[store]
        condemned = self._all_condemned(shelf)
        for key, data in roots(shelf):
            for needed, size, sha256 in self._needs_of(state, store, key, data) or ():
                found = shelf.objects.get(needed)
                assert found is not None, f"{key} needs {needed}, which is gone"
                assert len(found.data) == size, f"{key} needs {needed}, whose size is wrong"
                assert self._sum(found.data) == sha256, f"{key} needs {needed}, which is wrong"
                assert needed not in condemned, f"{key} needs {needed}, which is condemned"

    def _sum(self, data: bytes) -> str:
        found = self._sums.get(data)
        if found is None:
            found = self._sums[data] = hashlib.sha256(data).hexdigest()
        return found

    def _all_condemned(self, shelf: Shelf) -> frozenset[str]:
        condemned: frozenset[str] = frozenset()
        for key, item in shelf.objects.items():
            if key.startswith("condemned/"):
                if item.data not in self._condemned:
                    number = sequence_of(key)
                    assert number is not None
                    keys = parse_condemned(item.data, number, self._id(shelf)) or ()
                    self._condemned[item.data] = frozenset(keys)
                condemned |= self._condemned[item.data]
        return condemned

    def _id(self, shelf: Shelf) -> str:
        return Vault(stand(shelf, 0)).id

    def _needs_of(self, state: State, store: int, key: str, data: bytes) -> Needs | None:
        """Return what a root needs; None where there is a stub or a void. New ones are restored."""
        if (key, data) not in self._needs:
            shelf = state.shelves[store]
            vault = Vault(stand(shelf, state.clock_ns))
            _, registry, _ = key.split("/")
            name = RootName(registry, sequence_of(key) or 0)
            root = parse_root(data, name, vault.id)
            if root is None:
                self._needs[key, data] = None
                return None
            assert root.complete, f"{key} is not complete"
            self._needs[key, data] = frozenset()
            self._restores(shelf, name)
            objects = vault.object_list(root)
            found = {(ref.key, ref.size, ref.sha256) for ref in objects}
            for chunk in objects.own_chunks():
                found.add((chunk.key, chunk.size, chunk.digest.partition(":")[2]))
            self._needs[key, data] = frozenset(found)
        return self._needs[key, data]

    def needed(self, state: State, store: int, key: str) -> bool:
        """Whether some root of a store needs a key."""
        shelf = state.shelves[store]
        there = list(roots(shelf))
        known = tuple(data for _, data in there)
        if known not in self._all_needed:
            keys: set[str] = set()
            for root, data in there:
                keys.update(each[0] for each in self._needs_of(state, store, root, data) or ())
            self._all_needed[known] = frozenset(keys)
        return key in self._all_needed[known]

    # -- where a party ends -----------------------------------------------------------------------

    def judge(self, state: State, number: int, node: Node) -> None:
        """Say whether a party may end so."""
        actor = self._scenario.actors[number]
        error = node.error
        if error is None:
            self.outcomes[f"{actor.verb}: done"] += 1
            if actor.verb == "snapshot":
                name, sha256 = node.result.name, node.result.sha256
                there = state.shelves[0].objects[name.key].data.partition(b"\n")[0]
                assert hashlib.sha256(there).hexdigest() == sha256, f"{name} is not in its slot"
            return
        self.outcomes[f"{actor.verb}: {type(error).__name__}"] += 1
        if not isinstance(error, MAY_FAIL[actor.verb]):
            raise error

    # -- where all ended --------------------------------------------------------------------------

    def end(self, state: State) -> None:
        """All that is committed restores, and what comes after goes well."""
        for store in range(len(state.shelves)):
            self._nothing_is_lost(state, store)
        mark = hash((state.mark(), state.clock_ns))
        if mark in self._good:
            return
        self._good.add(mark)
        self.ends += 1
        if (self.ends - 1) % self._every == 0:
            self._converges(state)

    def _restores(self, shelf: Shelf, name: RootName) -> None:
        world = self._scenario.world(name.registry, stand(shelf, HERE.clock_ns))
        expected = self._scenario.expected(name)
        got = world.restored(name.sequence, threads=1)
        assert all(expected.get(key) == data for key, data in got.items()), f"{name} is another"
        links = {key for key in expected if "/repositories/" in key}
        assert links <= got.keys(), f"{name} lacks links"
        self.restored += 1

    def _converges(self, state: State) -> None:
        """A fresh snapshot of each registry, then a fresh prune: nothing is left over."""
        self.converged += 1
        before, HERE.clock_ns = HERE.clock_ns, state.clock_ns + _LONG_NS
        try:
            for number, shelf in enumerate(state.shelves):
                self._tidy(stand(shelf, HERE.clock_ns), self._scenario.native(number))
        finally:
            HERE.clock_ns = before

    def _tidy(self, store: MemoryStore, names: list[str]) -> None:
        for name in names:
            self._scenario.world(name, store).snapshot(threads=1)
        # What a run left is kept for 7 days after it was ended, by the snapshot or the first prune.
        for _ in range(2):
            HERE.clock_ns += _LONG_NS
            store.clock_ns = HERE.clock_ns
            scene_prune(store)
        vault = Vault(store)
        needed: set[str] = set()
        for name in vault.registries():
            for root in vault.roots(name):
                objects = vault.object_list(root)
                needed |= {ref.key for ref in objects}
                needed |= {chunk.key for chunk in objects.own_chunks()}
                if name in names:
                    world = self._scenario.world(name, store)
                    world.restored(root.name.sequence, threads=1)
        left = {e.key for prefix in OBJECT_PREFIXES for e in store.list(prefix)}
        assert left == needed, f"left over: {left - needed}, lost: {needed - left}"


def _kind(data: bytes) -> str:
    found = re.match(rb'\{"type":"(\w+)"', data)
    return found[1].decode() if found else "a list" if data else "nothing"


def scene_prune(store: MemoryStore) -> None:
    from regvault.model.progress import NO_PROGRESS
    from regvault.ops.prune import plan_prune, prune

    vault = Vault(store)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=NOW)
    try:
        prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=NOW)
    finally:
        plan.close()


def roots(shelf: Shelf) -> list[tuple[str, bytes]]:
    return [(k, o.data) for k, o in shelf.objects.items() if k.startswith("snapshots/")]


def stand(shelf: Shelf, clock_ns: int) -> MemoryStore:
    """Return a store of its own that begins with what a shelf holds."""
    store = MemoryStore("vault", clock_ns=clock_ns)
    store._objects = dict(shelf.objects)
    return store
