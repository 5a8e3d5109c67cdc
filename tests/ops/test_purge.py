"""Purge: one content goes from every snapshot, all else stays, and no root is rewritten."""

from __future__ import annotations

import time

import pytest
from world import World, blob_key, digest_of, noise, tree

from regvault.errors import (
    LeaseHeldError,
    NotFoundError,
    StoreAccessError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.find import find_digest
from regvault.ops.opened import Opened
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import PRUNE_LOCK, amendment_key, new_run_id
from regvault.vault.lease import Lease
from regvault.vault.parties import end, read_held
from regvault.vault.vault import Vault

RAW = noise(1 << 20, "raw")
SMALL = noise(3000, "small")
CONFIG = b'{"config": "secret"}'


def new_world() -> World:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    made = World(store=store)
    made.push.image("app", "v1", "latest", layers=(RAW, SMALL), config=CONFIG)
    made.push.image("other", "v1", layers=(noise(4000, "beside"), SMALL))
    made.push.image("clean", "v1", layers=(noise(1 << 20, "clean"), noise(500, "clean")))
    made.snapshot()
    made.push.image("app", "v2", layers=(RAW, noise(2000, "new")), config=CONFIG)
    made.snapshot()
    return made


@pytest.fixture
def made() -> World:
    return new_world()


def manifest(made: World) -> str:
    return made.registry.get(
        "docker/registry/v2/repositories/app/_manifests/tags/v1/current/link"
    ).decode()


CONTENTS = {
    "a raw blob": lambda _: digest_of(RAW),
    "a packed blob": lambda _: digest_of(SMALL),
    "a config": lambda _: digest_of(CONFIG),
    "a manifest": manifest,
}


def purged(made: World, *digests: str, store=None, wait_s: float = 0):
    vault = Vault(store or made.store)
    plan = plan_purge(vault, digests, progress=NO_PROGRESS)
    return purge(
        vault,
        plan,
        progress=NO_PROGRESS,
        threads=2,
        reason="leaked",
        wait_s=wait_s,
        by=lambda: "me",
    )


def remains(made: World, needle: bytes) -> list[str]:
    """Keys of the vault whose bytes have it; packs and raw blobs are not compressed."""
    return [key for key, data in tree(made.store).items() if needle in data]


def without(made: World, day: dict[str, bytes], digest: str) -> dict[str, bytes]:
    """What is left of a registry: less the content, and less every image that needs it."""
    bad = {digest}
    for key, data in day.items():
        if key.endswith("/data") and b"schemaVersion" in data and digest.encode() in data:
            bad.add(digest_of(data))
    return {
        key: data
        for key, data in day.items()
        if not any(each.partition(":")[2] in key or each.encode() == data for each in bad)
        or ("_layers" in key and digest.partition(":")[2] not in key)
    }


@pytest.mark.parametrize("what", CONTENTS)
def test_a_content_goes_from_every_snapshot_and_nothing_else_does(made, what):
    """No root is rewritten; verify, restore and copy pass, less what was purged."""
    digest = CONTENTS[what](made)
    day = made.restored(1)
    data = made.registry.get(blob_key(digest))
    roots = {key: made.store.get(key) for key in made.keys("snapshots/")}
    result = purged(made, digest)
    assert result.exit_code() == 0
    assert result.amendment == amendment_key(1)
    assert result.deleted[0] == len(result.plan.keys()) == 1
    assert not result.plan.keys() & set(made.keys(""))
    assert remains(made, data) == []
    assert roots == {key: made.store.get(key) for key in made.keys("snapshots/")}
    made.verified()
    for sequence in (1, 2):
        got = made.restored(sequence)
        assert digest.partition(":")[2] not in "".join(got)
        if sequence == 1:
            assert got == without(made, day, digest)
    # A copy made now has none of it either.
    other = World(store=MemoryStore("copy"))
    copied = copy(made.vault(), [other.vault()], CopyOptions(threads=2), progress=NO_PROGRESS)
    assert copied.exit_code() == 0, copied.to_json()
    assert remains(other, data) == []
    other.name = made.name
    other.verified()
    assert other.restored(1) == without(made, day, digest)


def test_what_took_the_place_of_old_objects_outlives_a_prune(made):
    """Invariant 4: what an amendment brought in is needed, though no object list names it."""
    digest = digest_of(SMALL)
    purged(made, digest)
    expected = made.restored(1)
    before = set(made.keys())
    plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1.0)
    result = prune(made.vault(), plan, progress=NO_PROGRESS, threads=1, grace_s=-1.0)
    assert result.exit_code() == 0
    new = {ref.key for ref in made.vault().amendments.values() if ref is not None}
    assert new
    assert new <= before & set(made.keys())
    assert made.restored(1) == expected
    made.verified()


