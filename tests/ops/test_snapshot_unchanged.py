"""A day without change costs a root and its lease; a change costs itself."""

from __future__ import annotations

import json

import pytest
from world import (
    World,
    current_key,
    digest_of,
    fill,
    history_key,
    layer_key,
    noise,
    revision_key,
    tree,
)

from regvault.registry.reader import DistributionSource
from regvault.storage.wrappers import CountingStore

REPOSITORIES = 2000


def many(made: World, count: int = REPOSITORIES) -> None:
    """Push one tiny image to each of many repositories, past the pusher: it has to be quick."""
    push = made.push
    config = push.blob(b"{}")
    for number in range(count):
        layer_data = b"layer %d" % number
        layer = push.blob(layer_data)
        body = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "a/b", "digest": config, "size": 2},
            "layers": [{"mediaType": "a/b", "digest": layer, "size": len(layer_data)}],
        }
        data = json.dumps(body).encode()
        digest = digest_of(data)
        push.blob(data)
        name = f"team-{number % 40}/app-{number}"
        for key, value in (
            (layer_key(name, layer), layer),
            (layer_key(name, config), config),
            (revision_key(name, digest), digest),
            (history_key(name, "1", digest), digest),
            (current_key(name, "1"), digest),
        ):
            push.write(key, value.encode())


class Watched:
    """A source that says what was read of it beyond links."""

    def __init__(self, made: World) -> None:
        self.counting = CountingStore(made.registry, record=True)
        self.source = made.source(self.counting)

    def read(self) -> set[str]:
        calls = self.counting.calls
        return {key for verb, key in calls if verb in ("get", "open", "head")}

    def blobs(self) -> set[str]:
        return {key for key in self.read() if key.endswith("/data")}

    def repositories(self) -> set[str]:
        found = {key.split("/repositories/")[1] for key in self.read() if "/repositories/" in key}
        return {key.split("/_")[0] for key in found}


def written(counting: CountingStore) -> list[str]:
    return [key for verb, key in counting.calls if verb in ("put", "put_stream", "commit")]


@pytest.fixture(scope="module")
def big() -> World:
    made = World()
    many(made)
    made.snapshot()
    made.snapshot()
    return made


def test_nothing_new_costs_at_most_five_puts(big):
    """Design, daily full: a run with nothing new writes a root and its lease, no more."""
    counting = CountingStore(big.store, record=True)
    watched = Watched(big)
    result = big.snapshot(store=counting, source=watched.source)
    assert result.exit_code() == 0
    assert (result.read, result.inherited) == (0, REPOSITORIES)
    keys = written(counting)
    assert len(keys) <= 5, keys
    assert {key.partition("/")[0] for key in keys} == {"leases", "snapshots"}
    assert counting.bytes_written <= 64 << 10
    # On object storage LIST tells it all: not one link is read.
    assert watched.read() == set()
    assert result.root.repositories == big.root(2).repositories
    assert result.root.objects == big.root(2).objects


def test_a_change_in_one_repository_reads_only_that(big):
    """Design, daily full: an unchanged repository keeps its state."""
    image = big.push.image("team-7/app-7", "new", layers=(noise(400, "new"),))
    watched = Watched(big)
    counting = CountingStore(big.store, record=True)
    result = big.snapshot(store=counting, source=watched.source)
    assert result.exit_code() == 0
    assert (result.read, result.inherited, result.stored) == (1, REPOSITORIES - 1, 3)
    assert {key.split("/")[-2] for key in watched.blobs()} == {
        digest.partition(":")[2] for digest in image.closure()
    }
    assert watched.repositories() <= {"team-7/app-7"}
    # A pack, a meta object, a segment; a few chunks of trees: nothing that grows with the rest.
    assert len(written(counting)) <= 20
    got = big.restored(globs=("team-7/*",))
    here = tree(big.registry)
    links = {k for k in here if "/repositories/team-7/" in k}
    assert {k for k in got if "/repositories/" in k} == links
    assert got.items() <= here.items()
    assert big.verify("metadata").exit_code() == 0


