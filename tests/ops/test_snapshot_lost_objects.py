"""The vault lost something between two runs: the next one stores it again."""

from __future__ import annotations

import os
import shutil

import pytest
from world import World, digest_of, fill, flip, noise, tree

from regvault.errors import VaultDamagedError
from regvault.ops.sample import build_sample, change_sample
from regvault.storage.wrappers import CountingStore
from regvault.vault.catalog import vault_cache

LOSSES = {
    "a raw blob": lambda w: w.lose(w.keys("blobs/")[0]),
    "a pack": lambda w: w.lose(w.keys("packs/")[0]),
    "a meta object": lambda w: w.lose(w.keys("meta/")[0]),
    "all states": lambda w: w.lose(*state_chunks(w)),
    "one state": lambda w: w.lose(state_chunks(w)[0]),
    "the repository list": lambda w: w.lose(hexed_key(w.root().repositories.top.digest)),
    "the object list": lambda w: w.lose(w.root().objects.base.top.key),
    "a segment": lambda w: w.lose(w.keys("catalog/")[0]),
    "the catalog": lambda w: w.lose("catalog/"),
    "all objects": lambda w: w.lose("blobs/", "packs/", "meta/", "trees/", "catalog/"),
    "all trees": lambda w: w.lose("trees/"),
}


def hexed_key(digest: str) -> str:
    return f"trees/{digest.partition(':')[2]}.zst"


def state_chunks(world: World) -> list[str]:
    root = world.root()
    vault = world.vault()
    lines = vault.tree("repositories", root.repositories, vault.object_list(root)).lines()
    return [hexed_key(line.split(b" ")[1].decode()) for line in lines]


@pytest.fixture(params=["cached", "uncached"])
def lossy(request, tmp_path):
    made = World(cache=str(tmp_path / "cache") if request.param == "cached" else None)
    fill(made)
    made.snapshot()
    return made


@pytest.mark.parametrize("what", LOSSES)
def test_what_was_lost_is_stored_again_though_nothing_changed(lossy, what):
    """Invariant 3, Rule 4: what LIST does not show is not there, and the next snapshot heals it."""
    day = tree(lossy.registry)
    lost = LOSSES[what](lossy)
    assert lost
    result = lossy.snapshot()
    assert result.exit_code() == 0, result.to_json()
    objects = lossy.vault().object_list(lossy.root())
    assert all(lossy.store.head(ref.key).size == ref.size for ref in objects)
    assert lossy.restored() == day
    if what != "all trees":
        assert set(result.lost) >= {k for k in lost if k[:7] != "catalog"} - _unlisted(lossy, lost)
    # The healed vault is whole, for the old snapshot too where the same bytes are the same object.
    newest = lossy.verify().report.problems
    assert not [p for p in newest if f"prod@{result.root.name.sequence}" in p.snapshots], newest
    # And once it is healed, nothing is left to do.
    counting = CountingStore(lossy.store, record=True)
    again = lossy.snapshot(store=counting)
    assert again.lost == []
    assert again.read == 0
    assert len([1 for verb, _ in counting.calls if verb in ("put", "put_stream", "commit")]) <= 5


def _unlisted(world: World, lost: list[str]) -> set[str]:
    """Those keys that were lost together with the list that said what is needed."""
    lists = {world.root(1).objects.base.top.key}
    return set(lost) if lists & set(lost) else set()


@pytest.mark.parametrize("prefix", ["blobs/", "packs/", "meta/", "trees/"])
def test_a_truncated_object_is_stored_again_beside_it(lossy, prefix):
    """Invariant 3: present means present with the right size."""
    day = tree(lossy.registry)
    key = lossy.keys(prefix)[0] if prefix != "trees/" else state_chunks(lossy)[0]
    short = lossy.store.get(key)[:-1]
    lossy.spoil(key, lambda data: data[:-1])
    result = lossy.snapshot()
    assert key in result.lost
    assert lossy.restored() == day
    # What is there under the name is left alone: someone may look at it.
    assert lossy.store.get(key) == short
    newest = lossy.verify().report.problems
    assert all("prod@2" not in p.snapshots for p in newest), newest


def test_a_damaged_segment_is_as_good_as_none(lossy):
    """Invariant 11: the catalog is derived, no snapshot depends on it."""
    day = tree(lossy.registry)
    (key,) = lossy.keys("catalog/")
    for change in (
        flip,
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda d: flip(d, -3),
    ):
        good = lossy.spoil(key, change)
        if lossy.cache:
            shutil.rmtree(lossy.cache)
        assert lossy.restored(1) == day
        assert lossy.verify().exit_code() == 4
        result = lossy.snapshot()
        assert result.exit_code() == 0
        assert lossy.restored() == day
        lossy.store.put(key, good)
        lossy.verified()


def test_losing_the_catalog_loses_nothing_of_any_day(tmp_path):
    """Invariant 11: every snapshot restores without one segment, raw blobs and packed ones."""
    made = World(cache=str(tmp_path / "cache"))
    build_sample(made.registry, images=6, large=1 << 20)
    days = []
    for number in range(3):
        made.snapshot()
        days.append(tree(made.registry))
        change_sample(made.registry, seed=number)
    made.lose("catalog/")
    for sequence, day in enumerate(days, start=1):
        assert made.restored(sequence) == day
    made.snapshot()
    assert len(made.keys("catalog/")) >= 1
    for sequence, day in enumerate(days, start=1):
        assert made.restored(sequence) == day
    made.verified()