def test_what_is_new_is_durable_before_anything_points_to_it(made):
    """Invariant 1: objects, a segment, the amendment, and only then the condemned list."""
    counting = CountingStore(made.store, record=True)
    purged(made, digest_of(SMALL), store=counting)
    calls = [(verb, key) for verb, key in counting.calls if verb in {"commit", "barrier", "put"}]

    def at(verb: str, prefix: str) -> int:
        (found,) = [n for n, (v, key) in enumerate(calls) if v == verb and key.startswith(prefix)]
        return found

    segment, amendment = at("commit", "catalog/"), at("put", "records/amendments/")
    assert ("barrier", "") in calls[segment:amendment]
    assert ("barrier", "") in calls[amendment : at("put", "condemned/")]


def test_nobody_gets_what_was_purged_though_it_is_still_there(made):
    """Nothing is taken from a key that an amendment replaced, though a catalog line names it."""
    digest = digest_of(SMALL)
    assert purged(made, digest, store=LockedStore(made.store)).exit_code() == 3
    assert remains(made, SMALL)
    vault = made.vault()
    catalog = Catalog(vault.store, None)
    reader = BlobReader(vault.store, catalog, vault.object_list(made.root(1)))
    assert reader.locate(digest) == []
    catalog.close()


def test_an_image_that_needs_it_is_not_restored_by_name_and_that_is_said(made):
    purged(made, digest_of(SMALL))
    result, _ = made.restore(1, tags=("v1",), globs=("app",))
    assert result.exit_code() == 3
    assert {p.reason for p in result.plan.problems} == {"purged"}
    result, _ = made.restore(1)
    assert result.exit_code() == 0
    assert result.plan.purged_count > 0
    assert "v1" not in str(sorted(made.restored(1)).count("app/_manifests/tags/v1"))


@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.parametrize("still", [True, False], ids=["there", "gone"])
def test_the_next_snapshot_tells_the_truth(made, what, still):
    """What the registry still has is stored again; what it no longer has is said to be missing."""
    digest = CONTENTS[what](made)
    purged(made, digest)
    if not still:
        made.registry.delete(blob_key(digest))
    result = made.snapshot()
    assert result.exit_code() == (0 if still else 3), result.to_json()
    sequence = result.root.name.sequence
    made.verified()
    got = made.restore(sequence)[0]
    assert got.exit_code() == (0 if still else 3)
    if still:
        assert made.restored(sequence) == tree(made.registry)
    # The old snapshots stay without it.
    assert digest.partition(":")[2] not in "".join(made.restored(1))
    # And then it is a day like any other.
    again = made.snapshot()
    assert (again.read, again.lost) == (0 if still else again.read, [])
    assert again.objects == 0


@pytest.mark.parametrize("what", CONTENTS)
def test_what_looks_inside_says_that_it_is_not_held(made, what):
    digest = CONTENTS[what](made)
    held = [what.held for _, what in find_digest(made.vault(), digest).occurrences]
    assert held
    assert all(held)
    purged(made, digest)
    found = find_digest(made.vault(), digest)
    assert [what.held for _, what in found.occurrences] == [False] * len(held)
    assert not any(there for _, there in found.places)
    with Opened(made.vault(), made.root(1)) as opened:
        entry = opened.entry("app")
        assert digest not in opened.state(entry).held()


def test_a_narrowed_snapshot_inherits_nothing_that_was_purged(made):
    purged(made, digest_of(SMALL))
    made.registry.delete(blob_key(digest_of(SMALL)))
    made.snapshot(globs=("clean",))
    made.verified()


def test_what_was_purged_twice_or_never_there(made):
    with pytest.raises(NotFoundError):
        purged(made, digest_of(b"never"))
    purged(made, digest_of(SMALL))
    before = tree(made.store)
    assert purged(made, digest_of(SMALL)).exit_code() == 0
    assert tree(made.store) == before


def test_several_contents_at_once_and_one_after_the_other(made):
    """A pack that was rewritten is rewritten again: readers follow both amendments."""
    purged(made, digest_of(SMALL), digest_of(RAW))
    purged(made, digest_of(noise(4000, "beside")))
    assert len(made.keys("records/amendments/")) == 2
    made.verified()
    got = made.restored(2)
    assert blob_key(digest_of(noise(500, "clean"))) in got
    assert not [key for key in got if "/tags/" in key and "/clean/" not in key]
    vault = made.vault()
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    assert [seen.key for seen in plan.candidates if seen.key.startswith("packs/")] == []
    assert plan.needed == []
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    made.verified()


def test_what_no_segment_names_is_found_all_the_same(made):
    """A run that was interrupted left a pack with it, of which nothing tells."""
    for key in made.keys("catalog/"):
        made.store.delete(key)
    result = purged(made, digest_of(SMALL))
    assert result.exit_code() == 0
    assert remains(made, SMALL) == []
    made.snapshot()
    made.verified()


class StoppedError(Exception):
    pass


class StoppingStore(Wrapper):
    """Stops before the n-th write or deletion."""

    def __init__(self, inner, after: int) -> None:
        super().__init__(inner)
        self.left = after

    def _count(self) -> None:
        if self.left == 0:
            raise StoppedError
        self.left -= 1

    def put(self, key, data, **words):
        self._count()
        return super().put(key, data, **words)

    def put_stream(self, key, reader, **words):
        self._count()
        return super().put_stream(key, reader, **words)

    def delete(self, key):
        self._count()
        super().delete(key)


