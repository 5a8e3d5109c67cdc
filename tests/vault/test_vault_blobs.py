"""Blobs are read proven, from any place that has them; roots, records and amendments of a vault."""

from __future__ import annotations

import base64
import json

import pytest
import vault_example
from vault_build import RUN, digest_of, new_writer

from regvault.errors import NotFoundError, RefusedError, UnknownFormatError, VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog
from regvault.vault.create import create_vault, probe_conditional_writes
from regvault.vault.envelope import write_document
from regvault.vault.keys import VAULT_JSON, amendment_key, blob_key, tree_key
from regvault.vault.objectlist import ListRef, ObjectList, ObjectRef, build_base
from regvault.vault.pack import MetaWriter, PackWriter
from regvault.vault.records import is_held, read_records, write_record
from regvault.vault.root import RootName
from regvault.vault.segment import Location, write_segment
from regvault.vault.tree import parse
from regvault.vault.vault import Vault

LARGE = b"large" * 300_000


def list_of(store, refs):
    writer = new_writer(store)
    base, count, nbytes = build_base(sorted(refs), writer.chunk_putter(tree_key))
    return ObjectList(
        ListRef(base, None, count, nbytes),
        lambda kind, chunk: parse(store.get(chunk.key), chunk.key, kind, keyed=True),
    )


def put_raw(store, data, suffix=""):
    key = blob_key(digest_of(data)) + suffix
    store.put(key, data)
    return ObjectRef(key, len(data), digest_of(data)[7:])


@pytest.mark.parametrize("suffix", ["", f".{RUN}-1"])
def test_a_raw_blob_is_found_when_every_segment_is_gone(suffix):
    store = MemoryStore()
    ref = put_raw(store, LARGE, suffix)
    objects = list_of(store, [ref, put_raw(store, b"another")])
    reader = BlobReader(store, Catalog(store, None), objects)
    (place,) = reader.locate(digest_of(LARGE))
    assert place.key == ref.key
    assert reader.read_place(place) == LARGE
    with pytest.raises(NotFoundError):
        reader.read(digest_of(b"nowhere"))


@pytest.mark.parametrize("kind", [PackWriter, MetaWriter], ids=["packs", "meta"])
def test_a_blob_is_proven_wherever_it_is_read_from(kind):
    """Invariant 7: also where the object that holds it is what its own name says."""
    store, data = MemoryStore(), b"right"
    placed = []
    writer = kind(new_writer(store), placed.extend)
    writer.add(digest_of(data), b"wrong")
    writer.flush()
    (one,) = placed
    place = Location(one.digest, one.ref.key, one.offset, one.length, one.size, "regvault")
    with pytest.raises(VaultDamagedError, match="other bytes"):
        BlobReader(store, Catalog(store, None), None).read_place(place)


def test_of_several_places_the_one_in_the_roots_list_is_read():
    store, data = MemoryStore(), b"x" * 2000
    old, new = put_raw(store, data), put_raw(store, data, f".{RUN}-1")
    lines = sorted(
        Location(digest_of(data), ref.key, 0, 2000, 2000, "store").line() for ref in (old, new)
    )
    write_segment(store, lines, level=0, run=RUN)
    for wanted, other in ((old, new), (new, old)):
        reader = BlobReader(store, Catalog(store, None), list_of(store, [wanted]))
        assert [place.key for place in reader.locate(digest_of(data))] == [wanted.key, other.key]
    # Damaged or gone there: the other is as good, since it is proven.
    store.put(new.key, b"y" * 2000)
    assert reader.read(digest_of(data)) == data
    store.delete(old.key)
    with pytest.raises(VaultDamagedError):
        reader.read(digest_of(data))


