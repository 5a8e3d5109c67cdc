"""A restore of what lies in archives: asked for exactly, gone on with, and nothing half done."""

import pytest
from shelved import DAY_NS, MIB, Shelved
from world import tree

from regvault.config.price_files import load_prices
from regvault.errors import ObjectArchivedError, UsageError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.restore import RestoreOptions, Restorer
from regvault.ops.tier.cold import Cold, find_cold
from regvault.ops.tier.thaw import Thaw, execute_thaw, plan_thaw
from regvault.registry.reader import DistributionSource
from regvault.registry.writer import DistributionTarget
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog

TABLE = load_prices("aws-us-east-1")
VERBS = frozenset({"thaw", "placement", "get", "open", "list", "list_classes", "head"})


@pytest.fixture
def world():
    made = Shelved()
    made.age(3, size=2 * MIB)
    made.image("team/live", "1")
    made.snapshot()
    made.later(2)
    return made


def old(world, sequence=1):
    """Archive all that only an old snapshot needs."""
    keys = sorted(world.needs(sequence) - world.needs())
    world.archive(*keys)
    return keys


class Sleeper:
    """Each time somebody waits, the store finishes one of the thaws."""

    def __init__(self, world, limit=100):
        self.world = world
        self.waits = []
        self.limit = limit

    def __call__(self, seconds):
        self.waits.append(seconds)
        if len(self.waits) > self.limit:
            raise CrashError("waited too often")
        first = next((key for key, _, _ in self.world.store.requests if self._open(key)), None)
        if first is not None and len(self.waits) % 3 == 0:
            self.world.store.finish_thaws([first])

    def _open(self, key):
        return self.world.store.placement(key).thawing


def thaw(world, *, store=None, sleep=None, way="bulk"):
    return Thaw(
        store or world.store,
        chosen={},
        way=way,
        days=3,
        threads=1,
        progress=NO_PROGRESS,
        poll_s=60,
        sleep=sleep or Sleeper(world),
    )


def restore(world, sequence, target, *, how=None, store=None, **options):
    """Restore with a thaw; return the plan and the result."""
    vault = world.vault(store)
    root = world.root(sequence)
    objects = vault.object_list(root)
    catalog = Catalog(vault.store, None, vault.seal)
    catalog.prepare(1 << 30)
    existing = list(DistributionSource(target, kind="x", threads=1).blobs())
    restorer = Restorer(
        vault,
        root,
        objects,
        BlobReader(vault.store, catalog, objects),
        DistributionTarget(target),
        existing,
        RestoreOptions(threads=1, **options),
        NO_PROGRESS,
    )
    try:
        plan = restorer.plan()
        restorer.locate(plan)
        return plan, None if options.get("dry_run") else restorer.execute(plan, how)
    finally:
        restorer.close()
        catalog.close()


def test_it_refuses_before_anything_is_written(world):
    keys = old(world)
    target = MemoryStore("t")
    with pytest.raises(ObjectArchivedError) as caught:
        restore(world, 1, target)
    assert caught.value.exit_code == 6
    assert f"{len(keys)} objects" in caught.value.message
    assert "tier thaw" in caught.value.hint
    assert tree(target) == {}
    assert world.store.requests == []


def test_a_dry_run_says_what_has_to_be_thawed(world):
    keys = old(world)
    plan, _ = restore(world, 1, MemoryStore("t"), dry_run=True)
    assert [each.key for each in plan.cold] == keys
    found = plan_thaw(plan.cold, (plan.objects, 0), TABLE).to_json()
    assert found["ways"]["bulk"]["hours"] == 12
    assert found["ways"]["expedited"]["cost"] > found["ways"]["bulk"]["cost"] >= 0
    assert found["chosen"] == found["ways"]["bulk"]
    assert world.store.requests == []


def test_only_what_is_asked_for_is_thawed(world):
    world.archive(*world.shelf())
    (tag,) = {"1"}
    plan, _ = restore(world, 4, MemoryStore("t"), globs=("team/live",), tags=(tag,), dry_run=True)
    every, _ = restore(world, 4, MemoryStore("t"), dry_run=True)
    assert 0 < len(plan.cold) < len(every.cold)


def test_what_the_target_has_is_not_thawed(world):
    _, target = world.restore(1, MemoryStore("t"))
    old(world)
    plan, done = restore(world, 1, target)
    assert plan.cold == []
    assert done.exit_code() == 0


