"""Every kind of damage on every kind of object is named by verify, and passed off by no restore.

What is not damaged comes back whole, and the next snapshot stores anew what was lost.
"""

from __future__ import annotations

import io
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import pytest
from figures import tried
from scene import CHANCE, CLOCK_NS, Scene
from world import BASE, blob_key, flip, layer_key, noise, revision_key, tree

from regvault.errors import (
    EXIT_CODES,
    LeaseHeldError,
    NotFoundError,
    RegvaultError,
    VaultDamagedError,
)
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.pin import active_pins, is_pinned, pin
from regvault.ops.snapshot.session import parse_entry
from regvault.storage.memory import MemoryStore
from regvault.vault.catalog import Catalog
from regvault.vault.envelope import read_document, write_document
from regvault.vault.keys import (
    OBJECT_PREFIXES,
    amendment_key,
    condemned_key,
    digest_of_key,
    lease_key,
    new_run_id,
    root_key,
)
from regvault.vault.parties import uptime
from regvault.vault.records import is_held
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.tree import Tree
    from regvault.vault.vault import Vault

_HOUR_NS = 3_600_000_000_000
#: Snapshots that are there to be restored; 1 and 3 were forgotten.
KEPT = (2, 4, 5, 6)

#: What becomes of the bytes of one object.
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first bit": lambda data: flip(data, 0),
    "middle bit": lambda data: flip(data, len(data) // 2),
    "last bit": lambda data: flip(data, len(data) - 1),
    "emptied": lambda _: b"",
    "cut to a byte": lambda data: data[:1],
    "a byte short": lambda data: data[:-1],
    "a byte longer": lambda data: data + b"\0",
}
DAMAGES = (*CHANGES, "gone", "swapped")

#: What is read and proven when a snapshot is restored, of those the newest one needs.
OBJECTS = (
    "raw blob",
    "pack",
    "meta",
    "state",
    "repository list",
    "repository list, top",
    "object list base",
    "object list base, top",
    "object list delta",
    "damage",
    "segment",
    "merged segment",
)
#: Documents that others refer to, or that are counted: one that is gone leaves a hole.
SLOTS = (
    "root",
    "newest root",
    "stub",
    "condemned list",
    "newest condemned list",
    "amendment",
    "newest amendment",
)
#: Documents that nothing refers to.
LOOSE = ("confirmation", "pin", "forgets", "verification", "lease", "prune lock")
ONLY_ONE = {"prune lock"}

CASES = [
    (kind, damage)
    for kind in (*OBJECTS, *SLOTS, *LOOSE)
    for damage in DAMAGES
    if not (damage == "gone" and kind in LOOSE) and not (damage == "swapped" and kind in ONLY_ONE)
]


# -- the world -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of few lines have several chunks, and a few segments are merged into one."""
    monkeypatch.setattr("regvault.vault.tree._MIN_ENTRIES", 4)
    monkeypatch.setattr("regvault.vault.catalog.MERGE_AT", 3)


class Remembering(MemoryStore):
    """A store that remembers what was overwritten: key -> its former bytes, the oldest first."""

    def __init__(self) -> None:
        super().__init__("vault", clock_ns=CLOCK_NS)
        self.former: dict[str, list[bytes]] = {}

    def _store(self, key: str, data: bytes, sha256: str) -> Any:
        if key in self._objects:
            self.former.setdefault(key, []).append(self._objects[key].data)
        return super()._store(key, data, sha256)


class Image(NamedTuple):
    """One manifest of one repository in one snapshot.

    Attributes:
        name: for messages.
        keys: of the registry that make it pullable, its tags' links among them.
        needs: the objects of the vault that hold any of it, or say where it is.
    """

    name: str
    keys: frozenset[str]
    needs: frozenset[str]


class History(NamedTuple):
    """A vault with everything in it that a vault may hold.

    Attributes:
        scene: to be copied.
        former: key -> its overwritten bytes.
        victims: kind of object -> one that is damaged, and another one of that kind.
        images: sequence -> what it holds.
    """

    scene: Scene
    former: dict[str, list[bytes]]
    victims: dict[str, tuple[str, str]]
    images: dict[int, list[Image]]


