"""What comes back is what was there, from every snapshot of a history."""

from __future__ import annotations

import json

import pytest
from world import (
    World,
    blob_key,
    current_key,
    history_key,
    layer_key,
    noise,
    revision_key,
    tree,
)

from regvault.errors import NotFoundError, RegvaultError, UsageError
from regvault.ops.sample import change_sample
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore


def test_every_snapshot_of_a_history_restores_byte_for_byte(sample):
    """Invariants 2 and 7: each root is full, and gives back what its day had."""
    days = []
    for day in range(4):
        result = sample.snapshot()
        assert result.exit_code() == 0, result.to_json()
        days.append(tree(sample.registry))
        change_sample(sample.registry, seed=day + 1)
    for sequence, day in enumerate(days, start=1):
        assert sample.restored(sequence) == day
    sample.verified()


def test_a_restore_to_a_file_system_is_byte_for_byte(sample, tmp_path):
    """Invariant 7: the registry's own layout, every file of it."""
    sample.snapshot()
    target = LocalStore(tmp_path / "target", create=True)
    result, _ = sample.restore(target=target)
    assert result.exit_code() == 0
    assert tree(target) == tree(sample.registry)


def test_blobs_and_manifests_of_other_algorithms_come_back(world):
    """Invariant 7: a digest is whatever its algorithm says, raw and packed."""
    for algorithm in ("sha512", "sha384"):
        world.push.image(
            "app", algorithm, layers=(noise(900, 1), noise(1 << 20, 2)), algorithm=algorithm
        )
    world.snapshot()
    assert world.restored() == tree(world.registry)
    world.verified()


def test_a_restore_by_glob_brings_whole_repositories_and_nothing_else(sample):
    """Invariant 8: names are matched as names, not as prefixes of paths."""
    sample.snapshot()
    got = sample.restored(globs=("team/app",))
    here = tree(sample.registry)
    links = {k for k in got if "/repositories/" in k}
    expected = {k for k in here if "/repositories/team/app/_" in k}
    assert links == expected
    assert all(here[k] == v for k, v in got.items())


@pytest.mark.parametrize("cached", [True, False])
def test_a_long_history_survives_the_merging_of_its_catalog(tmp_path, cached):
    """Invariant 11: merged segments say what those that they supersede said."""
    made = World(cache=str(tmp_path) if cached else None)
    days = []
    for day in range(20):
        made.push.image("app", f"{day}", "latest", layers=(noise(300, day), noise(1 << 20, day)))
        made.snapshot()
        days.append(tree(made.registry))
    merged = [k for k in made.keys("catalog/") if k.startswith("catalog/1-")]
    assert len(merged) == 2
    for sequence in (1, 8, 9, 20):
        assert made.restored(sequence) == days[sequence - 1]
    # Superseded ones are for prune to remove; nothing changes when they are gone.
    from regvault.vault.catalog import Catalog

    catalog = Catalog(made.store, None)
    live = {segment.name.key for segment in catalog.segments()}
    made.lose(*set(made.keys("catalog/")) - live)
    assert len(live) == 6
    for sequence in (1, 8, 9, 20):
        assert made.restored(sequence) == days[sequence - 1]
    made.verified()


def test_a_vault_that_cannot_be_written_restores_all_the_same(small):
    """Invariant 9: a reader needs no right to write."""
    from regvault.errors import ReadOnlyStoreError
    from regvault.storage.wrappers import WRITES, FaultyStore

    small.snapshot()
    faulty = FaultyStore(small.store)
    faulty.plan(ReadOnlyStoreError("read-only"), verbs=WRITES, times=1000)
    result, target = small.restore(store=faulty)
    assert result.exit_code() == 0
    assert tree(target) == tree(small.registry)
    assert faulty.operations == 0


@pytest.fixture
def nested():
    """An index in an index, with a signature, an SBOM and their fallback tags."""
    world = World()
    push = world.push
    inner = tuple(push.image("app", layers=(noise(2000, "in", n),)) for n in range(2))
    index = push.index("app", "inner", children=inner)
    outer = push.index("app", "outer", children=(index,))
    subject = {"mediaType": outer.media_type, "digest": outer.digest, "size": len(outer.data)}
    sbom = push.image("app", layers=(noise(90, "sbom"),), subject=subject)
    fallback = push.index("app", outer.digest.replace(":", "-"), children=(sbom,))
    signature = push.image("app", outer.digest.replace(":", "-") + ".sig", layers=(b"signature",))
    other = push.image("app", "other", layers=(noise(2000, "other"),))
    world.snapshot()
    return world, outer, (sbom, fallback, signature), other


