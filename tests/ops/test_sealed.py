"""Sealed vaults: the store learns no names, the host that writes reads no contents."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from sealed_world import opened, verified
from world import World, blob_key, digest_of, flip, noise, tree

from regvault.errors import (
    CredentialError,
    NotFoundError,
    RefusedError,
    UsageError,
    VaultDamagedError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.check.record import _body
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.find import find_digest
from regvault.ops.forget import forget, plan_forget, plan_forget_named
from regvault.ops.keys import change_recipients, describe_sealing, rotate_writer
from regvault.ops.listing import list_snapshots
from regvault.ops.opened import Opened
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.ops.repair import RegistrySpare, VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.ops.verify.data import Sample, check_data
from regvault.ops.verify.report import Report
from regvault.policy.retention import Retention
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore
from regvault.vault.age import Identity, parse_identities, parse_recipient
from regvault.vault.catalog import Catalog
from regvault.vault.create import Sealing, create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keyring import key_records, write_key_record
from regvault.vault.keys import KEY_RECORDS, VAULT_JSON, new_run_id, plain_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.signing import Keys, SigningKey, UntrustedError
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore

#: Of the host that takes snapshots, of two who may restore, and of nobody.
HOST, ALICE, BOB, EVE = (Identity.generate() for _ in range(4))
AS_HOST, AS_ALICE, AS_BOB, AS_NOBODY = (
    Keys(identities=ids) for ids in ((HOST,), (ALICE,), (BOB,), ())
)

REGISTRY = "the-secret-registry"
REPOSITORIES = ("team/secret-project", "other/hidden-thing")
TAGS = ("release-candidate-one", "codename-bluebird")
RAW, SMALL = noise(1 << 20, "raw"), noise(3000, "small")


def fresh(keys: Keys = AS_HOST, sealing: Sealing | None = None) -> World:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    create_vault(store, keys, sealing=sealing or Sealing((ALICE.public,)))
    made = World(store=store, name=REGISTRY)
    made.trust = keys
    return made


@pytest.fixture
def made() -> World:
    world = fresh()
    first = world.push.image(REPOSITORIES[0], TAGS[0], layers=(RAW, SMALL))
    world.push.index(REPOSITORIES[0], TAGS[1], children=(first,))
    world.snapshot()
    world.push.image(REPOSITORIES[1], TAGS[1], layers=(RAW, noise(900, "more")))
    world.snapshot()
    return world


def restored(made: World, sequence: int | None = None, keys: Keys = AS_ALICE) -> dict[str, bytes]:
    made.trust, before = keys, made.trust
    try:
        return made.restored(sequence)
    finally:
        made.trust = before


def assert_whole(made: World, *, contents: bool = True) -> None:
    for keys in (AS_ALICE if contents else AS_HOST, AS_HOST, AS_NOBODY):
        result = verified(made, keys)
        assert result.exit_code() == 0, result.to_json()["problems"]


def assert_restores(made: World, sequence: int | None = None, keys: Keys = AS_ALICE) -> None:
    """Assert that a snapshot of all that the registry has comes back, byte for byte."""
    assert restored(made, sequence, keys) == tree(made.registry)


# -- what the store learns ------------------------------------------------------------------------


def every_secret(made: World) -> dict[str, bytes]:
    """All that nobody may find who has the store: as text, in hex, in Base64, and binary."""
    found: dict[str, bytes] = {}
    for text in (REGISTRY, *REPOSITORIES, *TAGS, "secret-project", "hidden-thing"):
        found[text] = text.encode()
    for key, data in tree(made.registry).items():
        if not key.endswith("/data"):
            continue
        hexed = hashlib.sha256(data).hexdigest()
        raw = bytes.fromhex(hexed)
        found[f"hex {hexed}"] = hexed.encode()
        found[f"upper {hexed}"] = hexed.upper().encode()
        found[f"binary {hexed}"] = raw
        found[f"content of {hexed}"] = data[:48] if len(data) > 48 else data
    forms = dict(found)
    for name, secret in found.items():
        for shift in range(3):  # Base64 of it, wherever in a longer text it stands
            coded = base64.b64encode(b"\0" * shift + secret)
            whole = coded[4:-4] if shift else coded[:-4]
            forms[f"base64+{shift} of {name}"] = whole
            forms[f"urlsafe+{shift} of {name}"] = whole.translate(bytes.maketrans(b"+/", b"-_"))
    return {name: secret for name, secret in forms.items() if len(secret) >= 12}


def full_life(made: World) -> None:
    """Everything that writes into a vault has written into it."""
    vault = opened(made, AS_HOST)
    made.push.image(REPOSITORIES[1], "gone-soon", layers=(noise(500, "x"),))
    made.remove(REPOSITORIES[0])
    made.snapshot()  # held: it shrank
    made.verify()
    purge(
        opened(made, AS_ALICE),
        plan_purge(opened(made, AS_ALICE), [digest_of(SMALL)], progress=NO_PROGRESS),
        progress=NO_PROGRESS,
        threads=1,
        reason="asked for",
    )
    forget(vault, plan_forget_named(vault, [made.root(1)]), progress=NO_PROGRESS)
    by_rule = plan_forget(vault, {REGISTRY: Retention(last=1)}, timezone=UTC)
    forget(vault, by_rule, progress=NO_PROGRESS)
    vault = opened(made, AS_HOST)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    change_recipients(opened(made, AS_HOST), add=[BOB.public])


def test_no_byte_of_a_sealed_vault_tells_a_name_a_tag_or_a_digest(made):
    secrets = every_secret(made)
    full_life(made)
    secrets |= every_secret(made)
    assert len(secrets) > 100
    objects = tree(made.store)
    for key, data in objects.items():
        for name, secret in secrets.items():
            assert secret not in data, (key, name)
            assert secret not in key.encode(), (key, name)
    assert {key.partition("/")[0] for key in objects} >= {
        "blobs", "catalog", "condemned", "leases", "meta", "packs", "records", "snapshots", "trees",
    }  # fmt: skip


def test_that_search_finds_what_a_plain_vault_tells(made):
    plain = World(made.registry, name=REGISTRY)
    plain.snapshot()
    stored = b"".join(key.encode() + data for key, data in tree(plain.store).items())
    found = [name for name, secret in every_secret(made).items() if secret in stored]
    assert any(name.startswith("hex") for name in found)
    assert any(name.startswith("content of") for name in found)
    assert REGISTRY in found


def test_the_report_of_a_check_is_sealed_too(made):
    body = _body({"type": "check", "features": []}, {"registry": REGISTRY}, opened(made, AS_HOST))
    assert REGISTRY not in json.dumps(body)
    assert body["features"] == ["sealed"]
    with pytest.raises(CredentialError):
        _body({"type": "check", "features": []}, {}, opened(made, AS_NOBODY))


def test_a_registry_s_name_is_in_no_root(made):
    for key in made.keys("snapshots/"):
        body = json.loads(made.store.get(key).split(b"\n")[0])
        assert set(body["registry"]) == {"id"}
        assert REGISTRY not in key
        assert not {"source", "scope", "repositories", "damage"} & set(body)
        assert body["features"] == ["sealed"]


def test_equal_registries_have_no_name_in_common_in_two_vaults(made):
    """Or who has the one could tell what is in the other."""
    other = fresh()
    other.registry, other.push = made.registry, made.push
    other.snapshot()
    names = [
        {key.split(".")[0] for key in world.keys(kind)}
        for kind in ("blobs/", "trees/", "packs/", "meta/")
        for world in (made, other)
    ]
    for mine, others in zip(names[::2], names[1::2], strict=True):
        assert mine
        assert others
        assert not mine & others


# -- who can do what ------------------------------------------------------------------------------


def test_the_host_that_writes_de_duplicates_and_reads_no_content(made):
    before = set(made.keys(""))
    made.push.image(REPOSITORIES[1], "again", layers=(RAW, SMALL))
    made.snapshot()
    new = {key.partition("/")[0] for key in set(made.keys("")) - before}
    assert "blobs" not in new
    assert "packs" not in new  # both layers are known, by names that the host can make
    with pytest.raises(CredentialError, match="opens contents"):
        made.restored()
    assert_restores(made)
    assert_whole(made)


def test_an_unchanged_registry_stores_nothing(made):
    before = {key for key in made.keys("") if not key.startswith(("leases/", "snapshots/"))}
    made.snapshot()
    assert {k for k in made.keys("") if not k.startswith(("leases/", "snapshots/"))} == before


def test_a_lost_local_cache_costs_no_object(made, tmp_path):
    made.cache = str(tmp_path)
    made.push.image(REPOSITORIES[1], "new", layers=(noise(1 << 20, "n"),))
    made.snapshot()
    made.cache = None
    before = set(made.keys("blobs/") + made.keys("packs/") + made.keys("meta/"))
    made.push.tag(REPOSITORIES[1], "moved", made.push.blob(b"{}"))
    made.snapshot()
    assert set(made.keys("blobs/") + made.keys("packs/")) <= before


def test_each_of_several_recipients_restores_alone():
    made = fresh(sealing=Sealing((ALICE.public, BOB.public)))
    made.push.image("app", "1", layers=(RAW, SMALL))
    made.snapshot()
    for keys in (AS_ALICE, AS_BOB):
        assert_restores(made, keys=keys)


@pytest.mark.parametrize("keys", [AS_NOBODY, Keys(identities=(EVE,))], ids=["none", "another"])
def test_without_the_right_identity_nothing_is_read_and_the_exit_code_says_so(made, keys):
    vault = opened(made, keys)
    with pytest.raises(CredentialError):
        Opened(vault, next(iter(vault.roots(vault.registries()[0])))).entry(REPOSITORIES[0])
    with pytest.raises(CredentialError):
        find_digest(opened(made, keys), digest_of(SMALL))
    made.trust = keys
    with pytest.raises(CredentialError):
        made.snapshot()


def test_lists_need_no_identity(made):
    vault = opened(made, AS_NOBODY)
    (one, two) = list_snapshots(vault)
    assert one.to_json()["bytes"] == made.root(1).counts.nbytes
    assert REGISTRY not in json.dumps([one.to_json(), two.to_json()])
    assert [row.to_json()["registry"] for row in list_snapshots(opened(made, AS_HOST))] == [
        REGISTRY
    ] * 2
    oldest = list(vault.roots(vault.registries()[0]))[-1]
    forget(vault, plan_forget_named(vault, [oldest]), progress=NO_PROGRESS)
    vault = opened(made, AS_NOBODY)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    assert_whole(made)
    assert_restores(made, 2)


def test_a_registry_is_meant_by_its_name_where_it_is_known_and_else_by_its_id(made):
    vault = opened(made, AS_HOST)
    (identity,) = vault.registries()
    assert vault.title(identity) == REGISTRY
    assert [row.slot.name.sequence for row in list_snapshots(vault, REGISTRY)] == [1, 2]
    assert [r.slot.name.sequence for r in list_snapshots(opened(made, AS_NOBODY), identity)] == [
        1,
        2,
    ]
    with pytest.raises(NotFoundError):
        list(list_snapshots(opened(made, AS_NOBODY), REGISTRY))


# -- damage ---------------------------------------------------------------------------------------

KINDS = ("blobs/", "catalog/", "meta/", "packs/", "trees/", "snapshots/", KEY_RECORDS, VAULT_JSON)


@pytest.mark.parametrize("keys", [AS_ALICE, AS_HOST, AS_NOBODY], ids=["all", "host", "none"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["a bit", "the first bit", "cut off", "empty", "longer"])
def test_damage_is_named_whoever_looks(made, kind, how, keys):
    damages = {
        "a bit": flip,
        "the first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
        "cut off": lambda data: data[:-1],
        "empty": lambda _: b"",
        "longer": lambda data: data + b"x",
    }
    for key in made.keys(kind):
        data = made.store.get(key)
        made.store.put(key, damages[how](data))
        try:
            named = {problem.key for problem in verified(made, keys).report.problems}
        except (VaultDamagedError, CredentialError):
            named = {key}  # it cannot even be opened
        assert key in named, key
        made.store.put(key, data)
    assert_whole(made)


def test_an_unchanged_vault_is_whole_whoever_looks(made):
    assert_whole(made)


#: What a store that can read and write everything, and knows no key, may make of a root.
FORGERIES = {
    "complete": lambda body, other: {**body, "complete": False},
    "held": lambda body, other: {**body, "held": {"reason": "it shrank", "against": 1}},
    "previous": lambda body, other: {**body, "previous": "0" * 64},
    "objects": lambda body, other: {**body, "objects": other["objects"]},
    "sealed": lambda body, other: {**body, "sealed": other["sealed"]},
}


@pytest.mark.parametrize("member", FORGERIES)
def test_a_root_that_the_store_put_together_is_named(made, member):
    """What is sealed in a root, and what is not, are bound to each other by K."""
    name, other = made.root(2).name, made.root(1).name.key
    key = name.key
    bodies = [json.loads(made.store.get(each).split(b"\n")[0]) for each in (key, other)]
    made.store.put(key, write_document(FORGERIES[member](*bodies))[0])
    for keys in (AS_HOST, AS_ALICE):
        assert key in {problem.key for problem in verified(made, keys).report.problems}
    with pytest.raises(VaultDamagedError, match="sealed with another root"):
        opened(made, AS_ALICE).read_slot(name)


def test_a_host_that_sealed_something_else_is_found_out(made):
    """The list's SHA-256 is that of what it stored; a recipient sees that it is another content."""
    (key,) = made.keys("blobs/")
    digest = digest_of(noise(1 << 20, "something else"))
    renamed = opened(made, AS_HOST).seal.name(digest).partition(":")[2]
    before = key.split("/")[3][:64]
    moved = key.replace(before, renamed).replace(f"/{before[:2]}/", f"/{renamed[:2]}/")
    report, ref = Report(), ObjectRef(moved, 0, hashlib.sha256(made.store.get(key)).hexdigest())
    made.store.put(moved, made.store.get(key))
    catalog = Catalog(made.store, None, opened(made, AS_ALICE).seal)
    check_data(opened(made, AS_ALICE), [ref], catalog, Sample(), report, NO_PROGRESS, 1)
    assert [problem.key for problem in report.problems] == [moved]
    catalog.close()


