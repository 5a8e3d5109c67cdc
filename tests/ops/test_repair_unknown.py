"""Repair gives up nothing while it is not known what snapshots need, or what a place has."""

from __future__ import annotations

import pytest
from test_repair import ALL, copied, new_world, repaired, spares
from world import World, blob_key, digest_of, flip, noise, tree

from regvault.errors import SourceError, StoreUnavailableError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.prune import plan_prune, prune
from regvault.ops.repair import RegistrySpare, plan_repair, repair
from regvault.storage.memory import MemoryStore
from regvault.vault.keys import parse_segment_key
from regvault.vault.segment import Segment, write_segment
from regvault.vault.tree import ChunkRef

LOST = noise(900, "small", 0)


@pytest.fixture
def made() -> World:
    return new_world()


def spoil_member(made: World, blob: bytes = LOST, *, everywhere: bool = True) -> str:
    """Make one member of a pack wrong; return the pack's key."""
    if everywhere:
        made.registry.delete(blob_key(digest_of(blob)))
    (key,) = [each for each in made.keys("packs/") if blob in made.store.get(each)]
    made.spoil(key, lambda data: flip(data, data.find(blob) + 5))
    return key


def objects_of(made: World) -> dict[str, bytes]:
    kept = ("packs/", "meta/", "blobs/", "trees/", "snapshots/", "condemned/")
    return {k: v for k, v in tree(made.store).items() if k.startswith(kept)}


def states_of(made: World) -> list[str]:
    """Return the keys of the states' chunks of all snapshots."""
    found = []
    for root in made.roots():
        objects = made.vault().object_list(root)
        lines = made.vault().tree("repositories", root.repositories, objects).lines()
        found += [line.split(b" ")[1].decode() for line in lines]
    return sorted({f"trees/{state.partition(':')[2]}.zst" for state in found})


UNREADABLE = {
    "a root": lambda made: made.root(1).name.key,
    "a state": lambda made: states_of(made)[0],
    "the list of repositories": lambda made: (
        f"trees/{made.root(1).repositories.top.digest.partition(':')[2]}.zst"
    ),
    "the list of objects": lambda made: made.root(1).objects.base.top.key,
}


@pytest.mark.parametrize("drop", [False, True], ids=["plain", "drop-lost"])
@pytest.mark.parametrize("how", ["damaged", "gone"])
@pytest.mark.parametrize("what", UNREADABLE)
def test_what_an_unreadable_snapshot_may_need_is_not_given_up(made, what, how, drop):
    """Invariant 5: need that is not known is not taken for no need."""
    made.other = copied(made)
    days = {1: made.restored(1), 2: made.restored(2)}
    key = UNREADABLE[what](made)
    spoil_member(made)
    made.spoil(key, flip) if how == "damaged" else made.store.delete(key)
    before = objects_of(made)
    result = repaired(made, drop_lost=drop)
    assert result.exit_code() == 4
    assert not result.replaced
    assert not result.dropped
    given_up = drop and what == "a root"
    if given_up:
        before.pop(key, None)
    assert objects_of(made).items() >= before.items()
    (action,) = [a for a in result.plan.actions if a.ref.key.startswith("packs/")]
    assert (action.how, bool(action.hint)) == ("none", True)
    # When the copy is found, everything comes back: but a root that a person has given up.
    assert repaired(made, "copy").exit_code() == 0
    for sequence in (2,) if given_up else (1, 2):
        assert made.restored(sequence) == days[sequence]
    made.verified()


def test_what_is_to_be_had_is_mended_though_a_root_is_gone(made):
    """Nothing is given up by that, so nothing has to be known."""
    key = spoil_member(made, everywhere=False)
    made.spoil(made.root(1).name.key, flip)
    assert key in repaired(made, "registry").mended


@pytest.mark.parametrize("drop", [False, True], ids=["plain", "drop-lost"])
def test_a_pack_of_which_nothing_tells_all_is_left_alone_while_states_are_gone(made, drop):
    """Invariant 5: the catalog is lost, a header is wrong, and the states come back tomorrow."""
    day = made.restored(2)
    for key in made.keys("catalog/"):
        made.store.delete(key)
    for key in [*made.keys("packs/"), *made.keys("meta/")]:
        made.spoil(key, lambda data: flip(data, 3))
    states = {key: made.store.get(key) for key in states_of(made)}
    made.lose(*states)
    before = objects_of(made)
    assert not repaired(made, drop_lost=drop).replaced
    assert objects_of(made).items() >= before.items()
    for key, data in states.items():
        made.store.put(key, data)
    assert repaired(made, "registry").exit_code() == 0
    assert made.restored(2) == day
    made.verified()


def test_whole_members_that_no_line_tells_of_are_kept(made):
    """Invariant 11: a pack is damaged, and segments tell of one of its members alone."""
    days = {1: made.restored(1), 2: made.restored(2)}
    key = spoil_member(made, everywhere=False)
    leave_out(made, lambda line: key.encode() in line and digest_of(LOST).encode() not in line)
    result = repaired(made, "registry")
    assert {1: made.restored(1), 2: made.restored(2)} == days
    assert not result.failed
    assert repaired(made).exit_code() == 0
    made.verified()


