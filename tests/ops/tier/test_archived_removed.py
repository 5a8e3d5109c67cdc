"""What lies in an archive can be purged and mended around: nothing of it is lost unseen."""

import time

import pytest
from shelved import DAY_NS, MIB, Shelved
from world import World, digest_of, noise, tree

from regvault.errors import ObjectArchivedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.purge import plan_purge, purge
from regvault.ops.repair import VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.storage.memory import MemoryStore

RAW = digest_of(noise(2 * MIB, "team/app-0", ("1",), ""))
PACKED = digest_of(noise(5000, "small", "team/app-0", ("1",), ""))


@pytest.fixture
def world():
    made = Shelved()
    made.store.clock_ns = time.time_ns() - 5 * DAY_NS
    made.age(3)
    made.old = sorted(made.needs(1) - made.needs())
    return made


def purged(world, digest):
    vault = world.vault()
    plan = plan_purge(vault, [digest], progress=NO_PROGRESS)
    return purge(vault, plan, progress=NO_PROGRESS, threads=1, by=lambda: "me")


def test_an_archived_blob_is_purged_unread(world):
    world.archive(*world.old)
    key = next(key for key in world.old if key.startswith("blobs/"))
    assert purged(world, RAW).deleted == (1, 2 * MIB)
    assert key not in world.shelf()
    assert world.verify("data").exit_code() == 0
    assert not world.store.requests


def test_what_lies_in_an_archived_pack_is_purged_once_that_is_thawed(world):
    world.archive(*world.old)
    before = tree(world.store, "locks/"), world.shelf()
    with pytest.raises(ObjectArchivedError) as caught:
        purged(world, PACKED)
    assert caught.value.exit_code == 6
    assert (tree(world.store, "locks/"), world.shelf()) == before
    pack = next(key for key in world.old if key.startswith("packs/"))
    world.store.thaw(pack, way="bulk", days=3)
    world.store.finish_thaws()
    purged(world, PACKED)
    assert pack not in world.shelf()
    assert world.verify("data").exit_code() == 0


def test_a_repair_of_something_else_leaves_what_is_archived(world):
    other = World(store=MemoryStore("copy"))
    copy(world.vault(), [other.vault()], CopyOptions(threads=1), progress=NO_PROGRESS)
    world.archive(*world.old)
    shelf = world.shelf()
    bad = min(world.needs())
    data = world.store.get(bad)
    world.store.put(bad, b"wrong" + data[5:])
    vault, options = world.vault(), VerifyOptions(read_data=Sample(), threads=1)
    sources = [VaultSpare(other.vault())]
    plan = plan_repair(vault, sources, options=options, progress=NO_PROGRESS)
    done = repair(vault, plan, sources, options=options, progress=NO_PROGRESS, by=lambda: "me")
    assert done.exit_code() == 0, done.to_json()
    assert world.store.get(bad) == data
    assert world.shelf() == shelf
    for key in world.old:
        world.store.thaw(key, way="bulk", days=3)
    world.store.finish_thaws()
    assert world.restore(1, target=MemoryStore("t"))[0].exit_code() == 0