def test_damage_at_the_source_is_named_and_not_sealed(made):
    bad = made.push.image("bad", "1", layers=(noise(1 << 20, "bad"), noise(50, "b"))).blobs[1]
    key = blob_key(bad)
    made.registry.put(key, flip(made.registry.get(key)))
    result = made.snapshot()
    assert result.exit_code() == 3
    name = opened(made, AS_HOST).seal.name(bad).partition(":")[2]
    assert not any(name in key for key in made.keys("blobs/"))
    assert_whole(made)


@pytest.mark.parametrize("committed", [True, False])
def test_a_cut_off_blob_is_stored_again_without_a_cache(made, committed):
    (key,) = made.keys("blobs/")
    made.push.image("another", "1", layers=(RAW,))
    if not committed:  # a first full that was interrupted: only the catalog knows the blob
        for root in made.keys("snapshots/"):
            made.store.delete(root)
    made.store.put(key, made.store.get(key)[:-1])
    made.snapshot()
    assert len(made.keys("blobs/")) == 2
    assert_restores(made)


def test_an_interrupted_first_full_goes_on_from_its_segments(made):
    for root in made.keys("snapshots/"):
        made.store.delete(root)
    before = made.keys("blobs/") + made.keys("packs/")
    made.snapshot()
    assert made.keys("blobs/") + made.keys("packs/") == before
    assert_restores(made)


