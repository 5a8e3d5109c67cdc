"""Forget: snapshots leave a stub, by rules or by name, and never the last good one."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from world import Listener, World, noise

from regvault.errors import NotFoundError, RefusedError, UsageError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.forget import forget, plan_forget, plan_forget_named
from regvault.ops.pin import active_pins, is_pinned, pin, unpin
from regvault.policy.retention import Retention
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.vault.envelope import to_time
from regvault.vault.root import RootName
from regvault.vault.stub import parse_stub

DAY_NS = 86_400 * 10**9


def days(count: int) -> World:
    """A vault with a snapshot a day, the last one today, by the store's clock."""
    store = MemoryStore("vault")
    made = World(store=store)
    for day in range(count):
        store.clock_ns = time.time_ns() - (count - 1 - day) * DAY_NS
        made.push.image("app", "latest", layers=(noise(200, day),))
        made.snapshot()
    store.clock_ns = time.time_ns()
    return made


def planned(made: World, **rules):
    return plan_forget(made.vault(), {made.name: Retention(**rules)}, timezone=UTC)


def forgotten(made: World, plan) -> list[int]:
    result = forget(made.vault(), plan, progress=NO_PROGRESS)
    return [int(name.rpartition("@")[2]) for name in result.forgotten]


def sequences(made: World) -> list[int]:
    return [root.name.sequence for root in made.roots()]


def test_rules_forget_what_they_do_not_keep():
    made = days(20)
    kept = {v.root.name.sequence: v.reasons for v in planned(made, last=3).verdicts if v.keep}
    assert list(kept) == list(range(14, 21))
    assert [reason.partition(" ")[0] for reason in kept[14]] == ["floor"]
    assert [reason.partition(" ")[0] for reason in kept[20]] == ["last", "newest", "floor"]
    assert forgotten(made, planned(made, last=3)) == list(range(1, 14))
    assert sequences(made) == list(range(14, 21))
    made.verified()
    assert forgotten(made, planned(made, last=3)) == []


def test_time_is_that_of_the_store():
    """Rule 12: what a snapshot says of its own time has no say."""
    made = days(1)
    for _ in range(30):  # all of today, whatever they would say
        made.push.image("app", "latest", layers=(noise(200, time.time_ns()),))
        made.snapshot()
    assert forgotten(made, planned(made, daily=30)) == list(range(2, 31))


def test_a_snapshot_that_lies_about_its_time_is_no_other_day():
    """Rule 12: a host that was taken over cannot make its snapshots those of days to come."""
    made = days(1)
    for ahead in range(1, 11):
        made.push.image("app", "latest", layers=(noise(200, "lie", ahead),))
        root = made.snapshot().root
        liar = replace(root, started=to_time(time.time_ns() + ahead * DAY_NS))
        made.store.put(root.name.key, liar.to_document(made.vault().id)[0])
    assert forgotten(made, planned(made, daily=30)) == list(range(2, 11))


def test_a_stub_keeps_the_chain(tmp_path):
    made = days(12)
    root = made.root(2)
    forgotten(made, planned(made, last=1))
    name = RootName("prod", 2)
    stub = parse_stub(made.store.get(name.key), name, made.vault().id)
    assert (stub.root, stub.previous, stub.run) == (root.sha256, root.previous, root.run)
    assert stub.objects == root.objects
    assert made.vault().read_slot(name) is None
    made.push.image("app", "latest", layers=(noise(9, "new"),))
    assert made.snapshot().root.name.sequence == 13
    made.verified()


def test_a_record_says_what_and_why():
    made = days(12)
    result = forget(made.vault(), planned(made, last=2), progress=NO_PROGRESS)
    body = json.loads(made.store.get(result.record).split(b"\n")[0])
    assert [each["sequence"] for each in body["snapshots"]] == [1, 2, 3, 4, 5]
    assert body["policy"] == {"prod": {"last": 2}}
    assert "@" in body["by"]


def test_without_a_rule_it_refuses():
    with pytest.raises(UsageError, match="no rule"):
        planned(days(2))


def test_a_registry_that_is_not_there():
    with pytest.raises(NotFoundError, match="other"):
        plan_forget(days(1).vault(), {"other": Retention(last=1)}, timezone=UTC)


def test_held_snapshots_neither_count_nor_expire_anything():
    """Invariant 5."""
    made = days(12)
    made.remove("app")
    for _ in range(8):
        made.snapshot()  # empty: held
    plan = planned(made, last=2)
    assert [v.root.name.sequence for v in plan.doomed] == [1, 2, 3, 4, 5]
    assert all(v.reasons == ("held",) for v in plan.verdicts[12:])
    vault = made.vault()
    confirm(vault, plan_confirm(vault, made.root(20)), by="me@here")
    assert planned(made, last=2).verdicts[19].reasons[0] == "last 1"