def test_a_narrowed_run_brings_back_what_others_lost(small):
    """Invariant 3: objects of repositories that a run inherits are checked like reused ones."""
    day = tree(small.registry)
    small.snapshot()
    small.lose("packs/", "blobs/")
    result = small.snapshot(globs=("tools/*",))
    assert result.exit_code() == 0
    assert small.restored() == day
    assert all("prod@2" not in p.snapshots for p in small.verify().report.problems)


def test_what_neither_has_any_more_is_said(small):
    """Invariant 9: a root never claims to hold what is nowhere."""
    small.snapshot()
    small.lose("blobs/")
    gone = digest_of(noise(1 << 20, "raw"))
    for key in [e.key for e in small.registry.list() if gone.partition(":")[2] in e.key]:
        if key.endswith("/data"):
            small.registry.delete(key)
    with pytest.raises(VaultDamagedError):
        small.snapshot(globs=("tools/*",))
    # An ordinary run reads what is there, and names what is not.
    result = small.snapshot()
    assert result.exit_code() == 3
    assert {f.subject for _, f in result.findings} == {gone}
    objects = small.vault().object_list(small.root())
    assert not [ref for ref in objects if ref.key.startswith("blobs/")]
    assert small.restore()[0].exit_code() == 3


def _files(directory: str) -> list[str]:
    return sorted(
        os.path.join(where, name) for where, _, names in os.walk(directory) for name in names
    )


def _delete(path: str) -> None:
    os.unlink(path)


def _garbage(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"not a database at all " * 500)


def _rot(path: str) -> None:
    """Keep the header, spoil every page behind the first."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(4096)
        file.write(b"\xa5" * max(0, size - 4096))


def _cut(path: str) -> None:
    with open(path, "r+b") as file:
        file.truncate(os.fstat(file.fileno()).st_size // 2)


@pytest.mark.parametrize("spoil", [_delete, _garbage, _rot, _cut])
@pytest.mark.parametrize("which", ["catalog", "needs"])
def test_a_spoilt_cache_costs_only_time(small, spoil, which):
    """Invariant 11: every cache can be deleted, or broken, or someone else's."""
    small.snapshot()
    directory = vault_cache(small.cache, small.vault().id)
    for path in _files(directory):
        if os.path.basename(path).startswith(which) and path.endswith(".sqlite"):
            spoil(path)
        elif os.path.basename(path).startswith(which):
            os.unlink(path)
    small.push.image("app", "new", layers=(noise(100, "n"),))
    result = small.snapshot()
    assert result.exit_code() == 0
    assert result.stored == 3
    assert small.restored() == tree(small.registry)
    small.verified()


def test_a_stale_cache_of_another_host_costs_only_time(tmp_path):
    """Invariant 11: a cache describes the root that it is bound to, and is not believed else."""
    here = World(cache=str(tmp_path / "here"))
    there = World(here.registry, here.store, cache=str(tmp_path / "there"))
    fill(here)
    days = []
    for number, host in enumerate([here, there, there, here, there, here]):
        here.push.image("app", f"day{number}", "latest", layers=(noise(900, number, "day"),))
        if number == 3:
            here.remove("tools/cli")
        result = host.snapshot()
        assert result.stored == (3 if number else 17)
        days.append(tree(here.registry))
    clean = World(here.registry, here.store)
    for sequence, day in enumerate(days, start=1):
        restored = clean.restored(sequence)
        assert all(day[key] == value for key, value in restored.items())
    counts = clean.root().counts
    fresh = World(here.registry)
    assert fresh.snapshot().root.counts == counts
    clean.verified()


ROTTEN = {
    "a raw blob": lambda w: w.keys("blobs/")[0],
    "a pack": lambda w: w.keys("packs/")[0],
    "a meta object": lambda w: w.keys("meta/")[0],
    "a state": lambda w: state_chunks(w)[0],
    "the object list": lambda w: w.root().objects.base.top.key,
}


@pytest.mark.parametrize("what", ROTTEN)
def test_what_a_verification_found_rotten_is_stored_anew(lossy, what):
    """Rule 4: rot that keeps its size shows in no LIST, but a verification tells of it."""
    day = tree(lossy.registry)
    key = ROTTEN[what](lossy)
    lossy.store.put(key, flip(lossy.store.get(key)))
    assert lossy.verify().exit_code() == 4
    lossy.verify("quick")  # it reads less, and forgets nothing
    result = lossy.snapshot()
    assert result.exit_code() in (0, 4)
    newest = str(result.root.name)
    report = lossy.verify().report
    assert key in {problem.key for problem in report.problems}
    assert all(newest not in problem.snapshots for problem in report.problems)
    assert lossy.restored(result.root.name.sequence) == day
    # What it is to the older snapshots stays known; to new ones it is nothing any more.
    counting = CountingStore(lossy.store, record=True)
    again = lossy.snapshot(store=counting)
    assert again.exit_code() == 0
    assert again.lost == []
    assert again.read == 0


def test_a_verification_that_reads_a_part_forgets_no_damage(lossy):
    key = lossy.keys("packs/")[0]
    good = lossy.store.get(key)
    lossy.store.put(key, flip(good))
    lossy.verify()
    assert [p.key for p in lossy.verify("metadata").report.problems] == [key]
    for segment in lossy.keys("catalog/"):  # another problem of the same object hides nothing
        lossy.store.delete(segment)
    assert (key, "damaged") in {p[:2] for p in lossy.verify("metadata").report.problems}
    lossy.store.put(key, good)  # someone put it back
    lossy.snapshot()
    lossy.verified()
    assert lossy.snapshot().lost == []