def test_swapped_contents_are_named(made):
    """Each is a whole age file, under a name that is not its."""
    made.push.image("two", "1", layers=(noise(1 << 20, "same size"),))
    made.snapshot()
    one, two = made.keys("blobs/")
    a, b = made.store.get(one), made.store.get(two)
    made.store.put(one, b)
    made.store.put(two, a)
    for keys in (AS_ALICE, AS_HOST, AS_NOBODY):
        named = {problem.key for problem in verified(made, keys).report.problems}
        assert named >= ({one, two} if len(a) == len(b) else {one})
    made.trust = AS_ALICE
    result, target = made.restore()
    assert result.exit_code() == 4
    for key, data in tree(target).items():
        assert data == made.registry.get(key)


def test_what_a_verification_found_damaged_is_stored_anew_by_the_next_snapshot(made):
    for kind in ("blobs/", "packs/", "meta/", "trees/"):
        key = made.keys(kind)[0]
        made.store.put(key, flip(made.store.get(key)))
        assert verified(made, AS_HOST).exit_code() == 4
        made.snapshot()
        assert_restores(made)


def test_a_lost_segment_is_made_again_from_what_can_be_opened(made):
    for key in made.keys("catalog/"):
        made.store.delete(key)
    assert_restores(made)
    options = VerifyOptions(read_data=Sample(), threads=1)
    vault = opened(made, AS_ALICE)
    plan = plan_repair(vault, [], options=options, progress=NO_PROGRESS)
    assert plan.catalog
    result = repair(vault, plan, [], options=options, progress=NO_PROGRESS)
    assert result.exit_code() == 0, result.to_json()
    assert_whole(made)
    before = set(made.keys("blobs/") + made.keys("packs/") + made.keys("meta/"))
    made.snapshot()
    assert set(made.keys("blobs/") + made.keys("packs/") + made.keys("meta/")) == before