def test_a_snapshot_that_comes_to_need_it_meanwhile_keeps_it(made):
    """Rule 3: need is judged again under the lock."""
    blob = noise(1200, "orphan")
    made.push.image("gone", "1", layers=(blob,))
    made.snapshot()
    made.remove("gone")
    made.snapshot()
    key = spoil_member(made, blob)
    vault = made.vault()
    plan = plan_repair(vault, [], options=ALL, progress=NO_PROGRESS)
    (action,) = [a for a in plan.actions if a.ref.key == key]
    # As if no snapshot had needed it when it was planned.
    plan.actions = [action._replace(how="rebuild", lost=())]
    result = repair(vault, plan, [], options=ALL, progress=NO_PROGRESS)
    assert not result.replaced
    assert "has come to need" in result.failed[0][1]
    assert key in made.keys("packs/")


# -- places that cannot be asked ------------------------------------------------------------------


class Refusing:
    """A registry that cannot say just now what it has."""

    location = "fs:/registry"

    def __init__(self, inner, error: Exception) -> None:
        self._inner = inner
        self.error: Exception | None = error

    def stat_blob(self, digest):
        if self.error is not None:
            raise self.error
        return self._inner.stat_blob(digest)

    def open_blob(self, digest):
        return self._inner.open_blob(digest)


def test_a_registry_that_cannot_be_read_has_it_for_all_one_knows(made):
    """Invariant 9: what could not be read is not gone."""
    days = {1: made.restored(1), 2: made.restored(2)}
    key = spoil_member(made, everywhere=False)
    source = Refusing(made.source(), SourceError("Permission denied"))
    places, vault = [RegistrySpare(source)], made.vault()
    plan = plan_repair(vault, places, options=ALL, drop_lost=True, progress=NO_PROGRESS)
    (action,) = plan.actions
    assert action.how == "none"
    assert "fs:/registry: Permission denied" in action.why
    assert plan.nothing_to_do
    source.error = None
    plan = plan_repair(vault, places, options=ALL, drop_lost=True, progress=NO_PROGRESS)
    result = repair(vault, plan, places, options=ALL, progress=NO_PROGRESS)
    assert result.mended == [key]
    assert {1: made.restored(1), 2: made.restored(2)} == days


def test_a_place_that_errs_when_it_is_its_turn_loses_nothing(made):
    """Invariant 9: it had it when it was planned."""
    key = spoil_member(made, everywhere=False)
    leave_out(made, lambda line: False)
    source = Refusing(made.source(), SourceError("Permission denied"))
    source.error = None
    places, vault = [RegistrySpare(source)], made.vault()
    plan = plan_repair(vault, places, options=ALL, drop_lost=True, progress=NO_PROGRESS)
    source.error = SourceError("Input/output error")
    result = repair(vault, plan, places, options=ALL, progress=NO_PROGRESS)
    assert not result.dropped
    assert [failed for failed, _ in result.failed] == [key]
    assert key in made.keys("packs/")


def test_a_store_that_does_not_answer_ends_it(made):
    spoil_member(made, everywhere=False)
    places = [RegistrySpare(Refusing(made.source(), StoreUnavailableError("x", key="")))]
    with pytest.raises(StoreUnavailableError):
        plan_repair(made.vault(), places, options=ALL, drop_lost=True, progress=NO_PROGRESS)


def test_another_vault_tells_what_it_has_without_its_catalog(made):
    """Invariant 11: its objects tell; where they cannot be read, it may have it."""
    spoil_member(made, everywhere=False)
    key = snapshot_elsewhere(made)
    for each in made.other.keys("catalog/"):
        made.other.store.delete(each)
    vault = made.vault()
    plan = plan_repair(
        vault, spares(made, "copy"), options=ALL, drop_lost=True, progress=NO_PROGRESS
    )
    (action,) = plan.actions
    assert action.how == "rebuild"
    made.other.spoil(key, lambda data: flip(data, 0))
    plan = plan_repair(
        vault, spares(made, "copy"), options=ALL, drop_lost=True, progress=NO_PROGRESS
    )
    (action,) = plan.actions
    assert action.how == "none"
    assert key in action.why


def snapshot_elsewhere(made: World) -> str:
    """Let the other vault be one of the same registry, with packs of its own; return such a one."""
    made.other = World(registry=made.registry, store=MemoryStore("other"))
    made.push.image("more", "1", layers=(noise(800, "more"), LOST))
    made.other.snapshot()
    made.registry.delete(blob_key(digest_of(LOST)))
    (key,) = [k for k in made.other.keys("packs/") if LOST in made.other.store.get(k)]
    return key


# -- readers --------------------------------------------------------------------------------------


def test_what_a_restore_reads_is_not_deleted(made):
    """Rule 11: whole members of a damaged object are read by whoever began before."""
    key = spoil_member(made)
    vault = made.vault()
    with claim(vault, [made.root(1)], NO_PROGRESS):
        result = repaired(made, drop_lost=True)
        assert result.exit_code() == 0, result.to_json()
        assert result.claimed == [key]
        assert key in made.keys("packs/")
    gone = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(made.vault(), gone, progress=NO_PROGRESS, threads=1, grace_s=-1)
    gone.close()
    assert key not in made.keys("packs/")
    made.verified()