def revisions(got: dict[str, bytes]) -> set[str]:
    return {v.decode() for k, v in got.items() if "/_manifests/revisions/" in k}


def blobs(got: dict[str, bytes]) -> set[str]:
    return {
        f"{k.split('/')[4]}:{k.split('/')[6]}" for k in got if k.startswith(blob_key("a:b")[:24])
    }


def tags(got: dict[str, bytes], repository: str = "app") -> dict[str, str]:
    head, tail = current_key(repository, "\0").split("\0")
    return {
        k.removeprefix(head).removesuffix(tail): v.decode()
        for k, v in got.items()
        if k.startswith(head) and k.endswith(tail)
    }


def test_a_tag_comes_back_with_children_nested_indexes_and_referrers(nested):
    """Rule 15: walk index, child, config and layers; Rule 19's registry serves them by links."""
    world, outer, extras, other = nested
    got = world.restored(tags=("outer",))
    wanted = outer.closure().union(*(each.closure() for each in extras))
    assert blobs(got) == wanted
    assert other.digest not in revisions(got)
    name = outer.digest.replace(":", "-")
    assert tags(got) == {
        "outer": outer.digest,
        name: extras[1].digest,
        f"{name}.sig": extras[2].digest,
    }
    here = tree(world.registry)
    assert all(here[k] == v for k, v in got.items())
    for digest in wanted - revisions(got):
        assert got[layer_key("app", digest)] == digest.encode()
    assert got[history_key("app", "outer", outer.digest)] == outer.digest.encode()


def test_without_referrers_only_the_image_itself_comes_back(nested):
    """Rule 15: children always, referrers only where they are wanted."""
    world, outer, _, _ = nested
    got = world.restored(tags=("outer",), referrers=False)
    assert blobs(got) == outer.closure()
    assert tags(got) == {"outer": outer.digest}


def test_a_digest_comes_back_with_what_it_reaches(nested):
    """Rule 15: untagged manifests are images too."""
    world, outer, extras, _ = nested
    sbom = extras[0]
    got = world.restored(digests=(sbom.digest,), referrers=False)
    assert blobs(got) == sbom.closure()
    assert tags(got) == {}
    got = world.restored(digests=(outer.digest,))
    assert revisions(got) >= {outer.digest, sbom.digest, outer.children[0].digest}


def test_what_is_not_there_is_said_before_anything_is_written(nested):
    """Invariant 9: an unknown tag is exit 10, not an empty success."""
    world, _, _, _ = nested
    target = MemoryStore("target")
    for options in (
        {"tags": ("nope",)},
        {"globs": ("no/such",)},
        {"digests": ("sha256:" + "0" * 64,)},
    ):
        with pytest.raises(NotFoundError):
            world.restore(target=target, **options)
    assert tree(target) == {}


def test_a_rename_moves_every_link_and_no_blob(nested):
    """Invariant 8: the new name is checked like any other."""
    world, _, _, _ = nested
    got = world.restored(renames=("app=restored/app",))
    here = tree(world.registry)
    assert got == {
        k.replace("/repositories/app/", "/repositories/restored/app/"): v for k, v in here.items()
    }
    for bad in ("app", "app=../x", "app=x/", "App=x"):
        with pytest.raises(UsageError):
            world.restore(renames=(bad,))


def test_a_denied_digest_stays_out_with_every_image_that_needs_it(small):
    """Rule 28: a purged layer does not come back by a side door."""
    small.snapshot()
    body = json.loads(
        small.registry.get(blob_key(small.registry.get(current_key("app", "1")).decode()))
    )
    denied = body["layers"][0]["digest"]
    result, target = small.restore(deny=frozenset({denied}))
    got = tree(target)
    assert blob_key(denied) not in got
    assert not any(denied.partition(":")[2] in k for k in got)
    assert tags(got) == {
        k: v for k, v in tags(tree(small.registry)).items() if k in ("2", "latest")
    }
    assert tags(got, "tools/cli") == {}
    assert result.exit_code() == 3
    named = {(p.repository, p.subject) for p in result.plan.problems}
    assert {("app", ":1"), ("app", ":all"), ("tools/cli", ":1")} <= named
    # An index whose child does not come back does not either.
    assert revision_key("app", small.registry.get(current_key("app", "all")).decode()) not in got


