"""What is planned for a vault: what only old snapshots need goes, and the promise holds."""

import dataclasses
import time
from datetime import timedelta

import pytest
from shelved import MIB, Shelved
from world import World

from regvault.config.price_files import load_prices
from regvault.errors import UsageError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.pin import pin
from regvault.ops.tier.plan_vault import VaultPlanOptions, plan_vault
from regvault.ops.tier.planned import Plan, PlanFile, lines_of
from regvault.policy.retention import Retention
from regvault.storage.memory import MemoryStore

HUGE = 8 * MIB


@pytest.fixture
def world():
    made = Shelved()
    made.age(5, size=HUGE)
    return made


def large(world, *sequences):
    """Keys of the raw blobs that some snapshots need."""
    return {key for each in sequences for key in world.needs(each) if key.startswith("blobs/")}


def test_only_what_older_snapshots_alone_need_goes(world):
    found = world.planned(newest=2)
    assert set(found) == large(world, 1, 2, 3)
    assert set(found.values()) == {("STANDARD", "DEEP_ARCHIVE")}
    assert world.planned(newest=5) == {}
    header = world.plan(newest=2).header
    assert header.left["under the promise"].count == 4
    assert (header.kind, header.moves) == ("vault", 3)
    assert header.promise["newest"] == 2
    assert [each["kept"] for each in header.restore] == [True, True]
    assert [each["newest"] for each in header.restore] == [False, True]
    assert header.back_hours == 48
    assert header.month[1] < header.month[0]
    move = next(world.plan(newest=2).moves())
    assert (move.repository, move.back_hours) == ("prod", 48)
    assert "only older snapshots" in move.why


def test_it_stays_where_it_would_not_pay(world):
    # A pack of some kilobytes: what is billed for each object besides is more than it saves.
    assert not [key for key in world.planned(newest=2) if key.startswith("packs/")]
    # Three days cost less than the 180 that would be billed.
    assert world.planned(newest=2, horizon=3) == {}


def test_until_retention_drops_it(world):
    soon = {"prod": Retention(within=timedelta(days=6))}
    assert world.planned(newest=2, policies=soon) == {}
    kept = {"prod": Retention(last=500)}
    assert set(world.planned(newest=2, policies=kept)) == large(world, 1, 2, 3)


def test_what_retention_leaves_is_under_the_promise_before_it_is_left(world):
    # Of one day's snapshots one stays: what are the newest two then is no surprise.
    for _ in range(3):
        world.snapshot()
    rules = {"prod": Retention(daily=5)}
    assert not set(world.planned(newest=2, policies=rules)) & large(world, 5)


def test_a_pin_keeps_a_snapshot_and_promises_nothing(world):
    pin(world.vault(), world.root(1), by=lambda: "me")
    rules = {"prod": Retention(within=timedelta(days=1))}
    assert set(world.planned(newest=1, policies=rules)) >= large(world, 1)


def test_what_is_held_may_be_confirmed(world):
    world.remove("team/app-4")
    world.image("tiny/app", "1", size=MIB)
    world.snapshot()
    assert world.root().held is not None
    world.later(3)
    assert not set(world.planned(newest=1)) & large(world, 5, 6)


def test_hours_and_money_that_are_promised(world):
    # It would come back in time, but for more than nothing.
    assert not set(world.planned(newest=1, max_hours=12)) & large(world, 5)
    dear = world.planned(newest=1, max_hours=12, max_cost=1)
    assert {dear[key] for key in large(world, 5)} == {("STANDARD", "DEEP_ARCHIVE")}
    quick = world.planned(newest=1, max_hours=1, max_cost=1)
    assert {quick[key][1] for key in large(world, 5)} <= {"GLACIER", "GLACIER_IR"}
    now = world.planned(newest=1, max_hours=0, max_cost=1)
    assert {now[key] for key in large(world, 5)} == {("STANDARD", "GLACIER_IR")}
    header = world.plan(newest=1, max_hours=12, max_cost=1).header
    (one,) = header.restore
    assert one["hours"] == [0.0, 12.0]
    assert 0 < one["cost"][1] <= 1
    assert one["kept"]