@lru_cache
def history() -> History:
    CHANCE.begin("damage")
    store = Remembering()
    scene = Scene(store=store)
    push = scene.push
    for each in range(16):
        push.image(f"team/app-{each:02}", "1", layers=(noise(150, "own", each), noise(90, "base")))
    _push_big(scene, 1)
    # What the source had damaged, and a restore mends: a link without its content.
    for number in range(2):
        odd = push.image("odd", f"{number}", layers=(noise(80, "odd", number),))
        push.write(layer_key("odd", odd.blobs[1]), b"")
    for sequence in (1, 3):
        raw = (noise(9000, "old", sequence), noise(300, "old", sequence))
        push.image(f"old-{sequence}", "1", layers=raw)
        push.image("team/app-03", f"{sequence}", layers=(noise(130, "more", sequence),))
        scene.take()
        scene.remove(f"old-{sequence}")
        with patch("regvault.ops.snapshot.commit.REBASE_SHARE", 0):
            held = scene.take().root
        assert held.held is not None
        confirm(scene.vault(), plan_confirm(scene.vault(), held), by="me@here")
        pin(scene.vault(), held, by=lambda: "me@here")
        scene.forget_named([sequence])
        scene.prune()
        scene.verified()
    with patch("regvault.ops.snapshot.commit.REBASE_SHARE", 0.9):
        for sequence in (5, 6):
            odd = push.image("odd", f"{sequence}", layers=(noise(80, "odd", sequence),))
            push.write(layer_key("odd", odd.blobs[1]), b"")
            _push_big(scene, sequence)
            push.image("team/app-07", f"{sequence}", layers=(noise(120, "more", sequence),))
            scene.take()
    scene.prune()  # the segments that were merged
    return _looked_at(scene, store.former)


def _push_big(scene: Scene, number: int) -> None:
    """Large layers and small ones, an index in an index, and what refers to one."""
    push = scene.push
    raw = [noise(500 + each, "raw", number, each) for each in range(4)]
    first = push.image("big", f"a{number}", layers=(raw[0], raw[1], noise(200, "small", number)))
    second = push.image("big", f"b{number}", layers=(raw[2], raw[3]))
    inner = push.index("big", children=(first, second))
    push.index("big", f"all{number}", children=(inner,))
    subject = {"digest": first.digest, "size": 1}
    push.image("big", subject=subject, layers=(noise(60, "signature", number),))


@lru_cache
def amended() -> History:
    """The same with two objects of the newest snapshot under other keys, as amendments say."""
    before = history()
    scene = before.scene.copy()
    CHANCE.begin("amended")
    objects = scene.vault().object_list(scene.root(6))
    base = [ref.key for ref in objects.base_refs() if objects.get(ref.key) is not None]
    moved: dict[str, str] = {}
    for number, prefix in enumerate(("blobs/", "packs/"), start=1):
        old = next(key for key in base if key.startswith(prefix))
        amend(scene, number, old)
        moved[old] = amendment_key(number)
    # What an amendment is about needs it.
    images = {
        sequence: [
            image._replace(needs=image.needs | {moved[key] for key in image.needs if key in moved})
            for image in found
        ]
        for sequence, found in before.images.items()
    }
    victims = {
        "amendment": (amendment_key(1), amendment_key(2)),
        "newest amendment": (amendment_key(2), amendment_key(1)),
    }
    return History(scene, {}, victims, images)


def amend(scene: Scene, number: int, old: str, *, catalogued: bool = True) -> None:
    """Give an object of the newest snapshot another key, and say so in an amendment."""
    vault = scene.vault()
    ref = vault.object_list(scene.root(6)).get(old)
    assert ref is not None
    new = f"{old}.{'0' * 24}-{number}"
    scene.store.put(new, scene.store.get(old))
    scene.lose(old)
    body = {
        "type": "amendment",
        "format": 1,
        "features": [],
        "vault": vault.id,
        "slot": amendment_key(number),
        "changes": [[old, new, ref.size, ref.sha256]],
    }
    scene.store.put(amendment_key(number), write_document(body)[0])
    if catalogued:
        catalog = Catalog(scene.store, None)
        catalog.prepare(1 << 30)
        places = catalog.members(old) or catalog.find(digest_of_key(old) or "")
        lines = [place._replace(key=new).line() for place in places]
        assert catalog.write(sorted(lines), new_run_id()) is not None
        catalog.close()


