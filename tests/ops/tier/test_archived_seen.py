"""What lies in an archive is told by all who look, and is damage to nobody."""

from datetime import UTC, datetime

import pytest
from shelved import Shelved
from world import World

from regvault.errors import ObjectArchivedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.check.verified import read_verified
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.info import info
from regvault.ops.tier.outside import in_archive
from regvault.policy.doctor.contents import judge_archived
from regvault.vault.tiering import announce


@pytest.fixture
def world():
    made = Shelved()
    made.age(3)
    return made


def copied(source, target):
    options = CopyOptions(threads=1)
    return copy(source.vault(), [target.vault()], options, progress=NO_PROGRESS)


def test_verify_counts_what_it_cannot_read_and_calls_nothing_damaged(world):
    keys = sorted(world.needs(1) - world.needs())
    world.archive(*keys)
    for depth in ("quick", "metadata", "data"):
        found = world.verify(depth)
        assert found.exit_code() == 0, found.to_json()
    told = world.verify("data").to_json()["archived_not_read"]
    assert told["objects"] == len(keys)
    assert told["bytes"] == sum(world.store.head(key).size for key in keys)
    # A check of the copies says so too: it calls what was not read proven by nobody.
    (verified,) = read_verified(world.vault(), datetime(2020, 1, 1, tzinfo=UTC))[0].values()
    assert verified.data_at is not None
    assert verified.archived_bytes == told["bytes"]
    # What is gone or wrong beside it is damage as ever.
    world.lose(keys[0])
    assert world.verify("quick").exit_code() == 4


def test_verify_without_a_catalog_reads_nothing_archived_as_damage(world):
    world.archive(*(world.needs(1) - world.needs()))
    world.lose("catalog/")
    world.snapshot()
    assert not [p for p in world.verify("data").report.problems if p.what == "damaged"]


def test_info_tells_that_the_newest_is_outside_the_promise(world):
    assert info(world.vault(), now=datetime.now(UTC)).registries[0].archive is None
    keys = sorted(world.needs())
    announce(
        world.store, world.vault().id, "p", [(keys[0], True)], hot="STANDARD", promise={}, done=True
    )
    world.archive(*keys)
    (each,) = info(world.vault(), now=datetime.now(UTC)).registries
    assert (each.archive.objects, each.archive.promised) == (len(keys) - 1, 1)
    (issue,) = [issue for issue in each.issues if issue.code == "archived"]
    assert "outside the promise" in issue.message
    assert "tier thaw prod@3" in issue.hint
    for key in keys:
        world.store.thaw(key, way="bulk", days=3)
    world.store.finish_thaws()
    (each,) = info(world.vault(), now=datetime.now(UTC)).registries
    assert not [issue for issue in each.issues if issue.code == "archived"]


def test_doctor_finds_it(world):
    world.archive(*world.needs())
    found = in_archive(world.vault(), [world.root()])
    check = judge_archived({name: each.objects for name, each in found.items()}, 0)
    assert str(check.state) == "warning"
    assert "prod@3" in check.found
    assert str(judge_archived({"prod@3": 0}, 4).state) == "ok"
    assert str(judge_archived({}, 0).state) == "ok"


def test_a_copy_of_what_is_archived_ends_and_says_what_helps(world):
    world.archive(*(world.needs(1) - world.needs()))
    target = World()
    with pytest.raises(ObjectArchivedError) as caught:
        copied(world, target)
    assert caught.value.exit_code == 6
    assert "tier thaw" in caught.value.hint
    for key, name in world.shelf().items():
        if name == "GLACIER":
            assert key not in world.needs()
            world.store.thaw(key, way="bulk", days=3)
    world.store.finish_thaws()
    copied(world, target)
    target.verified()
    assert len(target.roots()) == 3


def test_a_copy_into_a_vault_relies_on_nothing_archived_there():
    source, target = World(), Shelved()
    source.push.image("team/app", "1", layers=(b"x" * (2 << 20),))
    source.snapshot()
    copied(source, target)
    target.archive(*target.needs())
    source.push.image("team/app", "2", layers=(b"x" * (2 << 20), b"more"))
    source.snapshot()
    copied(source, target)
    cold = {key for key, name in target.shelf().items() if name == "GLACIER"}
    assert target.needs(1) & cold
    assert not target.needs(2) & cold
    assert target.restore(2)[0].exit_code() == 0
    assert in_archive(target.vault(), [target.root()])["prod@2"].objects == 0
    source.snapshot()
    copied(source, target)
    assert target.restore(3)[0].exit_code() == 0