@pytest.mark.parametrize("depth", ["metadata", "data"])
def test_what_is_sealed_to_others_is_no_damage_and_its_damage_is_named(made, depth):
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    made.push.image("for-bob", "1", layers=(noise(1 << 20, "bob"), noise(700, "bob")))
    made.snapshot()
    result = verified(made, AS_BOB, depth)
    assert result.exit_code() == 0, result.to_json()["problems"]
    assert result.to_json()["unopened"]
    for key in (k for kind in ("meta/", "trees/", "snapshots/") for k in made.keys(kind)):
        data = made.store.get(key)
        for changed in (flip(data), bytes([data[0] ^ 1]) + data[1:]):
            made.store.put(key, changed)
            assert key in {p.key for p in verified(made, AS_BOB, depth).report.problems}, key
        made.store.put(key, data)


# -- second copies --------------------------------------------------------------------------------


def second(made: World) -> World:
    """A vault that is sealed as another one, made by somebody without an identity."""
    target = fresh(AS_NOBODY, Sealing(copy_of=opened(made, AS_NOBODY)))
    target.registry, target.push.store = made.registry, made.registry
    return target


def copied(made: World, target: World, store: ObjectStore | None = None):
    options = CopyOptions(threads=1)
    vaults = [Vault(store or target.store, AS_NOBODY)]
    return copy(opened(made, AS_NOBODY), vaults, options, progress=NO_PROGRESS)