def _looked_at(scene: Scene, former: dict[str, list[bytes]]) -> History:
    vault = scene.vault()
    catalog = Catalog(scene.store, None)
    catalog.prepare(1 << 30)
    images = {sequence: _images(scene, vault, catalog, sequence) for sequence in KEPT}
    catalog.close()
    return History(scene, former, _victims(scene, vault), images)


def _victims(scene: Scene, vault: Vault) -> dict[str, tuple[str, str]]:
    newest, older = scene.root(6), scene.root(2)
    objects = vault.object_list(newest)
    keys = [ref.key for ref in objects]

    def two(found: Iterable[str]) -> tuple[str, str]:
        first, second, *_ = found
        return first, second

    def below(prefix: str) -> tuple[str, str]:
        return two(key for key in keys if key.startswith(prefix))

    states = _states(vault, newest, objects)
    repositories = vault.tree("repositories", newest.repositories, objects)
    before = vault.tree("repositories", older.repositories, vault.object_list(older))
    deltas = [scene.root(sequence).objects.delta for sequence in (6, 5)]
    written = [key for key in scene.keys("leases/") if _body(scene, key)["role"] == "writer"]
    return {
        "raw blob": below("blobs/"),
        "pack": below("packs/"),
        "meta": below("meta/"),
        "state": (_key(ChunkRef(states["big"])), _key(ChunkRef(states["team/app-07"]))),
        "repository list": two(map(_key, repositories.leaves())),
        "repository list, top": (_top(repositories), _top(before)),
        "object list base": two(map(_key, objects.base.leaves())),
        "object list base, top": (newest.objects.base.top.key, older.objects.base.top.key),
        "object list delta": two(delta.top.key for delta in deltas if delta is not None),
        "damage": (_damage(vault, newest), _damage(vault, scene.root(5))),
        "segment": (_segment(scene, 0), _segment(scene, 1)),
        "merged segment": (_segment(scene, 1), _segment(scene, 0)),
        "root": (root_key("prod", 4), root_key("prod", 5)),
        "newest root": (root_key("prod", 6), root_key("prod", 5)),
        "stub": (root_key("prod", 1), root_key("prod", 3)),
        "condemned list": (condemned_key(1), condemned_key(2)),
        "newest condemned list": (condemned_key(3), condemned_key(2)),
        "confirmation": two(scene.keys("records/confirmations/")),
        "pin": two(scene.keys("records/pins/")),
        "forgets": two(scene.keys("records/forgets/")),
        "verification": two(scene.keys("records/verifications/")),
        "lease": two(written),
        "prune lock": ("locks/prune.json", ""),
    }


def _body(scene: Scene, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scene.store.get(key).splitlines()[0])
    return found


def _key(chunk: ChunkRef) -> str:
    return chunk.key or f"trees/{chunk.digest.partition(':')[2]}.zst"


def _top(found: Tree) -> str:
    return _key(next(found.chunks()))


def _segment(scene: Scene, level: int) -> str:
    """Return the segment of a level that none supersedes."""
    segments = Catalog(scene.store, None).segments()
    (found,) = [each.name.key for each in segments if each.name.level == level]
    return found


def _damage(vault: Vault, root: Root) -> str:
    assert root.damage is not None
    return _top(vault.tree("damage", root.damage, vault.object_list(root)))


def _states(vault: Vault, root: Root, objects: ObjectList) -> dict[str, str]:
    """Return repository -> the digest of its state."""
    lines = vault.tree("repositories", root.repositories, objects).lines()
    return {entry.name: entry.state for entry in map(parse_entry, lines)}


