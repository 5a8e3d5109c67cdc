"""A crash in a sealed vault: keys of its own a run, age files that are never the same twice."""

from __future__ import annotations

import os

import pytest
from figures import tried
from scene import CHANCE, Dying
from verbs import VERBS, check_and_converge
from world import World

from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore
from regvault.vault.age import Identity
from regvault.vault.catalog import Catalog
from regvault.vault.create import Sealing
from regvault.vault.sealing import AgeSeal
from regvault.vault.signing import Keys
from regvault.vault.vault import Vault

HOST, RECIPIENT = Identity.generate(), Identity.generate()
#: What a fixed K seals; the same in an original and in its copy.
NAMING_KEY = b"k" * 32
#: By default in small scenes, at every few operations: what is stored differs each time, so each
#: trial is looked at in full.
WHOLE = bool(os.environ.get("WHOLE"))
EVERY = 1 if WHOLE else 8


@pytest.fixture(autouse=True)
def everything_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(identities=(HOST, RECIPIENT))
    seal = AgeSeal(
        NAMING_KEY, [RECIPIENT.public], HOST.public, keys.identities, opens_contents=True
    )
    monkeypatch.setattr(World, "trust", keys)
    monkeypatch.setattr(World, "sealing", Sealing((RECIPIENT.public,)))
    monkeypatch.setattr(Vault.__init__, "__defaults__", (keys,))
    monkeypatch.setattr(Catalog.__init__, "__defaults__", (seal, ()))
    monkeypatch.setattr("regvault.vault.create.new_naming_key", lambda: NAMING_KEY)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", VERBS)
def test_a_crash_at_any_operation_of_a_sealed_vault(name):
    verb = VERBS[name]
    before = verb.before.__wrapped__(WHOLE)  # type: ignore[attr-defined]
    CHANCE.begin("first")
    scene = before.copy()
    counting = CountingStore(scene.store)
    verb.run(scene, counting)
    count = sum(counting.counts[each] for each in verb.verbs)
    assert count > (100 if WHOLE else 5)
    died = 0
    for at in range(1, count, EVERY):
        for when in ("before", "after"):
            tried(f"crashes, sealed: {name}")
            scene = before.copy()
            CHANCE.begin("first")
            faulty = FaultyStore(scene.store)
            faulty.plan(CrashError, when=when, at=at, verbs=verb.verbs)
            # How much is written differs by a few requests from run to run, since what is sealed
            # does: a run that was shorter than the one that was counted ends.
            with Dying():
                try:
                    verb.run(scene, faulty)
                except CrashError:
                    died += 1
            check_and_converge(verb, scene, (name, at, when))
    assert died >= 2 * len(range(1, count, EVERY)) - 2
