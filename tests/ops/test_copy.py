"""Copies between vaults: each byte proven, roots verbatim, nothing that was lost comes to count."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from world import Before, World, noise, tree

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    NotFoundError,
    RefusedError,
    StoreAccessError,
    StoreUnavailableError,
    TemporaryError,
)
from regvault.ops.claim import claim
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import PruneResult, plan_prune, prune
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore, FaultyStore
from regvault.vault.condemned import condemned_document, read_condemned
from regvault.vault.envelope import write_document
from regvault.vault.keys import condemned_key, new_run_id, plain_key
from regvault.vault.lease import Lease
from regvault.vault.vault import Vault


@pytest.fixture
def made():
    """Three snapshots: raw and packed layers, a nested index, a referrer."""
    world = another()
    push = world.push
    first = push.image("app", "1", layers=(noise(300, 1), noise(1 << 20, "raw")))
    world.snapshot()
    second = push.image("app", "2", "latest", layers=(noise(300, 2), noise((1 << 20) + 5, "more")))
    push.index("app", "all", children=(first, second))
    world.snapshot()
    push.image("web", "1", layers=(noise(400, 3),), subject={"digest": first.digest, "size": 1})
    world.snapshot()
    return world


def another(store=None) -> World:
    if store is None:
        store = MemoryStore("copy")
        store.clock_ns = time.time_ns()
    return World(store=store)


def copied(source: World, *targets: World, **options):
    vaults = [Vault(target.store) for target in targets]
    options.setdefault("threads", 2)
    return copy(source.vault(), vaults, CopyOptions(**options), progress=source.progress)


def assert_same(source: World, target: World, registry: str = "prod") -> None:
    """Every snapshot of the source is in the target, whole, with the same two lines."""
    roots = source.roots(registry)
    assert [r.sha256 for r in target.roots(registry)] == [r.sha256 for r in roots]
    for root in roots:
        lines = source.store.get(root.name.key).split(b"\n")[:2]
        assert target.store.get(root.name.key).split(b"\n")[:2] == lines
        sequence = root.name.sequence
        assert target.restored(sequence, registry=registry) == source.restored(
            sequence, registry=registry
        )
    target.verified()


def test_a_copy_restores_what_the_original_does(made):
    target = another()
    result = copied(made, target)
    assert result.exit_code() == 0
    assert result.targets[0].snapshots == ["prod@1", "prod@2", "prod@3"]
    assert_same(made, target)
    receipt = json.loads(target.store.get(target.keys("records/copies/")[0]).split(b"\n")[0])
    assert (receipt["from"], receipt["newest"]) == (made.vault().id, 3)


def test_only_what_is_new_is_read_and_stored(made):
    target = another()
    copied(made, target)
    made.push.image("app", "3", layers=(noise(500, "new"),))
    made.snapshot()
    reading, writing = CountingStore(made.store, record=True), CountingStore(target.store)
    needed = {ref.key for ref in made.vault().object_list(made.roots()[-2])}
    result = copy(Vault(reading), [Vault(writing)], CopyOptions(threads=1), progress=made.progress)
    assert result.targets[0].snapshots == ["prod@4"]
    opened = {key for verb, key in reading.calls if verb == "open"}
    assert opened
    assert not {key for key in opened if key.startswith(("blobs/", "packs/"))} & needed
    assert result.targets[0].objects < 12
    assert_same(made, target)


def test_nothing_new_stores_nothing(made):
    target = another()
    copied(made, target)
    before = set(target.keys(""))
    result = copied(made, target)
    assert result.targets[0].snapshots == []
    assert result.targets[0].objects == 0
    more = set(target.keys("")) - before
    assert {key.split("/")[0] for key in more} == {"records"}


def test_several_targets_in_one_read(made):
    one, two = another(), another()
    reading = CountingStore(made.store, record=True)
    copy(
        Vault(reading),
        [Vault(one.store), Vault(two.store)],
        CopyOptions(threads=1),
        progress=made.progress,
    )
    assert_same(made, one)
    assert_same(made, two)
    opened = [key for verb, key in reading.calls if verb == "open" and key.startswith("blobs/")]
    assert opened
    assert len(opened) == len(set(opened))


def test_registries_that_share_blobs_share_them_in_the_copy_too(made):
    made.snapshot(registry="mirror")
    target = another()
    reading = CountingStore(made.store, record=True)
    copy(Vault(reading), [Vault(target.store)], CopyOptions(threads=1), progress=made.progress)
    opened = [key for verb, key in reading.calls if verb == "open" and key.startswith("blobs/")]
    assert len(opened) == len(set(opened)) > 0
    assert_same(made, target)
    assert_same(made, target, "mirror")


def test_only_the_registry_that_is_named(made):
    made.snapshot(registry="mirror")
    target = another()
    copied(made, target, registries=("mirror",))
    assert target.vault().registries() == ["mirror"]
    with pytest.raises(NotFoundError):
        copied(made, target, registries=("none",))


def test_a_dry_run_says_the_same_and_stores_nothing(made):
    target = another()
    before = tree(target.store), tree(made.store)
    planned = copied(made, target, dry_run=True)
    assert (tree(target.store), tree(made.store)) == before
    done = copied(made, target)
    assert planned.targets[0].to_json() == done.targets[0].to_json()


def test_a_copy_of_a_copy_is_of_the_first_origin(made):
    second, third = another(), another()
    copied(made, second)
    copied(second, third)
    assert_same(made, third)
    amendment = third.roots()[-1].amendment
    assert amendment["origin"] == made.vault().id
    # And it may be fed by either of them.
    made.push.image("app", "4", layers=(noise(70, 4),))
    made.snapshot()
    copied(made, third)
    assert_same(made, third)


def test_what_is_forgotten_stays_forgotten_on_either_side(made):
    target = another()
    copied(made, target)
    forget_named(target, 1)
    forget_named(made, 2)
    made.push.image("app", "5", layers=(noise(80, 5),))
    made.snapshot()
    copied(made, target)
    assert [r.name.sequence for r in target.roots()] == [2, 3, 4]
    target.verified()
    assert target.restored(2)
    # Into an empty vault: the chain is whole, and what is forgotten is a stub in it.
    late = another()
    copied(made, late)
    assert [r.name.sequence for r in late.roots()] == [1, 3, 4]
    assert late.vault().slots("prod") == [1, 2, 3, 4]
    late.verified()


def forget_named(world: World, *sequences: int) -> None:
    vault = world.vault()
    plan = plan_forget_named(vault, [world.root(sequence) for sequence in sequences])
    forget(vault, plan, progress=world.progress)


def confirmed(world: World, sequence: int) -> None:
    vault = world.vault()
    confirm(vault, plan_confirm(vault, world.root(sequence)), by="me", reason="moved")


def pruned(world: World) -> PruneResult:
    vault = world.vault()
    plan = plan_prune(vault, progress=world.progress, threads=1, grace_s=-1.0)
    try:
        return prune(vault, plan, progress=world.progress, threads=1, grace_s=-1.0)
    finally:
        plan.close()


def test_what_was_condemned_there_comes_back_under_another_name(made):
    """Design: a condemned key is never written again; the copied root's amendment says so."""
    target = another()
    copied(made, target)
    made.remove("web")
    made.snapshot()
    confirmed(made, 4)  # it shrank, so it was held
    copied(made, target)
    forget_named(target, 1, 2, 3)
    pruned(target)
    doomed = set(made.keys("")) - set(target.keys(""))
    assert any(key.startswith(("packs/", "blobs/", "meta/", "trees/")) for key in doomed)
    made.push.image("web", "1", layers=(noise(400, 3),))
    made.push.image("web", "2", layers=(noise(401, 3),))
    made.snapshot()
    result = copied(made, target)
    assert result.exit_code() == 0
    assert target.restored(5) == made.restored(5)
    target.verified()
    renamed = [key for key in target.keys("") if plain_key(key) != key]
    assert renamed
    pruned(target)
    assert target.restored(5) == made.restored(5)
    # The next copy finds them under their other name.
    made.push.image("web", "3", layers=(noise(402, 3),))
    made.snapshot()
    copied(made, target)
    assert target.restored(6) == made.restored(6)
    assert [key for key in target.keys("") if plain_key(key) != key] == renamed
    target.verified()