def _images(scene: Scene, vault: Vault, catalog: Catalog, sequence: int) -> list[Image]:
    """Return what a snapshot must hold, by what the registry held then."""
    then = restorable(scene, sequence)
    root = scene.root(sequence)
    objects = vault.object_list(root)
    states = _states(vault, root, objects)
    repositories = vault.tree("repositories", root.repositories, objects)
    leaves = repositories.leaves_from()
    indexes = {*repositories.chunks()} - {ref for ref, _ in leaves}
    found: list[Image] = []
    for key in then:
        parts = re.fullmatch(f"{BASE}/repositories/(.+)/_manifests/revisions/(.+)/(.+)/link", key)
        if parts is None:
            continue
        repository, digest = parts[1], f"{parts[2]}:{parts[3]}"
        keys, blobs = _closure(then, repository, digest)
        tags = re.compile(f"{BASE}/repositories/{repository}/_manifests/tags/[^/]+/current/link")
        keys |= {k for k, data in then.items() if tags.fullmatch(k) and data == digest.encode()}
        leaf = [ref for ref, first in leaves if first.split(b" ")[0].decode() <= repository][-1]
        chunks = {*indexes, leaf}
        chunks |= {*vault.tree("state", ChunkRef(states[repository]), objects).chunks()}
        needs = {root.name.key, *map(_key, chunks)}
        for blob in blobs:
            places = {place.key for place in catalog.find(blob) if objects.get(place.key)}
            assert places, "each blob lies somewhere"
            if len(places) == 1:
                needs |= places
        found.append(Image(f"{repository}@{digest}", frozenset(keys), frozenset(needs)))
    assert len(found) > 20
    return found


def _closure(then: dict[str, bytes], repository: str, digest: str) -> tuple[set[str], set[str]]:
    """Return the keys and the digests that a pull of a manifest asks for."""
    body = json.loads(then[blob_key(digest)])
    keys, digests = {revision_key(repository, digest), blob_key(digest)}, {digest}
    for each in (body["config"], *body["layers"]) if "layers" in body else ():
        keys |= {layer_key(repository, each["digest"]), blob_key(each["digest"])}
        digests.add(each["digest"])
    for child in body.get("manifests", ()):
        more, others = _closure(then, repository, child["digest"])
        keys |= more
        digests |= others
    return keys, digests


def restorable(scene: Scene, sequence: int) -> dict[str, bytes]:
    """Return what the registry held, less what no link names, and with the links mended."""
    then = scene.held[sequence]
    links = {key: key.split("/")[-3:-1] for key in then if "/repositories/" in key}
    linked = {blob_key(":".join(parts)) for parts in links.values()}
    return {
        key: data or ":".join(links[key]).encode()
        for key, data in then.items()
        if key in links or key in linked
    }


class Damaged(NamedTuple):
    """A vault in which something is damaged.

    Attributes:
        scene: the world that it is in.
        whole: what it was.
        key: of the object.
        harmed: all keys whose bytes changed.
    """

    scene: Scene
    whole: History
    key: str
    harmed: frozenset[str]


def damaged(kind: str, damage: str) -> Damaged:
    whole = amended() if "amendment" in kind else history()
    CHANCE.begin(kind, damage)
    scene = whole.scene.copy()
    key, other = whole.victims[kind]
    harmed = {key}
    if damage == "gone":
        scene.lose(key)
    elif damage == "swapped":
        first, second = scene.store.get(key), scene.store.get(other)
        assert first != second
        _put(scene, key, second)
        _put(scene, other, first)
        harmed.add(other)
    else:
        _put(scene, key, CHANGES[damage](scene.store.get(key)))
    return Damaged(scene, whole, key, frozenset(harmed))


def _put(scene: Scene, key: str, data: bytes) -> None:
    scene.store.put_stream(key, io.BytesIO(data), size=len(data))


# -- the world is what it should be --------------------------------------------------------------


@pytest.mark.parametrize("make", [history, amended])
def test_the_world_has_everything_and_is_whole(make):
    """Invariant 9: no false alarm; and each kind of object is there to be damaged."""
    whole = make()
    scene = whole.scene.copy()
    CHANCE.begin("whole")
    scene.verified()
    for sequence in KEPT:
        assert scene.restored(sequence) == restorable(scene, sequence)
    for kind, keys in whole.victims.items():
        there = [scene.store.get(key) for key in keys if key]
        assert len({*there}) == (1 if kind in ONLY_ONE else 2), kind
    named = [key for key, _ in whole.victims.values()]
    assert len({*named}) == len(named)
    for image in whole.images[6]:
        assert image.keys <= restorable(scene, 6).keys(), image.name