def declare_dead(made: World) -> None:
    """End what the stopped run holds, as any party may once it is dead."""
    vault = made.vault()
    found = read_held(made.store, vault.id, PRUNE_LOCK)
    if found is not None and found[0]["state"] == "held":
        body, etag, _ = found
        assert end(made.store, vault.id, PRUNE_LOCK, body, etag)


@pytest.mark.parametrize("what", CONTENTS)
def test_interrupted_anywhere_and_done_again(what):
    """Invariant 1: after a stop at any write all else restores, and the same again finishes it."""
    for after in range(100):
        made = new_world()
        digest = CONTENTS[what](made)
        day = made.restored(1)
        data = made.registry.get(blob_key(digest))
        try:
            purged(made, digest, store=StoppingStore(made.store, after))
        except StoppedError:
            pass
        else:
            break
        declare_dead(made)
        made.verified()
        got = made.restored(1)
        assert got in (day, without(made, day, digest))
        assert purged(made, digest).exit_code() == 0
        assert remains(made, data) == []
        made.verified()
        assert made.restored(1) == without(made, day, digest)
        made.snapshot()
        made.verified()
    assert after >= 5


def test_a_writer_at_work_holds_it_off(made):
    vault = made.vault()
    with Lease(vault.store, vault.id, new_run_id(), role="writer", registry="x"):
        with pytest.raises(LeaseHeldError):
            purged(made, digest_of(SMALL))
    purged(made, digest_of(SMALL))


def test_a_reader_keeps_what_it_reads_until_it_is_done(made):
    """A restore or a verify holds off the deletion of what it reads; the rest is done."""
    vault = made.vault()
    roots = list(made.roots())
    with claim(vault, roots, NO_PROGRESS):
        result = purged(made, digest_of(RAW))
        assert result.exit_code() == 3
        assert len(result.claimed) == 1
        assert result.claimed[0] in made.keys("")
        plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1)
        kept = prune(made.vault(), plan, progress=NO_PROGRESS, threads=1)
        plan.close()
        assert kept.claimed == result.claimed
    plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1)
    assert prune(made.vault(), plan, progress=NO_PROGRESS, threads=1).deleted[0] == 1
    plan.close()
    assert remains(made, RAW) == []


class LockedStore(Wrapper):
    """Lets nothing go, as Object Lock does."""

    def delete(self, key):
        raise StoreAccessError("locked")


def test_a_locked_object_is_said_and_goes_later(made):
    result = purged(made, digest_of(RAW), store=LockedStore(made.store))
    assert result.exit_code() == 3
    assert result.locked
    # No snapshot gives it, though it is there.
    assert blob_key(digest_of(RAW)) not in made.restored(1)
    assert purged(made, digest_of(RAW)).exit_code() == 0
    assert remains(made, RAW) == []


class DeafStore(Wrapper):
    """Says that it deletes, and does not."""

    def delete(self, key):
        pass


def test_a_deletion_that_did_not_happen_is_noticed(made):
    """Rule 16: a deletion is confirmed by HEAD."""
    assert purged(made, digest_of(RAW), store=DeafStore(made.store)).locked


def test_a_damaged_pack_is_not_rewritten(made):
    """Nothing becomes less recoverable: what shares the pack could still be found elsewhere."""
    key = next(k for k in made.keys("packs/") if SMALL in made.store.get(k))
    data = bytearray(made.store.get(key))
    data[-2000] ^= 1
    made.store.put(key, bytes(data))
    before = {k: v for k, v in tree(made.store).items() if not k.startswith("locks/")}
    with pytest.raises(VaultDamagedError):
        purged(made, digest_of(SMALL))
    assert before == {k: v for k, v in tree(made.store).items() if not k.startswith("locks/")}


def test_a_pack_whose_members_are_whole_and_that_is_not_is_not_rewritten(made):
    """Invariant 7: what is wrong with it is for `verify` to say, and for `repair` to mend."""
    (pack,) = [key for key in made.keys("packs/") if SMALL in made.store.get(key)]
    made.spoil(pack, lambda data: data[:-1] + b"x")
    with pytest.raises(VaultDamagedError, match="cannot be moved"):
        purged(made, digest_of(SMALL))
    assert not made.keys("records/amendments/")


def test_what_turned_up_after_the_look_is_not_purged_unseen(made):
    vault = made.vault()
    plan = plan_purge(vault, [digest_of(SMALL)], progress=NO_PROGRESS)
    made.store.put("packs/" + "0" * 64 + ".tar", made.store.get(next(iter(plan.keys()))))
    with pytest.raises(TemporaryError):
        purge(made.vault(), plan, progress=NO_PROGRESS, threads=1)
    assert read_condemned(made.store, vault.id) == set()