def test_what_breaks_the_promise_comes_back_once_it_is_thawed(world):
    keys = large(world, 5)
    world.archive(*keys)
    plan = world.plan(newest=1)
    assert not keys & {move.key for move in plan.moves()}
    assert "the promise does not hold" in plan.header.notes[0]
    assert not plan.header.restore[0]["kept"]
    for key in keys:
        world.store.thaw(key, way="bulk", days=3)
    world.store.finish_thaws()
    found = world.planned(newest=1)
    assert {found[key] for key in keys} == {("GLACIER", "STANDARD")}


def test_what_nobody_needs_is_for_prune(world):
    gone = large(world, 1)
    vault = world.vault()
    world.store.clock_ns, kept = time.time_ns(), world.store.clock_ns
    forget(vault, plan_forget_named(vault, [world.root(1)]), progress=NO_PROGRESS, by=lambda: "me")
    world.store.clock_ns = kept
    assert not gone & set(world.planned(newest=2))


def test_what_was_stored_lately_stays(world):
    world.store.clock_ns -= 4 * 86_400 * 10**9
    assert not set(world.planned(newest=1)) & large(world, 4)
    assert set(world.planned(newest=1)) >= large(world, 1)


def test_a_disk_has_no_classes():
    world = World(store=MemoryStore())
    world.push.image("a", "1", layers=(b"x",))
    world.snapshot()
    with pytest.raises(UsageError):
        plan_vault(
            world.vault(), VaultPlanOptions(load_prices("aws-us-east-1")), progress=NO_PROGRESS
        )


@pytest.mark.parametrize(
    "change",
    [
        ("promise", None),
        ("promise", {"newest": 1}),
        ("promise.newest", 0),
        ("promise.back", {}),
        ("promise.policies", {"prod": {"every": 1}}),
        ("restore", [{"snapshot": 1}]),
        ("key", "snapshots/prod/00000001.json"),
        ("key", "meta/" + "a" * 64 + ".tar.zst"),
        ("key", "blobs/../vault.json"),
        ("digest", "sha256:" + "a" * 64),
        ("digest", ""),
    ],
    ids=str,
)
def test_a_plan_that_no_plan_of_a_vault_can_be_is_refused(world, tmp_path, change):
    """A plan may come from anywhere: what it says is checked before it is done."""
    name, value = change
    plan = world.plan(newest=2)
    header, moves = plan.header, list(plan.moves())
    if name.startswith("promise."):
        header.promise[name.partition(".")[2]] = value
    elif name in ("promise", "restore"):
        setattr(header, name, value)
    else:
        moves[0] = dataclasses.replace(moves[0], **{name: value})
    path = tmp_path / "plan"
    path.write_bytes(b"".join(lines_of(Plan(header, lambda: iter(moves)))))
    with pytest.raises(UsageError):
        PlanFile(str(path))


def test_a_plan_that_is_in_another_order_than_it_was_made_is_none(tmp_path):
    """Moves are held against what the vault has in byte order: some would be left out, unseen."""
    world = Shelved()
    world.age(4)
    made = world.plan(newest=1)
    moves = list(made.moves())
    assert len(moves) > 1
    path = tmp_path / "plan"
    path.write_bytes(b"".join(lines_of(Plan(made.header, lambda: iter(moves[::-1])))))
    with pytest.raises(UsageError, match="out of order"):
        PlanFile(str(path))
    path.write_bytes(b"".join(lines_of(Plan(made.header, lambda: iter(moves)))))
    made.header.hot = "DEEP_ARCHIVE"
    PlanFile(str(path))
    path.write_bytes(b"".join(lines_of(Plan(made.header, lambda: iter(moves)))))
    with pytest.raises(UsageError):
        PlanFile(str(path))
