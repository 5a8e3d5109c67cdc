"""A vault with a history, copied for each trial; and what must be true of it after any fault."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from world import World, noise, tree

import regvault.vault.lease as lease_module
import regvault.vault.prune_lock as prune_lock_module
from regvault.model.progress import NO_PROGRESS
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import plan_prune, prune
from regvault.storage.memory import MemoryStore
from regvault.vault.keys import root_key
from regvault.vault.parties import process_identity
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ObjectStore

#: A grace time that lets everything go that is there.
NOW = -1.0


def clone(store: MemoryStore) -> MemoryStore:
    """Return a store with the same objects, which goes its own way from now on."""
    made = MemoryStore(store._name, clock_ns=store.clock_ns)
    made._objects = dict(store._objects)
    made._writes = store._writes
    return made


_READ_BY_RESTORES = (
    *("vault.json", "attachments/", "blobs/", "catalog/", "meta/", "packs/", "trees/"),
    "records/amendments/",
)


class Scene(World):
    """A world that remembers what the registry held when each snapshot was taken.

    Attributes:
        held: sequence -> key -> bytes.
        right: what was found right already, shared by all copies.
    """

    def __init__(self, registry: Any = None, store: Any = None) -> None:
        if store is None:
            store = MemoryStore("vault")
            store.clock_ns = time.time_ns()
        super().__init__(registry, store)
        self.held: dict[int, dict[str, bytes]] = {}
        self.right: set[int] = set()

    def copy(self) -> Scene:
        made = Scene(clone(self.registry), clone(self.store))
        made.store.clock_ns = max(made.store.clock_ns, time.time_ns())
        made.held = dict(self.held)
        made.right = self.right
        return made

    def day(self, number: int, *, images: int = 12, large: int = 8) -> None:
        """Push what a day brings, and remove what the day before had alone."""
        push = self.push
        for each in range(images):
            layers = (noise(150, "base", each), noise(200, number, each))
            push.image(f"team/app-{each}", f"v{number}", "latest", layers=layers)
        raw = [noise(500 + each, "raw", number, each) for each in range(large)]
        first = push.image("big", f"a{number}", layers=tuple(raw[: large // 2]))
        second = push.image("big", f"b{number}", layers=tuple(raw[large // 2 :]))
        inner = push.index("big", children=(first, second))
        push.index("big", f"all{number}", children=(inner,))
        push.image("big", subject={"digest": first.digest, "size": 1}, layers=(noise(60, number),))
        push.image(f"day/d{number}", "1", layers=(noise(700, "own", number),))
        if number > 1:
            self.remove(f"day/d{number - 1}")

    def take(self, **words: Any) -> Any:
        """Take a snapshot, and remember what it must hold."""
        now = tree(self.registry)
        result = self.snapshot(threads=1, **words)
        self.held[result.root.name.sequence] = now
        return result

    def forget_named(self, sequences: Iterable[int], store: ObjectStore | None = None) -> None:
        vault = Vault(store or self.store)
        roots = [self.root(sequence) for sequence in sequences]
        forget(vault, plan_forget_named(vault, roots), progress=NO_PROGRESS)

    def prune(self, store: ObjectStore | None = None) -> Any:
        vault = Vault(store or self.store)
        plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=NOW)
        try:
            return prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=NOW)
        finally:
            plan.close()

    # -- what must be true ----------------------------------------------------------------------

    def check(self, where: object) -> None:
        """Every committed snapshot restores byte for byte, and verify has nothing to say."""
        for root in self.roots():
            self.check_snapshot(root.name.sequence, where)
        problems = [p for p in self.verify().report.problems if p.what != "uncatalogued"]
        assert problems == [], where

    def check_snapshot(self, sequence: int, where: object) -> None:
        """One of them; not again where all that a restore may read is as it was when it was right.

        Copies of a scene share etags, so equal etags mean equal bytes.
        """
        read = (root_key(self.name, sequence), *_READ_BY_RESTORES)
        seen = hash(
            (sequence, *((e.key, e.etag) for e in self.store.list() if e.key.startswith(read)))
        )
        if seen in self.right:
            return
        then = self.held[sequence]
        got = self.restored(sequence)
        assert all(then[key] == data for key, data in got.items()), where
        links = {key for key in then if "/repositories/" in key}
        assert links <= got.keys(), where
        self.right.add(seen)


class Dying:
    """Leases and locks that are taken in the block belong to a process that is no more."""

    def __enter__(self) -> None:
        dead = {**process_identity(), "pid": 2**22 + 1, "started": "1"}
        self._patch(lambda: dead)

    def __exit__(self, *_: object) -> None:
        self._patch(process_identity)

    @staticmethod
    def _patch(identity: Any) -> None:
        lease_module.process_identity = identity
        prune_lock_module.process_identity = identity