def test_a_key_that_is_renamed_again_in_the_copy_carries_one_suffix(made):
    """Else its name would not tell its content any more, and good bytes would count as damage."""
    target = another()

    def come_and_go(*forgotten: int, where: tuple[World, ...]) -> None:
        made.remove("web")
        confirmed(made, made.snapshot().root.name.sequence)
        copied(made, target)
        for world in where:
            forget_named(world, *forgotten)
            pruned(world)
        made.push.image("web", "1", layers=(noise((1 << 20) + 7, 3), noise(400, 3)))
        made.snapshot()

    made.push.image("web", "1", layers=(noise((1 << 20) + 7, 3), noise(400, 3)))
    made.snapshot()
    copied(made, target)
    come_and_go(1, 2, 3, 4, where=(made, target))  # so it has another name in the original
    copied(made, target)
    come_and_go(6, where=(target,))  # which is condemned in the copy
    copied(made, target)
    renamed = [key for key in target.keys("") if plain_key(key) != key]
    assert any(key.startswith("blobs/") for key in renamed)
    assert all(key.count(".") - plain_key(key).count(".") == 1 for key in renamed)
    assert target.restored(8) == made.restored(8)
    target.verified()


def test_what_a_reader_claims_stays_under_its_other_name_though_the_copy_is_forgotten(made):
    """Invariant 4: the stub says where a copied root had its objects."""
    target = another()
    copied(made, target)
    made.remove("web")
    made.snapshot()
    confirmed(made, 4)  # it shrank, so it was held
    copied(made, target)
    forget_named(target, 1, 2, 3)
    pruned(target)
    made.push.image("web", "1", layers=(noise(400, 3),))
    made.snapshot()
    made.remove("web")
    made.snapshot()
    confirmed(made, 6)
    copied(made, target)
    root = target.root(5)
    needed = {ref.key for ref in target.vault().object_list(root)}
    assert any(plain_key(key) != key for key in needed)
    with claim(target.vault(), [root], target.progress):
        forget_named(target, 5)
        pruned(target)
        assert needed <= set(target.keys(""))
    pruned(target)
    assert not needed <= set(target.keys(""))
    target.verified()