def test_a_living_target_keeps_its_moved_tags_unless_told(small):
    """Invariant 9: what was left alone is said, not swallowed."""
    small.snapshot()
    target = MemoryStore("target")
    small.restore(target=target)
    moved = World(registry=target).push.image("app", "1", layers=(b"moved",))
    mine = tree(target)
    result, _ = small.restore(target=target)
    assert tree(target) == mine
    assert result.tags_moved == [("app", "1", moved.digest)]
    plan, _ = small.restore(target=target, dry_run=True)
    assert plan.tags_moved == result.tags_moved
    assert plan.to_json()["tags_moved"] == [
        {"repository": "app", "tag": "1", "points_to": moved.digest}
    ]
    assert tree(target) == mine
    result, _ = small.restore(target=target, overwrite="tags")
    assert result.tags_moved == []
    assert result.blobs_written == 0
    after = tree(target)
    assert after[current_key("app", "1")] == small.registry.get(current_key("app", "1"))
    # Nothing is deleted: what was pushed meanwhile is still there.
    assert mine.keys() == after.keys()
    result, _ = small.restore(target=target, overwrite="always")
    assert result.blobs_kept == 0
    assert result.blobs_written == result.plan.present
    assert tree(target) == after


def test_good_blobs_are_kept_and_wrong_ones_replaced(small):
    """Invariant 7: what is there is hashed before it is counted on; `size` is a choice."""
    small.snapshot()
    target = MemoryStore("target")
    small.restore(target=target)
    good = tree(target)
    data = [k for k in good if k.endswith("/data")]
    wrong, short = data[0], data[1]
    target.put(wrong, bytes(len(good[wrong])))
    target.put(short, good[short][:-1])
    result, _ = small.restore(target=target, trust="size")
    assert result.blobs_written == 1
    assert target.get(short) == good[short]
    assert target.get(wrong) == bytes(len(good[wrong]))
    result, _ = small.restore(target=target)
    assert (result.blobs_replaced, result.blobs_written) == (1, 1)
    assert result.blobs_kept == len(data) - 1
    assert tree(target) == good


def test_a_wrong_layer_of_the_right_size_is_replaced(small):
    """Invariant 7: a raw one, and one of a pack."""
    small.snapshot()
    target = MemoryStore("target")
    small.restore(target=target)
    good = tree(target)
    layers = {k for k, data in good.items() if k.endswith("/data") and data[:1] not in b"{"}
    sizes = [len(good[key]) for key in layers]
    assert min(sizes) < 1 << 20 <= max(sizes)
    for key in layers:
        target.put(key, bytes(len(good[key])))
    result, _ = small.restore(target=target)
    assert result.blobs_replaced == len(layers)
    assert tree(target) == good


