"""Registries, a vault and its copy on a clock of their own, and what is looked at there."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from world import World

from regvault.storage.memory import MemoryStore
from regvault.vault.age import Identity
from regvault.vault.create import Sealing, create_vault
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.locks import LockPolicy

START_NS = 1_795_000_000_000_000_000


class Vaults:
    """Three registries, a vault and its copy, and how they stand.

    Attributes:
        seed: which.
        day: of it, from 1.
        counts: what happened how often.
    """

    #: How the vaults are locked.
    lock: LockPolicy | None = None

    def __init__(self, seed: int, *, sealed: bool = False) -> None:
        self.seed = seed
        self.sealed = sealed
        #: Of the host, the newest first, and of whoever restores.
        self._hosts, self._recipients = [], []
        if sealed:
            self._hosts, self._recipients = [Identity.generate()], [Identity.generate()]
        self.dice = random.Random(seed)
        self.day = 0
        self.counts: Counter[str] = Counter()
        self._clock_ns = START_NS
        self._key = SigningKey.generate()
        self._trusted = [self._key.public]
        self._number = 0
        self.store = self._bucket("vault")
        self.second = self._bucket("second")
        with self._time():
            sealing = Sealing((self._recipients[0].public,)) if sealed else None
            create_vault(self.store, self._keys(), lock=self.lock, sealing=sealing)
            sealing = Sealing(copy_of=self._vault()) if sealed else None
            create_vault(self.second, self._keys(), lock=self.lock, sealing=sealing)
        self.worlds = [
            World(MemoryStore(f"registry-{name}"), self.store, name=name)
            for name in ("edge", "lab", "prod")
        ]
        #: (registry, sequence) -> what it held; less what was purged since.
        self.held: dict[tuple[str, int], dict[str, bytes]] = {}
        self.purged: set[str] = set()

    def _bucket(self, name: str) -> Any:
        """Return an empty store for a vault."""
        return MemoryStore(name, clock_ns=self._clock_ns)

    # -- the clock, the keys ----------------------------------------------------------------

    @contextmanager
    def _time(self) -> Iterator[None]:
        """Let this process see the time of the simulation: the later of the stores' clocks."""

        def now() -> int:
            self._clock_ns = max(self._clock_ns, self.store.clock_ns, self.second.clock_ns)
            return self._clock_ns

        with (
            patch("time.time_ns", now),
            patch("regvault.vault.parties.uptime", lambda: now() / 1e9),
        ):
            yield

    def _pass(self, seconds: float) -> None:
        self._clock_ns += int(seconds * 1e9)
        for store in (self.store, self.second, *(w.registry for w in getattr(self, "worlds", ()))):
            store.clock_ns = self._clock_ns

    def _keys(self) -> Keys:
        return Keys(self._key, tuple(self._trusted), (*self._hosts, *self._recipients))

    def _vault(self, store: ObjectStore | None = None) -> Vault:
        return Vault(store or self.store, self._keys())

    # -- what is there -------------------------------------------------------------------------

    @staticmethod
    def _chains(vault: Vault) -> dict[str, str]:
        """What the slots of each registry are named by."""
        return {vault.title(registry): registry for registry in vault.registries()}

    def _slots(self, name: str) -> list[int]:
        vault = self._vault()
        registry = self._chains(vault).get(name)
        return [] if registry is None else vault.slots(registry)

    def _needed(self, store: ObjectStore) -> set[str]:
        """Return the keys of the objects that the snapshots of a vault need."""
        vault = self._vault(store)
        found: set[str] = set()
        for name in vault.registries():
            for root in vault.roots(name):
                objects = vault.object_list(root)
                found |= {ref.key for ref in objects} | {c.key for c in objects.own_chunks()}
        return found

    def _list_chunks(self, store: ObjectStore) -> set[str]:
        """Return the keys of the chunks of all lists of objects."""
        vault = self._vault(store)
        roots = (root for name in vault.registries() for root in vault.roots(name))
        return {chunk.key for root in roots for chunk in vault.object_list(root).own_chunks()}

    # -- looks ------------------------------------------------------------------------------

    def _verify(self, depth: str, store: ObjectStore | None = None) -> Any:
        look = World(self.worlds[0].registry, store or self.store)
        look.trust = self._keys()
        return look.verify(depth).report

    def _look(self, depth: str) -> None:
        for store in (self.store, self.second):
            report = self._verify(depth, store)
            assert not report.problems, (self.seed, self.day, store.location, report.problems[:5])
        self.counts[f"verify {depth}"] += 1

    def _alive(self) -> dict[tuple[str, int], dict[str, bytes]]:
        """What the snapshots held that are there."""
        vault = self._vault()
        there = {
            (name, root.name.sequence)
            for name, registry in self._chains(vault).items()
            for root in vault.roots(registry)
        }
        lost = there - self.held.keys()
        assert not lost, (self.seed, self.day, lost)
        return {name: self.held[name] for name in sorted(there)}

    def _drill(self) -> None:
        """Restore a snapshot from either vault, and compare every byte."""
        name = self.dice.choice(sorted(self._alive()))
        self._restore(name, self.store)
        with suppress(StopIteration):
            second = self._vault(self.second)
            registry = self._chains(second).get(name[0])
            if registry is not None:
                sequences = [root.name.sequence for root in second.roots(registry)]
                if sequences:
                    self._restore((name[0], self.dice.choice(sequences)), self.second)
        self.counts["drill"] += 1

    def _restore(self, name: tuple[str, int], store: ObjectStore) -> None:
        world = World(self.worlds[0].registry, store, name=name[0])
        world.trust = self._keys()
        got = world.restored(name[1])
        held = self.held[name]
        differ = sorted(key for key in got.keys() | held.keys() if got.get(key) != held.get(key))
        assert not differ, (self.seed, self.day, name, store.location, differ[:5])
        self.counts["restored"] += 1