@pytest.mark.parametrize("prefix", ["blobs/", "packs/"])
def test_an_amended_object_that_a_delta_names_is_no_damage(prefix):
    """Invariant 9: amendments apply to every line of an object list."""
    scene = history().scene.copy()
    CHANCE.begin("in a delta", prefix)
    delta = scene.vault().object_list(scene.root(6)).delta()
    amend(scene, 1, next(key for key, ref in delta.items() if ref and key.startswith(prefix)))
    for sequence in KEPT:
        assert scene.restored(sequence) == restorable(scene, sequence)
    scene.verified()


@pytest.mark.parametrize("kind", ["raw blob", "pack", "meta"])
def test_an_amended_object_is_found_though_no_segment_names_it(kind):
    """Invariant 11: no snapshot depends on the catalog."""
    scene = history().scene.copy()
    CHANCE.begin("not catalogued", kind)
    amend(scene, 1, history().victims[kind][0], catalogued=False)
    for sequence in KEPT:
        assert scene.restored(sequence) == restorable(scene, sequence)


# -- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_damage_is_named_by_its_key(kind, damage):
    """Invariants 7 and 9: whatever is wrong has a name, and nothing else is blamed."""
    tried("damages, each named by verify")
    harmed = damaged(kind, damage)
    result = harmed.scene.verify()
    problems = result.to_json()["problems"]
    assert result.exit_code() == 4, "it is not seen"
    named = result.report.bad_keys()
    if damage == "gone" and "segment" in kind:
        # Derived: what tells nothing any more of what it holds is named instead (invariant 11).
        assert {p.what for p in result.report.problems} == {"uncatalogued"}
        return
    if (kind, damage) == ("newest amendment", "gone"):
        # It leaves no gap: what it moved is no longer found where the roots say.
        assert _moved_by(harmed.whole.scene, harmed.key) in named, problems
        return
    assert harmed.harmed <= named, problems
    stored = (*OBJECT_PREFIXES, "catalog/", "condemned/", "leases/", "locks/", "records/")
    blamed = {
        problem.key
        for problem in result.report.problems
        if problem.key.startswith(stored) and problem.what != "uncatalogued"
    }
    if "amendment" in kind:  # what it moved is not where the roots say
        blamed -= {_moved_by(harmed.whole.scene, each) for each in harmed.harmed}
    assert blamed <= harmed.harmed, problems


EVERY = (
    "blobs/",
    "packs/",
    "meta/",
    "catalog/",
    "condemned/",
    "records/",
    "leases/",
    "snapshots/",
    "states",
    "leaves of the object list",
)


@pytest.mark.parametrize("what", EVERY)
def test_all_damage_is_named_not_the_first_alone(what):
    """Invariant 9: whoever repairs must know all of it."""
    scene = history().scene.copy()
    CHANCE.begin("all", what)
    vault = scene.vault()
    objects = vault.object_list(scene.root(6))
    if what == "states":
        found = {_key(ChunkRef(state)) for state in _states(vault, scene.root(6), objects).values()}
    elif what == "leaves of the object list":
        found = {_key(leaf) for leaf in objects.base.leaves()}
    else:
        found = {*scene.keys(what)}
    assert len(found) > 1
    for key in found:
        _put(scene, key, flip(scene.store.get(key)))
    assert found <= scene.verify().report.bad_keys()


def _moved_by(scene: Scene, amendment: str) -> str:
    old: str = _body(scene, amendment)["changes"][0][0]
    return old


# -- restore -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_a_restore_gives_all_that_is_whole_and_nothing_that_is_not(kind, damage):
    """Invariants 7 and 9: wrong bytes are refused and named, all other images come back."""
    tried("damages, each met by a restore of every snapshot", len(KEPT))
    harmed = damaged(kind, damage)
    for sequence in KEPT:
        check_restore(harmed, sequence)