def test_what_a_restore_reads_in_the_place_of_another_is_not_deleted(made):
    """Rule 11: its list names the object by what an amendment put in its place."""
    spoil_member(made)
    repaired(made, drop_lost=True)
    vault = made.vault()
    blob = noise(901, "small", 1)
    with claim(vault, [made.root(1)], NO_PROGRESS):
        key = spoil_member(made, blob)
        assert repaired(made, drop_lost=True).claimed == [key]
        gone = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1)
        prune(made.vault(), gone, progress=NO_PROGRESS, threads=1, grace_s=-1)
        gone.close()
        assert key in made.keys("packs/")


def test_nothing_is_deleted_while_it_is_not_known_what_others_read(made):
    """Rule 11: the root of a claim is damaged, and a meta object is made again from elsewhere."""
    keys = made.keys("meta/")
    with claim(made.vault(), [made.root(1)], NO_PROGRESS):
        for key in (*keys, made.root(1).name.key):
            made.spoil(key, flip)
        result = repaired(made, "registry")
    assert result.claimed == keys
    assert set(keys) <= set(made.keys("meta/"))


# -- blobs that no object has, and lines that nothing tells ---------------------------------------


def leave_out(made: World, which) -> None:
    """Write the catalog anew without some of its lines."""
    for key in made.keys("catalog/"):
        name = parse_segment_key(key)
        assert name is not None
        lines = [line for line in Segment(made.store, name).read() if not which(line)]
        made.store.delete(key)
        write_segment(made.store, sorted(lines), level=0, run=name.run)


@pytest.mark.parametrize("blob", [LOST, "a manifest"], ids=["packed", "meta"])
def test_a_blob_that_segments_leave_out_is_not_lost(made, blob):
    """Invariant 11: less than nothing is told of it than when all of the catalog is lost."""
    days = {1: made.restored(1), 2: made.restored(2)}
    digest = digest_of(blob) if isinstance(blob, bytes) else manifest_of(made)
    leave_out(made, lambda line: digest.encode() in line)
    assert {1: made.restored(1), 2: made.restored(2)} == days
    assert {p.what for p in made.verify("metadata").report.problems} == {"uncatalogued"}
    result = repaired(made)
    assert result.exit_code() == 0, result.to_json()
    assert result.segment
    assert not result.replaced
    made.verified()
    assert {1: made.restored(1), 2: made.restored(2)} == days


def manifest_of(made: World) -> str:
    root = made.root(1)
    objects = made.vault().object_list(root)
    line = next(iter(made.vault().tree("repositories", root.repositories, objects).lines()))
    state = made.vault().tree("state", ChunkRef(line.split(b" ")[1].decode()), objects).lines()
    return next(x.split(b" ")[1].decode() for x in state if x.startswith(b"rev "))


def test_a_blob_in_whose_place_a_line_puts_another_is_found(made):
    """Invariant 11: the lines fill the pack, and one of them has another name."""
    days = {1: made.restored(1), 2: made.restored(2)}
    digest = digest_of(LOST).encode()
    for key in made.keys("catalog/"):
        name = parse_segment_key(key)
        other = b"sha256:" + b"0" * 64
        lines = [line.replace(digest, other) for line in Segment(made.store, name).read()]
        made.store.delete(key)
        write_segment(made.store, sorted(lines), level=0, run=name.run)
    result = repaired(made)
    assert result.segment
    assert {1: made.restored(1), 2: made.restored(2)} == days


def give_up(made: World, blob: bytes) -> None:
    """Take a blob out of its pack without saying that it was given up, as a repair once did."""
    key = spoil_member(made, blob, everywhere=False)
    vault = made.vault()
    plan = plan_repair(vault, [], options=ALL, drop_lost=True, progress=NO_PROGRESS)
    plan.actions = [a._replace(lost=()) for a in plan.actions]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("regvault.ops.repair.run._refused", lambda *_: {})
        result = repair(vault, plan, [], options=ALL, progress=NO_PROGRESS)
    assert list(result.replaced) == [key]
    assert {p.what for p in made.verify().report.problems} == {"closure"}


@pytest.mark.parametrize("where", ["registry", "copy"])
def test_a_blob_that_no_object_has_comes_back_from_elsewhere(made, where):
    """It comes into an object that the snapshot's list names; nothing else changes."""
    made.other = copied(made)
    days = {1: made.restored(1), 2: made.restored(2)}
    give_up(made, LOST)
    result = repaired(made, where)
    assert result.exit_code() == 0, result.to_json()
    assert [action.how for action in result.plan.actions] == ["add"]
    assert {1: made.restored(1), 2: made.restored(2)} == days
    made.verified()
    assert made.snapshot().exit_code() == 0
    made.verified()


def test_a_blob_that_nobody_has_is_named_with_why(made):
    give_up(made, LOST)
    result = repaired(made)
    assert result.exit_code() == 4
    assert [key for key, _, _ in result.plan.others] == [digest_of(LOST)]
