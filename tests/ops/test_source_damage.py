"""What is broken at the source is named, ranked and survived; all else comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import (
    BASE,
    Image,
    World,
    blob_key,
    current_key,
    digest_of,
    fill,
    history_key,
    kinds,
    layer_key,
    noise,
    revision_key,
    tree,
)

from regvault.model.progress import NO_PROGRESS
from regvault.model.registry import Kind
from regvault.ops.sample import build_sample
from regvault.ops.scan import ScanOptions, scan
from regvault.policy.damage import Rank
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore


class Case:
    """A registry with one image to break, and one that nothing may happen to."""

    def __init__(self) -> None:
        self.world = World()
        push = self.world.push
        self.good = push.image("app", "good", layers=(noise(800, "good"),))
        self.raw = noise(1 << 20, "raw")
        self.hurt = push.image("app", "hurt", layers=(noise(900, "hurt"), self.raw))
        self.layer = self.hurt.blobs[1]
        self.whole = tree(self.world.registry)

    def mend(self) -> None:
        for key in [k for k in tree(self.world.registry) if k not in self.whole]:
            self.world.registry.delete(key)
        for key, data in self.whole.items():
            if self.world.registry.list(key) and tree(self.world.registry, key).get(key) != data:
                self.world.push.write(key, data)


def put(key, data):
    return lambda c: c.world.push.write(key(c) if callable(key) else key, data)


def lose(key):
    return lambda c: c.world.registry.delete(key(c))


def hurt_current(c):
    return current_key("app", "hurt")


def tag_history(c):
    return history_key("app", "hurt", c.hurt.digest)


def dangling(c):
    gone = digest_of(b"gone")
    c.world.push.write(hurt_current(c), gone.encode())


# what -> (do, kind, subject, image, comes back without :hurt)
DAMAGE: dict[str, Any] = {
    "a layer is gone": (lose(lambda c: blob_key(c.layer)), "blob-missing", lambda c: c.layer),
    "a raw layer is gone": (
        lose(lambda c: blob_key(c.hurt.blobs[2])),
        "blob-missing",
        lambda c: c.hurt.blobs[2],
    ),
    "a layer is empty": (put(lambda c: blob_key(c.layer), b""), "blob-damaged", lambda c: c.layer),
    "a layer is cut off": (
        put(lambda c: blob_key(c.layer), noise(900, "hurt")[:-1]),
        "blob-damaged",
        lambda c: c.layer,
    ),
    "a layer has other bytes": (
        put(lambda c: blob_key(c.layer), noise(900, "other")),
        "blob-damaged",
        lambda c: c.layer,
    ),
    "a raw layer has other bytes": (
        put(lambda c: blob_key(c.hurt.blobs[2]), noise(1 << 20, "other")),
        "blob-damaged",
        lambda c: c.hurt.blobs[2],
    ),
    "a raw layer is cut off": (
        put(lambda c: blob_key(c.hurt.blobs[2]), noise(1 << 20, "raw")[:-5]),
        "blob-damaged",
        lambda c: c.hurt.blobs[2],
    ),
    "a config is gone": (
        lose(lambda c: blob_key(c.hurt.blobs[0])),
        "blob-missing",
        lambda c: c.hurt.blobs[0],
    ),
    "a manifest is gone": (
        lose(lambda c: blob_key(c.hurt.digest)),
        "manifest-missing",
        lambda c: c.hurt.digest,
    ),
    "a manifest is empty": (
        put(lambda c: blob_key(c.hurt.digest), b""),
        "manifest-damaged",
        lambda c: c.hurt.digest,
    ),
    "a manifest has other bytes": (
        put(lambda c: blob_key(c.hurt.digest), b"{}"),
        "manifest-damaged",
        lambda c: c.hurt.digest,
    ),
    "a manifest is huge": (
        put(lambda c: blob_key(c.hurt.digest), b"x" * (5 << 20)),
        "manifest-invalid",
        lambda c: c.hurt.digest,
    ),
    "a tag's link is empty": (put(hurt_current, b""), "tag-unreadable", lambda c: ":hurt"),
    "a tag's link is no digest": (put(hurt_current, b"x"), "tag-unreadable", lambda c: ":hurt"),
    "a tag dangles": (dangling, "tag-dangling", None),
    "a revision link is gone": (
        lose(lambda c: revision_key("app", c.hurt.digest)),
        "tag-dangling",
        None,
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_survived_known_and_forgotten(what):
    """Invariant 12: new damage is exit 3, known damage 0, and what was mended is gone."""
    case = Case()
    do, kind, subject = DAMAGE[what]
    do(case)
    world = case.world
    result = world.snapshot()
    assert result.exit_code() == 3, kinds(result)
    assert Rank.KNOWN not in {rank for rank, _ in result.findings}
    named = {(str(f.kind), f.image) for _, f in result.findings}
    assert (kind, ":hurt") in named, named
    if subject is not None:
        assert subject(case) in {f.subject for _, f in result.findings if f.kind == kind}
    assert all(f.repository == "app" for _, f in result.findings)
    assert {f.image for _, f in result.findings} == {":hurt"}
    assert result.root.damage is not None

    # The other image is untouched, and nothing wrong got into the vault.
    restored, target = world.restore()
    got = tree(target)
    whole = {blob_key(d) for d in case.good.closure()} | {current_key("app", "good")}
    assert {k: case.whole[k] for k in whole} == {k: got[k] for k in whole}
    assert all(
        digest_of(v).partition(":")[2] == k.split("/")[-2] for k, v in got.items() if "/data" in k
    )
    assert restored.exit_code() == 3
    assert ":hurt" in " ".join(f"{p.subject} {p.detail}" for p in restored.plan.problems)
    world.verified()

    # The same again is known, and no error unless one asks for it.
    result = world.snapshot()
    if kind != "unreadable":
        assert result.exit_code() == 0, kinds(result)
        assert {rank for rank, _ in result.findings} <= {Rank.KNOWN}
        assert world.snapshot(fail_on="any").exit_code() == 3

    # Someone mends it: it is gone from the next root, and all comes back.
    case.mend()
    result = world.snapshot()
    assert result.exit_code() == 0, kinds(result)
    assert result.findings == []
    assert result.root.damage is None
    assert world.restored() == case.whole
    world.verified()


NOTICES = {
    "an orphan blob": (put(blob_key(digest_of(b"orphan")), b"orphan"), None),
    "a layer link without a blob": (
        lambda c: c.world.push.link(layer_key("app", digest_of(b"swept")), digest_of(b"swept")),
        "layer-without-blob",
    ),
    "a blob and layer link without a manifest": (
        lambda c: c.world.push.link(
            layer_key("app", c.world.push.blob(b"lone")), digest_of(b"lone")
        ),
        None,
    ),
    "a manifest blob without a revision link": (put(blob_key(digest_of(b"{}")), b"{}"), None),
    "a tag's history without current": (
        lambda c: c.world.push.link(history_key("app", "old", c.good.digest), c.good.digest),
        "tag-without-current",
    ),
    "a stale upload": (
        put(f"{BASE}/repositories/app/_uploads/1234/data", b"half"),
        "upload",
    ),
    "a temporary file beside a link": (
        put(f"{current_key('app', 'good')}.1234.tmp", b"sha"),
        "temporary-file",
    ),
    "a temporary file beside data": (
        put(f"{blob_key(digest_of(b'x'))}.1234.tmp", b"x"),
        None,
    ),
    "a directory that no registry makes": (
        put(f"{BASE}/repositories/Bad/_manifests/tags/x/current/link", b"x"),
        None,
    ),
    "a file that no registry writes": (
        put(f"{BASE}/repositories/app/_layers/x", b"x"),
        "unknown-file",
    ),
}


@pytest.mark.parametrize("what", NOTICES)
def test_untidiness_is_a_notice_and_never_an_error(what):
    """Invariant 12: orphans, temporary files and stale uploads are normal."""
    case = Case()
    do, kind = NOTICES[what]
    do(case)
    result = case.world.snapshot()
    assert result.exit_code() == 0, kinds(result)
    assert result.root.damage is None
    assert {str(f.kind) for _, f in result.findings} == ({kind} if kind else set())
    got = case.world.restored()
    assert {k: got[k] for k in case.whole} == case.whole
    case.world.verified()


def test_links_that_follow_from_their_paths_are_mended_by_a_restore():
    """Invariant 12, Rule 17: a zero-byte layer or revision link stops nothing."""
    case = Case()
    for key in (
        layer_key("app", case.layer),
        revision_key("app", case.hurt.digest),
        history_key("app", "hurt", case.hurt.digest),
    ):
        for data in (b"", b"sha256:short", digest_of(b"wrong").encode()):
            case.world.push.write(key, data)
            result = case.world.snapshot()
            assert {str(f.kind) for _, f in result.findings} == {
                "link-empty" if not data else "link-invalid"
            }
            assert tree(case.world.restore()[1]) == case.whole
        case.mend()


def test_an_index_child_that_is_missing_hurts_every_image_above_it(world):
    """Invariant 12: each image that damage belongs to is named, through indexes."""
    push = world.push
    one = push.image("app", layers=(noise(100, 1),))
    two = push.image("app", "two", layers=(noise(100, 2),))
    inner = push.index("app", "inner", children=(one, two))
    push.index("app", "outer", "latest", children=(inner,))
    world.registry.delete(blob_key(one.blobs[1]))
    world.registry.delete(revision_key("app", two.digest))
    result = world.snapshot()
    assert {
        (str(f.kind), f.subject, f.image) for _, f in result.findings if f.kind != "tag-dangling"
    } == {
        (kind, subject, image)
        for kind, subject in (("blob-missing", one.blobs[1]), ("child-missing", two.digest))
        for image in (":inner", ":outer", ":latest")
    }
    assert {f.image for _, f in result.findings if f.kind == "tag-dangling"} == {":two"}


def test_damage_of_an_untagged_manifest_is_named_by_its_digest(world):
    """Invariant 12: untagged manifests are images too."""
    image = world.push.image("app", layers=(noise(100, 1),))
    world.registry.delete(blob_key(image.blobs[1]))
    result = world.snapshot()
    assert kinds(result) == {("new", "blob-missing", image.blobs[1], f"@{image.digest}")}


def test_each_thing_that_is_wrong_is_named_once(world):
    """Invariant 12: the number of findings is the number of things to look at."""
    image = world.push.image("app", "x", layers=(noise(100, 1),))
    world.registry.delete(revision_key("app", image.digest))
    result = world.snapshot()
    assert [str(f.kind) for _, f in result.findings] == ["tag-dangling"]
    assert result.ranks[Rank.NEW] == 1


def test_a_blob_shared_by_two_repositories_is_damage_in_both(world):
    """Invariant 12: a damaged blob is reported with every image that it belongs to."""
    for name in ("a", "b"):
        image = world.push.image(name, "1", layers=(noise(100, 1),))
    world.registry.put(blob_key(image.blobs[1]), noise(100, 2))
    result = world.snapshot()
    assert {(f.repository, f.image) for _, f in result.findings} == {("a", ":1"), ("b", ":1")}
    assert world.snapshot().exit_code() == 0


def test_known_damage_of_inherited_repositories_stays_known(world):
    """Invariant 12: a narrowed run carries the damage of what it does not read."""
    for name in ("a", "b"):
        image = world.push.image(name, "1", layers=(noise(100, name),))
        world.registry.delete(blob_key(image.blobs[1]))
    world.snapshot()
    result = world.snapshot(globs=("a",))
    assert result.ranks == {Rank.NOTICE: 0, Rank.KNOWN: 2, Rank.NEW: 0}
    result = world.snapshot()
    assert result.ranks == {Rank.NOTICE: 0, Rank.KNOWN: 2, Rank.NEW: 0}
    assert result.exit_code() == 0


def test_a_large_blob_is_proven_before_it_counts(small):
    """Invariant 7: right size, wrong bytes: it is damage, and nothing of it is in the vault."""
    raw = digest_of(noise(1 << 20, "raw"))
    small.registry.put(blob_key(raw), noise(1 << 20, "rot"))
    result = small.snapshot()
    assert result.exit_code() == 3
    assert {f.kind for _, f in result.findings} == {Kind.BLOB_DAMAGED}
    assert not any(raw[7:] in key for key in small.keys(""))
    small.verified()


def test_a_vault_that_has_good_bytes_keeps_them_when_the_source_rots(small):
    """Rule 18: what the vault holds is not read again, so rot at the source cannot reach it."""
    small.snapshot()
    before = tree(small.registry)
    raw = digest_of(noise(1 << 20, "raw"))
    small.registry.put(blob_key(raw), noise(1 << 20, "rot"))
    small.push.image("app", "more", layers=(noise(60, "more"),))
    small.snapshot()
    got = small.restored()
    assert got[blob_key(raw)] == before[blob_key(raw)]
    small.verified()


def test_what_cannot_be_read_is_not_taken_for_gone(small, tmp_path):
    """Invariant 12: unreadable is exit 3 each time, and the state before stays."""
    registry = LocalStore(tmp_path / "registry", create=True)
    made = World(registry, cache=str(tmp_path / "c"))
    fill(made)
    before = tree(made.registry)
    made.snapshot()
    real = registry.stat_children

    def refused(prefix, leaf, names):
        from regvault.errors import StoreAccessError

        if "/app/_manifests/revisions" in prefix:
            raise StoreAccessError("Permission denied", key=prefix)
        return real(prefix, leaf, names)

    registry.stat_children = refused
    for _ in range(2):
        result = made.snapshot()
        assert result.exit_code() == 3
        assert not result.root.complete
        assert Kind.UNREADABLE in {f.kind for _, f in result.findings}
        assert tree(made.restore()[1]) == before
    del registry.stat_children
    result = made.snapshot()
    assert result.exit_code() == 0
    assert result.root.complete
    assert made.restored() == before
    made.verified()


# -- scan sees the same ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", DAMAGE)
def test_scan_names_the_damage_that_a_snapshot_would(what):
    """Invariant 12: one judgement, whoever asks."""
    case = Case()
    DAMAGE[what][0](case)
    found = scan(case.world.source(), ScanOptions(read_data=True), progress=NO_PROGRESS)
    assert found.exit_code() == 3
    result = case.world.snapshot()
    assert {
        (f.repository, f.kind, f.subject, f.image) for r, f in found.findings if r != "notice"
    } == {(f.repository, f.kind, f.subject, f.image) for r, f in result.findings if r != "notice"}


@pytest.mark.parametrize("read_data", [False, True])
def test_scan_finds_nothing_wrong_with_a_good_registry(read_data):
    """Invariant 12: no false alarm, whatever formats the registry holds."""
    registry = MemoryStore()
    build_sample(registry, images=4, large=1 << 14)
    world = World(registry)
    found = scan(world.source(), ScanOptions(read_data=read_data), progress=NO_PROGRESS)
    assert found.damage == 0, found.to_json()["findings"]
    assert found.exit_code() == 0


def test_scan_counts_orphans():
    """Invariant 12: orphans are notices, and tell how much garbage collection would free."""
    case = Case()
    case.world.push.blob(b"orphan")
    found = scan(case.world.source(), ScanOptions(), progress=NO_PROGRESS)
    assert (found.orphans, found.orphan_bytes, found.exit_code()) == (1, 6, 0)


# -- property --------------------------------------------------------------------------------------


@st.composite
def registries(draw):
    """A random registry: images that share layers, indexes, tags, several repositories."""
    world = World()
    images: dict[str, list[Image]] = {}
    layers = [noise(draw(st.integers(1, 3000)), "layer", n) for n in range(6)]
    layers.append(noise(1 << 20, "large"))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(["a", "a/b", "a-b", "c/d.e"]))
        here = images.setdefault(name, [])
        for number in range(draw(st.integers(1, 4))):
            chosen = tuple(draw(st.lists(st.sampled_from(layers), min_size=1, max_size=3)))
            tags = draw(st.lists(st.sampled_from(["1", "2", "latest"]), max_size=2))
            here.append(
                world.push.image(name, *tags, layers=chosen, annotations={"n": str(number)})
            )
        if draw(st.booleans()):
            children = tuple(draw(st.lists(st.sampled_from(here), min_size=1, max_size=3)))
            here.append(world.push.index(name, "index", children=children))
    return world, images


def current(world: World) -> dict[tuple[str, str], str]:
    """(repository, tag) -> digest."""
    found = {}
    for key, data in tree(world.registry).items():
        if key.endswith("/current/link"):
            name, _, rest = key.partition("/repositories/")[2].partition("/_manifests/tags/")
            found[name, rest.split("/")[0]] = data.decode()
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(registries())
def test_random_registries_come_back_bit_for_bit(made):
    """Invariant 7: snapshot then restore is the identity."""
    world, _ = made
    assert world.snapshot().exit_code() == 0
    assert world.restored() == tree(world.registry)
    world.verified()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(registries(), st.data())
def test_with_random_damage_all_else_comes_back_and_all_damage_is_named(made, data):
    """Invariant 12: undamaged images bit for bit, damaged blobs with every image they belong to."""
    world, images = made
    whole = tree(world.registry)
    by_digest = {(name, i.digest): i for name, here in images.items() for i in here}
    broken: set[str] = set()
    stored = sorted(k for k in whole if k.endswith("/data"))
    for key in data.draw(st.lists(st.sampled_from(stored), max_size=3, unique=True)):
        how = data.draw(st.sampled_from(["lose", "empty", "cut", "swap"]))
        good = whole[key]
        bad = {"empty": b"", "cut": good[:-1], "swap": bytes(255 - b for b in good)}.get(how)
        if bad is None:
            world.registry.delete(key)
        else:
            world.push.write(key, bad)
        broken.add(f"sha256:{key.split('/')[-2]}")
    result = world.snapshot()
    named = {(f.repository, f.subject, f.image) for _, f in result.findings}
    restored, target = world.restore()
    got = tree(target)
    for (name, tag), digest in current(world).items():
        closure = by_digest[name, digest].closure()
        hit = closure & broken
        if not hit:
            for one in closure:
                assert got[blob_key(one)] == whole[blob_key(one)]
            assert got[current_key(name, tag)] == digest.encode()
        for one in hit:
            if _reachable(by_digest[name, digest], one, broken):
                assert (name, one, f":{tag}") in named, (named, name, one, tag)
    assert (result.exit_code() == 3) == bool(broken)
    assert all(whole[k] == v for k, v in got.items())
    assert not {k for k in got if k.endswith("/data")} & {blob_key(b) for b in broken}
    assert restored.exit_code() == (3 if broken else 0)
    world.verified()


def _reachable(image: Image, digest: str, broken: set[str]) -> bool:
    """Whether the damage can be told to belong to the image: no manifest on the way is broken."""
    if digest == image.digest:
        return True
    if image.digest in broken:
        return False
    return digest in image.blobs or any(_reachable(c, digest, broken) for c in image.children)


def test_a_signed_schema_1_manifest_comes_back_as_it_was(world):
    """Invariant 7: it is hashed over its canonical payload, and kept as raw bytes."""
    payload = json.dumps(
        {"schemaVersion": 1, "name": "a", "tag": "1", "fsLayers": [], "history": []}, indent=3
    )
    length = len(payload) - 2
    import base64

    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    protected = b64(json.dumps({"formatLength": length, "formatTail": b64(b"\n}")}).encode())
    signed = payload[:length] + f',\n   "signatures": [{{"protected": "{protected}"}}]\n}}'
    digest = digest_of(payload.encode())
    world.push.write(blob_key(digest), signed.encode())
    world.push.link(revision_key("a", digest), digest)
    world.push.tag("a", "1", digest)
    result = world.snapshot()
    assert result.exit_code() == 0, kinds(result)
    assert world.restored() == tree(world.registry)
    assert world.restored(tags=("1",)) == tree(world.registry)
    world.verified()


def unreadable_blob(made: World, digest: str):
    """Make one blob unreadable; return what makes it readable again."""
    from regvault.errors import StoreError

    def refused(real):
        def call(key, *args, **more):
            if key == blob_key(digest):
                raise StoreError("Input/output error", key=key)
            return real(key, *args, **more)

        return call

    store = made.registry
    for name in ("open", "get", "head"):
        setattr(store, name, refused(getattr(store, name)))

    def mend() -> None:
        for name in ("open", "get", "head"):
            delattr(store, name)

    return mend


def test_one_unreadable_blob_holds_back_no_other_image(world):
    """Invariant 12: everything that is restorable at the source is captured, whatever is not."""
    bad = world.push.image("app", "bad", layers=(noise(500, "bad"),))
    mend = unreadable_blob(world, bad.blobs[1])
    assert world.snapshot().exit_code() == 3
    new = world.push.image("app", "new", layers=(noise(500, "new"),))
    result = world.snapshot()
    assert result.exit_code() == 3
    assert not result.root.complete
    got = tree(world.restore()[1])
    assert {blob_key(d) for d in new.closure()} <= got.keys()
    assert got[current_key("app", "new")] == new.digest.encode()
    mend()
    assert world.snapshot().exit_code() == 0
    assert world.restored() == tree(world.registry)
    world.verified()


def test_known_damage_stays_known_while_its_repository_cannot_be_read(tmp_path):
    """Invariant 12: damage is new once."""
    from regvault.errors import StoreAccessError

    registry = LocalStore(tmp_path / "registry", create=True)
    made = World(registry)
    image = made.push.image("app", "1", layers=(noise(500, 1),))
    registry.delete(blob_key(image.blobs[1]))
    assert made.snapshot().exit_code() == 3
    real = registry.read_children

    def refused(prefix, leaf, names, *, limit):
        if "/app/_manifests" in prefix:
            raise StoreAccessError("Permission denied", key=prefix)
        return real(prefix, leaf, names, limit=limit)

    registry.read_children = refused
    assert made.snapshot().exit_code() == 3
    del registry.read_children
    result = made.snapshot()
    assert result.exit_code() == 0, kinds(result)
    assert result.ranks[Rank.KNOWN] == 1


@pytest.mark.parametrize("cached", [True, False])
def test_an_unreadable_repository_keeps_what_the_vault_has_of_it(tmp_path, cached):
    """Invariant 12: what cannot be read is not gone; Invariant 3: what the vault lost is."""
    from regvault.errors import StoreAccessError

    registry = LocalStore(tmp_path / "registry", create=True)
    made = World(registry, cache=str(tmp_path / "cache") if cached else None)
    old = made.push.image("app", "old", layers=(noise(500, 1), noise(1 << 20, 2)))
    made.snapshot()
    real = registry.stat_children

    def refused(prefix, leaf, names):
        if "/app/_layers" in prefix or "/app/_manifests/revisions" in prefix:
            raise StoreAccessError("Permission denied", key=prefix)
        return real(prefix, leaf, names)

    registry.stat_children = refused
    registry.delete(blob_key(old.blobs[2]))
    assert made.snapshot().exit_code() == 3
    assert tree(made.restore()[1])[blob_key(old.blobs[2])] == noise(1 << 20, 2)
    # The vault loses it too: then it is nowhere, and the snapshot says so and goes on.
    made.lose("blobs/")
    assert made.snapshot().exit_code() == 3
    result, target = made.restore()
    assert result.exit_code() == 3
    assert blob_key(old.blobs[1]) in tree(target)
    assert blob_key(old.blobs[2]) not in tree(target)
    assert all("prod@3" not in p.snapshots for p in made.verify().report.problems)
