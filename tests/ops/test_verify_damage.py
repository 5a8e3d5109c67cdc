"""Every kind of damage on every kind of object is named, by the depth that can see it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from world import Before, World, blob_key, current_key, digest_of, flip, noise, tree

from regvault.errors import UsageError, VaultDamagedError
from regvault.ops.sample import change_sample
from regvault.ops.verify.data import parse_sample
from regvault.storage.wrappers import CountingStore
from regvault.vault.keys import new_run_id
from regvault.vault.parties import end, read_held
from regvault.vault.stub import forget_root

DEPTHS = ("quick", "metadata", "data")


class Kept(World):
    """Two snapshots, so that there is a chain, a delta or a second base, and two packs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.push.image("app", "1", layers=(noise(3000, 1), noise(1 << 20, "raw")))
        self.push.image("web", "1", layers=(noise(700, "web"),))
        self.snapshot()
        self.second = self.push.image("app", "2", layers=(noise(3000, 2), noise(1 << 20, "raw")))
        self.broken = noise(1 << 20, "other raw")
        self.push.image("raw", "1", layers=(self.broken,))
        self.remove("web")
        self.snapshot()

    def some(self, what: str) -> str:
        """One object of a kind."""
        root = self.root()
        if what == "object list":
            return root.objects.base.top.key
        if what in ("repository list", "state"):
            top = root.repositories.top.digest
            if what == "state":
                lines = list(
                    self.vault()
                    .tree("repositories", root.repositories, self.vault().object_list(root))
                    .lines()
                )
                top = lines[0].split(b" ")[1].decode()
            return f"trees/{top.partition(':')[2]}.zst"
        return self.keys(f"{what}/")[0]


@pytest.fixture
def kept():
    return Kept()


KINDS = ["blobs", "packs", "meta", "state", "repository list", "object list", "catalog"]
HARM: dict[str, Any] = {
    "gone": None,
    "cut off": lambda d: d[:-1],
    "empty": lambda _: b"",
    "longer": lambda d: d + b"x",
    "a bit flipped": flip,
    "the first bit flipped": lambda d: flip(d, 0),
    "zeroes": lambda d: bytes(len(d)),
}
#: Which depth sees harm that keeps the size.
SEEN_BY = {"blobs": "data", "packs": "data"}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("kind", KINDS)
def test_harm_is_named_by_the_right_depth(kept, kind, harm):
    """Invariant 7: `quick` sees presence and size, the default all but layers, `data` all."""
    key = kept.some(kind)
    if HARM[harm] is None:
        kept.lose(key)
    else:
        kept.spoil(key, HARM[harm])
    keeps_size = "flipped" in harm or harm == "zeroes"
    first = SEEN_BY.get(kind, "metadata") if keeps_size else "quick"
    if kind == "catalog":
        first = "metadata"  # no object list has it: nothing is lost with it
    if kind == "object list":
        first = "quick"  # it reads them
    for depth in DEPTHS:
        result = kept.verify(depth)
        sees = DEPTHS.index(depth) >= DEPTHS.index(first)
        assert (result.exit_code() == 4) == sees, (depth, result.to_json()["problems"])
        if sees and not (kind == "catalog" and harm == "gone"):
            assert key in result.report.bad_keys(), (depth, result.to_json()["problems"])
        if sees and kind != "catalog":
            hurt = {s for p in result.report.problems if p.key == key for s in p.snapshots}
            objects = {str(r.name): kept.vault().object_list(r) for r in kept.roots()}
            with contextlib.suppress(VaultDamagedError):
                assert (
                    hurt == {n for n, o in objects.items() if o.get(key)} or kind == "object list"
                )
        if sees and kind in ("blobs", "packs", "meta") and depth == first:
            assert result.report.images, depth
    # It only looked: nothing was mended or deleted meanwhile.
    assert kept.verify(first).exit_code() == 4


def test_swapped_objects_of_one_size_are_named(kept):
    """Rule 6: right bytes at a wrong place are wrong bytes."""
    one, two = kept.keys("blobs/")[:2]
    first, second = kept.store.get(one), kept.store.get(two)
    kept.store.put(one, second)
    kept.store.put(two, first)
    assert kept.verify("metadata").exit_code() == 0
    report = kept.verify().report
    assert report.bad_keys() == {one, two}
    assert {(name, image) for name, image, _ in report.images} == {
        ("app", ":1"),
        ("app", ":2"),
        ("raw", ":1"),
    }


