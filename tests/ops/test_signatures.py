"""Signed vaults: what nobody signed whose key counts is not taken, and every reader says so."""

from __future__ import annotations

import json
import time

import pytest
from world import World, digest_of, flip, noise, tree

from regvault.errors import CredentialError, UsageError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.keys import list_keys
from regvault.ops.prune import plan_prune, prune
from regvault.ops.purge import plan_purge, purge
from regvault.ops.repair import VaultSpare, plan_repair, repair
from regvault.ops.verify import VerifyOptions
from regvault.storage.memory import MemoryStore
from regvault.vault.condemned import condemned_document, read_condemned
from regvault.vault.create import create_vault
from regvault.vault.envelope import write_document
from regvault.vault.keys import VAULT_JSON, condemned_key, new_run_id
from regvault.vault.parties import void_document
from regvault.vault.root import RootName
from regvault.vault.signing import (
    Keys,
    SigningKey,
    UntrustedError,
    VaultId,
    parse_public_key,
)
from regvault.vault.vault import Vault

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
WRITER = Keys(KEY)
READER = Keys(None, (KEY.public,))


def signed_world() -> World:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    create_vault(store, WRITER)
    made = World(store=store)
    made.trust = WRITER
    return made


def fill(made: World) -> World:
    for day in range(3):
        made.push.image("app", f"v{day}", layers=(noise(1 << 20, "base"), noise(900, day)))
        made.snapshot()
    return made


@pytest.fixture
def made() -> World:
    return fill(signed_world())


def as_reader(made: World, *trusted: SigningKey) -> Vault:
    keys = Keys(None, tuple(key.public for key in trusted or (KEY,)))
    return Vault(made.store, keys)


def resealed(made: World, key: str, **changes) -> bytes:
    """A document with other content and a right checksum, as an intruder can write it."""
    body = json.loads(made.store.get(key).split(b"\n")[0])
    return write_document({**body, **changes})[0]


def test_every_promise_is_signed_and_the_reader_accepts_it(made):
    vault = made.vault()
    forget(vault, plan_forget_named(vault, [made.root(1)]), progress=NO_PROGRESS)
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1, grace_s=-1)
    prune(vault, plan, progress=NO_PROGRESS, threads=1, grace_s=-1)
    plan.close()
    digest = digest_of(noise(900, 1))
    purge(
        vault,
        plan_purge(vault, [digest], progress=NO_PROGRESS),
        progress=NO_PROGRESS,
        threads=1,
    )
    for key in (*made.keys("snapshots/"), *made.keys("records/amendments/"), VAULT_JSON):
        seal = json.loads(made.store.get(key).split(b"\n")[1])
        assert [each["key"] for each in seal["signatures"]] == [KEY.public.id], key
    reader = as_reader(made)
    reader.require_amendments()
    made.trust = READER
    assert made.verify().exit_code() == 0
    assert made.restored(3)


def intrusions() -> dict:
    """What an intruder does who can write to the vault, and has no key, or one that is not ours."""
    return {
        "an unsigned root": lambda w: w.store.put(
            w.root(2).name.key, resealed(w, w.root(2).name.key, complete=False)
        ),
        "a root that another key signed": lambda w: w.store.put(
            w.root(2).name.key,
            resealed(w, w.root(2).name.key, vault=VaultId(str(w.vault().id), Keys(OTHER))),
        ),
        "a root with a signature that is not its own": lambda w: w.store.put(
            w.root(2).name.key, _transplant(w)
        ),
        "a void in the place of a root": lambda w: w.store.put(
            w.root(2).name.key, void_document(w.vault().id, w.root(2).name.key, new_run_id())
        ),
        "a root of another slot": lambda w: w.store.put(
            w.root(2).name.key, w.store.get(w.root(1).name.key)
        ),
        "a forged amendment": lambda w: w.store.put(
            "records/amendments/00000001.json",
            write_document(
                {
                    "type": "amendment",
                    "format": 1,
                    "features": [],
                    "vault": str(w.vault().id),
                    "slot": "records/amendments/00000001.json",
                    "changes": [[w.keys("packs/")[0]]],
                }
            )[0],
        ),
        "a new vault.json": lambda w: w.store.put(VAULT_JSON, resealed(w, VAULT_JSON)),
    }


