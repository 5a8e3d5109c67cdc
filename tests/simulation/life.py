"""A long life of a vault, simulated day by day on a clock of its own.

Three registries change and are backed up into one vault every day, by writers that die and meet
errors; snapshots are forgotten, pruned, pinned, copied to a second vault, verified and tried; bytes
rot and objects vanish, and are mended; keys rotate; contents are purged. After every day the
promises hold: each snapshot that is kept restores to what its registry held, byte for byte.

The seed says everything: the same one lives the same life.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any

from contents import linked, without
from vaults_in_time import START_NS, Vaults
from world import World, digest_of, flip, noise, tree

from regvault.errors import (
    LeaseHeldError,
    StoreUnavailableError,
    TemporaryError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget
from regvault.ops.keys import change_recipients, rotate_writer
from regvault.ops.pin import pin
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.ops.repair import VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.policy.retention import Retention
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.age import Identity
from regvault.vault.root import RootName
from regvault.vault.signing import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.store import ObjectStore
    from regvault.vault.vault import Vault

_DAY_NS = 86_400_000_000_000
_KEEP = Retention(daily=7, weekly=4, monthly=6)
#: What may be damaged, and how.
_OBJECTS = ("blobs/", "packs/", "meta/", "trees/", "catalog/")
DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "a flipped bit": flip,
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


class Life(Vaults):
    """One life."""

    # -- a day --------------------------------------------------------------------------------

    def live(self, days: int) -> None:
        """Live so many days more, then look at everything."""
        with self._time():
            for _ in range(days):
                self._one_day()
                if self.day % 50 == 0:
                    print(f"day {self.day}: {self.counts['restored']} restored", flush=True)
            self._last_look()

    def _one_day(self) -> None:
        self.day += 1
        self._clock_ns = START_NS + self.day * _DAY_NS
        self._pass(0)
        dice = self.dice
        for world in self.worlds:
            world.trust = self._keys()
            self._change(world)
            self._pass(600)
            self._despite_faults("snapshot", lambda store, w=world: self._snapshot(w, store))
        self._pass(3600)
        if dice.random() < 0.9:
            self._despite_faults("copy", self._copy)
        if dice.random() < 0.3:
            self._despite_faults("forget", self._forget)
        if dice.random() < 0.3:
            self._despite_faults("prune", self._prune)
        if dice.random() < 0.03:
            self._pin()
        if dice.random() < 0.1:
            self._despite_faults("copy", self._copy)
            self._damage_and_mend()
        if dice.random() < 0.02:
            self._purge()
        if self.day % 100 == 0:
            self._rotate()
        self._look("quick" if dice.random() < 0.9 else "data")
        if dice.random() < 0.2:
            self._drill()

    def _despite_faults(self, verb: str, work: Callable[[ObjectStore], Any]) -> None:
        """Do something that may be struck down, as often as it takes: an hour later each time."""
        for _ in range(20):
            faulty = FaultyStore(self.store)
            kind = self.dice.random()
            at = self.dice.randint(1, 40)
            if kind < 0.08:
                faulty.crash_at(at, when=self.dice.choice(("before", "during", "after")))
            elif kind < 0.16:
                error = StoreUnavailableError("the store is away")
                faulty.plan(error, when=self.dice.choice(("before", "after")), at=at)
            try:
                work(faulty)
            except (CrashError, StoreUnavailableError, TemporaryError, LeaseHeldError) as error:
                self.counts[f"{verb}: {type(error).__name__}"] += 1
                self._pass(3600)  # what it held is dead by then
                continue
            self.counts[verb] += 1
            return
        raise AssertionError(f"{verb} did not come through in 20 tries, seed {self.seed}")

    # -- what happens -------------------------------------------------------------------------

    def _layer(self) -> bytes:
        size = self.dice.choice((80, 150, 300, 700, 1200))
        self._number += 1
        return noise(size, "life", self.seed, self._number)

    def _change(self, world: World) -> None:
        """Push, retag, delete."""
        dice, push = self.dice, world.push
        for _ in range(dice.randint(0 if self.day > 1 else 1, 2)):
            repository = f"app-{dice.randint(1, 4)}"
            layers = (noise(500, "base", dice.randint(1, 3)), self._layer())
            tags = dice.sample(["latest", "stable", f"v{self.day}"], dice.randint(0, 2))
            image = push.image(repository, *tags, layers=layers)
            if dice.random() < 0.2:
                push.index(repository, f"all-{self.day}", children=(image,))
        if dice.random() < 0.05:
            world.remove(f"app-{dice.randint(1, 4)}")

    def _snapshot(self, world: World, store: ObjectStore) -> None:
        now = linked(tree(world.registry))
        known = set(self._slots(world.name))
        try:
            result = world.snapshot(store=store, threads=1)
        except BaseException:
            # An answer that was lost may have been that it is committed.
            with suppress(AssertionError):
                self._remember(world, now, known)
            raise
        assert not result.vault_damaged, (self.seed, self.day, world.progress.warnings[-5:])
        self._remember(world, now, known)
        self._keep_locked(store)
        root = result.root
        if root.held is not None:
            self.counts["held"] += 1
            if self.dice.random() < 0.7:
                vault = self._vault()
                confirm(vault, plan_confirm(vault, root), by="life", reason="meant")

    def _remember(self, world: World, now: dict[str, bytes], known: set[int]) -> None:
        vault = self._vault()
        registry = self._chains(vault)[world.name]
        for sequence in set(vault.slots(registry)) - known:
            if vault.read_slot(RootName(registry, sequence)) is not None:
                self.held[world.name, sequence] = now

    def _copy(self, store: ObjectStore) -> None:
        target = FaultyStore(self.second)
        if self.dice.random() < 0.1:
            target.crash_at(self.dice.randint(1, 40))
        result = copy(
            self._vault(store),
            [self._vault(target)],
            CopyOptions(threads=1),
            progress=NO_PROGRESS,
        )
        # A base layer that was purged is pushed again: each copy says that it came back.
        returned = {digest for done in result.targets for digest in done.returned}
        pushed = {digest_of(d) for w in self.worlds for d in tree(w.registry).values()}
        again = {self._vault().seal.name(digest) for digest in self.purged & pushed}
        assert returned <= again, (self.seed, self.day, returned)
        assert result.exit_code() == (3 if returned else 0), (self.seed, self.day, result.to_json())
        self._keep_locked(target)

    def _keep_locked(self, store: ObjectStore) -> None:
        """Do what the commands do for locks when they are done."""

    def _forget(self, store: ObjectStore) -> None:
        for place in (store, self.second):
            vault = self._vault(place)
            policies = dict.fromkeys(vault.registries(), _KEEP)
            done = forget(vault, plan_forget(vault, policies, timezone=UTC), progress=NO_PROGRESS)
            self.counts["forgotten"] += len(done.forgotten)

    def _prune(self, store: ObjectStore) -> None:
        for place in (store, self.second):
            vault = self._vault(place)
            plan = plan_prune(vault, progress=NO_PROGRESS, threads=1)
            try:
                result = prune(vault, plan, progress=NO_PROGRESS, threads=1)
            finally:
                plan.close()
            assert not result.plan.needed, (self.seed, self.day)
            self._let_go(result)
            self.counts["deleted"] += result.deleted[0]
            self._keep_locked(place)

    def _let_go(self, result: Any) -> None:
        """See that what was condemned is gone, but for what a copier that died still claims."""
        assert not result.locked, (self.seed, self.day, result.locked[:5])
        codes = {0, 3} if result.claimed else {0}
        assert result.exit_code() in codes, (self.seed, self.day, result.to_json())
        self.counts["claimed, to be tried again"] += len(result.claimed)

    def _pin(self) -> None:
        """Pin a snapshot in both vaults: pins are not copied."""
        name = self.dice.choice(self.worlds).name
        first, second = self._vault(), self._vault(self.second)
        registry = self._chains(first)[name]
        copies = (
            {root.name: root for root in second.roots(registry)}
            if registry in second.registries()
            else {}
        )
        both = [root for root in first.roots(registry) if root.name in copies]
        if both:
            root = self.dice.choice(both)
            pin(first, root, reason="life")
            pin(second, copies[root.name], reason="life")
            self.counts["pin"] += 1

    def _damage_and_mend(self) -> None:
        """Something rots or vanishes; verify names it; the second vault has it still."""
        store, dice = self.store, self.dice
        keys = [e.key for prefix in _OBJECTS for e in store.list(prefix) if e.size]
        needed = self._needed(store)
        keys = [key for key in keys if key in needed or key.startswith("catalog/")]
        lists = self._list_chunks(store)
        doomed = dice.sample(keys, min(len(keys), dice.randint(1, 3)))
        for key in doomed:
            what = dice.choice(list(DAMAGE))
            data = DAMAGE[what](store.get(key))
            store.delete(key) if data is None else store.put(key, data)
            self.counts[f"damage: {what}"] += 1
        report = self._verify("data")
        named = {problem.key for problem in report.problems}
        unseen = {key for key in doomed if key not in named and not key.startswith("catalog/")}
        # What only a damaged list of objects names, nobody can miss before that is mended.
        assert not unseen or lists.intersection(doomed), (self.seed, self.day, unseen)
        self._mend(self._vault(), VaultSpare(self._vault(self.second)))
        assert not self._verify("data").problems, (self.seed, self.day, doomed)

    def _mend(self, vault: Vault, spare: VaultSpare) -> None:
        options = VerifyOptions(read_data=Sample(), threads=1)
        plan = plan_repair(vault, [spare], options=options, progress=NO_PROGRESS)
        result = repair(vault, plan, [spare], options=options, progress=NO_PROGRESS)
        assert result.exit_code() == 0, (self.seed, self.day, result.to_json())
        self.counts["repair"] += 1

    def _purge(self) -> None:
        """A layer turns out to hold a secret: it goes from the registries, and from both vaults."""
        alive = self._alive()
        digests = sorted(
            {
                digest_of(data)
                for held in alive.values()
                for key, data in held.items()
                if key.endswith("/data") and b"schemaVersion" not in data and data[:1] != b"{"
            }
        )
        if not digests:
            return
        digest = self.dice.choice(digests)
        self._despite_faults("copy", self._copy)
        for world in self.worlds:
            self._remove_content(world, digest)
        for store in (self.store, self.second):
            vault = self._vault(store)
            plan = plan_purge(vault, [digest], progress=NO_PROGRESS)
            self._let_go(purge(vault, plan, progress=NO_PROGRESS, threads=1, reason="life"))
        self.held = {name: without(held, digest) for name, held in self.held.items()}
        self.purged.add(digest)
        self.counts["purge"] += 1

    def _remove_content(self, world: World, digest: str) -> None:
        """Delete every image that needs it, and the blob, as an owner would."""
        rest = without(tree(world.registry), digest)
        for entry in list(world.registry.list()):
            if entry.key not in rest:
                world.registry.delete(entry.key)

    def _rotate(self) -> None:
        self._key = SigningKey.generate()
        self._trusted.append(self._key.public)
        self.counts["rotation"] += 1
        if self.sealed:
            host, recipient = Identity.generate(), Identity.generate()
            rotate_writer(self._vault(), host.public)
            self._hosts.insert(0, host)
            change_recipients(self._vault(), add=[recipient.public])
            gone = [self._recipients[-1].public]
            self._recipients.append(recipient)
            change_recipients(self._vault(), remove=gone)

    def _last_look(self) -> None:
        """Every retained snapshot of both vaults restores; nothing is there that nothing needs."""
        self._despite_faults("copy", self._copy)
        for name in self._alive():
            self._restore(name, self.store)
        second = self._vault(self.second)
        for name, registry in self._chains(second).items():
            for root in second.roots(registry):
                self._restore((name, root.name.sequence), self.second)
        self._wait()
        self._prune(self.store)
        self._look("data")
        needed = self._needed(self.store)
        left = {e.key for prefix in _OBJECTS[:-1] for e in self.store.list(prefix)} - needed
        assert not left, (self.seed, sorted(left)[:5])

    def _wait(self) -> None:
        """Let so much time pass that a prune may delete all that nothing needs."""
        self._pass(9 * 86_400)