def test_a_copy_is_made_without_any_key_and_restores_with_the_same(made):
    target = second(made)
    assert copied(made, target).exit_code() == 0
    assert_whole(target)
    assert_restores(target)
    before = target.keys("")
    assert copied(made, target).exit_code() == 0
    assert [k for k in target.keys("") if k not in before] == [
        k for k in target.keys("records/copies/") if k not in before
    ]
    made.push.image("more", "1", layers=(noise(1 << 20, "more"), SMALL))
    made.snapshot()
    assert copied(made, target).exit_code() == 0
    assert_restores(target)


@pytest.mark.parametrize("checksums", [True, False], ids=["the store's", "read back"])
def test_a_first_copy_that_was_interrupted_goes_on(made, checksums, monkeypatch):
    """What it left is proven, and not sent again; but what is wrong is."""
    if checksums:
        kept = lambda store, key: hashlib.sha256(store.get(key)).hexdigest()  # noqa: E731
        monkeypatch.setattr(MemoryStore, "stored_sha256", kept)
    target = second(made)
    whole = CountingStore(second(made).store, record=True)
    copied(made, target, whole)
    stored = [key for verb, key in whole.calls if verb == "put_stream"]
    target = second(made)
    faulty = FaultyStore(target.store)
    faulty.crash_at(len(stored) - 3)
    with pytest.raises(CrashError):
        copied(made, target, faulty)
    left = set(target.keys("")) & set(stored)
    assert len(left) > 5
    rotten = min(left)
    target.store.put(rotten, flip(target.store.get(rotten)))
    again = CountingStore(target.store, record=True)
    monkeypatch.setattr("regvault.vault.lease.seen_dead", lambda _: True)
    assert copied(made, target, again).exit_code() == 0
    sent = {key for verb, key in again.calls if verb == "put_stream"}
    assert sent & left == {rotten}
    assert checksums == (("open", max(left)) not in again.calls)
    assert_whole(target)
    assert_restores(target)


