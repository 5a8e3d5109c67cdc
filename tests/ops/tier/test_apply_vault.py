"""What is done of a vault's plan: what a snapshot needs since stays, whatever happens."""

import contextlib
import threading
import time

import pytest
from shelved import DAY_NS, MIB, Ruled, Shelved
from world import Before, blob_key, tree

from regvault.errors import (
    LeaseHeldError,
    ObjectNotFoundError,
    RefusedError,
    StoreUnavailableError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.writing import writing
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.tiering import announce, read_announced

ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
VERBS = frozenset(
    {"put", "change_class", "mark_class", "placement", "head", "get", "list", "list_classes"}
)


@pytest.fixture
def world(tmp_path):
    made = Shelved()
    made.age(4, size=2 * MIB)
    made.file = made.write_plan(str(tmp_path / "plan"), newest=1)
    made.moves = [move.key for move in made.file.moves()]
    assert len(made.moves) == 3
    return made


def archived(world):
    """What lies in an archive; rules of the store have moved what is marked."""
    if isinstance(world.store, Ruled):
        world.store.follow_rules()
    return {key for key, name in world.shelf().items() if name in ARCHIVES}


def again(world, number):
    """Push again what only an old snapshot has."""
    key = next(k for k in world.needs(number) if k in world.moves)
    hexed = key.rpartition("/")[2]
    data = world.registry.get(blob_key(f"sha256:{hexed}"))
    world.push.image("team/again", "1", layers=(data,))
    return key


def test_what_was_planned_is_done_and_the_newest_restores(world):
    done = world.apply(world.file)
    assert (done.moved, done.exit_code) == (3, 0)
    assert archived(world) == set(world.moves)
    assert tree(world.restore(target=MemoryStore("t"))[1])
    found = read_announced(world.store, world.vault().id)
    assert not found.moving
    assert not found.promised
    assert set(found.cold) == set(world.moves)
    assert world.apply(world.file).before == 3
    # Nothing more is to be done, and prune and snapshots go on.
    world.snapshot()
    assert world.planned(newest=1) == {}


def test_what_a_snapshot_needs_since_stays(world):
    key = again(world, 1)
    world.snapshot()
    assert key in world.needs()
    done = world.apply(world.file)
    assert (done.moved, done.used) == (2, 1)
    assert key not in archived(world)


def test_a_snapshot_that_is_at_work_is_waited_for(world):
    with writing(world.vault(), "prod", wait_s=0, say=print):
        with pytest.raises(LeaseHeldError):
            world.apply(world.file)
        assert archived(world) == set()
    key = again(world, 2)

    def slow():
        with writing(world.vault(), "other", wait_s=0, say=print):
            began.set()
            time.sleep(1.5)

    began = threading.Event()
    thread = threading.Thread(target=slow)
    thread.start()
    began.wait()
    done = world.apply(world.file, wait_s=30)
    thread.join()
    assert done.moved == 3
    # Who begins later does not reuse it.
    world.snapshot()
    assert key not in world.needs()
    assert not world.needs() & archived(world)


@pytest.mark.parametrize("ruled", [False, True])
def test_a_snapshot_between_any_two_requests_relies_on_nothing_that_goes(tmp_path, ruled):
    """Whatever the interleaving: it stays, or it is stored again."""
    count = _requests(tmp_path, ruled=ruled)
    assert count > 10
    for at in range(count):
        fresh = Shelved(ruled=ruled)
        fresh.age(4, size=MIB)
        made = fresh.write_plan(str(tmp_path / f"plan-{at}"), newest=1)
        fresh.moves = [move.key for move in made.moves()]
        again(fresh, 1)
        store = _Between(fresh.store, at, fresh.snapshot)
        fresh.apply(made, store=store)
        assert store.done
        assert not fresh.needs() & archived(fresh), at
        assert fresh.restore(target=MemoryStore("t"))[0].exit_code() == 0


def _requests(tmp_path, *, ruled):
    fresh = Shelved(ruled=ruled)
    fresh.age(4, size=MIB)
    made = fresh.write_plan(str(tmp_path / "count"), newest=1)
    store = _Between(fresh.store, -1, lambda: None)
    fresh.apply(made, store=store)
    return store.seen


class _Between(FaultyStore):
    """Does something before the n-th request."""

    def __init__(self, inner, at, do):
        super().__init__(inner)
        self.at, self.do, self.seen, self.done = at, do, 0, False

    def _run(self, verb, key, call):
        number, self.seen = self.seen, self.seen + 1
        if number == self.at:
            self.do()
            self.done = True
        return call()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ruled", [False, True])
def test_struck_down_at_any_request_it_goes_on(tmp_path, when, ruled):
    at = 0
    while True:
        at += 1
        world = Shelved(ruled=ruled)
        world.age(3, size=MIB)
        made = world.write_plan(str(tmp_path / f"{when}-{at}"), newest=1)
        world.moves = [move.key for move in made.moves()]
        faulty = FaultyStore(world.store)
        faulty.plan(CrashError, when=when, verbs=VERBS, at=at)
        try:
            world.apply(made, store=faulty)
        except CrashError:
            pass
        else:
            assert not faulty.crashed
            break
        # A snapshot that comes before it goes on relies on none of it.
        key = again(world, 1)
        world.snapshot()
        assert not world.needs() & archived(world)
        done = world.apply(made)
        assert sum((done.moved, done.marked, done.before, done.there, done.used)) == 2, done
        assert not world.needs() & archived(world)
        assert archived(world) >= set(world.moves) - {key}
        assert world.restore(target=MemoryStore("t"))[0].exit_code() == 0
    assert at > 20


def test_objects_that_change_or_vanish_are_left(world):
    first, second, _ = world.moves
    world.store.put(first, world.store.get(first))
    world.store.delete(second)
    done = world.apply(world.file)
    assert (done.moved, done.written, done.gone) == (1, 1, 1)
    with pytest.raises(ObjectNotFoundError):
        world.store.head(second)


def test_a_store_that_refuses_a_class_ends_it(world):
    world.store.classes = tuple(name for name in world.store.classes if name != "DEEP_ARCHIVE")
    done = world.apply(world.file)
    assert (done.moved, done.exit_code) == (0, 3)
    assert "DEEP_ARCHIVE" in done.stopped
    assert archived(world) == set()


def test_a_store_that_is_away_ends_it_and_it_goes_on(world):
    faulty = FaultyStore(world.store)
    faulty.plan(StoreUnavailableError("away"), verbs={"change_class"}, at=2, times=9)
    done = world.apply(world.file, store=faulty)
    assert (done.moved, done.exit_code) == (1, 6)
    assert world.apply(world.file).moved == 2
    assert archived(world) == set(world.moves)


def test_what_somebody_reads_stays(world):
    with claim(world.vault(), [world.root(1)], NO_PROGRESS):
        done = world.apply(world.file)
    assert (done.moved, done.used) == (2, 1)


def test_an_old_plan_is_not_done(world):
    world.later(8)
    with pytest.raises(RefusedError):
        world.apply(world.file)


def test_of_two_tierings_the_first_one_stops(world, tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.tier.apply_vault._LOOK_EVERY_S", 0)
    other = world.write_plan(str(tmp_path / "other"), newest=2)

    store = Before(world.store, "change_class", "", lambda: world.apply(other))
    done = world.apply(world.file, store=store)
    assert store.do is None
    assert (done.left, done.exit_code) == (2, 3)
    assert "another tiering" in done.stopped


def test_a_promise_that_others_have_spent_since_is_kept(tmp_path):
    world = Shelved()
    world.age(3, size=4 * MIB)
    most = 0.002
    made = world.write_plan(
        str(tmp_path / "plan"), newest=1, max_hours=12, max_cost=most, horizon=900
    )
    target = {move.key: move.target for move in made.moves()}
    mine = [key for key in world.needs() if key in target]
    assert mine
    announce(world.store, world.vault().id, "x", [], hot="STANDARD", promise={}, done=True)
    # A snapshot comes that needs the older ones' images, too: its budget is the same.
    for number in (1, 2):
        hexed = next(k for k in world.needs(number) if k.startswith("blobs/")).rpartition("/")[2]
        data = world.registry.get(blob_key(f"sha256:{hexed}"))
        world.push.image(f"team/again-{number}", "1", layers=(data,))
    world.snapshot()
    world.apply(made)
    header = world.plan(newest=1, max_hours=12, max_cost=most, horizon=900).header
    assert header.restore[0]["kept"], header.restore
    promised = read_announced(world.store, world.vault().id).promised
    assert promised >= world.needs() & archived(world)
    # The next snapshot relies on them as the one before does.
    done = world.snapshot()
    assert done.archived == 0


def test_what_is_thawed_and_breaks_the_promise_comes_back_for_good(world, tmp_path):
    keys = sorted(world.needs())
    world.archive(*keys)
    for key in keys:
        world.store.thaw(key, way="bulk", days=3)
    world.store.finish_thaws()
    made = world.write_plan(str(tmp_path / "back"), newest=1)
    assert {move.key for move in made.moves() if move.target == "STANDARD"} == set(keys)
    assert made.header.restore[0]["kept"]
    assert world.apply(made).moved == made.header.moves
    assert {world.shelf()[key] for key in keys} == {"STANDARD"}
    world.later(9)
    assert world.restore(target=MemoryStore("t"))[0].exit_code() == 0


def test_who_begins_to_read_while_it_moves_keeps_what_is_read(world, monkeypatch):
    """A disaster does not wait for a tiering that runs all night."""
    monkeypatch.setattr("regvault.ops.tier.apply_vault._JUDGE_EVERY_S", 0)
    reading = contextlib.ExitStack()
    mine = world.needs(3) & set(world.moves)

    def begin():
        reading.enter_context(claim(world.vault(), [world.root(3)], NO_PROGRESS))

    store = Before(world.store, "placement", "", begin)
    with reading:
        done = world.apply(world.file, store=store)
        assert (done.moved, done.used) == (2, 1)
        assert not mine & archived(world)


def test_what_is_the_newest_once_others_were_forgotten_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.tier.apply_vault._JUDGE_EVERY_S", 0)
    world = Shelved()
    world.store.clock_ns = time.time_ns() - 7 * DAY_NS
    world.age(5, size=MIB)
    file = world.write_plan(str(tmp_path / "plan"), newest=2)
    third = {move.key for move in file.moves()} & world.needs(3)

    def drop():
        vault = world.vault()
        plan = plan_forget_named(vault, [world.root(4)])
        forget(vault, plan, progress=NO_PROGRESS, by=lambda: "me")

    done = world.apply(file, store=Before(world.store, "placement", "", drop))
    assert done.used >= 1
    assert not third & archived(world)


def test_a_finished_tiering_that_is_begun_again_beside_a_snapshot_forgets_no_promise(tmp_path):
    world = Shelved()
    world.age(3, size=4 * MIB)
    made = world.write_plan(
        str(tmp_path / "plan"), newest=3, max_hours=12, max_cost=1.0, horizon=900
    )
    world.apply(made)
    promised = read_announced(world.store, world.vault().id).promised & world.needs()
    assert promised
    with (
        writing(world.vault(), "prod", wait_s=0, say=print),
        pytest.raises(LeaseHeldError),
    ):
        world.apply(made)
    assert read_announced(world.store, world.vault().id).promised >= promised
    assert world.snapshot().stored == 0


def test_what_cannot_be_read_of_a_tiering_makes_no_snapshot_a_whole_copy(world):
    world.store.put("locks/tiering/0123.zst", b"not a frame")
    world.later(1)
    assert world.snapshot().stored == 0
    assert not world.needs() & archived(world)
    # What was in an archive all the time is not relied on.
    key = next(key for key in world.needs() if key.startswith("blobs/"))
    world.archive(key)
    world.snapshot()
    assert key not in world.needs()
    assert world.apply(world.file).exit_code == 0
