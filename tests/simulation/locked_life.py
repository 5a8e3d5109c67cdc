"""A life whose vaults are locked, in buckets that keep versions: what lasts there, and what not.

Nothing can be destroyed here before its lock lapses: who may do everything else deletes, which
hides, and overwrites. So what was done is undone from the past of the vault itself, or from the
copy. After every day all that a snapshot reaches is locked.
"""

from __future__ import annotations

from typing import Any

import pytest
from life import DAMAGE, Life

from regvault.errors import StoreAccessError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.locking import extend_locks
from regvault.ops.repair import VaultSpare
from regvault.ops.repair.past import recover_documents
from regvault.storage.memory_versions import VersionedMemoryStore
from regvault.vault.keys import LEASES, LOCK_POLICY, PRUNE_LOCK, VAULT_JSON
from regvault.vault.locks import LockPolicy
from regvault.vault.vault import Vault

_LOCK_DAYS = 30


class LockedLife(Life):
    """One life of vaults that are locked."""

    lock = LockPolicy("governance", _LOCK_DAYS * 86_400)

    def _bucket(self, name: str) -> Any:
        return VersionedMemoryStore(name, clock_ns=self._clock_ns)

    def _keep_locked(self, store: Any) -> None:
        done = extend_locks(self._vault(store), progress=NO_PROGRESS, threads=1)
        assert done is not None
        assert not done.gone, (self.seed, self.day, done.gone[:5])
        self.counts["locks extended"] += done.extended

    def _let_go(self, result: Any) -> None:
        """See that what is condemned is gone, or locked: then it is tried again."""
        codes = {3} if result.locked else {0, 3} if result.claimed else {0}
        assert result.exit_code() in codes, (self.seed, self.day, result.to_json())
        if result.locked:
            assert result.locked_until_ns > self.store.now_ns(), (self.seed, self.day)
            self.counts["locked, to be tried again"] += len(result.locked)

    def _look(self, depth: str) -> None:
        super()._look(depth)
        for store in (self.store, self.second):
            self._covered(store)

    def _covered(self, store: Any) -> None:
        """Nothing that a snapshot needs, nor what it is found by, can be deleted now."""
        for key in self._reached(store):
            found = store.retention(key)
            assert found is not None, (self.seed, self.day, store.location, key)
            assert found.until_ns > store.now_ns(), (self.seed, self.day, store.location, key)
            self.counts["found locked"] += 1

    def _reached(self, store: Any) -> set[str]:
        """Return what the snapshots of a vault need, and what they are found by."""
        vault = self._vault(store)
        roots = (root for name in vault.registries() for root in vault.roots(name))
        return {VAULT_JSON, LOCK_POLICY, *(root.name.key for root in roots), *self._needed(store)}

    def _wait(self) -> None:
        """Let what nothing needs lapse, while all else is extended in time."""
        self._prune(self.store)
        for _ in range(_LOCK_DAYS // 10 + 1):
            self._pass(10 * 86_400)
            for store in (self.store, self.second):
                self._keep_locked(store)
                self._covered(store)

    # -- attacks --------------------------------------------------------------------------------

    def _one_day(self) -> None:
        super()._one_day()
        if self.day % 5 == 0:
            self._attack(everything=self.day % 10 == 0)
            self._look("data")

    def _attack(self, *, everything: bool) -> None:
        """Overwrite and delete what a vault is made of: some of it, or all; then undo it."""
        store, dice = self.store, self.dice
        reached = sorted(self._reached(store))
        moment_ns = store.clock_ns
        self._pass(60)
        keys = [e.key for e in store.list() if not e.key.startswith((LEASES, PRUNE_LOCK))]
        doomed = keys if everything else dice.sample(keys, min(len(keys), dice.randint(1, 9)))
        was = {key: store.get(key) for key in reached}
        for key in set(doomed) & was.keys():
            with pytest.raises(StoreAccessError):
                store.remove_version(key)
        store.lock_writes(None)
        for key in doomed:
            # What was damaged, and is condemned, stays until its lock lapses; it may be empty.
            data = DAMAGE[dice.choice(list(DAMAGE))](store.get(key) or b"empty")
            store.delete(key) if data is None else store.put(key, data)
        self._undo(moment_ns)
        assert {key: store.get(key) for key in reached} == was, (self.seed, self.day)
        self.counts["attack: all" if everything else "attack: some"] += 1

    def _undo(self, moment_ns: int) -> None:
        """Bring back what the vault was then."""
        past = Vault(self.store.as_of(moment_ns), self._keys())
        recovered = recover_documents(self.store, past.store, past.id)
        self._mend(Vault(recovered, self._keys()), VaultSpare(past, "the past"))
        self._keep_locked(self.store)
