"""The source is empty, gone, shrunk or strange; the vault is from the future or half condemned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
from world import World, fill, flip, noise, tree

from regvault.errors import (
    NotFoundError,
    SourceUnavailableError,
    UnknownFormatError,
    UsageError,
    VaultDamagedError,
)
from regvault.storage.local import LocalStore
from regvault.vault.condemned import REPEAT_EVERY
from regvault.vault.envelope import write_document
from regvault.vault.frames import compress
from regvault.vault.keys import condemned_key
from regvault.vault.parties import void_document
from regvault.vault.records import write_record


def test_a_place_without_a_registry_is_exit_10_at_first(world):
    """Bad input: nothing is written for a registry that never was."""
    before = tree(world.store)
    with pytest.raises(NotFoundError) as caught:
        world.snapshot()
    assert caught.value.exit_code == 10
    assert caught.value.hint
    assert tree(world.store) == before


def test_a_registry_that_is_gone_is_a_source_error_and_no_root(tmp_path):
    """Invariant 5, Rule 10: not mounted is not empty."""
    made = World(LocalStore(tmp_path / "registry", create=True))
    fill(made)
    made.snapshot()
    before = tree(made.store)
    shutil.move(tmp_path / "registry" / "docker", tmp_path / "elsewhere")
    with pytest.raises(SourceUnavailableError) as caught:
        made.snapshot()
    assert caught.value.exit_code == 6
    assert "mounted" in (caught.value.hint or "")
    assert tree(made.store) == before
    shutil.move(tmp_path / "elsewhere", tmp_path / "registry" / "docker")
    assert made.snapshot().exit_code() == 0


def test_a_source_that_goes_away_in_the_middle_makes_no_root(small):
    """Invariant 9: errors of the source are not findings of its images."""
    from regvault.errors import StoreUnavailableError
    from regvault.storage.wrappers import FaultyStore

    faulty = FaultyStore(small.registry)
    faulty.plan(StoreUnavailableError("gone"), verbs={"list"}, times=1000)
    with pytest.raises(SourceUnavailableError):
        small.snapshot(source=small.source(faulty))
    assert small.roots() == []


def test_an_empty_registry_is_held(tmp_path):
    """Invariant 5: stored, exit 3, and never `accepted`."""
    os.makedirs(tmp_path / "registry" / "docker" / "registry" / "v2")
    made = World(LocalStore(tmp_path / "registry"))
    for _ in range(2):
        result = made.snapshot()
        assert result.exit_code() == 3
        assert result.root.held == {"reason": "the registry is empty", "against": None}
    assert made.restored() == {}
    made.verified()
    fill(made)
    assert made.snapshot().exit_code() == 0


def test_a_registry_that_shrank_is_held_until_it_is_confirmed(world):
    """Invariant 5, Rule 10: measured against the newest root that is not held."""
    for number in range(20):
        world.push.image(f"app-{number}", "1", layers=(noise(200, number),))
    world.snapshot()
    full = tree(world.registry)
    # A tenth may go.
    for number in range(2):
        world.remove(f"app-{number}")
    assert world.snapshot().root.held is None
    for number in range(2, 6):
        world.remove(f"app-{number}")
    result = world.snapshot()
    assert result.exit_code() == 3
    assert result.root.held["against"] == 2
    assert "shrank from 18 to 14" in result.root.held["reason"]
    # Stored all the same; and the next one is held too, since nobody has looked.
    assert len([k for k in world.restore(3)[1].list() if k.key.endswith("current/link")]) == 14
    assert world.snapshot().root.held["against"] == 2
    # What comes back ends it.
    for key, data in full.items():
        world.push.write(key, data)
    assert world.snapshot().root.held is None
    assert world.restored() == full
    for number in range(6):
        world.remove(f"app-{number}")
    root = world.snapshot().root
    assert root.held is not None
    fields = {"registry": "prod", "sequence": root.name.sequence, "root": root.sha256}
    write_record(world.store, world.vault().id, "confirmations", "f" * 24, fields)
    assert world.snapshot().root.held is None
    world.verified()


def test_a_narrowed_run_does_not_hide_that_the_registry_shrank(world):
    """Invariant 5: every root is full, so every root is measured."""
    for number in range(4):
        world.push.image(f"app-{number}", "1", layers=(noise(200, number),))
    world.snapshot()
    world.remove("app-1")
    assert world.snapshot(globs=("app-1",)).root.held is not None


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"format": "1"}, {"features": ["later"]}, {"features": "x"}, {"format": None}],
)
@pytest.mark.parametrize("key", ["vault.json", "snapshots/prod/00000001.json"])
def test_what_a_newer_regvault_wrote_is_refused(small, key, change):
    """Invariant 5, Rule 2: an unknown format or feature is exit 5, not a guess."""
    small.snapshot()
    body = json.loads(small.store.get(key).split(b"\n")[0])
    small.store.put(key, write_document({**body, **change})[0])
    before = {k: v for k, v in tree(small.store).items() if not k.startswith("leases/")}
    for act in (small.snapshot, small.restore, small.verify):
        with pytest.raises(UnknownFormatError) as caught:
            act()
        assert caught.value.exit_code == 5
        assert caught.value.hint
    assert before == {k: v for k, v in tree(small.store).items() if not k.startswith("leases/")}


@pytest.mark.parametrize("change", [flip, lambda d: d[:-1], lambda d: b"", lambda d: d[:40]])
def test_a_damaged_identity_is_said(small, change):
    """Invariant 9: an error of the vault, exit 4."""
    small.spoil("vault.json", change)
    with pytest.raises(VaultDamagedError):
        small.snapshot()


def test_a_damaged_root_ends_no_backups(small):
    """Invariant 5: `snapshot` itself never refuses on the worst day."""
    small.snapshot()
    first = tree(small.registry)
    small.push.image("app", "2nd", layers=(noise(100, 2),))
    small.snapshot()
    small.spoil("snapshots/prod/00000002.json", flip)
    small.push.image("app", "3rd", layers=(noise(100, 3),))
    result = small.snapshot()
    assert result.root.name.sequence == 3
    assert result.exit_code() == 4  # made, and the vault is damaged
    assert any("00000002" in warning for warning in small.progress.warnings)
    report = small.verify().report
    assert {p.key for p in report.problems} == {"snapshots/prod/00000002.json"}
    small.store.put("snapshots/prod/00000002.json", void_document(small.vault().id, "x", "y"))
    assert small.restored(1) == first
    assert small.restored(3) == tree(small.registry)


def test_a_damaged_root_of_another_registry_is_nobodys_business(small):
    """Invariant 9: one registry's damage does not stop the backups of the others."""
    other = World(small.registry, small.store, name="other")
    other.snapshot()
    small.spoil("snapshots/other/00000001.json", flip)
    assert small.snapshot().exit_code() == 0
    assert small.snapshot(registry="fresh").exit_code() == 0