def test_globs_read_some_and_inherit_the_rest(sample):
    """Design, daily full: a narrowed run inherits the others, so that every root is full."""
    sample.snapshot()
    before = tree(sample.registry)
    sample.push.image("team/app", "new", layers=(noise(400, "one"),))
    after = tree(sample.registry)
    sample.push.image("library/base", "new", layers=(noise(400, "two"),))
    watched = Watched(sample)
    result = sample.snapshot(source=watched.source, globs=("team/**",))
    assert result.exit_code() == 0
    assert result.root.scope["globs"] == ["team/**"]
    assert all(name.startswith("team/") for name in watched.repositories())
    assert sample.restored(1) == before
    assert sample.restored(2) == after
    sample.snapshot()
    assert sample.restored(3) == tree(sample.registry)
    sample.verified()


def test_a_removed_repository_is_gone_but_not_for_a_narrowed_run(sample):
    """Invariant 4, at the source: only what was looked for can be missing."""
    sample.snapshot()
    sample.remove("team/app/tools")
    result = sample.snapshot(globs=("library/**",))
    assert result.root.counts.repositories == sample.root(1).counts.repositories
    result = sample.snapshot(globs=("team/**",))
    assert result.removed == 1
    assert result.root.counts.repositories == sample.root(1).counts.repositories - 1
    sample.verified()


def test_a_blob_that_the_vault_has_is_not_read_again(sample):
    """Rule 18: hashed when it is first stored, and never read again after that."""
    sample.snapshot()
    first = next(k for k in sample.keys("packs/"))
    shared = sample.vault().object_list(sample.root()).get(first)
    assert shared is not None
    for key, data in tree(sample.registry).items():
        if "/repositories/team/app/" in key:
            sample.push.write(key.replace("/team/app/", "/team/copy/", 1), data)
    watched = Watched(sample)
    result = sample.snapshot(source=watched.source)
    assert result.stored == 0
    assert watched.blobs() == set()
    assert sample.restored() == tree(sample.registry)


def test_a_pack_of_tiny_blobs_is_stored_once(world):
    """Design, nothing is repacked under a root: small members are not taken for dead ones."""
    for number in range(50):
        world.push.image(f"app-{number}", "1", layers=(b"tiny %d" % number,))
    watched = Watched(world)
    result = world.snapshot(source=watched.source)
    opened = [key for verb, key in watched.counting.calls if verb in ("get", "open")]
    data = [key for key in opened if key.endswith("/data")]
    assert len(data) == len(set(data)) == result.stored
    assert len(world.keys("packs/")) == 1


def test_a_pack_that_few_need_is_not_kept(world):
    """Design, nothing is repacked under a root: less than a quarter is stored again."""
    for number in range(20):
        world.push.image("app", f"{number}", layers=(noise(9000, number),))
    world.snapshot()
    (old,) = world.keys("packs/")
    for number in range(3, 20):
        for entry in list(world.registry.list()):
            if f"/tags/{number}/" in entry.key:
                world.registry.delete(entry.key)
    keep = {world.registry.get(current_key("app", f"{n}")).decode() for n in range(3)}
    kept_blobs = set()
    for digest in keep:
        data = world.registry.get(_data(digest))
        body = json.loads(data)
        kept_blobs |= {body["config"]["digest"], *(d["digest"] for d in body["layers"])}
    for entry in list(world.registry.list()):
        parts = entry.key.split("/")
        if "/_layers/" in entry.key and f"sha256:{parts[-2]}" not in kept_blobs:
            world.registry.delete(entry.key)
        if "/revisions/" in entry.key and f"sha256:{parts[-2]}" not in keep:
            world.registry.delete(entry.key)
    world.snapshot()
    objects = world.vault().object_list(world.root())
    assert objects.get(old) is None
    got = world.restore()[1]
    here = tree(world.registry)
    assert {k: v for k, v in here.items() if k in tree(got)} == tree(got)
    world.restored(1)
    world.verified()


def _data(digest: str) -> str:
    from world import blob_key

    return blob_key(digest)