def test_a_copy_is_whole_though_nobody_could_tell_what_lies_under_another_name(made):
    """What was condemned in it came back in the original: the copier has no key for a segment."""
    target = second(made)
    copied(made, target)
    doomed = {entry.key for entry in made.registry.list() if REPOSITORIES[1] in entry.key}
    kept = {key: made.registry.get(key) for key in doomed}
    for key in doomed:
        made.registry.delete(key)
    held = plan_confirm(opened(made, AS_HOST), made.snapshot().root)
    confirm(opened(made, AS_HOST), held, by="me", reason="moved")
    copied(made, target)
    vault = opened(target, AS_NOBODY)
    (chain,) = vault.registries()
    (second_root,) = [root for root in vault.roots(chain) if root.name.sequence == 2]
    forget(vault, plan_forget_named(vault, [second_root]), progress=NO_PROGRESS)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    for key, data in kept.items():
        made.registry.put(key, data)
    made.snapshot()
    copied(made, target)
    assert any(plain_key(key).count(".") < key.count(".") for key in target.keys("packs/"))
    for keys in (AS_ALICE, AS_HOST, AS_NOBODY):
        assert verified(target, keys).report.problems == []
    assert restored(target, 4) == restored(made, 4)


def test_new_recipients_of_the_original_are_known_in_the_copy(made):
    target = second(made)
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    made.push.image("for-bob", "1", layers=(noise(700, "bob"),))
    made.snapshot()
    copied(made, target)
    assert describe_sealing(opened(target, AS_NOBODY))["recipients"] == [ALICE.public, BOB.public]
    assert_restores(target)


def test_vaults_that_are_not_sealed_alike_are_not_copied(made):
    for target in (fresh(), World()):
        with pytest.raises(RefusedError, match="not sealed alike"):
            copied(made, target)


def test_a_damaged_object_comes_back_from_a_copy(made):
    target = second(made)
    copied(made, target)
    for kind in ("blobs/", "packs/", "meta/", "trees/"):
        for key in made.keys(kind):
            made.store.put(key, flip(made.store.get(key)))
    vault, spares = opened(made, AS_HOST), [VaultSpare(opened(target, AS_HOST))]
    options = VerifyOptions(read_data=Sample(), threads=1)
    plan = plan_repair(vault, spares, options=options, progress=NO_PROGRESS)
    result = repair(vault, plan, spares, options=options, progress=NO_PROGRESS)
    assert result.exit_code() == 0, result.to_json()
    assert_restores(made)


@pytest.mark.parametrize("keys", [AS_ALICE, AS_HOST], ids=["recipient", "host"])
@pytest.mark.parametrize("kind", ["blobs/", "packs/", "meta/"])
@pytest.mark.parametrize("how", ["a bit", "gone"])
def test_what_the_registry_still_has_is_sealed_anew(made, kind, how, keys):
    before = [restored(made, sequence) for sequence in (1, 2)]
    for key in made.keys(kind):
        data = made.store.get(key)
        made.store.delete(key) if how == "gone" else made.store.put(key, flip(data))
    options = VerifyOptions(read_data=Sample(), threads=1)
    vault, spares = opened(made, keys), [RegistrySpare(made.source())]
    plan = plan_repair(vault, spares, options=options, progress=NO_PROGRESS)
    assert plan.doing()
    result = repair(vault, plan, spares, options=options, progress=NO_PROGRESS)
    assert result.exit_code() == 0, result.to_json()
    assert not result.dropped
    assert_whole(made)
    assert [restored(made, sequence) for sequence in (1, 2)] == before


def test_what_nobody_has_is_given_up_only_by_who_says_so_and_by_its_name(made):
    key = made.keys("blobs/")[0]
    made.store.put(key, flip(made.store.get(key)))
    options = VerifyOptions(read_data=Sample(), threads=1)
    vault = opened(made, AS_HOST)
    plan = plan_repair(vault, [], options=options, progress=NO_PROGRESS)
    assert not plan.doing()
    assert plan.actions[0].lost == (digest_of(RAW),)
    plan = plan_repair(vault, [], options=options, drop_lost=True, progress=NO_PROGRESS)
    result = repair(vault, plan, [], options=options, progress=NO_PROGRESS)
    assert result.dropped == [digest_of(RAW)]
    assert not any(digest_of(RAW)[7:].encode() in made.store.get(k) for k in made.keys(""))
    assert_whole(made)


