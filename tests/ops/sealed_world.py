"""A world with a sealed vault, and those who have something to do with it."""

from __future__ import annotations

import time

from world import World, noise

from regvault.storage.memory import MemoryStore
from regvault.vault.age import Identity
from regvault.vault.create import Sealing, create_vault
from regvault.vault.signing import Keys
from regvault.vault.vault import Vault

#: Of the host that takes snapshots, and of two who may restore.
HOST, ALICE, BOB = (Identity.generate() for _ in range(3))
AS_HOST, AS_ALICE, AS_BOB, AS_NOBODY = (
    Keys(identities=ids) for ids in ((HOST,), (ALICE,), (BOB,), ())
)


def fresh(keys: Keys = AS_HOST, *recipients: str) -> World:
    """Return a world whose vault is sealed to Alice, or to others, and empty."""
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    create_vault(store, keys, sealing=Sealing(recipients or (ALICE.public,)))
    made = World(store=store, name="production")
    made.trust = keys
    return made


def with_snapshot(keys: Keys = AS_HOST, *recipients: str) -> World:
    """Return one with a snapshot of two repositories."""
    made = fresh(keys, *recipients)
    made.push.image("team/app", "1", layers=(noise(3000, "app"), noise(1 << 20, "large")))
    made.push.image("team/lib", "1", layers=(noise(3000, "lib"),))
    made.snapshot()
    return made


def opened(made: World, keys: Keys) -> Vault:
    """Return the vault as someone opens it."""
    return Vault(made.store, keys)


def verified(made: World, keys: Keys, depth: str = "data"):
    """Return what a verification by someone finds."""
    made.trust, before = keys, made.trust
    try:
        return made.verify(depth)
    finally:
        made.trust = before