class Keeping(Wrapper):
    """A store that deletes nothing."""

    def delete(self, key):
        raise StoreAccessError(f"locked: {key}", key=key)


def test_what_is_condemned_there_and_not_yet_deleted_is_not_counted_on(made):
    """Invariant 3: it is there, and told by a segment, and will be deleted."""
    target = another()
    copied(made, target)
    made.remove("web")
    made.snapshot()
    confirmed(made, 4)  # it shrank, so it was held
    copied(made, target)
    forget_named(target, 1, 2, 3)
    honest, target.store = target.store, Keeping(target.store)
    pruned(target)
    target.store = honest
    made.push.image("web", "1", layers=(noise(400, 3),))
    made.snapshot()
    copied(made, target)
    needed = {ref.key for ref in target.vault().object_list(target.root(5))}
    condemned = read_condemned(target.store, target.vault().id)
    assert condemned & set(target.keys(""))
    assert not needed & condemned
    # The copied root names these keys, and its objects lie elsewhere: that is no damage, they go.
    result = pruned(target)
    assert (result.exit_code(), result.plan.needed) == (0, [])
    assert not condemned & set(target.keys(""))
    assert target.restored(5) == made.restored(5)
    target.verified()


@pytest.mark.parametrize("damage", ["gone", "spoilt"])
def test_a_damaged_snapshot_is_left_out_and_fills_its_slot_when_it_is_mended(made, damage):
    only = {ref.key for ref in made.vault().object_list(made.root(2))}
    only -= {ref.key for ref in made.vault().object_list(made.root(1))}
    key = next(k for k in sorted(only) if k.startswith("blobs/"))
    good = made.store.get(key)
    if damage == "gone":
        made.store.delete(key)
    else:
        made.spoil(key, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    target = another()
    result = copied(made, target)
    assert result.exit_code() == 4
    assert [p.snapshot for p in result.problems] == ["prod@2", "prod@3"]
    assert [r.name.sequence for r in target.roots()] == [1]
    assert target.vault().slots("prod") == [1, 2, 3]
    target.verified()
    assert target.restored(1) == made.restored(1)
    made.spoil(key, lambda _: good) if damage == "spoilt" else made.store.put(key, good)
    result = copied(made, target)
    assert result.exit_code() == 0
    assert result.targets[0].snapshots == ["prod@2", "prod@3"]
    assert_same(made, target)


def test_what_the_copy_has_lost_is_copied_again(made):
    target = another()
    copied(made, target)
    lost = target.lose(*target.keys("blobs/")[:1], *target.keys("packs/")[:1])
    result = copied(made, target)
    assert result.targets[0].healed == len(lost) == 2
    assert_same(made, target)


def test_a_confirmation_goes_along(made):
    for name in ("app", "web"):
        made.remove(name)
    made.push.image("other", "1", layers=(noise(10, 1),))
    result = made.snapshot()
    assert result.root.held
    target = another()
    copied(made, target)
    assert target.vault().confirmations == []
    confirmed(made, 4)
    copied(made, target)
    (record,) = target.vault().confirmations
    assert (record["sequence"], record["reason"]) == (4, "moved")


def test_a_registry_of_its_own_is_not_overwritten(made):
    target = another()
    target.push.image("own", "1", layers=(noise(10, 1),))
    target.snapshot()
    before = tree(target.store, "snapshots/")
    with pytest.raises(RefusedError, match="of its own"):
        copied(made, target)
    assert tree(target.store, "snapshots/") == before


def test_a_copy_takes_no_snapshots(made):
    target = another()
    copied(made, target)
    fresh = World(made.registry, target.store)
    with pytest.raises(RefusedError, match="is a copy"):
        fresh.snapshot()
    assert len(target.roots()) == 3


def test_another_origin_and_another_history_are_refused(made):
    target = another()
    copied(made, target)
    stranger = World()
    stranger.push.image("app", "1", layers=(noise(10, 1),))
    stranger.snapshot()
    with pytest.raises(RefusedError, match="another vault"):
        copied(stranger, target)
    with pytest.raises(RefusedError, match="same vault"):
        copied(made, made)


def test_a_source_that_went_another_way_is_refused(made):
    """Rule 6: one of the two was tampered with, or set back, since they were the same."""
    target = another()
    copied(made, target)
    root = made.root(3)
    made.store.put(root.name.key, replace(root, complete=False).to_document(made.vault().id)[0])
    made.push.image("web", "2", layers=(noise(401, 3),))
    made.snapshot()
    with pytest.raises(RefusedError, match="another snapshot"):
        copied(made, target)
    assert len(target.roots()) == 3


def test_two_copies_at_once_are_kept_apart(made):
    target = another()
    vault = target.vault()
    with Lease(vault.store, vault.id, "0" * 24, role="writer", registry="prod"):
        with pytest.raises(LeaseHeldError):
            copied(made, target)
    assert target.roots() == []


def copied_beside(source: World, target: World, do):
    """Copy; when the first object is stored, do something else in the target."""
    vault = Vault(Before(target.store, "put_stream", "", do))
    return copy(source.vault(), [vault], CopyOptions(threads=1), progress=source.progress)


def test_a_copier_that_was_declared_dead_commits_nothing(made):
    """Rule 1: however late it wakes up."""
    target = another()

    def declare_dead() -> None:
        (key,) = target.keys("leases/")
        body = json.loads(target.store.get(key).split(b"\n")[0])
        target.store.put(key, write_document({**body, "state": "ended"})[0])

    with pytest.raises(LeaseLostError):
        copied_beside(made, target, declare_dead)
    assert target.roots() == []


def test_a_prune_that_did_not_see_this_copy_stops_it(made):
    """Invariant 4: what it counted on may be condemned by now."""
    target = another()

    def condemn() -> None:
        data = condemned_document(target.vault().id, 1, new_run_id(), [])
        target.store.put(condemned_key(1), data)

    with pytest.raises(TemporaryError, match="did not see"):
        copied_beside(made, target, condemn)
    assert target.roots() == []


def test_a_copied_root_that_was_found_after_a_lost_answer_is_synced_before_it_counts(made):
    """Invariant 2: what can be read back may not be on the disk."""
    target = another()
    faulty = FaultyStore(target.store)
    faulty.plan(
        StoreUnavailableError("timed out"), when="after", match=lambda k: k.endswith("03.json")
    )
    counting = CountingStore(faulty, record=True)
    copy(made.vault(), [Vault(counting)], CopyOptions(threads=1), progress=made.progress)
    assert len(target.roots()) == 3
    calls = [call for call in counting.calls if call[0] in {"put", "barrier"}]
    rest = calls[calls.index(("put", "snapshots/prod/00000003.json")) + 1 :]
    assert rest[0] == ("barrier", "")
