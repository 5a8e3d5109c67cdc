"""Purge beside copies and readers: nothing is taken for damage, nothing comes back unseen."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from test_copy import another
from test_purge import RAW, SMALL, new_world, purged
from world import Before, World, digest_of, flip, noise

from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.info import info
from regvault.ops.listing import list_snapshots
from regvault.ops.pin import pin
from regvault.vault.vault import Vault


@pytest.fixture
def made() -> World:
    return new_world()


def copied(made: World, target: World, source_store=None):
    source = Vault(source_store or made.store)
    return copy(source, [target.vault()], CopyOptions(threads=1), progress=NO_PROGRESS)


@pytest.mark.parametrize("content", [RAW, SMALL], ids=["raw", "packed"])
def test_what_a_copy_was_purged_of_comes_back_only_with_a_word(made, content):
    target = another()
    copied(made, target)
    digest = digest_of(content)
    purged(target, digest)
    made.push.image("more", "1", layers=(noise(600, "more"),))
    made.snapshot()
    result = copied(made, target)
    assert result.to_json()["targets"][0]["returned"] == [digest]
    assert result.exit_code() == 3
    # Purged in the original, and then here once more, it stays away.
    purged(made, digest)
    purged(target, digest)
    made.push.image("more", "2", layers=(noise(601, "more"),))
    for key in [entry.key for entry in made.registry.list() if digest[7:] in entry.key]:
        made.registry.delete(key)
    made.snapshot()
    result = copied(made, target)
    assert result.targets[0].returned == set()
    assert result.exit_code() == 0


@pytest.mark.parametrize("when", ["leases/", "snapshots/prod/00000002"])
def test_a_purge_beside_a_copy_is_no_damage_of_the_source(made, when):
    """It ended just before the copier's claim was there, or while the claim was written."""
    target = another()
    verb = "put" if when == "leases/" else "get"
    beside = Before(made.store, verb, when, lambda: purged(made, digest_of(SMALL)))
    result = copied(made, target, beside)
    assert beside.do is None
    assert result.exit_code() == 0, result.to_json()
    assert [root.name.sequence for root in target.roots()] == [1, 2]
    target.verified()


def test_a_reader_that_claims_looks_at_amendments_again(made):
    vault = made.vault()
    root = made.root(2)
    before = {ref.key for ref in vault.object_list(root)}
    purged(made, digest_of(SMALL))
    with claim(vault, [root], NO_PROGRESS):
        now = {ref.key for ref in vault.object_list(root)}
    assert before - now
    assert all(made.keys(key) for key in now)


def test_info_says_that_images_of_the_newest_snapshot_do_not_come_back(made):
    def codes() -> set[str]:
        found = info(made.vault(), now=datetime.now(UTC))
        return {issue.code for each in found.registries for issue in each.issues}

    assert "purged" not in codes()
    purged(made, digest_of(SMALL))
    assert "purged" in codes()
    for key in [entry.key for entry in made.registry.list() if digest_of(SMALL)[7:] in entry.key]:
        made.registry.delete(key)
    made.snapshot()
    assert "purged" not in codes()


def test_a_list_of_snapshots_tells_pins(made):
    pin(made.vault(), made.root(1), reason="audit")
    assert [row.pinned for row in list_snapshots(made.vault())] == [True, False]
    for key in made.keys("records/pins/"):
        made.spoil(key, flip)
    assert [row.to_json()["pinned"] for row in list_snapshots(made.vault())] == [None, None]