def condemn(made: World, keys: list[str], number: int = 1, **header) -> None:
    """Write a condemned list by hand, as the format says."""
    body = {
        "type": "condemned",
        "format": 1,
        "features": [],
        "vault": made.vault().id,
        "slot": number,
        **header,
    }
    content = "\n".join([json.dumps(body), *sorted(keys)]).encode() + b"\n"
    seal = json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "signatures": []}).encode()
    made.store.put(condemned_key(number), compress(content + seal + b"\n"))


def test_a_condemned_key_is_never_used_or_written_again(small):
    """Invariant 4: condemned is for ever, whether the object is still there or not."""
    small.snapshot()
    condemned = [k for p in ("blobs/", "packs/", "meta/", "trees/") for k in small.keys(p)]
    condemn(small, condemned)
    before = {k: small.store.head(k).etag for k in condemned}
    # A registry that has nothing yet: all of it is there, nothing of it may be used.
    other = World(small.registry, small.store, cache=small.cache, name="other")
    result = other.snapshot()
    assert result.exit_code() == 0
    used = {ref.key for ref in other.vault().object_list(result.root)}
    used |= {c.key for c in other.vault().object_list(result.root).own_chunks()}
    assert used.isdisjoint(condemned)
    assert before == {k: small.store.head(k).etag for k in condemned}
    # They go, late, twice, by anyone: nothing is lost with them.
    small.lose(*condemned)
    assert other.restored() == tree(small.registry)
    # And when they are gone their names stay unused.
    third = World(small.registry, small.store, name="third")
    third.snapshot()
    assert not set(condemned) & set(small.keys())
    assert third.restored() == tree(small.registry)


