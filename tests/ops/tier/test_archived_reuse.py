"""A snapshot never comes to rely on what lies in an archive without anybody being told."""

import pytest
from shelved import Shelved
from world import blob_key, tree

from regvault.storage.memory import MemoryStore
from regvault.vault.tiering import announce, read_announced


@pytest.fixture(params=["no cache", "cache"])
def world(request, tmp_path):
    return Shelved(cache=None if request.param == "no cache" else str(tmp_path / "cache"))


def restores(world, sequence=None):
    """Whether all of a snapshot can be read now."""
    result, target = world.restore(sequence, MemoryStore("target"))
    return result.exit_code() == 0 and bool(tree(target))


def test_what_the_newest_needs_and_an_archive_has_is_stored_again(world):
    world.image("team/app", "1")
    world.snapshot()
    world.archive(*world.needs())
    done = world.snapshot()
    assert done.archived == done.promised == 0
    assert all(world.shelf()[key] == "STANDARD" for key in world.needs())
    assert not world.needs(1) & world.needs(2)
    assert restores(world)
    assert world.snapshot().stored == 0


def test_what_comes_back_to_the_registry_is_not_taken_from_an_archive(world):
    image = world.image("team/app", "1")
    world.snapshot()
    world.image("team/other", "1")
    world.remove("team/app")
    world.snapshot()
    world.archive(*(world.needs(1) - world.needs(2)))
    world.push.image("team/again", "1", layers=(world.registry.get(blob_key(image.blobs[1])),))
    done = world.snapshot()
    assert (done.archived, done.stored > 0) == (0, True)
    assert all(world.shelf()[key] == "STANDARD" for key in world.needs())
    assert restores(world)


def test_what_the_registry_lost_stays_and_is_told(world):
    image = world.image("team/app", "1")
    world.snapshot()
    world.archive(*world.needs())
    world.registry.delete(blob_key(image.blobs[1]))
    done = world.snapshot()
    assert (done.archived, done.archived_bytes) == (1, 2 << 20)
    outside = [key for key in world.needs() if world.shelf()[key] == "GLACIER"]
    assert len(outside) == 1
    world.push.image("team/new", "1", layers=(b"more",))
    assert world.snapshot().archived == 1
    world.store.thaw(outside[0], way="bulk", days=1)
    world.store.finish_thaws()
    assert restores(world)


def test_a_narrowed_run_that_inherits_it_says_so(world):
    world.image("team/app", "1")
    world.image("other/app", "1")
    world.snapshot()
    world.archive(*world.needs())
    world.push.image("other/app", "2", layers=(b"more",))
    done = world.snapshot(globs=("other/*",))
    told = {key for key in world.needs() if world.shelf()[key] == "GLACIER"}
    assert done.archived == len(told)


def test_what_a_tiering_is_about_to_move_is_not_reused(world):
    image = world.image("team/app", "1")
    world.snapshot()
    world.image("team/other", "1")
    world.remove("team/app")
    world.snapshot()
    old = sorted(world.needs(1) - world.needs(2))
    vault = world.vault()
    announce(world.store, vault.id, "p", [(key, False) for key in old], hot="STANDARD", promise={})
    world.push.image("team/again", "1", layers=(world.registry.get(blob_key(image.blobs[1])),))
    world.snapshot()
    assert not world.needs() & set(old)
    # It is over: what is still hot may be reused.
    announce(world.store, vault.id, "p", [], hot="STANDARD", promise={}, done=True)
    world.push.image("team/more", "1", layers=(world.registry.get(blob_key(image.blobs[1])), b"x"))
    assert world.snapshot().archived == 0


def test_what_is_promised_is_inherited_and_reused_by_nobody_else(world):
    world.image("team/app", "1")
    world.snapshot()
    keys = sorted(world.needs())
    announce(
        world.store,
        world.vault().id,
        "p",
        [(key, True) for key in keys],
        hot="STANDARD",
        promise={},
        done=True,
    )
    world.archive(*keys)
    done = world.snapshot()
    assert (done.archived, done.promised) == (0, len(keys))
    assert world.needs() == set(keys)
    world.push.image("team/more", "1", layers=(b"x",))
    done = world.snapshot()
    assert (done.archived, done.promised) == (0, len(keys))
    assert set(keys) < world.needs()


def test_where_it_cannot_be_read_nothing_old_is_reused(world):
    image = world.image("team/app", "1")
    world.snapshot()
    world.image("team/other", "1")
    world.remove("team/app")
    world.snapshot()
    old = world.needs(1) - world.needs(2)
    announce(world.store, world.vault().id, "p", [], hot="STANDARD", promise={})
    world.spoil("locks/tiering/p.zst", lambda data: data[:-3] + b"???")
    world.push.image("team/again", "1", layers=(world.registry.get(blob_key(image.blobs[1])),))
    world.snapshot()
    assert not world.needs() & old
    assert any("damaged" in each for each in world.progress.warnings)


def test_what_is_told_is_what_was_said(world):
    vault = world.vault()
    keys = [("blobs/sha256/aa/" + "a" * 64, False), ("packs/" + "b" * 64 + ".tar", True)]
    announce(world.store, vault.id, "p", keys, hot="STANDARD", promise={"hours": 5})
    found = read_announced(world.store, vault.id)
    assert found.moving == {key for key, _ in keys}
    assert found.promised == {keys[1][0]}
    # A tiering that nobody has heard of for a month is over.
    world.later(31)
    assert not read_announced(world.store, vault.id).moving
