"""Repair of a sealed vault gives up nothing because an identity, and not the bytes, is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_sealed import (
    ALICE,
    AS_ALICE,
    AS_BOB,
    AS_HOST,
    AS_NOBODY,
    BOB,
    assert_whole,
    copied,
    fresh,
    opened,
    restored,
    second,
)
from world import World, blob_key, digest_of, flip, noise, tree

from regvault.model.progress import NO_PROGRESS
from regvault.ops.keys import change_recipients
from regvault.ops.repair import RegistrySpare, VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample
from regvault.vault.age import AGE_MAGIC
from regvault.vault.keys import new_run_id
from regvault.vault.pack import iter_members
from regvault.vault.stub import forget_root

if TYPE_CHECKING:
    from regvault.vault.signing import Keys

OPTIONS = VerifyOptions(read_data=Sample(), threads=1)
BLOBS = tuple(noise(2000 + n, "small", n) for n in range(4))


@pytest.fixture
def made() -> World:
    world = fresh()
    world.push.image("team/app", "1", layers=(noise(1 << 20, "raw"), *BLOBS))
    world.snapshot()
    return world


def repaired(made: World, keys: Keys, *places, **words):
    vault = opened(made, keys)
    plan = plan_repair(vault, places, options=OPTIONS, progress=NO_PROGRESS, **words)
    return repair(vault, plan, places, options=OPTIONS, progress=NO_PROGRESS)


def member_of(made: World, blob: bytes) -> tuple[str, int, int]:
    """Return the pack that a blob is sealed in, and where in it."""
    name = opened(made, AS_HOST).seal.name(digest_of(blob))
    for key in made.keys("packs/"):
        for each, at, size in iter_members(made.store.get(key), key):
            if each == name:
                return key, at, size
    raise AssertionError(name)


def spoil(made: World, blob: bytes, *, header: bool = False) -> str:
    """Make the age file of a blob wrong; return the pack's key."""
    key, at, size = member_of(made, blob)
    if header:  # another letter of the Base64 of its stanza: it is a header still
        where = at + len(AGE_MAGIC) + 20
        made.spoil(key, lambda data: _with(data, where, b"B" if data[where] == 65 else b"A"))
    else:
        made.spoil(key, lambda data: flip(data, at + size - 5))
    return key


def _with(data: bytes, at: int, letter: bytes) -> bytes:
    return data[:at] + letter + data[at + 1 :]


def objects_of(made: World) -> dict[str, bytes]:
    kept = ("packs/", "meta/", "blobs/", "trees/", "snapshots/", "records/amendments/")
    return {k: v for k, v in tree(made.store).items() if k.startswith(kept)}


@pytest.mark.parametrize("keys", [AS_HOST, AS_BOB, AS_NOBODY], ids=["host", "later", "nobody"])
@pytest.mark.parametrize("drop", [False, True], ids=["plain", "drop-lost"])
def test_whoever_cannot_open_it_gives_up_nothing(made, drop, keys):
    """Invariant 5: one of four members is damaged; the others are whole for who can open them."""
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    made.push.image("team/new", "1", layers=(noise(700, "new"),))
    made.snapshot()
    day = restored(made, 1)
    data = made.store.get(spoil(made, BLOBS[1]))
    before = objects_of(made)
    result = repaired(made, keys, drop_lost=drop)
    assert result.exit_code() == 4
    assert objects_of(made) == before
    (action,) = result.plan.actions
    assert action.how == "none"
    assert action.hint
    made.store.put(action.ref.key, data)
    made.push.blob(BLOBS[1])
    assert repaired(made, AS_ALICE, RegistrySpare(made.source())).exit_code() == 0
    assert restored(made, 1) == day


def test_who_opens_all_gives_up_what_is_damaged_and_nothing_else(made):
    spoil(made, BLOBS[1])
    made.registry.delete(blob_key(digest_of(BLOBS[1])))
    result = repaired(made, AS_ALICE, drop_lost=True)
    assert result.exit_code() == 0, result.to_json()
    assert result.dropped == [digest_of(BLOBS[1])]
    assert_whole(made)


@pytest.mark.parametrize("later", [False, True], ids=["of all", "of what is new"])
def test_an_age_file_without_its_header_is_damaged_for_whom_all_was_sealed_to(made, later):
    """Where something may be sealed to others, what does not open is no damage."""
    if later:
        change_recipients(opened(made, AS_HOST), add=[BOB.public], remove=[ALICE.public])
    spoil(made, BLOBS[1], header=True)
    result = repaired(made, AS_ALICE, drop_lost=True)
    assert result.dropped == ([] if later else [digest_of(BLOBS[1])])


def test_a_raw_blob_is_not_given_up_while_the_states_are_gone(made):
    """Invariant 5: nobody can say which content it was, so nobody can say that none needs it."""
    target = second(made)
    copied(made, target)
    day = restored(made, 1)
    made.lose("blobs/")
    made.lose(*(key for key in made.keys("trees/") if ".age" in key))
    for drop in (False, True):
        before = objects_of(made)
        assert repaired(made, AS_ALICE, drop_lost=drop).exit_code() == 4
        assert objects_of(made) == before
    result = repaired(made, AS_ALICE, VaultSpare(opened(target, AS_ALICE)))
    assert result.exit_code() == 0, result.to_json()
    assert restored(made, 1) == day


def test_what_no_snapshot_needs_goes_along_unopened(made):
    """Its digest is not known, and nobody here can open it: it is not dropped for that."""
    made.push.image("team/app", "1", layers=(noise(1 << 20, "raw"), *BLOBS[1:]))
    made.remove("team/app")
    made.push.image("team/app", "1", layers=(noise(1 << 20, "raw"), *BLOBS[1:]))
    made.snapshot()
    vault = opened(made, AS_HOST)
    assert forget_root(made.store, vault.id, made.root(1), new_run_id())
    key, at, size = member_of(made, BLOBS[0])
    sealed = made.store.get(key)[at : at + size]
    spoil(made, BLOBS[1])
    result = repaired(made, AS_HOST, RegistrySpare(made.source()))
    assert result.exit_code() == 0, result.to_json()
    (new,) = result.replaced.values()
    assert new is not None
    assert sealed in made.store.get(new.key)
    assert key not in made.keys("packs/")
    assert_whole(made)
