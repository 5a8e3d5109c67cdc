"""Whatever was planned, and done, and happened since: the newest snapshots come back as promised.

Each disaster is worked out anew from the classes that objects really lie in, and from the file of
prices, with nothing of the planner's own arithmetic.
"""

import contextlib
import random
import tomllib
from datetime import UTC, timedelta
from importlib import resources

import pytest
from shelved import MIB, Shelved
from world import blob_key, tree

from regvault.model.progress import NO_PROGRESS
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.forget import forget, plan_forget
from regvault.policy.retention import Retention
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.records import is_held

PRICES = tomllib.loads(
    resources.files("regvault.config.prices").joinpath("aws-us-east-1.toml").read_text()
)
MONTH_DAYS = 365.25 / 12
THAWED_DAYS = 7
SEEDS = range(40)


def comes_back(world, root, hours):
    """Hours and money until all of a snapshot is back, at most so many hours; None: never."""
    took = cost = 0.0
    for ref in world.vault().object_list(root):
        if not ref.key.startswith(("blobs/", "packs/")):
            continue
        name = world.store.placement(ref.key).storage_class
        price = PRICES["classes"][name]
        gb = ref.size / 2**30
        if name == PRICES["hot"]:
            continue
        read = price.get("get_per_1000", 0) / 1000 + gb * price.get("retrieval_gb", 0)
        if "thaw" not in price:
            cost += read
            continue
        hot = PRICES["classes"][PRICES["hot"]]["gb_month"] * THAWED_DAYS / MONTH_DAYS
        ways = [
            (each["per_1000"] / 1000 + gb * (each["gb"] + hot), each["hours"])
            for each in price["thaw"].values()
            if each["hours"] <= hours
        ]
        if not ways:
            return None
        cheapest, longest = min(ways)
        took, cost = max(took, longest), cost + read + cheapest
    return took, cost


class Life:
    """A registry that lives, its vault, and what is done to both."""

    def __init__(self, seed, path):
        self.dice = random.Random(seed)
        self.world = Shelved()
        self.path = path
        self.images = []
        self.count = 0
        self.world.image("busy/app", "live")
        self.newest = self.dice.choice([1, 2, 3, 7])
        self.hours = self.dice.choice([0, 0, 1, 5, 12, 48])
        self.cost = self.dice.choice([0, 0.0001, 0.0003, 0.0005, 0.001, 1])
        self.rules = self.dice.choice(
            [
                None,
                None,
                Retention(last=40),
                Retention(daily=30),
                Retention(last=2, monthly=12),
                Retention(daily=4, within=timedelta(days=9)),
            ]
        )

    def push(self):
        dice, self.count = self.dice, self.count + 1
        size = dice.choice([1, 2, 5]) * MIB
        name = f"team/app-{dice.randrange(4)}"
        if self.images and dice.random() < 0.4:
            # What an older image has comes back: the vault may have it in an archive.
            digest = dice.choice(self.images)
            data = self.world.registry.get(blob_key(digest))
            self.world.push.image(name, f"t{dice.randrange(3)}", layers=(data, b"%d" % self.count))
            return
        image = self.world.image(name, f"t{dice.randrange(3)}", size=size, word=self.count)
        self.images.append(image.blobs[1])

    def day(self):
        for _ in range(self.dice.randrange(1, 4)):
            self.push()
        if self.dice.random() < 0.5:
            self.world.remove(f"team/app-{self.dice.randrange(4)}")
        for _ in range(self.dice.choice([1, 1, 1, 3])):
            self.snapshot()
        self.world.later(1)

    def snapshot(self):
        done = self.world.snapshot()
        if done.root.held is not None and self.dice.random() < 0.8:
            vault = self.world.vault()
            confirm(vault, plan_confirm(vault, done.root), by="me")

    def retain(self):
        if self.rules is not None:
            vault = self.world.vault()
            plan = plan_forget(vault, {"prod": self.rules}, timezone=UTC)
            forget(vault, plan, progress=NO_PROGRESS, by=lambda: "me")

    def tier(self):
        """Plan and apply; things happen between, and it may be struck down on the way."""
        self.count += 1
        made = self.world.write_plan(
            str(self.path / f"plan-{self.count}"),
            newest=self.newest,
            max_hours=self.hours,
            max_cost=self.cost,
            horizon=self.dice.choice([30, 365, 1000]),
            policies={} if self.rules is None else {"prod": self.rules},
        )
        if self.dice.random() < 0.4:
            self.day()
        if self.dice.random() < 0.5:
            faulty = FaultyStore(self.world.store)
            verbs = {"change_class", "placement", "put"}
            faulty.plan(CrashError, verbs=verbs, at=self.dice.randrange(1, 12))
            with contextlib.suppress(CrashError):
                self.world.apply(made, store=faulty)
            if self.dice.random() < 0.5:
                self.check()
                self.day()
        self.world.apply(made)

    def under_promise(self):
        confirmed = self.world.vault().confirmations
        good = [r for r in self.world.roots() if r.complete and not is_held(r, confirmed)]
        return good[-self.newest :]

    def check(self):
        """A disaster: each of the newest snapshots has to come back in time, for the money."""
        for root in self.under_promise():
            found = comes_back(self.world, root, self.hours)
            said = (str(root.name), self.hours, self.cost, found)
            assert found is not None, said
            assert found[0] <= self.hours, said
            assert found[1] <= self.cost * (1 + 1e-6), said


@pytest.mark.parametrize("seed", SEEDS)
def test_the_promise_is_kept(seed, tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.forget.check_clock", lambda _: None)
    life = Life(seed, tmp_path)
    for _ in range(life.dice.randrange(3, 9)):
        life.day()
    for _ in range(2):
        life.world.later(2)
        life.tier()
        life.check()
        for _ in range(life.dice.randrange(1, 4)):
            life.day()
            life.check()
            life.retain()
            life.check()
    # And it does come back.
    store = life.world.store
    for key in list(life.world.shelf()):
        if store.placement(key).archived:
            store.thaw(key, way="bulk", days=7)
    store.finish_thaws()
    result, target = life.world.restore(target=MemoryStore("t"))
    assert result.exit_code() == 0
    assert tree(target)


def test_something_is_archived_in_those_lives(tmp_path, monkeypatch):
    """The property holds of something: under many promises objects really lie in archives."""
    monkeypatch.setattr("regvault.ops.forget.check_clock", lambda _: None)
    old = promised = 0
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        life = Life(seed, tmp_path / str(seed))
        for _ in range(6):
            life.day()
        life.world.later(2)
        life.tier()
        shelf = life.world.shelf()
        needed = {k for r in life.under_promise() for k in life.world.needs(r.name.sequence)}
        cold = {key for key, name in shelf.items() if name != "STANDARD"}
        old += len(cold - needed)
        promised += len(cold & needed)
    assert old > 5
    assert promised > 3