def _transplant(made: World) -> bytes:
    key = made.root(2).name.key
    body, seal = made.store.get(key).split(b"\n")[:2]
    changed = {**json.loads(body), "complete": False}
    lines = write_document(changed)[0].split(b"\n")
    new = {**json.loads(lines[1]), "signatures": json.loads(seal)["signatures"]}
    return b"%s\n%s\n" % (lines[0], json.dumps(new).encode())


@pytest.mark.parametrize("what", intrusions())
def test_an_intruder_without_the_key_is_found_out(what):
    """Rule 6: roots are bound to vault, slot and predecessor; without a key nothing is forged."""
    made = fill(signed_world())
    intrusions()[what](made)
    if what == "a new vault.json":
        with pytest.raises(UntrustedError):
            as_reader(made)
        return
    made.trust = READER
    result = made.verify()
    assert result.exit_code() == 4
    assert result.report.problems


@pytest.mark.parametrize("how", ["deleted", "a void"])
def test_the_newest_roots_are_missed_by_what_remembers_them(made, how):
    """Removal of the newest snapshots: a record of a verification names them."""
    made.verified()
    for lease in made.keys("leases/"):
        made.store.delete(lease)  # these remember too
    for sequence in (2, 3):
        key = made.root(sequence).name.key if sequence == 2 else RootName("prod", 3).key
        if how == "deleted":
            made.store.delete(key)
        else:
            made.store.put(key, void_document(made.vault().id, key, new_run_id()))
    report = made.verify().report
    assert [(p.key, p.what) for p in report.problems] == [(RootName("prod", 3).key, "gap")]


@pytest.mark.parametrize("keys", [Keys(), READER], ids=["no key", "a public key"])
def test_nobody_writes_into_a_signed_vault_without_its_key(made, keys):
    before = tree(made.store)
    made.trust = keys
    with pytest.raises(CredentialError, match="no key to sign with"):
        made.snapshot()
    vault = Vault(made.store, keys)
    with pytest.raises(CredentialError):
        forget(vault, plan_forget_named(vault, [made.root(1)]), progress=NO_PROGRESS)
    plan = plan_purge(vault, [digest_of(noise(900, 1))], progress=NO_PROGRESS)
    with pytest.raises(CredentialError):
        purge(vault, plan, progress=NO_PROGRESS, threads=1)
    assert tree(made.store) == before
    assert made.restored(3)


def test_keys_rotate(made):
    """A reader trusts the old key and the new; the writer has the new one."""
    made.trust = Keys(OTHER, (KEY.public,))
    made.snapshot()
    with pytest.raises(UntrustedError):
        as_reader(made, KEY).read_slot(RootName("prod", 4))
    with pytest.raises(UntrustedError):
        as_reader(made, OTHER)  # the vault itself was made with the old one
    reader = as_reader(made, KEY, OTHER)
    assert len(list(reader.roots("prod"))) == 4
    uses = {use.key: use.snapshots for use in list_keys(reader, reader.id.keys.trusted)}
    assert uses == {KEY.public.id: [("prod", 1, 3, 3)], OTHER.public.id: [("prod", 4, 4, 1)]}
    assert [use.trusted for use in list_keys(reader, [KEY.public])] == [True, False]


def test_a_copy_keeps_the_original_signatures(made):
    target = MemoryStore("copy")
    create_vault(target, Keys(OTHER))
    copier = Vault(target, Keys(OTHER, (KEY.public,)))
    result = copy(Vault(made.store, READER), [copier], CopyOptions(threads=2), progress=NO_PROGRESS)
    assert result.exit_code() == 0
    for key in made.root(1).name.key, made.root(3).name.key:
        assert target.get(key).split(b"\n")[:2] == made.store.get(key).split(b"\n")[:2]
        also = json.loads(target.get(key).split(b"\n")[3])["signatures"]
        assert [each["key"] for each in also] == [OTHER.public.id]
    both = Vault(target, Keys(None, (KEY.public, OTHER.public)))
    assert len(list(both.roots("prod"))) == 3
    with pytest.raises(VaultDamagedError):
        list(Vault(target, Keys(None, (OTHER.public,))).roots("prod"))