def test_an_interrupted_restore_goes_on_where_it_was(small):
    """Invariant 7: what a first try wrote is proven and kept."""
    from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore

    small.snapshot()
    behind = MemoryStore("target")
    total = len([k for k in tree(small.registry) if k.endswith("/data")])
    faulty = FaultyStore(behind)
    faulty.crash_at(total // 2)
    with pytest.raises(CrashError):
        small.restore(target=faulty, threads=1)
    # Tags come last: nothing half-written can be pulled.
    assert not any(k.endswith("/current/link") for k in tree(behind))
    counting = CountingStore(behind, record=True)
    result, _ = small.restore(target=counting)
    assert result.blobs_kept >= total // 2 - 1
    assert result.blobs_kept + result.blobs_written == total
    assert tree(behind) == tree(small.registry)


def test_tags_are_written_after_all_that_they_need(small):
    """Invariant 1, for a target: a client never sees a tag before its blobs."""
    small.snapshot()
    counting = CountingStore(MemoryStore("target"), record=True)
    small.restore(target=counting)
    written = [k for verb, k in counting.calls if verb in ("put", "put_stream")]
    order = [0 if k.endswith("/data") else 2 if k.endswith("/current/link") else 1 for k in written]
    assert order == sorted(order)


def test_blobs_are_durable_before_links_and_links_before_tags(small):
    """Invariant 1, for a target: after a power cut no tag is there without what it needs."""
    small.snapshot()
    counting = CountingStore(MemoryStore("target"), record=True)
    small.restore(target=counting)
    calls = [call for call in counting.calls if call[0] in ("put", "put_stream", "barrier")]
    blobs = [n for n, (_, key) in enumerate(calls) if key.endswith("/data")]
    tags = [n for n, (_, key) in enumerate(calls) if key.endswith("/current/link")]
    links = [n for n, (_, key) in enumerate(calls) if key.endswith("/link") and n not in tags]
    for before, after in ((blobs, links), (links, tags)):
        assert ("barrier", "") in calls[max(before) : min(after)]


def test_a_full_target_is_left_untouched(small, monkeypatch):
    """Bad input: a full disk is exit 6, before the first byte."""
    from regvault.errors import StoreFullError
    from regvault.model.store import Space

    small.snapshot()
    target = MemoryStore("target")
    for space in (Space(1000, None), Space(None, 3)):
        monkeypatch.setattr(target, "space", lambda space=space: space)
        with pytest.raises(StoreFullError) as caught:
            small.restore(target=target)
        assert caught.value.exit_code == 6
    assert tree(target) == {}


HOSTILE = [
    "../../etc",
    "app/../../../up",
    "/etc",
    "App",
    "app//x",
    "_layers",
    "app/_manifests",
    "a\x1b[2J",
    "x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_repository_names_in_a_vault_lead_nowhere(small, name, monkeypatch, tmp_path):
    """Invariant 8, Rule 28: the grammar is checked, nothing is written outside the target."""
    from regvault.ops.snapshot.session import RepositoryEntry

    real = RepositoryEntry.line
    evil = lambda self: real(self._replace(name=name) if self.name == "app" else self)  # noqa: E731
    monkeypatch.setattr(RepositoryEntry, "line", evil)
    monkeypatch.setattr("regvault.vault.tree.TreeBuilder.add", _unsorted(monkeypatch))
    small.snapshot()
    monkeypatch.undo()
    target = LocalStore(tmp_path / "target", create=True)
    with pytest.raises(RegvaultError):
        small.restore(target=target)
    assert {p.name for p in tmp_path.iterdir()} <= {"target", "cache"}
    assert not any(current_key("", "")[:20] in k for k in tree(target) if "link" in k)


def _unsorted(monkeypatch):
    """A builder that takes lines in any order, as a hostile writer's would."""
    from regvault.vault.tree import TreeBuilder

    real = TreeBuilder.add

    def add(self, line):
        self._last = b""
        real(self, line)

    return add


@pytest.mark.parametrize(
    "line",
    [
        b"tag ../../x sha256:" + b"0" * 64,
        b"tag ok sha256:../../../../etc/passwd",
        b"rev sha256:zz application/x 5",
        b"layer sha256:" + b"0" * 63 + b" 5",
        b"layer md5:" + b"0" * 32 + b" 5",
        b"layer sha256:" + b"0" * 64 + b" -7",
        b"layer sha256:" + b"0" * 64 + b" seven",
        b"was ok",
        b"tag \xff sha256:" + b"0" * 64,
    ],
)
def test_hostile_lines_of_a_state_lead_nowhere(small, line, monkeypatch, tmp_path):
    """Invariant 8, Rule 28: no traceback, no path, but an error of the vault."""
    from regvault.ops.snapshot.tally import Tally

    real = Tally.new_state
    monkeypatch.setattr(
        Tally, "new_state", lambda self, lines, before: _evil_state(self, real, lines, before, line)
    )
    small.snapshot()
    monkeypatch.undo()
    target = LocalStore(tmp_path / "target", create=True)
    with pytest.raises(RegvaultError):
        small.restore(target=target)
    assert {p.name for p in tmp_path.iterdir()} <= {"target", "cache"}
    assert small.verify("metadata").exit_code() == 4


def _evil_state(tally, real, lines, before, line):
    """Store the state with one line more, which is not counted."""
    count = type(tally)._count
    try:
        type(tally)._count = lambda *_: None
        evil = real(tally, sorted([*lines, line]), before)
    finally:
        type(tally)._count = count
    real(tally, lines, None)
    tally.repositories -= 1
    return evil
