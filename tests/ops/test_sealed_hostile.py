"""A store that lies about a sealed vault: endless headers, and a plain vault in its place."""

from __future__ import annotations

import base64
import io
import json
import os
import time

import pytest
from sealed_world import AS_ALICE, AS_HOST, AS_NOBODY, BOB, opened, verified
from sealed_world import with_snapshot as made_world
from world import World, noise

from regvault.errors import RefusedError, RegvaultError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.listing import list_snapshots
from regvault.ops.purge import plan_purge
from regvault.storage.memory import MemoryStore
from regvault.vault.age import AGE_MAGIC, HEADER_BYTES, Identity, open_sealed, plain_size, seal_to
from regvault.vault.create import create_vault
from regvault.vault.downgrade import refuse_downgrade
from regvault.vault.envelope import write_document
from regvault.vault.keys import KEY_RECORDS, VAULT_JSON, record_key
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault

#: A command that did nothing but parse one of these headers took minutes.
SOON_S = 5


def stanza(kind: bytes = b"grease-x abc") -> bytes:
    return b"-> " + kind + b"\n" + base64.b64encode(os.urandom(32)).rstrip(b"=") + b"\n"


END = b"--- " + base64.b64encode(bytes(32)).rstrip(b"=") + b"\n" + bytes(64)
ENDLESS = {
    "no end": AGE_MAGIC + stanza() * 300,
    "a late end": AGE_MAGIC + stanza() * 300 + END,
    "one long line": AGE_MAGIC + b"-> " + b"a" * (16 << 10) + b"\n\n" + END,
    "many small parts": AGE_MAGIC + b"-> a\n\n" * ((HEADER_BYTES - 200) // 6) + END,
    "no age file": stanza() * 300 + END,
}


@pytest.fixture
def made() -> World:
    return made_world()


@pytest.mark.parametrize("header", ENDLESS)
def test_no_header_keeps_a_reader_busy(made, header):
    """Nothing interrupts the library. Invariant 8."""
    data, seal = ENDLESS[header], opened(made, AS_ALICE).seal
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"age file|recipients"):
        open_sealed(data, [BOB])
    for open_it in (seal.open_content, seal.open_index):
        with pytest.raises(VaultDamagedError, match="x is damaged"):
            open_it(data, "x")
    stream = seal.open_stream(io.BytesIO(data), "x")
    with pytest.raises(VaultDamagedError, match="x is damaged"), stream:
        stream.read()
    assert time.monotonic() - began < SOON_S


def test_a_header_for_as_many_as_may_be_is_short_enough():
    many = [Identity.generate() for _ in range(65)]
    for size in (0, 100, 1 << 20):
        data = seal_to((each.public for each in many), bytes(size))
        assert open_sealed(data, [many[-1]]) == bytes(size)
        assert plain_size(data[:HEADER_BYTES], len(data)) == size


def test_a_key_record_with_an_endless_header_is_passed_over(made):
    """Whoever writes one needs no key, and its header is looked at before anything proves it."""
    (key,) = made.keys(KEY_RECORDS)
    body = json.loads(made.store.get(key).split(b"\n")[0])
    for number, header in enumerate(ENDLESS):
        run = f"{number:x}" * 24
        changes = {"run": run, "generation": 9, "k": base64.b64encode(ENDLESS[header]).decode()}
        made.store.put(record_key("keys", run), write_document({**body, **changes})[0])
    began = time.monotonic()
    assert len(list(list_snapshots(opened(made, AS_HOST)))) == 1
    made.snapshot()
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("header", ENDLESS)
def test_a_chunk_that_the_list_does_not_prove_is_not_opened(made, header, monkeypatch):
    for key in made.keys("trees/"):
        if ".age" in key:
            made.spoil(key, lambda _: ENDLESS[header])
    vault = opened(made, AS_HOST)
    monkeypatch.setattr(vault.seal, "open_index", None)
    root = made.root()
    with pytest.raises(VaultDamagedError, match="not what the list of objects says"):
        vault.tree("repositories", root.repositories, vault.object_list(root)).fetch()
    result = verified(made, AS_HOST)
    assert {p.key for p in result.report.problems} >= {
        k for k in made.keys("trees/") if ".age" in k
    }


# -- a plain vault in the place of a sealed one ----------------------------------------------------


def plain(keys: Keys) -> MemoryStore:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    create_vault(store, keys._replace(identities=()))
    return store


def refused(made: World, match: str) -> None:
    """Assert that nothing is written into the vault as it is now."""
    before = made.keys()
    other = World()
    other.push.image("app", "1", layers=(noise(3000, "app"),))
    other.snapshot()
    writes = [
        made.snapshot,
        lambda: plan_purge(made.vault(), ["sha256:" + "0" * 64], progress=NO_PROGRESS),
        lambda: copy(other.vault(), [made.vault()], CopyOptions(), progress=NO_PROGRESS),
        lambda: refuse_downgrade(made.vault()),
    ]
    for write in writes:
        with pytest.raises(RefusedError, match=match):
            write()
    assert made.keys() == before


@pytest.mark.parametrize("signed", [False, True])
def test_a_plain_vault_in_the_place_of_a_sealed_one_gets_no_content(signed):
    """Also where both are signed by the same key: an identity says which one is meant."""
    signer = SigningKey.generate()
    keys = AS_HOST._replace(signer=signer, trusted=(signer.public,)) if signed else AS_HOST
    made = made_world(keys)
    made.store = plain(keys)
    made.push.image("team/secret", "1", layers=(noise(900, "secret"),))
    refused(made, "an identity is given for it")


def unsealed(made: World) -> None:
    """Take away that the vault is sealed, as a store can that has no key."""
    body = json.loads(made.store.get(VAULT_JSON).split(b"\n")[0])
    del body["sealing"]
    body["features"] = []
    made.store.put(VAULT_JSON, write_document(body)[0])


def test_a_vault_with_sealed_roots_is_no_plain_one(made):
    unsealed(made)
    made.trust = AS_NOBODY
    refused(made, "has a sealed snapshot, ")
    found = {(p.key, p.what) for p in verified(made, AS_NOBODY, "metadata").report.problems}
    assert (VAULT_JSON, "damaged") in found


def test_a_plain_vault_is_read_whatever_is_given():
    made = World()
    made.push.image("app", "1", layers=(noise(3000, "app"),))
    made.snapshot()
    made.trust = AS_HOST
    assert len(list(list_snapshots(made.vault()))) == 1
    assert made.verify("data").exit_code() == 0
    with pytest.raises(RegvaultError) as raised:
        made.snapshot()
    assert "unset REGVAULT_IDENTITY" in raised.value.hint
    assert raised.value.exit_code == 5
    assert isinstance(made.vault(), Vault)