def test_condemned_lists_are_read_from_the_newest_that_repeats_all(small):
    """Invariant 4: every list counts, and one that is gone stops whoever would reuse."""
    small.snapshot()
    raw = small.keys("blobs/")
    packs = small.keys("packs/")
    condemn(small, [*raw, *packs], REPEAT_EVERY)
    small.store.put(
        condemned_key(REPEAT_EVERY + 1), void_document(small.vault().id, "condemned/x", "y")
    )
    condemn(small, small.keys("meta/"), REPEAT_EVERY + 2)
    other = World(small.registry, small.store, name="other")
    used = {ref.key for ref in other.vault().object_list(other.snapshot().root)}
    assert used.isdisjoint({*raw, *packs, *small.keys("meta/")[:0]})
    small.store.delete(condemned_key(REPEAT_EVERY + 1))
    with pytest.raises(VaultDamagedError):
        other.snapshot()


@pytest.mark.parametrize("change", [flip, lambda d: d[:-3], lambda d: b"", lambda d: b"junk"])
def test_an_unreadable_condemned_list_stops_whoever_would_reuse(small, change):
    """Invariant 4: what may be about to be deleted cannot be told from what is safe."""
    small.snapshot()
    condemn(small, [])
    small.spoil(condemned_key(1), change)
    with pytest.raises(VaultDamagedError):
        small.snapshot()
    assert small.restored() == tree(small.registry)
    assert small.verify("metadata").exit_code() == 4


def test_a_condemned_list_from_the_future_is_refused(small):
    """Invariant 5: an unknown format or feature."""
    for header in ({"format": 2}, {"features": ["x"]}):
        condemn(small, [], **header)
        with pytest.raises(UnknownFormatError):
            small.snapshot()


@pytest.mark.parametrize("name", ["", "Prod", "a/b", "../x", "-a", "a" * 65, "a\n"])
def test_a_registry_name_that_is_none_is_refused(small, name):
    """Invariant 8: names become keys."""
    from regvault.ops.snapshot import SnapshotOptions, snapshot

    with pytest.raises(UsageError):
        snapshot(
            small.vault(),
            small.source(),
            SnapshotOptions(registry=name),
            progress=small.progress,
            cache_base=None,
        )


def test_a_registry_keeps_its_name_whatever_it_is_called_on_the_way(small):
    """Design, words: a registry has a permanent id and name in the vault."""
    from regvault.ops.snapshot import SnapshotOptions, snapshot

    def take():
        options = SnapshotOptions()
        return snapshot(
            small.vault(), small.source(), options, progress=small.progress, cache_base=None
        )

    first, second = take(), take()
    assert first.registry == second.registry == "registry"
    assert first.root.registry_id == second.root.registry_id
    small.snapshot(registry="prod")
    assert {r.registry_id for r in small.roots("prod")} != {first.root.registry_id}


def test_roots_are_bound_to_vault_registry_and_slot(small):
    """Rule 6: a root that someone puts elsewhere is not taken for another."""
    small.snapshot()
    small.snapshot()
    first = small.store.get("snapshots/prod/00000001.json")
    small.store.put("snapshots/prod/00000003.json", first)
    small.store.put("snapshots/other/00000001.json", first)
    report = small.verify("quick").report
    assert {"snapshots/prod/00000003.json", "snapshots/other/00000001.json"} <= report.bad_keys()
    foreign = World()
    fill(foreign)
    foreign.snapshot()
    small.store.put(
        "snapshots/prod/00000003.json", foreign.store.get("snapshots/prod/00000001.json")
    )
    assert "snapshots/prod/00000003.json" in small.verify("quick").report.bad_keys()
