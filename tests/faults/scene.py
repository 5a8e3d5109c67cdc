"""A vault with a history, copied for each trial; and what must be true of it after any fault."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from world import World, noise, tree

import regvault.vault.lease as lease_module
import regvault.vault.prune_lock as prune_lock_module
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import plan_prune, prune
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import Wrapper
from regvault.vault.keys import root_key
from regvault.vault.parties import process_identity
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ObjectStore

#: A grace time that lets everything go that is there.
NOW = -1.0
#: What the clock shows, always: 26 November 2026.
CLOCK_NS = 1_795_000_000_000_000_000


#: And the time since boot.
UPTIME_S = 100_000.0


class Chance:
    """Instead of `secrets`: the same ids whenever the same thing happens again.

    So two trials that leave the same state behind leave the same bytes behind, and what follows
    from a state is looked at once.
    """

    def __init__(self) -> None:
        self.begin("")

    def begin(self, *words: object) -> None:
        """Begin a series of numbers of its own."""
        self._words, self._count = words, 0

    def token_hex(self, size: int) -> str:
        self._count += 1
        text = f"{self._words} {self._count}".encode()
        return hashlib.shake_128(text).hexdigest(size)


CHANCE = Chance()


def clone(store: MemoryStore) -> MemoryStore:
    """Return a store with the same objects, which goes its own way from now on."""
    made = MemoryStore(store._name, clock_ns=store.clock_ns)
    made._objects = dict(store._objects)
    made._writes = store._writes
    return made


class Reads(Wrapper):
    """A store that notes what is read of it."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.keys: set[str] = set()
        self.prefixes: set[str] = set()

    def _run(self, verb: str, key: str, call: Any) -> Any:
        if verb in {"list", "list_prefixes"}:
            self.prefixes.add(key)
        elif key:
            self.keys.add(key)
        return call()


class Seen:
    """What was looked at already: states of stores, and what restores read."""

    def __init__(self) -> None:
        self.states: set[int] = set()
        # sequence -> what a restore read: its keys, its prefixes, and a hash of what was there
        self._restores: dict[int, set[tuple[frozenset[str], frozenset[str], int]]] = {}

    def new(self, *parts: object) -> bool:
        """Say whether this state was not seen before; it is from now on."""
        state = hash(parts)
        if state in self.states:
            return False
        self.states.add(state)
        return True

    def restored(self, sequence: int, store: MemoryStore) -> bool:
        """Say whether a restore that went well read exactly what is there now."""
        known = self._restores.get(sequence, ())
        return any(_what(keys, prefixes, store) == found for keys, prefixes, found in known)

    def remember(self, sequence: int, reads: Reads, store: MemoryStore) -> None:
        keys, prefixes = frozenset(reads.keys), frozenset(reads.prefixes)
        found = (keys, prefixes, _what(keys, prefixes, store))
        self._restores.setdefault(sequence, set()).add(found)


def _what(keys: frozenset[str], prefixes: frozenset[str], store: MemoryStore) -> int:
    """Return what a run got that reads these keys and prefixes."""
    objects = store._objects
    names = tuple(key for key in sorted(objects) if key.startswith(tuple(prefixes)))
    return hash((names, tuple((key, data_of(objects.get(key))) for key in sorted(keys))))


def data_of(item: Any) -> bytes | None:
    return None if item is None else item.data


def contents(store: MemoryStore) -> int:
    """Return a hash of all keys and bytes."""
    return hash(tuple((key, item.data) for key, item in sorted(store._objects.items())))


class Scene(World):
    """A world that remembers what the registry held when each snapshot was taken.

    Attributes:
        held: sequence -> key -> bytes.
        origin: the vault that this one is a copy of, or None.
        seen: what was found right already, shared by all copies.
    """

    def __init__(self, registry: Any = None, store: Any = None) -> None:
        if store is None:
            store = MemoryStore("vault")
            store.clock_ns = CLOCK_NS
        super().__init__(registry, store)
        self.held: dict[int, dict[str, bytes]] = {}
        self.origin: Any = None
        self.seen = Seen()

    def copy(self) -> Scene:
        made = Scene(clone(self.registry), clone(self.store))
        made.held = dict(self.held)
        made.origin = None if self.origin is None else clone(self.origin)
        made.seen = self.seen
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

    def copy_from_origin(self, store: ObjectStore | None = None) -> None:
        target = Vault(store or self.store)
        copy(Vault(self.origin), [target], CopyOptions(threads=1), progress=NO_PROGRESS)

    # -- what must be true ----------------------------------------------------------------------

    def check(self, where: object) -> None:
        """Every committed snapshot restores byte for byte, and verify has nothing to say."""
        if not self.seen.new("checked", contents(self.store)):
            return
        self.check_snapshots(where)
        problems = [p for p in self.verify().report.problems if p.what != "uncatalogued"]
        assert problems == [], (where, problems)

    def check_snapshots(self, where: object) -> None:
        """Every committed snapshot restores byte for byte."""
        for root in self.roots():
            self.check_snapshot(root.name.sequence, where)

    def check_snapshot(self, sequence: int, where: object) -> None:
        """One of them; not again where all that its restore reads is as it was then."""
        if self.seen.restored(sequence, self.store):
            return
        reads = Reads(self.store)
        reads.keys.add(root_key(self.name, sequence))
        then = self.held[sequence]
        got = self.restored(sequence, store=reads)
        assert all(then[key] == data for key, data in got.items()), where
        links = {key for key in then if "/repositories/" in key}
        assert links <= got.keys(), where
        self.seen.remember(sequence, reads, self.store)


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
