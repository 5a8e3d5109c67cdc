"""Prune: what nothing needs goes, all else stays, whoever is at work."""

from __future__ import annotations

import random
import time
from unittest.mock import patch

import pytest
from world import Before, Listener, World, noise, tree

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    StoreAccessError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.prune import plan_prune, prune
from regvault.ops.repair import plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore, FaultyStore
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import PRUNE_LOCK, condemned_key, new_run_id, parse_segment_key
from regvault.vault.lease import Lease
from regvault.vault.objectlist import ObjectRef
from regvault.vault.parties import end, read_held, void_document
from regvault.vault.prune_lock import PruneLock
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


def test_what_took_the_place_of_what_nobody_names_is_needed_by_nobody(made):
    """Else what is long forgotten stays for ever, and counts as lost where somebody destroys it."""
    days(made, 3)
    lists = [made.vault().object_list(root) for root in made.roots()]
    need = list(needed_keys(lists, {}))
    key = next(key for key in need if key.startswith("packs/"))
    first, second, other = (ObjectRef(f"packs/{n * 64}.tar", 1, n * 64) for n in "abc")
    amendments = {key: first, first.key: second, "packs/unheard-of.tar": other}
    assert list(needed_keys(lists, amendments)) == sorted({*need, second.key} - {key})


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


def planned(made: World, *, store=None):
    return plan_prune(Vault(store or made.store), progress=NO_PROGRESS, threads=1, grace_s=NOW)


def executed(made: World, plan, *, store=None):
    return prune(Vault(store or made.store), plan, progress=NO_PROGRESS, threads=1, grace_s=NOW)


def test_what_a_run_may_have_stored_that_failed_meanwhile_stays(made):
    """Rule 3: age is judged under the lock, whatever was said when it was planned."""
    days(made, 2)
    forget(made, 1)
    plan = planned(made)
    assert plan.candidates.count
    lease = Lease(made.store, made.vault().id, new_run_id(), role="writer", registry="prod")
    lease.release(failed=True)
    assert executed(made, plan).condemned == (0, 0)


def test_what_a_snapshot_came_to_need_meanwhile_is_not_condemned(made):
    """Rule 3: what is needed is decided under the lock. Invariant 4."""
    days(made, 2)
    forget(made, 1)
    plan = planned(made)
    before = {seen.key for seen in plan.candidates}
    made.push.image("day-0", "raw", layers=(noise(1 << 20, "own", 0),))
    made.snapshot()
    needed = {ref.key for ref in made.vault().object_list(made.root(3))}
    assert before & needed
    executed(made, plan)
    assert not needed & read_condemned(made.store, made.vault().id)
    restores(made, {3: tree(made.registry)})


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

    def test_a_reader_whose_claim_ended_is_told_that_what_it_misses_is_no_damage(
        self, made, monkeypatch
    ):
        """Rule 11: it slept for more than a day, so that a prune took it for dead."""
        days(made, 2)
        vault, listener = made.vault(), Listener()
        first = made.root(1)
        with claim(vault, [first], listener):
            forget(made, 1)
            monkeypatch.setattr("regvault.vault.certain.seen_dead", lambda _: True)
            assert pruned(made).condemned[0] > 0
            with pytest.raises(VaultDamagedError):
                list(vault.object_list(first))
        (said,) = listener.warnings
        assert "ended while it slept" in said
        with claim(vault, [made.root(2)], listener):
            pass
        assert listener.warnings == [said]

    def test_what_an_unfinished_run_stored_is_kept(self, made):
        """A first full that was interrupted goes on from where it was, for 7 days."""
        days(made, 2)
        forget(made, 1)
        vault = made.vault()
        lease = Lease(made.store, vault.id, new_run_id(), role="writer", registry="prod")
        lease.release(failed=True)
        assert pruned(made).condemned == (0, 0)

    def test_leases_of_more_than_7_days_ago_are_read_once_for_a_plan(self, made):
        """Each run leaves one: who backs up daily has thousands after a year."""
        days(made, 2)
        made.store.clock_ns += 8 * 86_400 * 10**9
        leases = made.keys("leases/")
        counting = CountingStore(made.store, record=True)
        with patch("time.time_ns", made.store.now_ns):
            plan_prune(Vault(counting), progress=NO_PROGRESS, threads=1).close()
        assert [key for verb, key in counting.calls if key in leases and verb == "get"] == leases

    def test_a_writer_that_began_just_before_the_lock_was_taken_is_seen(self, made):
        """Rule 3: a pruner takes the lock, then reads the leases."""
        days(made, 2)
        forget(made, 1)
        plan = planned(made)

        def begin() -> None:
            Lease(made.store, made.vault().id, new_run_id(), role="writer", registry="prod")

        with pytest.raises(LeaseHeldError, match="snapshot of prod"):
            executed(made, plan, store=Before(made.store, "put", PRUNE_LOCK, begin))
        assert not made.keys("condemned/")

    @pytest.mark.parametrize("which", ["first", "again"])
    def test_of_two_that_take_the_lock_at_once_one_gets_it(self, made, which, monkeypatch):
        monkeypatch.setattr("regvault.vault.prune_lock.seen_dead", lambda _: False)
        days(made, 2)
        if which == "again":
            pruned(made)
            PruneLock(
                made.store, made.vault().id, new_run_id(), wait_s=0, say=lambda _: None
            ).release()
        forget(made, 1)
        plan = planned(made)
        words = {"wait_s": 0, "say": lambda _: None}
        other = []

        def take() -> None:
            other.append(PruneLock(made.store, made.vault().id, new_run_id(), **words))

        with pytest.raises(LeaseHeldError, match="another prune"):
            executed(made, plan, store=Before(made.store, "put", PRUNE_LOCK, take))
        other[0].renew()
        other[0].release()

    def test_a_lock_that_another_ended_condemns_nothing(self, made):
        """Rule 1: whoever was declared dead commits nothing, however late."""
        days(made, 2)
        forget(made, 1)
        plan = planned(made)

        def declare_dead() -> None:
            body, etag, _ = read_held(made.store, made.vault().id, PRUNE_LOCK)
            assert end(made.store, made.vault().id, PRUNE_LOCK, body, etag)

        with pytest.raises(LeaseLostError):
            executed(made, plan, store=Before(made.store, "list", "condemned/", declare_dead))
        assert not made.keys("condemned/")

    def test_a_slot_that_was_filled_meanwhile_is_left_alone(self, made):
        days(made, 2)
        forget(made, 1)
        plan = planned(made)
        void = void_document(made.vault().id, condemned_key(1), new_run_id())
        fill = Before(
            made.store, "put", condemned_key(1), lambda: made.store.put(condemned_key(1), void)
        )
        assert executed(made, plan, store=fill).slot == condemned_key(2)
        assert made.store.get(condemned_key(1)) == void
        made.verified()

    def test_a_claim_that_came_too_late_is_told_so(self, made):
        """Rule 11: a reader writes its claim, then looks whether its roots are still there."""
        days(made, 2)
        root = made.root(1)
        forget(made, 1)
        with pytest.raises(NotFoundError, match="forgotten just now"):
            with claim(made.vault(), [root], Listener()):
                pass


