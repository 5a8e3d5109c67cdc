"""Prune: what nothing needs goes, all else stays, whoever is at work."""

from __future__ import annotations

import random
import time

import pytest
from world import Listener, World, noise, tree

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    RefusedError,
    StoreAccessError,
    VaultDamagedError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.prune import plan_prune, prune
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import PRUNE_LOCK, condemned_key, new_run_id, parse_segment_key
from regvault.vault.lease import Lease
from regvault.vault.reach import needed_keys
from regvault.vault.stub import forget_root
from regvault.vault.vault import Vault

NOW = -1.0  # a grace time that lets everything go that is there


def days(made: World, count: int) -> list[dict[str, bytes]]:
    """Take a snapshot a day of a registry that changes; return what it held each day."""
    held = []
    for day in range(count):
        made.push.image("app", f"v{day}", "latest", layers=(noise(900, "base"), noise(3000, day)))
        made.push.image("web", "latest", layers=(noise(1 << 20, "raw", day // 2), noise(40, day)))
        made.push.image(f"day-{day}", "raw", layers=(noise(1 << 20, "own", day),))
        made.push.image(f"day-{day}", "1", layers=(noise(500, "own", day),))
        if day:
            made.remove(f"day-{day - 1}")
        made.snapshot()
        held.append(tree(made.registry))
    return held


def forget(made: World, *sequences: int) -> None:
    vault = made.vault()
    for sequence in sequences:
        assert forget_root(made.store, vault.id, made.root(sequence), new_run_id())


def pruned(made: World, *, store=None, grace_s: float = NOW, **words):
    vault = Vault(store or made.store)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=2, grace_s=grace_s)
    try:
        return prune(vault, plan, progress=NO_PROGRESS, threads=2, grace_s=grace_s, **words)
    finally:
        plan.close()


def restores(made: World, held: dict[int, dict[str, bytes]]) -> None:
    for sequence, registry in held.items():
        links = {k: v for k, v in registry.items() if "/repositories/" in k}
        got = made.restored(sequence)
        assert {k: v for k, v in got.items() if "/repositories/" in k} == links
        assert all(registry[key] == data for key, data in got.items())
    made.verified()


def world() -> World:
    """A world whose vault's clock is right."""
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    return World(store=store)


@pytest.fixture
def made() -> World:
    return world()


def test_nothing_goes_that_a_snapshot_needs(made):
    held = days(made, 5)
    before = set(made.keys())
    result = pruned(made)
    assert (result.slot, result.condemned, result.deleted) == (None, (0, 0), (0, 0))
    assert before == set(made.keys())
    restores(made, dict(enumerate(held, start=1)))


def test_what_only_forgotten_snapshots_needed_goes(made):
    """Invariant 4: only what is condemned is deleted."""
    held = days(made, 5)
    before = {entry.key: entry.size for entry in made.store.list()}
    forget(made, 1, 2, 4)
    result = pruned(made)
    after = set(made.keys())
    gone = before.keys() - after
    assert gone == read_condemned(made.store, made.vault().id)
    assert result.condemned == result.deleted == (len(gone), sum(before[key] for key in gone))
    assert result.slot == condemned_key(1)
    assert any(key.startswith("blobs/") for key in gone)
    assert any(key.startswith("trees/") for key in gone)
    restores(made, {3: held[2], 5: held[4]})
    assert pruned(made).slot is None


def test_what_is_left_is_what_snapshots_need(made):
    """Nothing is left over: only objects of lists, and those lists' own chunks."""
    days(made, 4)
    forget(made, 1, 2, 3)
    pruned(made)
    vault = made.vault()
    objects = vault.object_list(made.root(4))
    need = {ref.key for ref in objects} | {chunk.key for chunk in objects.own_chunks()}
    prefixes = ("blobs/", "packs/", "meta/", "trees/")
    assert {key for key in made.keys("") if key.startswith(prefixes)} == need


def test_needed_keys_are_those_of_all_lists(made):
    days(made, 6)
    vault = made.vault()
    lists = [vault.object_list(root) for root in made.roots()]
    need = set()
    for objects in lists:
        need |= {ref.key for ref in objects} | {chunk.key for chunk in objects.own_chunks()}
    assert list(needed_keys(lists, {})) == sorted(need)


def test_a_young_object_stays(made):
    days(made, 3)
    forget(made, 1, 2)
    vault = made.vault()
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1)
    assert plan.candidates.count == 0
    assert plan.kept_young[0] > 3
    plan.close()


def test_snapshots_go_on_after_a_prune(made):
    held = days(made, 3)
    forget(made, 1, 2)
    pruned(made)
    # The same contents again, whose objects were condemned: under other keys.
    made.push.image("day-0", "1", layers=(noise(500, "own", 0),))
    made.snapshot()
    condemned = read_condemned(made.store, made.vault().id)
    assert not condemned & set(made.keys())
    restores(made, {3: held[2], 4: tree(made.registry)})


class TestWhoIsAtWork:
    def test_a_writer_is_waited_for(self, made):
        made.store.clock_ns -= 2 * 86400 * 10**9
        days(made, 2)
        made.store.clock_ns = time.time_ns()
        forget(made, 1)
        with Lease(made.store, made.vault().id, new_run_id(), role="writer", registry="prod"):
            with pytest.raises(LeaseHeldError, match="snapshot of prod"):
                pruned(made)
            assert not made.keys("condemned/")
        assert pruned(made).condemned[0] > 0

    def test_another_prune_is_waited_for(self, made, monkeypatch):
        from regvault.vault.prune_lock import PruneLock

        monkeypatch.setattr("regvault.vault.prune_lock.seen_dead", lambda _: False)
        days(made, 2)
        forget(made, 1)
        words = {"wait_s": 0, "say": lambda _: None}
        with PruneLock(made.store, made.vault().id, new_run_id(), **words):
            with pytest.raises(LeaseHeldError, match="another prune"):
                pruned(made)
        assert pruned(made).condemned[0] > 0

    def test_the_lock_is_given_back(self, made):
        days(made, 2)
        forget(made, 1)
        pruned(made)
        body = made.store.get(PRUNE_LOCK).split(b"\n")[0]
        assert b'"state":"released"' in body
        made.snapshot()

    def test_a_reader_keeps_what_it_claims(self, made):
        """Rule 11: a restore takes a lease, so that nothing it reads is deleted."""
        held = days(made, 3)
        vault = made.vault()
        first = made.root(1)
        objects = vault.object_list(first)
        with claim(vault, [first], Listener()):
            forget(made, 1, 2)
            pruned(made)
            # Its slot has a stub by now; what it needs is there all the same.
            assert {ref.key for ref in objects} <= set(made.keys())
        assert pruned(made).condemned[0] > 0
        restores(made, {3: held[2]})

    def test_a_claim_of_the_dead_ends(self, made, monkeypatch):
        days(made, 2)
        vault = made.vault()
        lease = Lease(
            made.store, vault.id, new_run_id(), role="reader",
            roots=[{"key": made.root(1).name.key, "objects": []}],
        )  # fmt: skip
        forget(made, 1)
        assert pruned(made).condemned == (0, 0)
        monkeypatch.setattr("regvault.vault.certain.seen_dead", lambda _: True)
        assert pruned(made).condemned[0] > 0
        with pytest.raises(LeaseLostError):
            lease.renew()

    def test_what_an_unfinished_run_stored_is_kept(self, made):
        """A first full that was interrupted goes on from where it was, for 7 days."""
        days(made, 2)
        forget(made, 1)
        vault = made.vault()
        lease = Lease(made.store, vault.id, new_run_id(), role="writer", registry="prod")
        lease.release(failed=True)
        assert pruned(made).condemned == (0, 0)


class TestRefusals:
    def test_a_gap_stops_it(self, made):
        days(made, 3)
        forget(made, 1)
        made.lose("snapshots/prod/00000002.json")
        with pytest.raises(VaultDamagedError, match="gap"):
            pruned(made)

    @pytest.mark.parametrize("what", ["snapshots/prod/00000002.json", "LIST", "LEASE", "LOCK"])
    def test_what_cannot_be_read_stops_it(self, made, what):
        """Invariant 5."""
        days(made, 3)
        forget(made, 1)
        key = what
        if what == "LIST":
            key = made.root(2).objects.base.top.key
        if what == "LEASE":
            key = made.keys("leases/")[0]
        if what == "LOCK":
            key = PRUNE_LOCK
            pruned(made)
            made.snapshot()
            days(made, 2)
            forget(made, 3, 4)
        made.spoil(key, lambda data: data[:-3])
        before = set(made.keys())
        with pytest.raises(VaultDamagedError):
            pruned(made)
        assert set(made.keys()) >= before - {key}

    def test_a_clock_that_differs_stops_it(self, made):
        days(made, 2)
        forget(made, 1)
        made.store.clock_ns += 301 * 10**9
        with pytest.raises(RefusedError, match="behind"):
            pruned(made)

    def test_a_condemned_key_that_is_needed_stays_and_is_named(self, made):
        """A forged list cannot make prune delete what a snapshot needs."""
        from regvault.vault.condemned import condemned_document

        held = days(made, 2)
        wanted = next(ref.key for ref in made.vault().object_list(made.root(2)))
        data = condemned_document(made.vault().id, 1, new_run_id(), [wanted])
        made.store.put(condemned_key(1), data)
        forget(made, 1)
        result = pruned(made)
        assert result.plan.needed == [wanted]
        assert result.exit_code() == 4
        assert made.store.head(wanted)
        del held


class Denying(Wrapper):
    """A store that does not delete."""

    def delete(self, key):
        raise StoreAccessError(f"locked: {key}", key=key)


def test_what_the_store_does_not_let_go_is_tried_again(made):
    days(made, 2)
    forget(made, 1)
    result = pruned(made, store=Denying(made.store))
    assert result.deleted == (0, 0)
    assert len(result.locked) == result.condemned[0] > 0
    assert result.exit_code() == 3
    later = pruned(made)
    assert later.slot is None
    assert later.deleted[0] == len(result.locked)


def test_superseded_segments_go(made):
    days(made, 10)
    merged = [key for key in made.keys("catalog/") if parse_segment_key(key).level == 1]
    assert len(merged) == 1
    result = pruned(made)
    left = made.keys("catalog/")
    assert merged[0] in left
    assert len(left) < 8
    assert result.condemned[0] == 8
    made.verified()


def test_every_hundredth_list_repeats_the_earlier_ones(made, monkeypatch):
    monkeypatch.setattr("regvault.vault.condemned.REPEAT_EVERY", 3)
    gone = set()
    for _ in range(4):
        before = set(made.keys())
        days(made, 2)
        forget(made, *(root.name.sequence for root in made.roots()[:-1]))
        pruned(made)
        gone |= before - set(made.keys())
    made.lose(condemned_key(1), condemned_key(2))
    assert read_condemned(made.store, made.vault().id) >= gone


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_days_and_prunes(seed):
    """Every snapshot that was not forgotten restores, after any mix of what may happen."""
    rng = random.Random(seed)
    made = world()
    held: dict[int, dict[str, bytes]] = {}
    number = 0
    for _ in range(14):
        step = rng.choice(["push", "push", "remove", "forget", "prune"])
        if step == "push":
            number += 1
            size = rng.choice([10, 4000, 1 << 20])
            image = rng.randrange(6)
            made.push.image(f"r{rng.randrange(4)}", f"t{image}", layers=(noise(size, image),))
            made.snapshot()
            held[number] = tree(made.registry)
        elif step == "remove" and number:
            made.remove(f"r{rng.randrange(4)}")
        elif step == "forget" and len(held) > 1:
            doomed = rng.sample(sorted(held)[:-1], rng.randrange(1, len(held)))
            forget(made, *doomed)
            for sequence in doomed:
                del held[sequence]
        elif step == "prune":
            pruned(made)
    pruned(made)
    restores(made, held)
