"""Repair: a vault gets its own bytes back, or says what took their place; nothing gets worse."""

from __future__ import annotations

import json
import time

import pytest
from world import World, blob_key, digest_of, flip, noise, tree

from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.prune import plan_prune, prune
from regvault.ops.repair import RegistrySpare, VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import PRUNE_LOCK, plain_key
from regvault.vault.parties import end, read_held
from regvault.vault.vault import Vault

ALL = VerifyOptions(read_data=Sample(), threads=2)
RAW = noise(1 << 20, "raw")


def new_world() -> World:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    made = World(store=store)
    small = tuple(noise(900 + n, "small", n) for n in range(5))
    first = made.push.image("app", "v1", layers=(RAW, *small))
    second = made.push.image("app", "v2", layers=(noise(1 << 20, "other"), small[0]))
    made.push.index("app", "all", children=(first, second))
    made.push.image("web", "v1", layers=(noise(3000, "web"),))
    made.snapshot()
    made.push.image("app", "v3", layers=(RAW, noise(2000, "new")))
    made.snapshot()
    return made


@pytest.fixture
def made() -> World:
    return new_world()


def copied(made: World) -> World:
    other = World(store=MemoryStore("copy"))
    assert not copy(
        made.vault(), [other.vault()], CopyOptions(threads=2), progress=NO_PROGRESS
    ).exit_code()
    return other


def spares(made: World, *where: str) -> list:
    found = []
    for each in where:
        if each == "registry":
            found.append(RegistrySpare(made.source()))
        else:
            found.append(VaultSpare(made.other.vault()))
    return found


def repaired(made: World, *where: str, store=None, **words):
    vault = Vault(store or made.store)
    sources = spares(made, *where)
    plan = plan_repair(vault, sources, options=ALL, progress=NO_PROGRESS, **words)
    return repair(vault, plan, sources, options=ALL, progress=NO_PROGRESS, by=lambda: "me")


DAMAGE = {
    "a bit": lambda store, key: store.put(key, flip(store.get(key))),
    "the first bit": lambda store, key: store.put(key, flip(store.get(key), 0)),
    "cut off": lambda store, key: store.put(key, store.get(key)[:-100]),
    "empty": lambda store, key: store.put(key, b""),
    "gone": lambda store, key: store.delete(key),
}
OBJECTS = {
    "a raw blob": "blobs/",
    "a pack": "packs/",
    "a meta object": "meta/",
    "a chunk": "trees/",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", OBJECTS)
def test_what_a_copy_has_is_fetched_byte_for_byte(made, kind, damage):
    made.other = copied(made)
    days = {1: made.restored(1), 2: made.restored(2)}
    before = {k: v for k, v in tree(made.store).items() if k.startswith(OBJECTS[kind])}
    for key in before:
        DAMAGE[damage](made.store, key)
    result = repaired(made, "copy")
    assert result.exit_code() == 0, result.to_json()
    assert sorted(result.mended) == sorted(before)
    assert before == {k: v for k, v in tree(made.store).items() if k.startswith(OBJECTS[kind])}
    assert not made.keys("records/amendments/")
    assert {1: made.restored(1), 2: made.restored(2)} == days
    made.verified()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["a raw blob", "a pack", "a meta object"])
def test_what_the_registry_has_is_stored_again(made, kind, damage):
    """Older snapshots are whole again too: a snapshot alone heals the newest one only."""
    days = {1: made.restored(1), 2: made.restored(2)}
    keys = made.keys(OBJECTS[kind])
    roots = {key: made.store.get(key) for key in made.keys("snapshots/")}
    for key in keys:
        DAMAGE[damage](made.store, key)
    result = repaired(made, "registry")
    assert result.exit_code() == 0, result.to_json()
    if kind != "a meta object":
        assert sorted(result.mended) == sorted(keys)  # a pack is made again, byte for byte
    assert {1: made.restored(1), 2: made.restored(2)} == days
    assert roots == {key: made.store.get(key) for key in made.keys("snapshots/")}
    made.verified()
    assert made.snapshot().exit_code() == 0
    made.verified()
    # And a copy of the mended vault is whole.
    other = copied(made)
    other.name = made.name
    other.verified()
    assert other.restored(1) == days[1]


def test_what_nobody_has_stays_until_someone_agrees_to_drop_it(made):
    """Whatever could be recovered before can be after: without a word nothing is dropped."""
    key = made.keys("packs/")[0]
    made.store.put(key, flip(made.store.get(key), 700))
    made.registry.delete(blob_key(digest_of(noise(900, "small", 0))))
    before = {k: v for k, v in tree(made.store).items() if not k.startswith("records/")}
    result = repaired(made)
    assert result.exit_code() == 4
    (action,) = [a for a in result.plan.actions if a.ref.key == key]
    assert action.how == "drop"
    assert len(action.lost) == 1
    after = {k: v for k, v in tree(made.store).items() if not k.startswith("records/")}
    assert {k for k in before if before[k] != after.get(k)} <= set(made.keys("leases/"))
    day = made.restore(1)[1]
    result = repaired(made, drop_lost=True)
    assert result.exit_code() == 0, result.to_json()
    assert result.dropped == list(action.lost)
    assert key not in made.keys("packs/")
    made.verified()
    assert tree(made.restore(1)[1]).keys() <= tree(day).keys()
    assert made.snapshot().exit_code() in (0, 3)
    made.verified()