def test_nothing_is_deleted_before_it_is_condemned(made):
    """Invariant 4: whatever ends the run before its list is written."""
    days(made, 2)
    forget(made, 1)
    before = set(made.keys())
    plan = planned(made)

    def fail() -> None:
        raise StoreAccessError("denied")

    with pytest.raises(StoreAccessError):
        executed(made, plan, store=Before(made.store, "put", "condemned/", fail))
    assert set(made.keys()) >= before


def test_a_list_that_was_found_after_a_lost_answer_is_synced_before_it_counts(made):
    """Invariant 1: what can be read back may not be on the disk."""
    days(made, 2)
    forget(made, 1)
    faulty = FaultyStore(made.store)
    faulty.plan(
        StoreUnavailableError("timed out"), when="after", match=lambda k: k.startswith("condemned/")
    )
    counting = CountingStore(faulty, record=True)
    assert pruned(made, store=counting).slot == condemned_key(1)
    calls = [call for call in counting.calls if call[0] in {"put", "barrier"}]
    assert calls[calls.index(("put", condemned_key(1))) + 1] == ("barrier", "")


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
        plan = planned(made)
        assert plan.needed == [wanted]  # a dry run says so too
        assert plan.leftovers.count == 0
        plan.close()
        result = pruned(made)
        assert result.plan.needed == [wanted]
        assert result.exit_code() == 4
        assert made.store.head(wanted)
        del held

    def test_what_is_needed_all_the_same_is_not_deleted(self, made):
        """Invariant 4: the roots are read once more before anything goes."""
        held = days(made, 2)
        root = made.store.get(made.root(1).name.key)
        forget(made, 1)
        pruned(made, store=Denying(made.store))
        plan = planned(made)
        assert plan.leftovers.count
        made.store.put(made.root(2).name.key.replace("2.json", "1.json"), root)
        objects = made.vault().object_list(made.root(1))
        needed = {ref.key for ref in objects} | {chunk.key for chunk in objects.own_chunks()}
        result = executed(made, plan)
        assert needed <= set(made.keys())
        assert set(result.plan.needed) <= needed
        assert result.exit_code() == 4
        restores(made, {1: held[0], 2: held[1]})

    def test_what_no_list_condemns_any_more_is_not_deleted(self, made):
        """Invariant 4: only what is condemned is deleted, as the store says it then."""
        days(made, 2)
        forget(made, 1)
        pruned(made, store=Denying(made.store))
        plan = planned(made)
        assert plan.leftovers.count
        made.lose(condemned_key(1))
        assert executed(made, plan).deleted == (0, 0)


class Denying(Wrapper):
    """A store that does not delete."""

    def delete(self, key):
        raise StoreAccessError(f"locked: {key}", key=key)


def test_what_the_store_does_not_let_go_is_tried_again(made):
    """Invariant 10: what is locked stays for as long as it is, and is not taken for gone."""
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


def test_a_condemned_segment_is_no_damage_whatever_becomes_of_it(made):
    """Under a lock it stays long, and what had superseded it may be damaged, and mended, since."""
    days(made, 10)
    (merged,) = [key for key in made.keys("catalog/") if parse_segment_key(key).level == 1]
    old = made.keys("catalog/")[0]
    result = pruned(made, store=Denying(made.store))
    assert old in result.locked
    made.spoil(old, lambda data: data[:9])
    made.spoil(merged, lambda data: data[:-9])
    found = made.verify("data").report
    named = {problem.key for problem in found.problems}
    assert merged in named
    assert old not in named
    options = VerifyOptions(read_data=Sample(), threads=1)
    plan = plan_repair(made.vault(), [], options=options, progress=NO_PROGRESS)
    assert repair(made.vault(), plan, [], options=options, progress=NO_PROGRESS).exit_code() == 0
    assert not made.verify("data").report.problems


def test_a_damaged_segment_supersedes_nothing(made):
    """Invariant 4: what it says of others counts only where it is whole itself."""
    days(made, 10)
    before = set(made.keys("catalog/"))
    merged = next(key for key in before if parse_segment_key(key).level == 1)
    made.spoil(merged, lambda data: data[:9] + bytes([data[9] ^ 1]) + data[10:])
    pruned(made)
    assert set(made.keys("catalog/")) == before


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