class TestPins:
    def test_a_pinned_one_stays(self):
        made = days(12)
        assert pin(made.vault(), made.root(2), reason="audit").changed
        assert not pin(made.vault(), made.root(2)).changed
        assert is_pinned(made.root(2), active_pins(made.vault()))
        assert forgotten(made, planned(made, last=1)) == [1, 3, 4, 5]

    def test_until_it_is_taken_away(self):
        made = days(12)
        pin(made.vault(), made.root(2))
        assert unpin(made.vault(), made.root(2)).changed
        assert not unpin(made.vault(), made.root(2)).changed
        assert forgotten(made, planned(made, last=1)) == [1, 2, 3, 4, 5]

    def test_and_can_be_pinned_again(self):
        made = days(12)
        for _ in range(3):
            pin(made.vault(), made.root(2))
            unpin(made.vault(), made.root(2))
        pin(made.vault(), made.root(2))
        assert is_pinned(made.root(2), active_pins(made.vault()))

    def test_a_damaged_pin_stops_forget(self):
        made = days(12)
        pin(made.vault(), made.root(2))
        made.spoil(made.keys("records/pins/")[0], lambda data: data[:-9])
        with pytest.raises(VaultDamagedError):
            planned(made, last=1)

    def test_a_long_reason(self):
        made = days(1)
        with pytest.raises(UsageError, match="characters"):
            pin(made.vault(), made.root(1), reason="x" * 1001)


class TestByName:
    def test_those_that_are_named(self):
        made = days(4)
        plan = plan_forget_named(made.vault(), [made.root(3), made.root(1)])
        assert forgotten(made, plan) == [1, 3]
        assert sequences(made) == [2, 4]

    def test_not_the_newest_good_one(self):
        """Invariant 6."""
        made = days(3)
        with pytest.raises(RefusedError, match="newest complete"):
            plan_forget_named(made.vault(), [made.root(3)])

    def test_not_a_pinned_one(self):
        made = days(3)
        pin(made.vault(), made.root(1))
        with pytest.raises(RefusedError, match="pinned"):
            plan_forget_named(made.vault(), [made.root(1)])

    def test_a_held_one(self):
        made = days(3)
        made.remove("app")
        made.snapshot()
        assert forgotten(made, plan_forget_named(made.vault(), [made.root(4)])) == [4]


@pytest.mark.parametrize("what", ["gap", "damaged"])
def test_a_chain_that_is_not_whole_stops_it(what):
    """Invariant 5."""
    made = days(4)
    if what == "gap":
        made.lose("snapshots/prod/00000002.json")
    else:
        made.spoil("snapshots/prod/00000002.json", lambda data: data[1:])
    for plan in (
        lambda: planned(made, last=1),
        lambda: plan_forget_named(made.vault(), [made.root(1)]),
    ):
        with pytest.raises(VaultDamagedError):
            plan()


def test_a_clock_that_differs_stops_it():
    made = days(12)
    made.store.clock_ns -= 400 * 10**9
    with pytest.raises(RefusedError, match="ahead of"):
        planned(made, last=1)


def test_someone_else_was_quicker():
    """What was forgotten meanwhile is not forgotten again, and nothing else is hurt."""
    made = days(12)
    first, second = planned(made, last=1), planned(made, last=1)
    assert forgotten(made, first) == [1, 2, 3, 4, 5]
    stub = made.store.get(RootName("prod", 1).key)
    assert forgotten(made, second) == []
    assert made.store.get(RootName("prod", 1).key) == stub


class Racing(Wrapper):
    """Someone else overwrites the slot between the look and the swap."""

    def put(self, key, data, **words):
        if words.get("if_match") and key.startswith("snapshots/"):
            self.inner.put(key, b"else")
        return self.inner.put(key, data, **words)


def test_a_slot_that_changed_is_left_alone():
    made = days(12)
    plan = planned(made, last=1)
    made.store, real = Racing(made.store), made.store
    assert forgotten(made, plan) == []
    assert real.get(RootName("prod", 1).key) == b"else"


def test_an_interrupted_one_is_finished_by_the_next():
    made = days(12)

    class Stop(Listener):
        def advance(self, *_args, **_words):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(made.vault(), planned(made, last=1), progress=Stop())
    assert sequences(made)[0] == 2
    assert forgotten(made, planned(made, last=1)) == [2, 3, 4, 5]


def test_within():
    made = days(30)
    assert forgotten(made, planned(made, within=timedelta(days=10, hours=1))) == list(range(1, 20))