# -- purging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [RAW, SMALL], ids=["raw", "packed"])
def test_the_host_purges_what_it_cannot_read(made, content):
    digest = digest_of(content)
    vault = opened(made, AS_HOST)
    names = vault.seal.name(digest)
    plan = plan_purge(vault, [digest], progress=NO_PROGRESS)
    assert purge(vault, plan, progress=NO_PROGRESS, threads=1).exit_code() == 0
    assert not any(names.partition(":")[2] in key for key in made.keys("blobs/"))
    assert not any(
        names.partition(":")[2].encode() in made.store.get(k) for k in made.keys("packs/")
    )
    assert_whole(made)
    made.trust = AS_ALICE
    result, target = made.restore()
    assert result.plan.purged_count
    assert not any(data == content for data in tree(target).values())
    assert any(key.endswith("/data") for key in tree(target))


def test_a_manifest_is_purged_by_who_can_open_its_neighbours(made):
    digest = made.push.image("alone", "1", layers=(noise(300, "alone"),)).digest
    made.snapshot()
    plan = plan_purge(opened(made, AS_HOST), [digest], progress=NO_PROGRESS)
    with pytest.raises(CredentialError):
        purge(opened(made, AS_HOST), plan, progress=NO_PROGRESS, threads=1)
    vault = opened(made, AS_ALICE)
    plan = plan_purge(vault, [digest], progress=NO_PROGRESS)
    purge(vault, plan, progress=NO_PROGRESS, threads=1)
    assert_whole(made)
    with pytest.raises(NotFoundError):
        find_digest(opened(made, AS_ALICE), digest_of(b"never there"))


# -- keys -----------------------------------------------------------------------------------------


def test_who_is_added_opens_what_is_new_and_who_is_removed_only_what_is_old(made):
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    change_recipients(opened(made, AS_HOST), remove=[ALICE.public])
    new = noise(1 << 20, "for bob only")
    made.push.image("bobs/own", "1", layers=(new, noise(400, "bob")))
    made.snapshot()
    made.trust = AS_BOB
    (result, target) = made.restore(3, globs=("bobs/own",))
    assert result.exit_code() == 0, result.to_json()
    assert new in tree(target).values()
    assert restored(made, 2, AS_ALICE)
    with pytest.raises((CredentialError, AssertionError, VaultDamagedError)):
        restored(made, 3, AS_ALICE)
    both = Keys(identities=(ALICE, BOB))
    assert_restores(made, 3, both)


def test_nobody_is_left_out_by_mistake(made):
    vault = opened(made, AS_HOST)
    with pytest.raises(RefusedError):
        change_recipients(vault, remove=[ALICE.public])
    with pytest.raises(NotFoundError):
        change_recipients(vault, remove=[EVE.public])
    with pytest.raises(CredentialError):
        change_recipients(opened(made, AS_NOBODY), add=[BOB.public])
    with pytest.raises(UsageError):
        change_recipients(World().vault(), add=[BOB.public])
    assert len(made.keys(KEY_RECORDS)) == 1


def test_a_new_identity_of_the_host_and_the_old_one_together_go_on(made):
    rotate_writer(opened(made, AS_HOST), BOB.public)
    made.trust = Keys(identities=(BOB, HOST))
    before = set(made.keys("blobs/"))
    made.push.image(REPOSITORIES[0], "after", layers=(RAW,))
    made.snapshot()
    assert set(made.keys("blobs/")) == before
    assert_restores(made)
    assert describe_sealing(opened(made, AS_NOBODY))["writer"] == BOB.public


@pytest.mark.parametrize("name", [REGISTRY, "another"])
def test_a_chain_that_the_host_cannot_open_gets_no_second_one_beside_it(made, name):
    """Half of the file that `key rotate` made: nothing would be held against the old chain."""
    rotate_writer(opened(made, AS_HOST), BOB.public)
    made.name, made.trust = name, AS_BOB
    with pytest.raises(CredentialError, match="opens snapshots/"):
        made.snapshot()
    assert len(opened(made, AS_NOBODY).registries()) == 1
    made.name, made.trust = REGISTRY, Keys(identities=(BOB, HOST))
    made.snapshot()