def test_what_is_there_is_restored_while_the_rest_is_thawed(world):
    keys = old(world)
    target = MemoryStore("t")
    sleeper = Sleeper(world)
    _, done = restore(world, 1, target, how=thaw(world, sleep=sleeper))
    assert done.exit_code() == 0
    assert [key for key, _, _ in world.store.requests] == keys
    assert {way for _, way, _ in world.store.requests} == {"bulk"}
    assert len(sleeper.waits) >= 3
    assert [round(each) for each in sleeper.waits] == sorted(map(round, sleeper.waits))
    assert sleeper.waits[0] < sleeper.waits[-1]
    assert tree(target) == tree(world.restore(1, MemoryStore("u"))[1])


def test_a_blob_that_lies_elsewhere_too_is_read_there(world):
    world.image("team/live", "1")
    world.archive(*(key for key in world.needs(4)))
    world.snapshot()  # it is stored again
    assert not world.needs(5) & world.needs(4)
    plan, done = restore(world, 4, MemoryStore("t"))
    assert plan.cold == []
    assert done.exit_code() == 0
    # Not where that is gone.
    world.lose(*world.needs(5))
    with pytest.raises(ObjectArchivedError):
        restore(world, 4, MemoryStore("t"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_struck_down_at_any_request_it_goes_on_and_asks_for_nothing_twice(when):
    at = 0
    while True:
        at += 1
        world = Shelved()
        world.age(2, size=MIB)
        keys = old(world)
        faulty = FaultyStore(world.store)
        faulty.plan(CrashError, when=when, verbs=VERBS, at=at)
        target = MemoryStore("t")
        try:
            restore(world, 1, target, how=thaw(world, store=faulty), store=faulty)
        except CrashError:
            pass
        else:
            break
        before = tree(target)
        _, done = restore(world, 1, target, how=thaw(world))
        assert done.exit_code() == 0
        assert before.items() <= tree(target).items()
        assert [key for key, _, _ in world.store.requests] == keys
        assert tree(target) == tree(world.restore(1, MemoryStore("u"))[1])
    assert at > 10


def test_what_goes_to_an_archive_while_it_runs_is_thawed_too(world):
    victim = next(key for key in world.needs(1) if key.startswith("blobs/"))

    class Moving(FaultyStore):
        gone = False

        def _run(self, verb, key, call):
            if verb == "open" and key == victim and not self.gone:
                self.gone = True
                world.archive(victim)
            return super()._run(verb, key, call)

    store = Moving(world.store)
    _, done = restore(world, 1, MemoryStore("t"), how=thaw(world, store=store), store=store)
    assert store.gone
    assert done.exit_code() == 0
    world.archive(*(k for k in world.needs(2) - world.needs(1) if k.startswith("blobs/")))
    with pytest.raises(ObjectArchivedError):
        restore(world, 2, MemoryStore("t"))


def test_asked_for_and_waited_for_apart_from_a_restore(world):
    keys = old(world)
    cold = find_cold(world.store, keys, threads=2)
    plan = plan_thaw(cold, (9, 0), TABLE, days=2)
    done = execute_thaw(plan, thaw(world), wait=False)
    assert (done.asked, done.before, done.done) == (len(keys), 0, False)
    cold = find_cold(world.store, keys, threads=2)
    assert all(each.thawing for each in cold)
    world.store.finish_thaws(keys[:1])
    cold = find_cold(world.store, keys, threads=2)
    done = execute_thaw(plan_thaw(cold, (9, 0), TABLE), thaw(world), wait=True)
    assert (done.asked, done.before, done.done) == (0, len(keys) - 1, True)
    assert find_cold(world.store, keys, threads=2) == []
    # It does not last.
    world.later(5)
    assert len(find_cold(world.store, keys, threads=2)) == len(keys)


def test_what_vanishes_is_told(world):
    keys = old(world)
    cold = find_cold(world.store, keys, threads=1)
    world.store.delete(keys[0])
    done = execute_thaw(plan_thaw(cold, (9, 0), TABLE), thaw(world), wait=True)
    assert done.gone == [keys[0]]
    assert done.ready == len(keys) - 1


def test_many_are_found_by_one_listing(world, monkeypatch):
    keys = old(world)
    monkeypatch.setattr("regvault.ops.tier.cold._ASK_EACH", 0)
    assert [each.key for each in find_cold(world.store, keys, threads=2)] == keys
    assert find_cold(MemoryStore("x"), keys, threads=2) == []


def test_the_cheapest_way_that_keeps_the_deadline():
    cold = [
        Cold("blobs/a", 10 << 30, "GLACIER", False),
        Cold("packs/b", MIB, "DEEP_ARCHIVE", False),
    ]
    free = plan_thaw(cold, (2, 0), TABLE)
    assert free.chosen.ways == {"GLACIER": "bulk", "DEEP_ARCHIVE": "bulk"}
    assert free.chosen.hours == 48
    soon = plan_thaw(cold, (2, 0), TABLE, deadline_hours=12)
    assert soon.chosen.ways == {"GLACIER": "bulk", "DEEP_ARCHIVE": "standard"}
    assert (soon.chosen.hours, soon.thawing) == (12, 0)
    with pytest.raises(UsageError) as caught:
        plan_thaw(cold, (2, 0), TABLE, deadline_hours=6)
    assert "12 hours" in caught.value.hint
    quick = plan_thaw(cold, (2, 0), TABLE, way="expedited")
    assert quick.chosen.ways == {"GLACIER": "expedited", "DEEP_ARCHIVE": "standard"}
    with pytest.raises(UsageError, match="takes 48 hours"):
        plan_thaw(cold, (2, 0), TABLE, way="bulk", deadline_hours=12)
    # A thawed copy is billed as what is hot, for as long as it is kept.
    longer = plan_thaw(cold, (2, 0), TABLE, days=30)
    assert longer.chosen.cost > free.chosen.cost


def test_what_was_asked_for_before_is_not_told_to_be_faster():
    """Cheap first, then in a hurry: what is under way does not get faster by asking."""
    pending = [Cold("blobs/a", 10 << 30, "DEEP_ARCHIVE", True)]
    found = plan_thaw(pending, (1, 0), TABLE, way="standard", deadline_hours=12)
    assert (found.offers, found.chosen, found.pending_hours) == ({}, None, 48)
    both = plan_thaw([*pending, Cold("blobs/b", 1, "GLACIER", False)], (2, 0), TABLE)
    assert both.chosen.ways == {"GLACIER": "bulk"}
    assert both.to_json()["pending_hours"] == 48


def test_what_expires_while_the_rest_is_waited_for_is_asked_for_again(world):
    keys = old(world)
    done = []

    def sleep(seconds):
        world.store.clock_ns += DAY_NS if len(done) < 2 else DAY_NS // 100
        left = [key for key in keys if world.store.placement(key).thawing]
        world.store.finish_thaws(left[:1] if len(done) < 2 else left)
        done.append(seconds)

    waiting = Thaw(
        world.store, chosen={}, way="bulk", days=1, threads=1, progress=NO_PROGRESS, sleep=sleep
    )
    plan = plan_thaw(find_cold(world.store, keys, threads=1), (len(keys), 0), TABLE, days=1)
    assert execute_thaw(plan, waiting, wait=True).done
    assert len(keys) > 1
    assert find_cold(world.store, keys, threads=1) == []


def test_many_that_come_one_by_one_are_not_all_asked_after_each(world):
    keys = old(world)
    looks = CountingStore(world.store)
    sleeper = Sleeper(world)
    plan = plan_thaw(find_cold(world.store, keys, threads=1), (len(keys), 0), TABLE)
    waiting = Thaw(
        looks, chosen={}, way="bulk", days=7, threads=1, progress=NO_PROGRESS, sleep=sleeper
    )
    execute_thaw(plan, waiting, wait=True)
    assert looks.counts["placement"] <= len(keys) * (len(sleeper.waits) + 2)


def test_prices_that_do_not_know_the_class_offer_nothing():
    cold = [Cold("blobs/a", 10 << 30, "VAULTED", False)]
    found = plan_thaw(cold, (2, 0), TABLE)
    assert (found.offers, found.chosen, found.unknown) == ({}, None, ["VAULTED"])
    with pytest.raises(UsageError):
        plan_thaw(cold, (2, 0), TABLE, deadline_hours=5)


def test_where_the_catalog_is_lost_packs_are_thawed_to_see_what_lies_in_them(world):
    keys = [key for key in world.needs(1) - world.needs() if key.startswith("packs/")]
    world.archive(*keys)
    world.lose("catalog/")
    plan, _ = restore(world, 1, MemoryStore("t"), dry_run=True)
    assert {each.key for each in plan.untold} == set(keys)
    for how in (None, thaw(world)):
        target = MemoryStore("t")
        with pytest.raises(ObjectArchivedError) as caught:
            restore(world, 1, target, how=how)
        assert caught.value.exit_code == 6
        assert tree(target) == {}
    found = plan_thaw(plan.cold, (plan.objects, 0), TABLE)
    execute_thaw(found, thaw(world), wait=True)
    _, done = restore(world, 1, MemoryStore("t"))
    assert done.exit_code() == 0