def test_the_images_that_damage_belongs_to_are_named(kept):
    """Invariant 12, for a vault: what is hurt is said in words that people know."""
    key = next(k for k in kept.keys("blobs/") if digest_of(kept.broken).partition(":")[2] in k)
    kept.spoil(key, flip)
    report = kept.verify().report
    assert report.images == [("raw", ":1", digest_of(kept.broken))]


@pytest.mark.parametrize(
    ("harm", "what"),
    [(None, "gap"), (flip, "damaged"), (lambda d: d[:-1], "damaged"), (lambda _: b"", "damaged")],
)
def test_a_chain_with_a_hole_is_named(kept, harm, what):
    """Rule 6: a gap in the sequence is theft, or a LIST that lies."""
    key = "snapshots/prod/00000001.json"
    if harm is None:
        kept.lose(key)
    else:
        kept.spoil(key, harm)
    for depth in DEPTHS:
        problems = kept.verify(depth).report.problems
        assert (key, what) in {(p.key, p.what) for p in problems}
    assert kept.restored(2).items() <= tree(kept.registry).items()


def test_a_root_that_was_put_in_anothers_place_is_named(kept):
    """Rule 6: `previous` binds each root to the one before."""
    forged = World(kept.registry)
    forged.store.put("vault.json", kept.store.get("vault.json"))
    forged.snapshot()
    kept.store.put("snapshots/prod/00000001.json", forged.store.get("snapshots/prod/00000001.json"))
    problems = {(p.key, p.what) for p in kept.verify("quick").report.problems}
    assert ("snapshots/prod/00000002.json", "chain") in problems


def test_each_slot_is_read_once_and_what_is_retained_once_more_for_the_claim(kept):
    """Most slots of an old vault are stubs: a second request for each is the longer half."""
    kept.snapshot()
    assert forget_root(kept.store, kept.vault().id, kept.roots()[0], new_run_id())
    counting = CountingStore(kept.store, record=True)
    assert kept.verify("quick", store=counting).exit_code() == 0
    slots = [key for verb, key in counting.calls if verb == "get" and key.startswith("snapshots/")]
    assert len(slots) == len(kept.keys("snapshots/")) + len(kept.roots())


def test_the_newest_snapshot_verifies_though_an_older_one_is_lost(kept):
    """Invariant 9: what is whole is not blamed for what is not."""
    root = kept.root(1)
    only_first = {r.key for r in kept.vault().object_list(root)} - {
        r.key for r in kept.vault().object_list(kept.root(2))
    }
    kept.lose(*only_first)
    for depth in DEPTHS:
        hurt = {s for p in kept.verify(depth).report.problems for s in p.snapshots}
        assert hurt == {"prod@1"}
    assert kept.restored(2).items() <= tree(kept.registry).items()


def test_a_share_of_the_data_is_read(kept):
    """Invariant 7: parts together read everything, each a part of it."""
    read = []
    from regvault.ops.verify import VerifyOptions, verify

    for part in (1, 2, 3):
        result = verify(
            kept.vault(),
            VerifyOptions(read_data=parse_sample(f"{part}/3"), threads=1),
            progress=kept.progress,
        )
        read.append(result.report.nbytes)
    whole = kept.verify().report.nbytes
    metadata = kept.verify("metadata").report.nbytes
    assert sum(n - metadata for n in read) == whole - metadata
    for bad in ("0/3", "4/3", "x", "0%", "101%", "3/"):
        with pytest.raises(UsageError):
            parse_sample(bad)


def test_a_vault_that_cannot_be_written_is_verified_all_the_same(kept):
    """Invariant 9: no lease and no record, said as a warning and not swallowed."""
    from regvault.errors import ReadOnlyStoreError
    from regvault.storage.wrappers import FaultyStore

    faulty = FaultyStore(kept.store)
    faulty.plan(ReadOnlyStoreError("read-only"), verbs={"put", "put_stream", "commit"}, times=1000)
    before = tree(kept.store)
    result = kept.verify(store=faulty)
    assert result.exit_code() == 0
    assert not result.recorded
    assert kept.progress.warnings
    assert tree(kept.store) == before