def test_registries_in_one_vault_share_what_both_have(small):
    """Design, one vault holds several registries: a blob is stored once for all of them."""
    small.snapshot()
    other = World(small.registry, small.store, cache=small.cache, name="other")
    watched = Watched(other)
    result = other.snapshot(source=watched.source)
    assert result.stored == 0
    assert result.root.registry_id != small.root().registry_id
    assert other.restored() == tree(small.registry)
    # One that needs little of a shared pack stores that little by itself.
    third = World(store=small.store, cache=small.cache, name="third")
    third.push.image("app", "1", layers=(noise(700, 4),))
    third.snapshot()
    packs = set(small.keys("packs/"))
    lists = {
        name: {ref.key for ref in w.vault().object_list(w.root(registry=name))} & packs
        for name, w in (("prod", small), ("third", third))
    }
    assert lists["prod"].isdisjoint(lists["third"])
    assert third.restored() == tree(third.registry)
    small.verified()


def test_another_kind_of_source_reads_again_and_finds_the_same_state(small):
    """Design, fingerprints: another kind of source means reading, and equal content is equal."""
    small.snapshot()

    source = DistributionSource(
        small.registry, kind="distribution-gcs", threads=1, now=lambda: 1 << 62, sleep=lambda _: 0
    )
    result = small.snapshot(source=source)
    assert (result.read, result.stored) == (2, 0)
    first, second = small.roots()
    states = [
        [line.split(b" ")[1] for line in lines]
        for lines in (
            small.vault().tree("repositories", r.repositories, small.vault().object_list(r)).lines()
            for r in (first, second)
        )
    ]
    assert states[0] == states[1]


def test_links_that_have_not_settled_are_read_again(tmp_path):
    """Facts, atomicity: what changed within two seconds may change again unseen."""
    made = World(cache=str(tmp_path))
    fill(made)
    young = DistributionSource(made.registry, kind="distribution-s3", threads=1)
    assert made.snapshot(source=young).read == 2
    assert made.snapshot().read == 2
    assert made.snapshot().read == 0


def test_a_dry_run_writes_nothing(small):
    """Design, layers: a plan changes nothing, and takes not even a lease."""
    before = tree(small.store)
    result = small.snapshot(dry_run=True)
    assert result.root is None
    assert result.stored > 0
    assert tree(small.store) == before
    small.snapshot()
    before = tree(small.store)
    small.push.image("app", "new", layers=(noise(100, "n"),))
    result = small.snapshot(dry_run=True)
    assert (result.read, result.stored) == (1, 3)
    assert tree(small.store) == before


def _push_one(world):
    world.push.image("app", "new", layers=(noise(100, "n"),))


def _untag_most(world):
    for key in world.registry.list("docker/registry/v2/repositories/app-1/_manifests/tags/"):
        world.registry.delete(key.key)


def _remove_most(world):
    for number in range(1, 5):
        world.remove(f"app-{number}")


def _remove_all(world):
    for entry in list(world.registry.list("docker/registry/v2/repositories/")):
        world.registry.delete(entry.key)


@pytest.mark.parametrize("change", [_push_one, _untag_most, _remove_most, _remove_all, id])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_dry_run_foresees_whether_the_snapshot_would_be_held(change, times):
    """As the run itself then does: also first, and where nothing has changed since."""
    made = World()
    for number in range(1, 6):
        for tag in range(3):
            layers = (noise(100, number, tag),)
            made.push.image(f"app-{number}", f"v{tag}", layers=layers)
    for _ in range(times):
        made.snapshot()
    change(made)
    foreseen = made.snapshot(dry_run=True).would_hold
    held = made.snapshot().root.held
    assert foreseen == (None if held is None else held["reason"])
    assert made.snapshot(dry_run=True).would_hold == foreseen


def test_a_dry_run_beside_a_running_snapshot_is_not_blocked(small, monkeypatch):
    """The local cache is one run's at a time; whoever comes second does without."""
    small.snapshot()
    from regvault.vault.needs import NeedIndex

    running = NeedIndex(str(_cache_of(small)), "prod")
    try:
        small.push.image("app", "new", layers=(noise(100, "n"),))
        assert small.snapshot(dry_run=True).stored == 3
    finally:
        running.close()


def _cache_of(made: World):
    from regvault.vault.catalog import vault_cache

    return vault_cache(made.cache, made.vault().id)