def signed(payload: bytes) -> bytes:
    """Sign a manifest of Docker's schema 1, as registries of old stored them."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    at = payload.rindex(b"\n}")
    header = json.dumps({"formatLength": at, "formatTail": encode(payload[at:])}).encode()
    signatures = json.dumps([{"signature": "x", "protected": encode(header)}]).encode()
    return payload[:at] + b',\n "signatures": ' + signatures + b"\n}"


def test_a_signed_schema_1_manifest_comes_back():
    payload = json.dumps({"schemaVersion": 1, "fsLayers": []}, indent=3).encode()
    data, digest = signed(payload), digest_of(payload)
    store, placed = MemoryStore(), []
    meta = MetaWriter(new_writer(store), placed.extend)
    meta.add(digest, data)
    meta.flush()
    (p,) = placed
    place = Location(digest, p.ref.key, p.offset, p.length, p.size, "regvault")
    write_segment(store, [place.line()], level=0, run=RUN)
    assert BlobReader(store, Catalog(store, None), None).read(digest) == data


# A vault, its roots and records


def opened(store=None):
    return Vault(store or vault_example.build())


def test_a_vault_is_made_once(tmp_path):
    store = MemoryStore()
    identity = create_vault(store)
    assert Vault(store).id == identity
    with pytest.raises(RefusedError, match="already"):
        create_vault(store)
    assert [entry.key for entry in store.list()] == [VAULT_JSON]


def test_a_store_without_atomic_conditions_gets_no_vault():
    class Careless(MemoryStore):
        def put(self, key, data, *, if_none_match=False, if_match=None):
            return super().put(key, data)

    assert not probe_conditional_writes(Careless())
    with pytest.raises(RefusedError):
        create_vault(Careless())


@pytest.mark.parametrize("fields", [{}, {"vault": 1, "created": "x"}, {"vault": "a" * 32}])
def test_a_vault_json_that_says_nothing_is_damaged(fields):
    store = MemoryStore()
    body = {"type": "vault", "format": 1, "features": [], **fields}
    store.put(VAULT_JSON, write_document(body)[0])
    with pytest.raises(VaultDamagedError):
        Vault(store)


def test_a_vault_json_of_any_size_is_not_read_whole():
    """Invariant 8: a vault is hostile input, and may have a document of a terabyte."""

    class Asked(MemoryStore):
        def get(self, key, *, start=0, length=None):
            assert length is not None
            return super().get(key, start=start, length=length)

    store = Asked()
    store.put(VAULT_JSON, b"x" * (5 << 20))
    with pytest.raises(VaultDamagedError, match="more than"):
        Vault(store)


def test_a_vault_from_the_future_is_refused():
    store = MemoryStore()
    body = {"type": "vault", "format": 2, "features": [], "vault": "a" * 32, "created": "x"}
    store.put(VAULT_JSON, write_document(body)[0])
    with pytest.raises(UnknownFormatError):
        Vault(store)


def test_a_root_is_read_as_it_was_written():
    vault = opened()
    root = vault.read_slot(RootName("demo", 1))
    data, sha256 = root.to_document(vault.id)
    assert data == vault.store.get(root.name.key)
    assert sha256 == root.sha256


def test_a_root_in_anothers_slot_is_refused():
    vault = opened()
    data = vault.store.get("snapshots/demo/00000001.json")
    for key in ("snapshots/demo/00000002.json", "snapshots/other/00000001.json"):
        vault.store.put(key, data)
    for name in (RootName("demo", 2), RootName("other", 1)):
        with pytest.raises(VaultDamagedError, match="root of demo@1"):
            vault.read_slot(name)


@pytest.mark.parametrize("member", ["repositories", "objects", "counts", "started", "registry"])
def test_a_root_without_a_member_is_damaged_not_a_crash(member):
    vault = opened()
    body = json.loads(vault.store.get("snapshots/demo/00000001.json").split(b"\n")[0])
    for value in (None, 7, "x", [], {}):
        vault.store.put("snapshots/demo/00000001.json", write_document({**body, member: value})[0])
        with pytest.raises(VaultDamagedError):
            vault.read_slot(RootName("demo", 1))


def test_amendments_without_a_gap_are_applied():
    vault = opened()
    root = vault.read_slot(RootName("demo", 1))
    (pack,) = [ref for ref in vault.object_list(root) if ref.key.startswith("packs/")]
    renamed = f"{pack.key}.{RUN}-1"
    body = {"type": "amendment", "format": 1, "features": [], "vault": vault.id}
    changes = [[pack.key, renamed, pack.size, pack.sha256]]
    vault.store.put(amendment_key(1), write_document({**body, "changes": changes})[0])
    objects = opened(vault.store).object_list(root)
    assert objects.get(pack.key) == ObjectRef(renamed, pack.size, pack.sha256)
    assert renamed in {ref.key for ref in objects}
    vault.store.put(amendment_key(3), write_document({**body, "changes": []})[0])
    with pytest.raises(VaultDamagedError, match=r"00000002\.json is gone"):
        opened(vault.store).require_amendments()
    # Who only reads does with what there is.
    assert renamed in {ref.key for ref in opened(vault.store).object_list(root)}


@pytest.mark.parametrize(
    "changes", [None, 1, [1], [["vault.json"]], [["packs/a", "../x", 1, "a"]], [["packs/a", "b"]]]
)
def test_a_hostile_amendment_is_refused(changes):
    vault = opened()
    body = {"type": "amendment", "format": 1, "features": [], "vault": vault.id}
    vault.store.put(amendment_key(1), write_document({**body, "changes": changes})[0])
    with pytest.raises(VaultDamagedError):
        vault.require_amendments()
    assert opened(vault.store).amendments == {}


def test_a_held_snapshot_is_held_until_this_very_root_is_confirmed():
    vault = opened()
    body = json.loads(vault.store.get("snapshots/demo/00000001.json").split(b"\n")[0])
    body["held"] = {"reason": "the registry is empty", "against": None}
    vault.store.put("snapshots/demo/00000001.json", write_document(body)[0])
    root = vault.read_slot(RootName("demo", 1))
    said = {"registry": "demo", "sequence": 1, "root": "0" * 64}
    write_record(vault.store, vault.id, "confirmations", "1" * 24, said)
    assert is_held(root, read_records(vault.store, vault.id, "confirmations"))
    write_record(vault.store, vault.id, "confirmations", "2" * 24, {**said, "root": root.sha256})
    assert not is_held(root, read_records(vault.store, vault.id, "confirmations"))


def test_a_chunk_is_found_under_its_renamed_key_and_a_wrong_one_is_not_believed():
    vault = opened()
    root = vault.read_slot(RootName("demo", 1))
    objects = vault.object_list(root)
    chunk = root.repositories.top
    key = tree_key(chunk.digest[7:])
    data = vault.store.get(key)
    vault.store.put(key, data[:-1] + b"x")
    with pytest.raises(VaultDamagedError, match="not what its name says"):
        vault.chunk_bytes(chunk, objects)
    renamed = f"{key}.{RUN}-1"
    vault.store.put(renamed, data)
    changes = [[key, renamed, len(data), chunk.digest[7:]]]
    body = {"type": "amendment", "format": 1, "features": [], "vault": vault.id}
    vault.store.put(amendment_key(1), write_document({**body, "changes": changes})[0])
    again = opened(vault.store)
    assert again.chunk_bytes(chunk, again.object_list(root)) == data


def test_a_chunk_of_one_kind_is_not_taken_for_another():
    vault = opened()
    root = vault.read_slot(RootName("demo", 1))
    objects = vault.object_list(root)
    assert len(list(vault.tree("repositories", root.repositories, objects).lines())) == 1
    with pytest.raises(VaultDamagedError, match="no chunk of a tree of state"):
        list(vault.tree("state", root.repositories, objects).lines())
