"""A vault that someone has deleted or overwritten, read as it was, and brought back (rule 13)."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from world import World, fill, flip, noise, tree

from regvault.errors import RefusedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import plan_prune, prune
from regvault.ops.repair import VaultSpare, plan_repair, repair
from regvault.ops.repair.past import recover_documents
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.storage.memory_versions import VersionedMemoryStore
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.create import create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keys import LOCK_POLICY, new_run_id
from regvault.vault.locks import LockPolicy
from regvault.vault.parties import void_document
from regvault.vault.stub import forget_root, stub_document
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = ("vault.json", "snapshots/", "records/", "condemned/", "catalog/", "locks/policy.json")
OBJECTS = ("blobs/", "meta/", "packs/", "trees/")


@pytest.fixture
def made() -> World:
    """Three snapshots in a bucket that keeps versions, the first one forgotten; all locked."""
    store = VersionedMemoryStore("vault", clock_ns=time.time_ns() - 3_600 * 10**9)
    create_vault(store, lock=LockPolicy("governance", 86_400))
    world = World(store=store)
    fill(world)
    for number in range(3):
        world.push.image(f"r{number}", "1", layers=(noise(2 << 20, number), noise(500, number)))
        world.snapshot()
    world.verify()
    assert forget_root(store, world.vault().id, world.root(1), new_run_id())
    return world


@contextmanager
def later(made: World) -> Iterator[int]:
    """Yield the moment before what happens in the block."""
    moment = made.store.clock_ns
    made.store.clock_ns += 10**9
    yield moment
    made.store.clock_ns = max(made.store.clock_ns, time.time_ns())


OPTIONS = VerifyOptions(read_data=Sample(), threads=2)


def opened(made: World, moment: int, store: Any = None) -> tuple[Vault, list[Any]]:
    past = Vault(made.store.as_of(moment))
    recovered = recover_documents(store or made.store, past.store, past.id)
    return Vault(recovered), [VaultSpare(past, "the past")]


def plan(made: World, moment: int, store: Any = None) -> Any:
    vault, spares = opened(made, moment, store)
    return vault, spares, plan_repair(vault, spares, options=OPTIONS, progress=NO_PROGRESS)


def brought_back(made: World, moment: int, store: Any = None) -> Any:
    vault, spares, found = plan(made, moment, store)
    return repair(vault, found, spares, options=OPTIONS, progress=NO_PROGRESS)


def kept(made: World) -> dict[str, bytes]:
    return {k: v for k, v in tree(made.store).items() if k.startswith((*KEPT, *OBJECTS))}


def wipe(made: World) -> None:
    made.lose(*made.keys(""))


def overwrite(made: World) -> None:
    for key in made.keys(""):
        made.store.put(key, b"your files are encrypted")


def flip_all(made: World) -> None:
    """Damage that keeps every size."""
    for key in made.keys(""):
        made.spoil(key, flip)


class TestReading:
    @pytest.mark.parametrize("harm", [wipe, overwrite, flip_all])
    def test_after_everything_is_gone_a_snapshot_of_the_past_restores(self, made, harm):
        """Rule 13: delete markers and garbage hide what versions keep."""
        held = made.restored(3)
        with later(made) as moment:
            harm(made)
        past = made.store.as_of(moment)
        assert Vault(past).registries() == ["prod"]
        other = World(made.registry, past)
        assert other.restored(3) == held
        result = other.verify()
        assert result.report.count == 0
        assert not result.recorded  # nothing can be written into the past, and
        assert not other.progress.warnings  # nobody has to be told


class TestRepair:
    @pytest.mark.parametrize("harm", [wipe, overwrite, flip_all])
    def test_everything_comes_back(self, made, harm):
        before, held = kept(made), made.restored(3)
        with later(made) as moment:
            harm(made)
        result = brought_back(made, moment)
        assert result.exit_code() == 0, result.to_json()
        assert set(result.documents) >= {"vault.json", LOCK_POLICY, "snapshots/prod/00000003.json"}
        after = kept(made)
        # What only the forgotten snapshot needed, nothing needs; all else is as it was.
        needed = {key for key in before if not key.startswith(OBJECTS)}
        for root in made.roots():
            objects = made.vault().object_list(root)
            needed |= {ref.key for ref in objects} | {c.key for c in objects.own_chunks()}
        assert {key: after[key] for key in needed} == {key: before[key] for key in needed}
        made.verified()
        assert made.restored(3) == held
        # And the next day is like any other.
        made.push.image("after", "1", layers=(noise(700, "after"),))
        made.snapshot()
        made.verified()

    def test_what_comes_back_is_locked(self, made):
        with later(made) as moment:
            wipe(made)
        brought_back(made, moment)
        for key in made.keys(""):
            if key.startswith((*KEPT, *OBJECTS)):
                assert made.store.retention(key).until_ns > made.store.now_ns(), key

    def test_a_plan_is_made_before_anything_is_written(self, made):
        with later(made) as moment:
            wipe(made)
        _, _, found = plan(made, moment)
        assert not [key for key in made.keys("") if not key.startswith("leases/")]
        assert "snapshots/prod/00000002.json" in found.documents
        assert {action.how for action in found.actions} == {"fetch"}
        assert found.to_json()["documents"] == found.documents

    def test_what_is_good_is_never_overwritten(self, made):
        """What was written since the moment stays: a newer snapshot, a stub, a record."""
        with later(made) as moment:
            made.push.image("new", "1", layers=(noise(900, "new"),))
            made.snapshot()
            made.verify()
            assert forget_root(made.store, made.vault().id, made.root(2), new_run_id())
            before = kept(made)
            made.lose(made.keys("packs/")[0], "snapshots/prod/00000003.json")
        writes = len(made.store.versions["snapshots/prod/00000002.json"])
        result = brought_back(made, moment)
        assert result.exit_code() == 0, result.to_json()
        assert result.documents == ["snapshots/prod/00000003.json"]
        assert {key: kept(made)[key] for key in before} == before
        assert len(made.store.versions["snapshots/prod/00000002.json"]) == writes
        assert made.root(4).name.sequence == 4
        made.verified()

    def test_a_whole_vault_has_nothing_to_bring_back(self, made):
        with later(made) as moment:
            pass
        _, _, found = plan(made, moment)
        assert found.nothing_to_do
        assert not found.problems

    def test_what_was_condemned_stays_gone(self):
        """Invariant 4, the other way round: what was deleted by right does not come back."""
        store = VersionedMemoryStore("vault", clock_ns=time.time_ns() - 3_600 * 10**9)
        made = World(store=store)
        fill(made)
        made.snapshot()
        made.remove("app")
        for number in range(9):  # so many that segments are merged
            made.push.image("tools/cli", f"v{number}", layers=(noise(700, number),))
            made.snapshot()
        assert forget_root(store, made.vault().id, made.root(1), new_run_id())
        before = set(made.keys(""))
        with later(made) as moment:
            made.store.clock_ns = time.time_ns()
            todo = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1.0)
            prune(made.vault(), todo, progress=NO_PROGRESS, threads=1, grace_s=-1.0)
            condemned = before - set(made.keys(""))
            assert {key.split("/")[0] for key in condemned} >= {"blobs", "catalog", "trees"}
            made.lose("vault.json", *made.keys("meta/"))
        result = brought_back(made, moment)
        assert result.exit_code() == 0, result.to_json()
        assert result.documents == ["vault.json"]
        assert not condemned & set(made.keys(""))
        made.verified()

    def test_another_vault_that_was_made_there_is_not_touched(self, made):
        with later(made) as moment:
            wipe(made)
            create_vault(made.store)
        before = tree(made.store)
        with pytest.raises(RefusedError, match="another vault"):
            opened(made, moment)
        assert tree(made.store) == before

    def test_a_repair_that_is_killed_goes_on_where_it_was(self, made):
        """Invariant 1: the same command again converges, wherever it died."""
        with later(made) as moment:
            wipe(made)
        held = None
        for at in range(1, 200, 7):
            faulty = FaultyStore(made.store)
            faulty.crash_at(at)
            try:
                brought_back(made, moment, faulty)
            except CrashError:
                continue
            held = made.restored(3)
            break
        assert held is not None
        made.verified()


def voids(made: World) -> None:
    """Anyone who can write can write a void: into the slot of a root, a list, an amendment."""
    vault = str(made.vault().id)
    for key in made.keys("snapshots/"):
        made.store.put(key, void_document(vault, key, "f" * 24))
    made.lose("leases/", "records/")


def newer(made: World) -> None:
    """Documents of a format that no regvault has written yet."""
    for key in made.keys(""):
        if key.endswith(".json") and not key.startswith(("leases/", "locks/prune")):
            body = json.loads(made.store.get(key).split(b"\n")[0])
            made.store.put(key, write_document({**body, "format": 2})[0])


def forged(made: World) -> None:
    """Roots that were never committed: checksums are not secret."""
    for key in made.keys("snapshots/"):
        body = json.loads(made.store.get(key).split(b"\n")[0])
        if body["type"] == "root":
            made.store.put(key, write_document({**body, "complete": False})[0])


class TestWhatCanBeRead:
    """Rule 13: what overwrote a document may be one itself."""

    @pytest.mark.parametrize("harm", [voids, newer, forged])
    def test_what_nobody_writes_by_right_gives_way(self, made, harm):
        before, held = kept(made), made.restored(3)
        with later(made) as moment:
            harm(made)
        _, _, found = plan(made, moment)
        assert "snapshots/prod/00000003.json" in found.documents
        result = brought_back(made, moment)
        assert result.exit_code() == 0, result.to_json()
        assert {key: kept(made).get(key) for key in before} == before
        assert made.restored(3) == held
        made.verified()

    def test_a_forgetting_since_then_stands(self, made):
        """A stub takes the place of a root by right, and its record says so."""
        with later(made) as moment:
            made.store.clock_ns = time.time_ns()
            vault = made.vault()
            forget(
                vault,
                plan_forget_named(vault, [made.root(2)]),
                progress=NO_PROGRESS,
                by=lambda: "me",
            )
        stub = made.store.get("snapshots/prod/00000002.json")
        _, _, found = plan(made, moment)
        assert found.nothing_to_do
        assert not found.others
        assert made.store.get("snapshots/prod/00000002.json") == stub

    def test_a_forgetting_that_nobody_recorded_stands_and_is_said(self, made):
        with later(made) as moment:
            assert forget_root(made.store, made.vault().id, made.root(2), new_run_id())
        _, _, found = plan(made, moment)
        assert found.nothing_to_do
        assert [(key, what) for key, what, _ in found.others] == [
            ("snapshots/prod/00000002.json", "unconfirmed")
        ]

    def test_the_stub_of_another_root_gives_way(self, made):
        key = "snapshots/prod/00000003.json"
        before = made.store.get(key)
        with later(made) as moment:
            lie = replace(made.root(3), sha256="a" * 64)
            made.store.put(key, stub_document(made.vault().id, lie, new_run_id()))
        assert brought_back(made, moment).exit_code() == 0
        assert made.store.get(key) == before

    def test_a_newer_regvault_that_is_at_work_is_left_alone(self, made):
        with later(made) as moment:
            (key, *_) = made.keys("leases/")
            body = json.loads(made.store.get(key).split(b"\n")[0])
            made.store.put(key, write_document({**body, "format": 2})[0])
        past = made.store.as_of(moment)
        assert not recover_documents(made.store, past, Vault(past).id).lost