def test_a_dropped_raw_blob(made):
    key = next(k for k in made.keys("blobs/") if plain_key(k).endswith(digest_of(RAW)[7:]))
    made.store.delete(key)
    assert repaired(made).exit_code() == 4
    assert repaired(made, drop_lost=True).dropped == [digest_of(RAW)]
    made.verified()
    made.restored(1)


def test_another_place_in_the_same_vault_is_enough(made):
    """A blob that lies in two objects is no loss when one of them is damaged."""
    key = made.keys("packs/")[0]
    # A registry of another name, whose blobs the damaged pack cannot give.
    made.store.put(key, flip(made.store.get(key), 700))
    made.verify()
    made.snapshot()  # stores the members anew, in another pack
    result = repaired(made)
    assert result.exit_code() == 0, result.to_json()
    assert key in result.mended
    made.verified()


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_catalog_is_written_anew(made, damage):
    """Invariant 11: no snapshot depends on it, and repair makes it whole."""
    days = {1: made.restored(1), 2: made.restored(2)}
    for key in made.keys("catalog/"):
        DAMAGE[damage](made.store, key)
    assert made.verify().exit_code() == 4
    result = repaired(made)
    assert result.exit_code() == 0, result.to_json()
    assert result.segment
    assert {1: made.restored(1), 2: made.restored(2)} == days
    if damage != "gone":
        plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1)
        prune(made.vault(), plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
        plan.close()
        assert made.keys("catalog/") == [result.segment]
    made.verified()
    assert made.snapshot().read == 0


def test_one_damaged_segment_of_several(made):
    key = made.keys("catalog/")[0]
    made.store.put(key, flip(made.store.get(key)))
    assert repaired(made).exit_code() == 0
    made.verified()


def test_a_whole_vault_is_left_alone(made):
    before = tree(made.store)
    vault = made.vault()
    plan = plan_repair(vault, [], options=ALL, progress=NO_PROGRESS)
    assert plan.nothing_to_do
    assert {k: v for k, v in tree(made.store).items() if not k.startswith("leases/")} == {
        k: v for k, v in before.items() if not k.startswith("leases/")
    }


class LyingSource:
    """A registry whose blobs have other bytes."""

    location = "fs:/liar"

    def __init__(self, inner) -> None:
        self._inner = inner

    def stat_blob(self, digest):
        return self._inner.stat_blob(digest)

    def open_blob(self, digest):
        reader, size = self._inner.open_blob(digest)
        store = MemoryStore("x")
        store.put("x", flip(reader.read(size)))
        return store.open("x"), size


@pytest.mark.parametrize("kind", ["a raw blob", "a pack", "a meta object"])
def test_a_spare_that_is_wrong_itself_mends_nothing_and_spoils_nothing(made, kind):
    """Invariant 7: everything is proven before it is written."""
    keys = made.keys(OBJECTS[kind])
    for key in keys:
        made.store.put(key, flip(made.store.get(key)))
    before = {k: made.store.get(k) for k in keys}
    vault = made.vault()
    liar = [RegistrySpare(LyingSource(made.source()))]
    plan = plan_repair(vault, liar, options=ALL, progress=NO_PROGRESS)
    result = repair(vault, plan, liar, options=ALL, progress=NO_PROGRESS)
    assert result.exit_code() == 4
    assert result.failed
    # (Where the flip hit what fills up a block, all members are whole, and so is the pack again.)
    for key, data in before.items():
        assert made.store.get(key) in (data, flip(data))
    assert any(made.store.get(key) == data for key, data in before.items())


class StoppedError(Exception):
    pass


class StoppingStore(Wrapper):
    def __init__(self, inner, after: int) -> None:
        super().__init__(inner)
        self.left = after

    def _count(self, key) -> None:
        if key.startswith("records/verifications/"):
            return
        if self.left == 0:
            raise StoppedError
        self.left -= 1

    def put(self, key, data, **words):
        self._count(key)
        return super().put(key, data, **words)

    def put_stream(self, key, reader, **words):
        self._count(key)
        return super().put_stream(key, reader, **words)

    def delete(self, key):
        self._count(key)
        super().delete(key)


@pytest.mark.parametrize("where", [("registry",), ("copy",)], ids=str)
def test_interrupted_anywhere_and_done_again(where):
    """Whatever the interruption, what could be recovered before can be after."""
    for after in range(200):
        made = new_world()
        made.other = copied(made)
        days = {1: made.restored(1), 2: made.restored(2)}
        for prefix in ("blobs/", "packs/", "meta/", "catalog/"):
            for key in made.keys(prefix):
                made.store.put(key, flip(made.store.get(key)))
        try:
            repaired(made, *where, store=StoppingStore(made.store, after))
        except StoppedError:
            pass
        else:
            break
        found = read_held(made.store, made.vault().id, PRUNE_LOCK)
        if found is not None and found[0]["state"] == "held":
            assert end(made.store, made.vault().id, PRUNE_LOCK, found[0], found[1])
        result = repaired(made, *where)
        assert result.exit_code() == 0, json.dumps(result.to_json(), indent=1)
        assert {1: made.restored(1), 2: made.restored(2)} == days
        made.verified()
    assert after > 5


@pytest.mark.parametrize("where", ["registry", "nowhere"])
def test_a_damaged_object_that_no_segment_tells_of(made, where):
    """The catalog is gone too: what lay in it is what snapshots need and no object has."""
    days = {1: made.restored(1), 2: made.restored(2)}
    keys = [*made.keys("packs/"), *made.keys("meta/")]
    for key in keys:
        made.store.put(key, flip(made.store.get(key), 3))  # the first header, or frame
    for key in made.keys("catalog/"):
        made.store.delete(key)
    if where == "registry":
        result = repaired(made, "registry")
        assert result.exit_code() == 0, result.to_json()
        assert set(result.replaced) == set(keys)
        made.verified()
        assert {1: made.restored(1), 2: made.restored(2)} == days
        assert made.snapshot().exit_code() == 0
        made.verified()
        return
    # What is whole of the packs is kept; the only frame of each meta object is not.
    assert repaired(made).exit_code() == 4
    result = repaired(made, drop_lost=True)
    assert result.exit_code() == 0, result.to_json()
    small = [digest_of(noise(900 + n, "small", n)) for n in range(5)]
    assert len(set(small) - set(result.dropped)) >= 4
    made.verified()


@pytest.mark.parametrize("damage", ["a bit", "gone"])
@pytest.mark.parametrize("sequence", [1, 2])
def test_a_root_comes_back_from_a_copy(made, sequence, damage):
    """Only the very root: a neighbour in the chain names it by its digest."""
    made.other = copied(made)
    days = {1: made.restored(1), 2: made.restored(2)}
    key = made.root(sequence).name.key
    before = made.store.get(key)
    DAMAGE[damage](made.store, key)
    assert made.verify().exit_code() == 4
    assert repaired(made).exit_code() == 4
    result = repaired(made, "copy")
    assert result.exit_code() == 0, result.to_json()
    assert result.roots == [key]
    assert made.store.get(key) == before
    assert {1: made.restored(1), 2: made.restored(2)} == days
    made.verified()


def test_a_root_that_does_not_fit_its_chain_is_not_put_back(made):
    """Rule 6: a copy that was tampered with; the next root names the right one by its digest."""
    made.other = copied(made)
    key = made.root(1).name.key
    made.store.delete(key)
    lines = made.other.store.get(key).split(b"\n")
    forged = write_document({**json.loads(lines[0]), "complete": False})[0]
    made.other.store.put(key, forged + b"\n".join(lines[2:]))
    assert repaired(made, "copy").roots == []
    assert made.keys("snapshots/") == [made.root(2).name.key]


def test_a_root_of_another_vault_is_not_taken(made):
    made.other = new_world()
    key = made.root(1).name.key
    made.store.put(key, flip(made.store.get(key)))
    assert repaired(made, "copy").roots == []


def test_all_at_once_from_a_copy(made):
    made.other = copied(made)
    day = tree(made.store)
    days = {1: made.restored(1), 2: made.restored(2)}
    for prefix in ("blobs/", "packs/", "meta/", "trees/", "catalog/"):
        for key in made.keys(prefix):
            made.store.delete(key)
    key = made.root(1).name.key
    made.store.put(key, flip(made.store.get(key)))
    result = repaired(made, "copy")
    assert result.exit_code() == 0, result.to_json()
    after = tree(made.store)
    for prefix in ("blobs/", "packs/", "meta/", "trees/", "snapshots/"):
        assert {k: v for k, v in day.items() if k.startswith(prefix)} == {
            k: v for k, v in after.items() if k.startswith(prefix)
        }
    assert {1: made.restored(1), 2: made.restored(2)} == days
    made.verified()


def test_what_only_a_damaged_object_list_names_is_mended_with_it(made):
    """Nobody knows of it before the list is there again: one repair does both, or says so."""
    made.other = copied(made)
    vault = made.vault()
    newest, before = made.roots()[-1], made.roots()[-2]
    lists = {ref.key for ref in vault.object_list(newest).own_chunks()}
    lists -= {ref.key for ref in vault.object_list(before).own_chunks()}
    only = {ref.key for ref in vault.object_list(newest)}
    only -= {ref.key for ref in vault.object_list(before)}
    assert lists
    assert only
    for key in lists | only:
        made.spoil(key, flip)
    assert lists <= {problem.key for problem in made.verify("data").report.problems}
    result = repaired(made, "copy")
    assert result.exit_code() == 0
    assert not made.verify("data").report.problems
