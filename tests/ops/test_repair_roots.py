"""Slots of chains that lost their roots: put back, forgotten still, or given up by a person."""

from __future__ import annotations

import json
import time

import pytest
from world import Keys, World, flip, noise, tree

from regvault.errors import CredentialError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import plan_prune, prune
from regvault.ops.prune.plan import read_needs
from regvault.ops.repair import VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.storage.memory import MemoryStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import lease_key, new_run_id
from regvault.vault.parties import void_document
from regvault.vault.signing import SigningKey, VaultId

ALL = VerifyOptions(read_data=Sample(), threads=2)


def new_world(trust: Keys | None = None) -> World:
    """Three snapshots; what only the first one had is gone from the registry."""
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()

    class Trusted(World):
        trust = Keys()

    Trusted.trust = trust or Keys()
    made = Trusted(store=store)
    made.push.image("old", "v1", layers=(noise(700, "old"), noise(1 << 20, "old")))
    for number in range(12):  # so many that one that goes is no shrinking
        made.push.image(f"kept{number}", "v1", layers=(noise(1 << 20, "kept", number),))
    made.snapshot()
    made.remove("old")
    for number in (2, 3):
        made.push.image("kept0", f"v{number}", layers=(noise(800, number),))
        made.snapshot()
    return made


@pytest.fixture
def made() -> World:
    return new_world()


def copied(made: World) -> World:
    other = World(store=MemoryStore("copy"))
    options = CopyOptions(threads=2)
    assert not copy(made.vault(), [other.vault()], options, progress=NO_PROGRESS).exit_code()
    return other


def repaired(made: World, *others: World, **words):
    vault = made.vault()
    spares = [VaultSpare(other.vault()) for other in others]
    plan = plan_repair(vault, spares, options=ALL, progress=NO_PROGRESS, **words)
    return repair(vault, plan, spares, options=ALL, progress=NO_PROGRESS, by=lambda: "me")


def forgotten(made: World, sequence: int) -> None:
    vault = made.vault()
    assert forget(
        vault,
        plan_forget_named(vault, [made.root(sequence)]),
        progress=NO_PROGRESS,
        by=lambda: "me",
    ).forgotten


