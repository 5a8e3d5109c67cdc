"""Object Lock: what is locked, for how long, and that no lock lapses before its need (inv. 10)."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from world import World, fill, noise

from regvault.errors import RefusedError, StoreAccessError, StoreError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.info import info
from regvault.ops.locking import extend_locks, lock_state
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.storage.memory import MemoryStore
from regvault.storage.memory_versions import VersionedMemoryStore
from regvault.storage.wrappers import CountingStore, FaultyStore
from regvault.vault.create import create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keys import LOCK_POLICY, is_locked_kind, new_run_id
from regvault.vault.locks import LockPolicy
from regvault.vault.stub import forget_root
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from regvault.model.store import Retention
    from regvault.vault.root import Root

DAY = 86_400 * 10**9
SPAN = 30
POLICY = LockPolicy("governance", SPAN * 86_400)


def locked_world(store: Any = None, **more: Any) -> World:
    store = VersionedMemoryStore("vault", clock_ns=time.time_ns()) if store is None else store
    create_vault(store, lock=POLICY)
    return World(store=store, **more)


@pytest.fixture
def world() -> World:
    made = locked_world()
    fill(made)
    return made


def extend(made: World, **more: Any) -> Any:
    return extend_locks(Vault(made.store), progress=made.progress, threads=2, **more)


def day(made: World, number: int) -> None:
    """One more day: a push, the snapshot, and what the command does after it."""
    made.store.clock_ns += DAY
    made.push.image(f"day-{number}", "1", layers=(noise(900, "own", number),))
    made.snapshot()
    extend(made)


def drop(made: World, root: Root) -> None:
    """Forget one, whatever the clocks say."""
    assert forget_root(made.store, made.vault().id, root, new_run_id())


def needs(made: World, root: Root) -> set[str]:
    objects = made.vault().object_list(root)
    return {ref.key for ref in objects} | {chunk.key for chunk in objects.own_chunks()}


def until(made: World, key: str) -> int:
    found = made.store.retention(key)
    return 0 if found is None else int(found.until_ns)


def covered(made: World) -> None:
    """Nothing that a snapshot needs, nor what it is found by, may be deleted now."""
    now = made.store.now_ns()
    for root in made.roots():
        for key in {root.name.key, *needs(made, root)}:
            assert until(made, key) > now, key
    for key in ("vault.json", LOCK_POLICY, *made.keys("catalog/")):
        assert until(made, key) > now, key


class TestWhatIsLocked:
    def test_every_object_is_locked_by_the_request_that_makes_it(self, world):
        """Rule 9: a lock that comes after the PUT comes too late for whoever is in between."""
        wrong: list[str] = []
        world.store.extend_retention = lambda key, _: wrong.append(key)
        world.snapshot()
        world.verify()
        kinds = {key.split("/")[0] for key in world.keys("") if is_locked_kind(key)}
        assert kinds >= {"vault.json", "blobs", "packs", "meta", "trees", "catalog", "snapshots"}
        assert kinds >= {"records", "locks"}
        for key in world.keys(""):
            found = world.store.retention(key)
            if key.startswith(("leases/", "locks/prune", "locks/probe")):
                assert found is None, key
            else:
                assert found.mode == "governance"
                assert found.until_ns > world.store.now_ns() + (SPAN - 1) * DAY, key
        assert not wrong

    def test_what_this_very_run_has_stored_is_not_looked_at_again_but_for_a_few(self, world):
        """A first full of a million objects would ask the store two million times."""
        vault, asked = world.vault(), []
        options = SnapshotOptions(registry="prod", threads=1)
        snapshot(vault, world.source(), options, progress=NO_PROGRESS, cache_base=None)
        keys = {key for root in world.roots() for key in needs(world, root)}
        world.store.clock_ns += DAY // 24
        real = world.store.retention
        world.store.retention = lambda key: asked.append(key) or real(key)
        done = extend_locks(vault, progress=NO_PROGRESS, threads=1)
        world.store.retention = real
        assert len(set(asked) & keys) <= 4 < len(keys)
        # And what is said holds for each of them.
        assert all(until(world, key) >= done.until_ns for key in keys)
        assert done.until_ns > world.store.now_ns() + (SPAN - 1) * DAY
        covered(world)

    def test_a_store_that_forgot_the_locks_is_found_out_by_those_few(self, world):
        vault = world.vault()
        options = SnapshotOptions(registry="prod", threads=1)
        snapshot(vault, world.source(), options, progress=NO_PROGRESS, cache_base=None)
        world.store.retention = lambda _: None
        done = extend_locks(vault, progress=NO_PROGRESS, threads=1)
        assert done.looked

    def test_the_settings_are_in_the_vault_for_a_writer_without_a_configuration(self, world):
        assert Vault(world.store).locks.policy == POLICY
        body = write_document({"type": "lock-policy", "format": 1, "features": [], "vault": "x"})[0]
        world.store.put(LOCK_POLICY, body)
        with pytest.raises(VaultDamagedError):  # nothing is written that may lack its lock
            world.snapshot()
        assert not world.keys("snapshots/")

    def test_a_vault_without_locks_costs_nothing(self):
        made = World(store=CountingStore(VersionedMemoryStore(object_lock=False)))
        fill(made)
        made.snapshot()
        assert extend(made) is None
        assert extend_locks(World().vault(), progress=NO_PROGRESS, threads=1) is None


class TestInit:
    @pytest.mark.parametrize("store", [MemoryStore(), VersionedMemoryStore(object_lock=False)])
    def test_a_store_that_cannot_lock_is_refused_with_a_hint(self, store):
        with pytest.raises(RefusedError, match="cannot lock") as caught:
            create_vault(store, lock=POLICY)
        assert "object-lock-enabled" in caught.value.hint
        assert not list(store.list())

    def test_a_store_that_ignores_what_it_is_told_is_refused(self):
        class Ignoring(VersionedMemoryStore):
            def extend_retention(self, key: str, retention: Retention) -> bool:
                return True

            def lock_writes(self, rule: Any) -> None:
                pass

        with pytest.raises(RefusedError, match="does not show the lock"):
            create_vault(Ignoring(), lock=POLICY)

    def test_a_vault_that_is_there_is_locked_and_a_locked_one_is_left_alone(self):
        store = VersionedMemoryStore(clock_ns=time.time_ns())
        made = World(store=store)
        fill(made)
        made.snapshot()
        assert extend(made) is None
        identity = create_vault(store, lock=POLICY)
        assert identity == made.vault().id
        found = extend(made)
        assert found.extended >= len(needs(made, made.root()))
        covered(made)
        for policy, said in (
            (None, "there is a vault at .* already$"),
            (POLICY, "already, locked as asked for"),
            (LockPolicy("compliance", 5), "locked already, governance for 30d, and that does not"),
            (LockPolicy("governance", 5), "locked already, governance for 30d, and that does not"),
        ):
            with pytest.raises(RefusedError, match=said):
                create_vault(store, lock=policy)
        assert Vault(store).locks.policy == POLICY

    def test_an_init_that_was_cut_short_is_finished_by_the_same_again(self):
        store = FaultyStore(VersionedMemoryStore(clock_ns=time.time_ns()))
        store.plan(StoreError("gone"), verbs={"put"}, match=lambda key: key == LOCK_POLICY)
        with pytest.raises(StoreError):
            create_vault(store, lock=POLICY)
        create_vault(store, lock=POLICY)
        assert Vault(store).locks.policy == POLICY


class TestExtension:
    def test_no_lock_lapses_while_a_snapshot_needs_the_object(self, world):
        """Invariant 10, over ten weeks: also of what was stored once and reused ever since."""
        world.snapshot()
        extend(world)
        first = {key: world.store.versions[key][0] for key in needs(world, world.root(1))}
        for number in range(70):
            day(world, number)
            if number % 7 == 0:
                covered(world)
        covered(world)
        for key, version in first.items():
            assert len(world.store.versions[key]) == 1, key
            assert world.store.versions[key][0].data == version.data

    def test_it_costs_a_few_requests_on_days_when_nothing_is_due(self, world):
        for number in range(6):
            day(world, number)
        counting = CountingStore(world.store)
        done = extend_locks(Vault(counting), progress=NO_PROGRESS, threads=2)
        assert done.record is None
        assert done.until_ns > world.store.now_ns()
        assert counting.counts["extend_retention"] == 0
        assert sum(counting.counts.values()) <= 12, counting.counts

    def test_a_new_snapshot_has_only_what_is_new_looked_at(self, world):
        for number in range(3):
            day(world, number)
        before = needs(world, world.root())
        world.store.clock_ns += DAY
        world.push.image("new", "1", layers=(noise(900, "new"),))
        world.snapshot()
        asked = CountingStore(world.store, record=True)
        done = extend_locks(Vault(asked), progress=NO_PROGRESS, threads=1)
        looked = {key for verb, key in asked.calls if verb == "extend_retention"}
        assert looked >= needs(world, world.root()) - before
        assert not {key for key in looked & before if not key.startswith("catalog/")}
        assert done.looked == len(looked)

    def test_what_a_new_snapshot_reuses_of_a_forgotten_one_is_extended(self, world):
        """Rule 9: the blob of an image that comes back was left to lapse."""
        image = world.push.image("comes-back", "1", layers=(noise(2 << 20, "big"),))
        world.snapshot()
        extend(world)
        [blob] = [k for k in needs(world, world.root()) if image.blobs[1].partition(":")[2] in k]
        world.remove("comes-back")
        for number in range(3):
            day(world, number)
        drop(world, world.root(1))
        for number in range(3, 25):
            day(world, number)
        lapses = until(world, blob)
        world.push.image("comes-back", "1", layers=(noise(2 << 20, "big"),))
        world.snapshot()
        assert blob in needs(world, world.root())
        assert until(world, blob) == lapses
        extend(world)
        assert until(world, blob) > lapses
        assert until(world, blob) >= world.store.now_ns() + (SPAN - 1) * DAY

    def test_what_only_forgotten_snapshots_need_is_left_to_lapse(self, world):
        day(world, 0)
        only = needs(world, world.root(1))
        world.remove("day-0")
        day(world, 1)
        only -= needs(world, world.root(2))
        assert only
        before = {key: until(world, key) for key in only}
        drop(world, world.root(1))
        world.store.clock_ns += 20 * DAY
        assert extend(world).extended
        assert {key: until(world, key) for key in only} == before

    def test_a_record_that_was_forged_is_not_believed(self, world):
        """Who takes a writer over cannot have the locks lapse by saying that they are long."""
        day(world, 0)
        root = world.root()
        world.store.clock_ns += 26 * DAY
        body = {
            "type": "retention", "format": 1, "features": [], "vault": world.vault().id,
            "run": "f" * 24, "at": "2026-01-01T00:00:00.000Z", "mode": "governance",
            "until": "2099-01-01T00:00:00.000Z", "slots": {"prod": [[1, 1 << 62]]},
        }  # fmt: skip
        world.store.put(f"locks/retention/{'f' * 24}.json", write_document(body)[0])
        state = lock_state(world.vault())
        assert state.known[root.name.key] <= world.store.now_ns() + (SPAN + 1) * DAY
        assert extend(world).extended >= len(needs(world, root))
        covered(world)

    def test_a_record_of_the_first_form_is_read(self, world):
        day(world, 0)
        root = world.root()
        (key,) = world.keys("locks/retention/")
        body = json.loads(world.store.get(key).split(b"\n")[0])
        known = lock_state(world.vault()).known
        body["roots"] = [root.name.key]
        del body["slots"]
        world.store.delete(key)
        world.store.put(key, write_document(body)[0])
        assert lock_state(world.vault()).known[root.name.key] == known[root.name.key]

    def test_a_record_of_many_snapshots_is_as_small_as_one_of_few(self, world):
        """Each run writes one: as a list of slots they would be more than the vault one day."""
        sizes = []
        for number in range(12):
            day(world, number)
            sizes.append(world.store.head(world.keys("locks/retention/")[-1]).size)
        assert max(sizes) - min(sizes) < 20
        state = lock_state(world.vault())
        assert state.known.keys() == {root.name.key for root in world.roots()}

    @pytest.mark.parametrize(
        "slots", [None, [], {"prod": 1}, {"prod": [1]}, {"prod": [[1]]}, {"prod": [["1", 9]]}]
    )
    def test_a_record_that_cannot_be_read_claims_nothing(self, world, slots):
        day(world, 0)
        [key] = world.keys("locks/retention/")
        body = json.loads(world.store.get(key).split(b"\n")[0]) | {"slots": slots}
        world.store.put(key, write_document(body)[0])
        assert lock_state(world.vault()).known == {}
        assert extend(world).record
        covered(world)

    def test_damage_stops_no_extension(self, world):
        """The worst day: where it cannot be known what is needed, all that is there is locked."""
        for number in range(3):
            day(world, number)
        world.spoil(world.root(2).name.key, lambda data: data[:-9])
        world.store.clock_ns += 20 * DAY
        done = extend(world)
        assert any("all objects are locked" in text for text in world.progress.warnings)
        now = world.store.now_ns()
        for key in world.keys(""):
            if is_locked_kind(key) and not key.startswith("locks/retention/"):
                assert until(world, key) > now + (SPAN - 1) * DAY, key
        assert done.record

    def test_what_is_gone_is_said_and_the_rest_is_locked(self, world):
        day(world, 0)
        [gone] = world.lose(world.keys("packs/")[0])
        world.store.clock_ns += 20 * DAY
        done = extend(world)
        assert done.gone == [gone]
        assert done.extended > 5

    def test_who_may_not_extend_is_told_and_nothing_is_recorded(self, world):
        day(world, 0)
        world.store.clock_ns += 20 * DAY
        faulty = FaultyStore(world.store)
        faulty.plan(StoreAccessError("no"), verbs={"extend_retention"}, times=1 << 30)
        before = world.keys("locks/")
        with pytest.raises(StoreAccessError):
            extend_locks(Vault(faulty), progress=NO_PROGRESS, threads=2)
        assert world.keys("locks/") == before

    def test_an_extension_that_was_interrupted_is_done_again(self, world):
        day(world, 0)
        world.store.clock_ns += 20 * DAY
        faulty = FaultyStore(world.store)
        faulty.plan(StoreError("broken"), verbs={"extend_retention"}, at=5)
        with pytest.raises(StoreError):
            extend_locks(Vault(faulty), progress=NO_PROGRESS, threads=1)
        extend(world)
        world.store.clock_ns += 12 * DAY
        covered(world)


class TestDeleting:
    @pytest.fixture
    def old(self) -> World:
        """A vault whose first snapshot was forgotten, and is as old as its lock allows."""
        store = VersionedMemoryStore("vault", clock_ns=time.time_ns() - 20 * DAY)
        made = locked_world(store)
        fill(made)
        day(made, 0)
        made.remove("day-0")
        day(made, 1)
        drop(made, made.root(1))
        made.store.clock_ns = time.time_ns()
        return made

    def pruned(self, made: World) -> Any:
        plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=2)
        return prune(made.vault(), plan, progress=NO_PROGRESS, threads=2)

    def test_what_is_locked_is_not_deleted_not_hidden_and_said(self, old, monkeypatch):
        done = self.pruned(old)
        assert done.condemned[0] == len(done.locked) > 0
        assert done.deleted == (0, 0)
        assert done.exit_code() == 3
        assert done.to_json()["locked_until"] is not None
        assert set(done.locked) <= set(old.keys())
        again = self.pruned(old)
        assert again.locked == done.locked
        # Once the last lock has lapsed the same again deletes them.
        lapsed = done.locked_until_ns + 1
        monkeypatch.setattr("regvault.vault.certain.time.time_ns", lambda: lapsed)
        old.store.clock_ns = lapsed
        last = self.pruned(old)
        assert set(done.locked) & set(old.keys()) == set()
        assert last.deleted[0] == len(done.locked)
        assert last.exit_code() == 0
        old.verified()

    def test_a_purge_says_until_when_a_lock_keeps_the_content(self, old):
        digest = old.push.image("secret", "1", layers=(noise(2 << 20, "secret"),)).blobs[1]
        old.snapshot()
        plan = plan_purge(old.vault(), [digest], progress=NO_PROGRESS)
        done = purge(old.vault(), plan, progress=NO_PROGRESS, threads=2)
        assert done.exit_code() == 3
        assert len(done.locked) == 1
        assert done.locked_until_ns > old.store.now_ns() + 29 * DAY
        old.verified()

    def test_a_deletion_that_is_denied_stops_nothing(self):
        """Rule 9: temporary markers that cannot be deleted are tolerated; so is all else."""
        store = FaultyStore(
            VersionedMemoryStore(clock_ns=time.time_ns(), default=("governance", DAY))
        )
        store.plan(StoreAccessError("denied"), verbs={"delete"}, times=1 << 30)
        create_vault(store, lock=POLICY)
        made = World(store=store)
        fill(made)
        assert made.snapshot().root is not None
        made.verified()


class TestInfo:
    def look(self, made: World) -> Any:
        from datetime import UTC, datetime

        return info(made.vault(), now=datetime.now(UTC))

    def codes(self, made: World) -> set[str]:
        return {issue.code for issue in self.look(made).issues}

    def test_it_shows_until_when_all_is_locked_and_warns_before_that_ends(self, world):
        world.snapshot()
        assert self.codes(world) == {"not-locked"}
        done = extend(world)
        assert self.codes(world) == set()
        locks = self.look(world).to_json()["locks"]
        assert locks == {"mode": "governance", "seconds": SPAN * 86_400, "until": locks["until"]}
        assert done.to_json()["until"] == locks["until"]
        world.store.clock_ns += 20 * DAY
        assert self.codes(world) == {"locks-lapse"}
        world.store.clock_ns += 20 * DAY
        assert self.codes(world) == {"locks-lapsed"}
        assert self.look(world).status == "error"
        extend(world)
        assert self.codes(world) == set()

    def test_a_vault_without_locks_says_nothing(self, small):
        small.snapshot()
        assert self.look(small).to_json()["locks"] is None


def test_every_retained_snapshot_is_covered_whatever_happens(world):
    """A walk of a year: pushes, forgetting, idle weeks shorter than half of the lock."""
    choose = random.Random(7)
    world.snapshot()
    extend(world)
    for _ in range(60):
        world.store.clock_ns += choose.randrange(1, 14) * DAY
        covered(world)
        if choose.random() < 0.6:
            name = f"r-{choose.randrange(8)}"
            if choose.random() < 0.4:
                world.remove(name)
            else:
                size = choose.choice((900, 2 << 20))
                world.push.image(name, "1", layers=(noise(size, choose.randrange(12)),))
            world.snapshot()
        elif len(world.roots()) > 2:
            drop(world, choose.choice(world.roots()[:-1]))
        extend(world)
        covered(world)