def check_restore(harmed: Damaged, sequence: int) -> None:
    then = restorable(harmed.scene, sequence)
    target = MemoryStore("target")
    refused = ""
    result: Any = None
    try:
        result, _ = harmed.scene.restore(sequence, target, threads=1)
    except (VaultDamagedError, NotFoundError) as error:
        refused = error.message
    got = tree(target)
    # Never wrong bytes.
    assert {key for key, data in got.items() if then.get(key) != data} == set(), sequence
    # All that does not need what is damaged.
    lost = [
        image.name
        for image in harmed.whole.images[sequence]
        if not image.needs & harmed.harmed and not image.keys <= got.keys()
    ]
    assert lost == [], (sequence, refused)
    # No tag without all that it reaches.
    for image in harmed.whole.images[sequence]:
        if any(key in got for key in image.keys if key.endswith("/current/link")):
            assert image.keys <= got.keys(), (sequence, image.name)
    # What does not come back is said.
    if result is None:
        assert any(key in refused for key in (*harmed.harmed, f"prod@{sequence}")), refused
        return
    problems = result.plan.problems
    assert result.exit_code() == (4 if problems else 0), sequence
    named = {(p.repository, p.subject) for p in problems}
    # Where a tree is damaged that names tags or repositories, the tree is named instead.
    trees = {key for key in harmed.harmed if key.startswith("trees/")}
    unknown = any(key in problem.detail for problem in problems for key in trees)
    assert _tags(then) - _tags(got) <= named or unknown, sequence


def _tags(found: dict[str, bytes]) -> set[tuple[str, str]]:
    link = re.compile(f"{BASE}/repositories/(.+)/_manifests/tags/(.+)/current/link")
    return {(parts[1], f":{parts[2]}") for parts in map(link.fullmatch, found) if parts}


# -- the next snapshot ---------------------------------------------------------------------------

#: What a snapshot reuses without reading it.
UNREAD = ("raw blob", "pack", "meta", "state")
#: Damage that LIST does not show.
KEEPS_SIZE = ("first bit", "middle bit", "last bit")


@pytest.mark.parametrize(("kind", "damage"), CASES)
def test_the_next_snapshot_is_whole(kind, damage):
    """Invariants 3 and 9: it stores anew what is not there, or says what it cannot do without."""
    tried("damages, each met by the next snapshot")
    harmed = damaged(kind, damage)
    scene = harmed.scene
    if refused := take(scene):
        assert kind not in OBJECTS, refused.message
        assert refused.exit_code in EXIT_CODES
        assert any(key in refused.message for key in harmed.harmed), refused.message
        return
    sequence = max(scene.held)
    if kind in UNREAD and (damage in KEEPS_SIZE or _same_size(harmed, damage)):
        # Present is what LIST shows with the right size. What verify names, and is taken away,
        # the next snapshot stores anew.
        bad = scene.verify().report.bad_keys()
        assert harmed.harmed <= bad
        scene.lose(*(bad & harmed.harmed))
        sequence = scene.take().root.name.sequence
    assert scene.restored(sequence) == restorable(scene, sequence)


def take(scene: Scene) -> RegvaultError | None:
    """Take a snapshot; return why that was refused."""
    try:
        scene.take()
    except RegvaultError as error:
        return error
    return None


def _same_size(harmed: Damaged, damage: str) -> bool:
    return damage == "swapped" and all(
        len(harmed.scene.store.get(key)) == len(harmed.whole.scene.store.get(key))
        for key in harmed.harmed
    )


# -- what is overwritten: an old version put back ------------------------------------------------


#: So many tests share the old versions of leases, and of the lock.
PARTS = 6


def old_versions(prefix: str) -> list[tuple[str, bytes]]:
    """Return (key, bytes) of all that was overwritten below a prefix, with its former bytes."""
    found = history().former
    return [(key, old) for key in sorted(found) if key.startswith(prefix) for old in found[key]]


def test_a_forgotten_root_that_is_put_back_is_named():
    """Invariant 4: what only it needed was condemned, so it is a snapshot that lacks objects."""
    versions = old_versions("snapshots/")
    assert [key for key, _ in versions] == [root_key("prod", 1), root_key("prod", 3)]
    for key, old in versions:
        harmed = damaged("stub", "first bit")
        _put(harmed.scene, harmed.key, history().scene.store.get(harmed.key))
        _put(harmed.scene, key, old)
        result = harmed.scene.verify()
        assert result.exit_code() == 4
        sequence = int(key[-13:-5])
        hurt = {name for problem in result.report.problems for name in problem.snapshots}
        assert hurt == {f"prod@{sequence}"}
        for each in KEPT:
            check_restore(harmed._replace(harmed=frozenset({key})), each)
        taken = harmed.scene.take().root.name.sequence
        assert harmed.scene.restored(taken) == restorable(harmed.scene, taken)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("prefix", ["leases/", "locks/"])