def test_a_forged_root_is_repaired_from_a_copy(made):
    target = MemoryStore("copy")
    create_vault(target)
    copy(Vault(made.store, READER), [Vault(target)], CopyOptions(threads=2), progress=NO_PROGRESS)
    key = made.root(2).name.key
    good = made.store.get(key)
    made.store.put(key, resealed(made, key, complete=False))
    vault, spares = made.vault(), [VaultSpare(Vault(target))]
    options = VerifyOptions(threads=1)
    plan = plan_repair(vault, spares, options=options, progress=NO_PROGRESS)
    result = repair(vault, plan, spares, options=options, progress=NO_PROGRESS)
    assert result.exit_code() == 0, result.to_json()
    assert made.store.get(key) == good


def test_the_next_snapshot_does_not_build_on_a_forged_root(made):
    key = made.root(3).name.key
    made.store.put(key, resealed(made, key, complete=False))
    result = made.snapshot()
    assert result.exit_code() == 4
    assert result.root.previous == made.root(2).sha256


def test_an_unsigned_vault_is_as_it_was(tmp_path):
    made = World()
    made.push.image("app", "v1", layers=(noise(900, 1),))
    made.snapshot()
    assert json.loads(made.store.get(VAULT_JSON).split(b"\n")[1])["signatures"] == []
    with pytest.raises(UntrustedError):
        Vault(made.store, READER)
    # With a key its new snapshots are signed, and nothing is refused.
    later = World(store=made.store, registry=made.registry)
    later.trust = WRITER
    later.push.image("app", "v2", layers=(noise(900, 2),))
    later.snapshot()
    uses = [(use.key, use.snapshots) for use in list_keys(later.vault(), ())]
    assert uses == [("", [("prod", 1, 1, 1)]), (KEY.public.id, [("prod", 2, 2, 1)])]


def test_a_signature_is_over_the_body_line_as_the_format_says(made):
    body, seal = made.store.get(made.root(1).name.key).split(b"\n")[:2]
    import base64

    signature = base64.b64decode(json.loads(seal)["signatures"][0]["sig"])
    assert KEY.public.verifies(signature, body)
    assert not KEY.public.verifies(signature, flip(body))
    assert not KEY.public.verifies(signature[:-1], body)


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "ssh-ed25519 AAAA", "x" * 9999])
def test_what_is_no_public_key(text):
    with pytest.raises(UsageError, match="no public key"):
        parse_public_key(text)


@pytest.mark.parametrize("text", ["", "secret!", "-----BEGIN PRIVATE KEY-----\nsecret!\n"])
def test_a_private_key_that_is_none_is_in_no_message(text):
    with pytest.raises(CredentialError) as caught:
        SigningKey.from_pem(text, "file:/x")
    assert "secret!" not in f"{caught.value} {caught.value.hint}"
    assert SigningKey.from_pem(KEY.to_pem(), "x").public == KEY.public
    assert KEY.to_pem() not in repr(KEY)


def test_a_condemned_list_that_nobody_signed_is_refused(made):
    """Rule 6: else whoever can write could have what he likes deleted."""
    data = condemned_document(str(made.vault().id), 1, new_run_id(), made.keys("packs/"))
    made.store.put(condemned_key(1), data)
    with pytest.raises(UntrustedError):
        read_condemned(made.store, as_reader(made).id)


def test_a_copy_whose_amendment_nobody_signed_is_refused(made):
    """It says which keys differ in the copy: it could lead readers elsewhere."""
    target = MemoryStore("copy")
    create_vault(target, Keys(OTHER))
    copier = Vault(target, Keys(OTHER, (KEY.public,)))
    copy(Vault(made.store, READER), [copier], CopyOptions(threads=1), progress=NO_PROGRESS)
    key = made.root(3).name.key
    body, seal, amendment = target.get(key).split(b"\n")[:3]
    forged = write_document({**json.loads(amendment), "run": new_run_id()})[0]
    target.put(key, b"%s\n%s\n%s" % (body, seal, forged))
    both = Vault(target, Keys(None, (KEY.public, OTHER.public)))
    with pytest.raises(UntrustedError):
        both.read_slot(RootName("prod", 3))


def test_a_signature_of_other_bytes_counts_for_nothing(made):
    """Rule 6: one that was taken from another document."""
    made.store.put(made.root(2).name.key, _transplant(made))
    with pytest.raises(UntrustedError):
        as_reader(made).read_slot(RootName("prod", 2))
