"""A sealed vault is tiered as a plain one, by who opens nothing of what lies in it."""

import pytest
from sealed_world import AS_ALICE
from shelved import MIB, Shelved
from world import tree

from regvault.storage.memory import MemoryStore


@pytest.fixture
def world():
    made = Shelved(sealed=True, name="production")
    made.age(3, size=2 * MIB)
    return made


def test_what_old_snapshots_need_goes_and_comes_back(world, tmp_path):
    made = world.write_plan(str(tmp_path / "plan"), newest=1)
    moves = list(made.moves())
    assert len(moves) == 2
    assert {move.key.split("/")[1] for move in moves} == {"hmac-sha256"}
    assert world.apply(made).moved == 2
    world.trust = AS_ALICE
    assert world.restore(target=MemoryStore("t"))[0].exit_code() == 0
    for move in moves:
        world.store.thaw(move.key, way="bulk", days=3)
    world.store.finish_thaws()
    assert tree(world.restore(1, MemoryStore("u"))[1])
    found = world.verify("data")
    assert found.exit_code() == 0, found.to_json()


def test_what_the_newest_needs_and_an_archive_has_is_stored_again(world):
    world.archive(*world.needs())
    done = world.snapshot()
    assert (done.archived, done.promised) == (0, 0)
    assert all(world.shelf()[key] == "STANDARD" for key in world.needs())
    world.trust = AS_ALICE
    assert world.restore(target=MemoryStore("t"))[0].exit_code() == 0
    found = world.verify("data")
    assert found.exit_code() == 0, found.to_json()
    assert found.to_json()["archived_not_read"]["objects"] > 0