def test_an_old_lease_or_lock_that_is_put_back_holds_up_nothing_for_long(prefix, part):
    """Invariant 9: it may be taken for a party at work, which is said, until it is dead."""
    versions = old_versions(prefix)[part::PARTS]
    assert versions
    for key, old in versions:
        scene = history().scene.copy()
        CHANCE.begin(key, old)
        _put(scene, key, old)
        assert scene.verify().exit_code() == 0, key
        if prefix == "leases/":
            refused = take(scene)
            if refused is not None:
                assert isinstance(refused, LeaseHeldError)
                assert key == lease_key(refused.message.partition("run ")[2][:24])
        scene.store.clock_ns += 2 * _HOUR_NS
        later = (uptime() or 0) + 2 * _HOUR_NS / 1e9
        with (
            patch("time.time_ns", lambda scene=scene: scene.store.clock_ns),
            patch("regvault.vault.parties.uptime", lambda later=later: later),
        ):
            taken = scene.take().root.name.sequence
        assert scene.restored(taken) == restorable(scene, taken)
        assert scene.verify().exit_code() == 0, key
        for sequence in KEPT:
            assert scene.restored(sequence) == restorable(scene, sequence)


# -- what nothing refers to ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOOSE)
def test_what_nothing_refers_to_is_gone_without_harm(kind):
    """Invariant 5: without its confirmation a snapshot is held again, not relied on."""
    harmed = damaged(kind, "gone")
    scene = harmed.scene
    vault = scene.vault()
    body = _body(harmed.whole.scene, harmed.key)
    if kind == "confirmation":
        root = scene.root(body["sequence"])
        assert is_held(root, vault.confirmations)
        assert not is_held(root, harmed.whole.scene.vault().confirmations)
    if kind == "pin":
        root = scene.root(body["sequence"])
        assert not is_pinned(root, active_pins(vault))
        assert is_pinned(root, active_pins(harmed.whole.scene.vault()))
    assert scene.verify().exit_code() == 0
    for sequence in KEPT:
        check_restore(harmed, sequence)
    taken = scene.take().root.name.sequence
    assert scene.restored(taken) == restorable(scene, taken)


# -- vault.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [each for each in DAMAGES if each != "swapped"])
def test_a_damaged_vault_json_is_named_and_nothing_is_opened(damage):
    """Invariant 9: a vault that cannot be told from others is none, and is not made anew."""
    scene = history().scene.copy()
    if damage == "gone":
        scene.lose("vault.json")
    else:
        _put(scene, "vault.json", CHANGES[damage](scene.store.get("vault.json")))
    before = tree(scene.store)
    with pytest.raises(VaultDamagedError, match=r"vault\.json"):
        scene.vault()
    with pytest.raises(VaultDamagedError, match=r"vault\.json"):
        scene.snapshot()
    assert tree(scene.store) == before


def test_another_vaults_vault_json_makes_every_root_a_stranger():
    """Invariant 7: a root says whose it is."""
    scene = history().scene.copy()
    CHANCE.begin("another vault")
    other = Scene()
    _put(scene, "vault.json", other.store.get("vault.json"))
    result = scene.verify()
    assert result.exit_code() == 4
    assert {root_key("prod", each) for each in KEPT} <= result.report.bad_keys()
    target = MemoryStore("target")
    for sequence in KEPT:
        with pytest.raises(VaultDamagedError, match="another vault"):
            scene.restore(sequence, target)
    assert tree(target) == {}


# -- every bit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["root", "stub", "confirmation", "pin", "lease", "prune lock", "amendment"]
)
def test_no_bit_of_a_document_is_free(kind):
    """Invariant 7: the checksum is over the body, and the line that holds it has its form."""
    whole = amended() if kind == "amendment" else history()
    data = whole.scene.store.get(whole.victims[kind][0])
    body, _, seal = data.partition(b"\n")
    types = (json.loads(body)["type"],)
    key = whole.victims[kind][0]
    read = read_document(data, key, types=types, vault=None)
    assert read.body == json.loads(body)
    assert seal
    for at in range(len(data)):
        for bit in range(8):
            tried("flipped bits of documents")
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(VaultDamagedError):
                read_document(bytes(changed), key, types=types, vault=None)