def test_what_a_prune_took_from_a_verify_that_slept_is_not_recorded_as_damage(kept):
    """Invariant 9: its claim had ended, so what it misses may belong to no snapshot any more."""

    def sleep() -> None:
        vault = kept.vault()
        key = kept.keys("leases/")[-1]
        body, etag, _ = read_held(kept.store, vault.id, key)
        assert body["role"] == "reader"
        assert end(kept.store, vault.id, key, body, etag)
        kept.lose(kept.some("blobs"))

    result = kept.verify(store=Before(kept.store, "list", "blobs/", sleep))
    assert result.exit_code() == 4
    assert "ended while it slept" in kept.progress.warnings[-1]
    assert not result.recorded
    assert not kept.keys("records/verifications/")


# -- restore -------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", [None, flip, lambda d: d[: len(d) // 2], lambda d: bytes(len(d))])
@pytest.mark.parametrize("kind", ["blobs", "packs", "meta"])
def test_a_restore_gives_all_that_is_whole_and_nothing_that_is_not(kept, kind, harm):
    """Invariant 7: damaged bytes are refused, everything else comes back, exit 4."""
    here = tree(kept.registry)
    lost = {k: kept.store.get(k) for k in kept.keys(f"{kind}/")}
    for key in list(lost)[:1]:
        if harm is None:
            kept.lose(key)
        else:
            kept.spoil(key, harm)
    result, target = kept.restore()
    got = tree(target)
    assert result.exit_code() == 4
    assert result.plan.problems
    assert all(here[k] == v for k, v in got.items())
    for image, tag in ((kept.first, "1"), (kept.second, "2")):
        whole = all(blob_key(d) in got for d in image.closure())
        assert (current_key("app", tag) in got) == whole
    # What does not come back is named: every tag of the snapshot is there or in the list.
    named = {(p.repository, p.subject) for p in result.plan.problems}
    for name, tag in (("app", "1"), ("app", "2"), ("raw", "1")):
        assert (current_key(name, tag) in got) != ((name, f":{tag}") in named)


def test_one_damaged_manifest_holds_back_no_other_image(kept):
    """Invariant 7: a restore of one tag does not need every manifest of its repository."""
    from regvault.vault.catalog import Catalog

    catalog = Catalog(kept.store, None)
    catalog.prepare(1 << 30)
    (place,) = catalog.find(kept.first.digest)
    catalog.close()
    kept.spoil(place.key, lambda d: flip(d, place.offset + place.length // 2))
    result, target = kept.restore(tags=("2",), globs=("app",))
    assert result.exit_code() in (0, 4)
    got = tree(target)
    assert got[current_key("app", "2")] == kept.second.digest.encode()
    assert {blob_key(d) for d in kept.second.closure()} <= got.keys()
    result, target = kept.restore(tags=("1",), globs=("app",))
    assert result.exit_code() == 4
    assert not any(k.endswith("current/link") for k in tree(target))


def test_a_second_copy_of_a_blob_serves_when_the_first_is_damaged(small):
    """Design, catalog: of several lines a reader takes one that is good."""
    small.snapshot()
    other = World(small.registry, small.store, name="other")
    from regvault.vault.keys import blob_key as raw_key

    raw = raw_key(digest_of(noise(1 << 20, "raw")))
    short = small.store.get(raw)[:-1]
    small.spoil(raw, lambda _: short)
    other.snapshot()  # stores it again, beside what is there
    assert len(small.keys("blobs/")) == 2
    assert other.restored() == tree(small.registry)
    assert small.restored() == tree(small.registry)


def test_verify_of_a_healthy_history_is_quiet_in_every_depth(sample):
    """Invariant 9: no false alarm."""
    for seed in range(3):
        sample.snapshot()
        change_sample(sample.registry, seed=seed)
    for depth in DEPTHS:
        result = sample.verify(depth)
        assert result.exit_code() == 0, result.to_json()["problems"]
        assert result.recorded
        assert result.snapshots == 3