def pruned(made: World) -> None:
    made.store.clock_ns = time.time_ns()
    plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(made.vault(), plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()


def slot(made: World, sequence: int) -> str:
    return f"snapshots/{made.name}/{sequence:08d}.json"


def body(made: World, sequence: int) -> dict:
    return json.loads(made.store.get(slot(made, sequence)).split(b"\n")[0])


class TestForgotten:
    @pytest.mark.parametrize("damage", ["a bit", "gone"])
    @pytest.mark.parametrize("prune_too", [True, False])
    def test_a_forgotten_snapshot_does_not_come_back_from_a_copy(self, made, prune_too, damage):
        """Invariant 4: what is condemned is never needed again."""
        other = copied(made)
        was = made.root(1)
        forgotten(made, 1)
        if prune_too:
            pruned(made)
        stub = made.store.get(slot(made, 1))
        if damage == "gone":
            made.lose(slot(made, 1))
        else:
            made.store.put(slot(made, 1), flip(stub))
        result = repaired(made, other)
        assert result.exit_code() == 0, result.to_json()
        assert body(made, 1)["type"] == "stub"
        assert body(made, 1)["root"] == was.sha256
        assert body(made, 1)["objects"] == was.objects.to_json()
        pruned(made)
        made.verified()

    def test_what_is_condemned_is_told_by_the_lists_where_the_record_is_gone(self, made):
        """Invariant 4 without the record of the forgetting."""
        other = copied(made)
        forgotten(made, 1)
        pruned(made)
        made.store.put(slot(made, 1), flip(made.store.get(slot(made, 1))))
        made.lose("records/forgets/")
        assert repaired(made, other).exit_code() == 0
        assert body(made, 1)["type"] == "stub"
        pruned(made)
        made.verified()

    def test_no_copy_is_needed_for_a_stub(self, made):
        """The record of who forgot it has all that a chain needs."""
        forgotten(made, 1)
        sha256 = body(made, 1)["root"]
        made.lose(slot(made, 1))
        result = repaired(made)
        assert result.exit_code() == 0, result.to_json()
        assert body(made, 1)["root"] == sha256
        made.verified()

    def test_an_unsigned_record_makes_no_signed_stub(self):
        """Rule 6: who cannot sign cannot have a snapshot of a signed vault forgotten."""
        key = SigningKey.generate()
        made = new_world(Keys(key, (key.public,)))
        other = copied(made)
        before = made.store.get(slot(made, 1))
        named = [{"registry": "prod", "sequence": 1, "root": made.root(1).sha256}]
        run = new_run_id()
        record = {"type": "forgets", "format": 1, "features": [], "vault": str(made.vault().id)}
        record |= {"run": run, "at": made.root(1).started, "snapshots": named}
        made.store.put(f"records/forgets/{run}.json", write_document(record)[0])
        made.store.put(slot(made, 1), flip(before))
        assert repaired(made, other).exit_code() == 0
        assert made.store.get(slot(made, 1)) == before


class TestGivenUp:
    @pytest.mark.parametrize("damage", ["a bit", "gone", "a void"])
    @pytest.mark.parametrize("sequence", [1, 2, 3])
    def test_a_root_that_nobody_has(self, made, sequence, damage):
        """One lost root is no dead end: a person may give it up, and all else goes on."""
        made.verify()  # its record names the newest one
        key, was = slot(made, sequence), made.root(sequence)
        days = {n: made.restored(n) for n in {1, 2, 3} - {sequence}}
        if damage == "gone":
            made.lose(key)
        elif damage == "a bit":
            made.store.put(key, flip(made.store.get(key)))
        else:
            made.store.put(key, void_document(made.vault().id, key, "f" * 24))
        if (sequence, damage) == (1, "a void"):
            return  # nothing is before it that the next one would have to follow
        assert made.verify().exit_code() == 4
        before = {k: v for k, v in tree(made.store).items() if k.startswith("snapshots/")}
        assert repaired(made).exit_code() == 4
        # Without a word nothing is given up.
        assert before == {k: v for k, v in tree(made.store).items() if k.startswith("snapshots/")}
        result = repaired(made, drop_lost=True)
        assert result.exit_code() == 0, result.to_json()
        assert result.given_up == [f"prod@{sequence}"]
        found = body(made, sequence)
        assert found["type"] == "stub"
        assert found["root"] == (was.sha256 if sequence < 3 else "0" * 64)
        assert {n: made.restored(n) for n in days} == days
        made.push.image("next", "v1", layers=(noise(600, "next"),))
        made.snapshot()
        pruned(made)
        made.verified()
        assert {n: made.restored(n) for n in days} == days

    def test_copies_stay_in_step(self, made):
        other = copied(made)
        made.lose(slot(made, 2))
        # The copy has it, so without it nothing would be given up; say that it is out of reach.
        assert repaired(made, drop_lost=True).exit_code() == 0
        made.push.image("next", "v1", layers=(noise(600, "next"),))
        made.snapshot()
        options = CopyOptions(threads=2)
        assert not copy(made.vault(), [other.vault()], options, progress=NO_PROGRESS).exit_code()
        fresh = copied(made)
        for each in (other, fresh):
            each.verified()
            assert each.root(4).sha256 == made.root(4).sha256

    def test_a_copy_is_asked_first(self, made):
        other = copied(made)
        before = made.store.get(slot(made, 2))
        made.lose(slot(made, 2))
        result = repaired(made, other, drop_lost=True)
        assert not result.given_up
        assert made.store.get(slot(made, 2)) == before

    def test_a_void_over_a_root_gives_way_to_the_root_of_a_copy(self, made):
        """The next root says by its digest what was there."""
        other = copied(made)
        before = made.store.get(slot(made, 2))
        made.store.put(slot(made, 2), void_document(made.vault().id, slot(made, 2), "f" * 24))
        assert repaired(made, other).exit_code() == 0
        assert made.store.get(slot(made, 2)) == before

    def test_the_last_root_of_a_registry_is_never_given_up(self, made):
        """Invariant 6: with it everything would go."""
        for sequence in (1, 2, 3):
            key = slot(made, sequence)
            made.store.put(key, flip(made.store.get(key)))
        before = tree(made.store, "snapshots/")
        result = repaired(made, drop_lost=True)
        assert result.exit_code() == 4
        assert not result.given_up
        assert tree(made.store, "snapshots/") == before

    def test_what_only_the_wrong_key_makes_unreadable_is_never_given_up(self):
        """Rule 6: the root is right, and whoever looks trusts only the key that came later."""
        made = new_world(Keys(SigningKey.generate()))
        later = SigningKey.generate()
        for sequence in (2, 3):
            owner = VaultId(made.vault().id, Keys(later))
            document = write_document({**body(made, sequence), "vault": owner})[0]
            made.store.put(slot(made, sequence), document)
        vault = made.vault()
        vault.id.keys = Keys(later, (later.public,))
        before = tree(made.store, "snapshots/")
        plan = plan_repair(vault, [], options=ALL, drop_lost=True, progress=NO_PROGRESS)
        assert (slot(made, 1), "untrusted") in [each[:2] for each in plan.others]
        assert not plan.filling()
        assert tree(made.store, "snapshots/") == before

    @pytest.mark.parametrize("far", [10**7, 99_999_998])
    def test_a_hostile_lease_has_no_slot_filled_far_away(self, made, far):
        """Invariant 8: the chain would go on from there."""
        run = new_run_id()
        lease = {"type": "lease", "format": 1, "features": [], "vault": str(made.vault().id)}
        lease |= {"run": run, "role": "writer", "state": "released", "slot": slot(made, far)}
        made.store.put(lease_key(run), write_document(lease)[0])
        assert made.verify().exit_code() == 4
        assert not repaired(made, drop_lost=True).given_up
        assert made.vault().slots("prod") == [1, 2, 3]

    def test_a_claim_on_what_was_given_up_stops_a_prune(self, made):
        """Rule 11: what its reader needs cannot be known."""
        with claim(made.vault(), [made.root(2)], NO_PROGRESS):
            made.lose(slot(made, 2))
            assert repaired(made, drop_lost=True).exit_code() == 0
            with pytest.raises(VaultDamagedError):
                list(read_needs(made.vault(), claims=True).keys())
        assert list(read_needs(made.vault(), claims=True).keys())

    def test_a_signed_vault_wants_its_key(self):
        key = SigningKey.generate()
        made = new_world(Keys(key, (key.public,)))
        made.lose(slot(made, 2))
        vault = made.vault()
        vault.id.keys = Keys(None, (key.public,))
        with pytest.raises(CredentialError, match="key to sign"):
            plan_repair(vault, [], options=ALL, drop_lost=True, progress=NO_PROGRESS)
        assert repaired(made, drop_lost=True).exit_code() == 0
        made.verified()
