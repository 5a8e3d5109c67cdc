"""A vault in a bucket that keeps versions: its rules move, days later, what was only marked."""

import pytest
from shelved import MIB, Shelved
from test_apply_vault import again, archived
from world import blob_key, tree

from regvault.config.price_files import load_prices
from regvault.storage.memory import MemoryStore
from regvault.vault.tiering import read_announced


@pytest.fixture
def world(tmp_path):
    made = Shelved(ruled=True)
    made.age(4, size=2 * MIB)
    made.file = made.write_plan(str(tmp_path / "plan"), newest=1)
    made.moves = [move.key for move in made.file.moves()]
    assert len(made.moves) == 3
    return made


def left(world, **options):
    """What a new plan leaves, and why."""
    header = world.plan(newest=1, **options).header
    return {why: each.count for why, each in header.left.items()}


def test_what_is_marked_moves_when_the_rules_do_and_the_newest_restores(world):
    done = world.apply(world.file)
    assert (done.marked, done.moved, done.exit_code) == (3, 0, 0)
    assert set(world.shelf().values()) == {"STANDARD"}
    assert archived(world) == set(world.moves)
    assert tree(world.restore(target=MemoryStore("t"))[1])


def test_what_is_marked_is_not_reused_while_it_waits_for_the_rules(world):
    """The trap: it lies in the hot class still when the snapshot is taken."""
    world.apply(world.file)
    key = again(world, 1)
    world.snapshot()
    assert key not in world.needs()
    world.store.follow_rules()
    assert not world.needs() & archived(world)
    assert tree(world.restore(target=MemoryStore("t"))[1])


def test_a_new_plan_leaves_what_is_marked_and_the_next_tiering_still_names_it(world, tmp_path):
    world.apply(world.file)
    assert left(world)["marked already: rules of the bucket move it"] == 3
    world.remove("team/app-3")
    world.image("team/app-4", "1", size=2 * MIB)
    world.snapshot()
    world.later(2)
    file = world.write_plan(str(tmp_path / "next"), newest=1)
    assert len([move.key for move in file.moves()]) == 1
    assert world.apply(file).marked == 1
    # The first tiering is ended by the second: what it has marked is on its way nevertheless.
    key = again(world, 1)
    world.snapshot()
    assert key not in world.needs()
    world.store.follow_rules()
    assert len(archived(world)) == 4
    assert not world.needs() & archived(world)


def test_a_tiering_that_marks_nothing_still_names_what_an_earlier_one_has(world, tmp_path):
    world.apply(world.file)
    world.remove("team/app-3")
    world.image("team/app-4", "1", size=2 * MIB)
    world.snapshot()
    world.later(2)
    file = world.write_plan(str(tmp_path / "next"), newest=1)
    (move,) = file.moves()
    data = world.registry.get(blob_key(f"sha256:{move.key.rpartition('/')[2]}"))
    world.push.image("team/back", "1", layers=(data,))
    world.snapshot()
    assert (world.apply(file).marked, move.key in world.needs()) == (0, True)
    key = again(world, 1)
    world.snapshot()
    assert key not in world.needs()
    world.store.follow_rules()
    assert not world.needs() & archived(world)


def test_once_all_has_moved_the_same_plan_says_that_it_is_done(world):
    world.apply(world.file)
    assert read_announced(world.store, world.vault().id).moving
    world.store.follow_rules()
    done = world.apply(world.file)
    assert (done.before, done.marked) == (3, 0)
    found = read_announced(world.store, world.vault().id)
    assert not found.moving
    assert set(found.cold) == set(world.moves)


def test_nothing_of_the_newest_snapshots_is_left_to_rules(world, tmp_path):
    """Rules act when they like and bring nothing back: no promise can be kept with them."""
    generous = {"max_hours": 48.0, "max_cost": 1000.0}
    assert set(world.planned(newest=1, **generous)) == set(world.moves)
    assert left(world, **generous)["under the promise"] >= 1
    file = world.write_plan(str(tmp_path / "generous"), newest=1, **generous)
    key = again(world, 2)
    world.snapshot()
    assert key in world.needs()
    assert world.apply(file).used == 1
    world.store.follow_rules()
    assert not world.needs() & archived(world)


def test_rules_bring_nothing_back(world):
    needed = sorted(world.needs() - set(world.moves))
    for key in needed:
        world.store.mark_class(key, "GLACIER", expected=world.store.placement(key))
    world.store.follow_rules()
    world.later(2)
    plan = world.plan(newest=1)
    assert plan.header.left["would come back, but rules only move what gets colder"].count == len(
        needed
    )
    assert any("promise does not hold" in note for note in plan.header.notes)
    assert {move.key for move in plan.moves()} == set(world.moves)


def test_what_rules_would_not_move_is_not_marked(world):
    """S3 leaves what is smaller than 128 KiB: marked, it would be avoided for nothing."""
    table = load_prices("aws-us-east-1")._replace(classes=cheap_for_small())
    assert min(move.size for move in world.plan(newest=1, table=table).moves()) > 128 << 10
    assert left(world, table=table)["smaller than 128 KiB: rules do not move it"] >= 3


def cheap_for_small():
    """Prices at which small things pay, too."""
    table = load_prices("aws-us-east-1")
    free = {"transition_per_1000": 0.0, "overhead_bytes": 0, "hot_overhead_bytes": 0}
    return {
        name: each._replace(**free) if name == "DEEP_ARCHIVE" else each
        for name, each in table.classes.items()
    }