def test_an_identity_that_was_rotated_away_takes_no_snapshot_more(made):
    """It could take one, which it could not go on from: the next run would fail, for no reason."""
    rotate_writer(opened(made, AS_HOST), BOB.public)
    before = tree(made.store)
    for _ in range(2):
        made.trust = AS_HOST
        with pytest.raises(CredentialError, match="sealed to others") as caught:
            made.snapshot()
        assert "key rotate" in caught.value.hint
        if before is not None:
            assert tree(made.store) == before
        made.trust, before = Keys(identities=(BOB, HOST)), None
        made.snapshot()


def test_a_chain_whose_newest_root_is_damaged_goes_on(made):
    """A backup is not refused for what the vault has lost."""
    (key,) = [key for key in made.keys("snapshots/") if "00000002" in key]
    made.spoil(key, flip)
    assert made.snapshot().root.name.sequence == 3
    assert len(opened(made, AS_HOST).registries()) == 1


def forged(made: World, naming_key: bytes, recipients: list[str]) -> None:
    write_key_record(
        made.store,
        opened(made, AS_NOBODY).id,
        new_run_id(),
        naming_key=naming_key,
        recipients=recipients,
        writer=HOST.public,
        generation=9,
    )


def test_a_recipient_that_the_store_smuggles_in_does_not_count(made):
    """Whoever can write to the store has no K, and cannot say that he has."""
    genuine = key_records(made.store, opened(made, AS_NOBODY).id)[0]
    forged(made, b"e" * 32, [EVE.public])
    record = json.loads(made.store.get(made.keys(KEY_RECORDS)[-1]).split(b"\n")[0])
    right = base64.b64encode(genuine.sealed_key).decode()
    # Another key; one that says that it is the right one; the right one, not authenticated by it.
    for extra in ({}, {"key": genuine.key}, {"key": genuine.key, "k": right}):
        made.store.put(made.keys(KEY_RECORDS)[-1], write_document({**record, **extra})[0])
        assert opened(made, AS_HOST).seal.recipients == (ALICE.public,)
        made.push.image("after", "1", layers=(noise(600, "after"),))
        made.snapshot()
        assert_restores(made)
    named = [problem.key for problem in verified(made, AS_HOST).report.problems]
    assert named == [made.keys(KEY_RECORDS)[-1]]


def test_the_key_records_of_a_signed_vault_are_signed():
    signer = SigningKey.generate()
    keys = Keys(signer, (signer.public,), (HOST,))
    made = fresh(keys)
    made.push.image("app", "1", layers=(RAW,))
    made.snapshot()
    (key,) = made.keys(KEY_RECORDS)
    body, _ = made.store.get(key).split(b"\n")[:2]
    made.store.put(key, write_document(json.loads(body))[0])
    with pytest.raises((UntrustedError, VaultDamagedError)):
        opened(made, keys).seal.name("")


def test_lost_key_records_are_damage_and_a_copy_has_them(made):
    target = second(made)
    copied(made, target)
    (key,) = made.keys(KEY_RECORDS)
    made.store.delete(key)
    with pytest.raises(VaultDamagedError, match="key records"):
        made.snapshot()
    made.store.put(key, target.store.get(key))
    assert_restores(made)


@pytest.mark.parametrize("change", [str, str.lower, " {}\n".format, "-{}".format])
def test_an_identity_in_the_place_of_a_recipient_is_not_repeated(change):
    """Or the secret would stand in a log, or in the mail that cron sends."""
    secret = EVE.secret()
    with pytest.raises(UsageError) as raised:
        parse_recipient(change(secret))
    said = f"{raised.value.message} {raised.value.hint}".lower()
    assert "is a secret" in said
    assert secret.lower()[16:24] not in said


def test_a_file_without_an_identity_says_what_to_put_there():
    with pytest.raises(CredentialError) as raised:
        parse_identities("# nothing\n", "file:/there")
    assert "age-keygen" in str(raised.value.hint)


def test_a_sealed_vault_needs_the_identity_of_its_writer():
    with pytest.raises(UsageError, match="identity of the host"):
        fresh(AS_NOBODY, Sealing((ALICE.public,)))
