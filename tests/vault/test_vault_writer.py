"""Presence and the object writer: what a run may count on, and which names it may use."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vault_build import RUN, contents, digest_of, new_writer

from regvault.errors import DigestMismatchError
from regvault.storage.memory import MemoryStore
from regvault.vault.keys import (
    blob_key,
    digest_of_key,
    is_keyed,
    pack_key,
    plain_key,
    tree_key,
)
from regvault.vault.objectlist import ListRef, ObjectList, ObjectRef, build_base
from regvault.vault.presence import KeySizes, Presence, list_objects, list_parallel
from regvault.vault.tree import parse

SOME = [b"chunk %d" % n for n in range(40)]


def stored(datas=SOME):
    """Return a store with trees, the refs of these, and the object list that names them."""
    store = MemoryStore()
    writer = new_writer(store)
    refs = sorted(writer.put_bytes(tree_key, data) for data in datas)
    base, count, nbytes = build_base(refs, writer.chunk_putter(tree_key))
    return store, refs, list_of(store, ListRef(base, None, count, nbytes))


def list_of(store, ref, amendments=None):
    def load(kind, chunk):
        return parse(store.get(chunk.key), chunk.key, kind, keyed=True)

    return ObjectList(ref, load, amendments)


def compared(store, objects):
    presence = Presence(objects)
    presence.compare(list_objects(store, threads=1))
    return presence


def test_what_is_there_as_needed_is_present():
    store, refs, objects = stored()
    presence = compared(store, objects)
    assert presence.missing == {}
    assert {ref.key: presence.size(ref.key) for ref in refs} == {r.key: r.size for r in refs}
    assert presence.size("trees/none.zst") is None


def test_what_is_gone_or_has_another_size_is_missing_and_what_is_more_is_seen():
    store, refs, objects = stored()
    gone, short, *_, good = refs
    store.delete(gone.key)
    store.put(short.key, b"")
    store.put("packs/extra.tar", b"123")
    presence = compared(store, objects)
    assert presence.missing == {gone.key: gone, short.key: short}
    assert presence.size(gone.key) is None
    assert presence.size(short.key) == 0
    assert presence.size("packs/extra.tar") == 3
    assert presence.size(good.key) == good.size


def test_a_lost_chunk_of_the_list_itself_is_missing():
    store, _, objects = stored()
    (own,) = objects.own_chunks()
    objects.get("trees/x")  # it was read already
    for entry in [e for e in store.list("trees/") if e.key == own.key]:
        data = store.get(entry.key)
        store.delete(entry.key)
    presence = Presence(objects)
    store.put("packs/x.tar", b"")
    kept = {own.key: parse(data, own.key, "objects", keyed=True)}
    objects = ObjectList(objects.ref, lambda _, chunk: kept[chunk.key])
    presence = compared(store, objects)
    assert set(presence.missing) == {own.key}


def test_a_chunk_of_the_list_before_is_reused_not_written_again():
    store, _, objects = stored()
    (own,) = objects.own_chunks()
    data = store.get(own.key)
    presence = compared(store, objects)
    assert presence.size(own.key) == len(data)
    before = contents(store)
    writer = new_writer(store, presence)
    assert writer.put_bytes(tree_key, data).key == own.key
    assert writer.written == 0
    assert contents(store) == before


@given(st.data())
def test_presence_is_what_a_dictionary_says(data):
    store, refs, objects = stored()
    expected = {entry.key: entry.size for entry in store.list()}
    for ref in data.draw(st.lists(st.sampled_from(refs), unique=True)):
        if data.draw(st.booleans()):
            store.delete(ref.key)
            del expected[ref.key]
        else:
            store.put(ref.key, b"x")
            expected[ref.key] = 1
    presence = compared(store, objects)
    assert set(presence.missing) == {r.key for r in refs if expected.get(r.key) != r.size}
    for ref in refs:
        assert presence.size(ref.key) == expected.get(ref.key)


def test_many_keys_go_to_disk_and_are_found():
    sizes = KeySizes(spill_after=10)
    for number in range(35):
        sizes[f"key {number}"] = number
    sizes["key 3"] = 300
    assert sizes.get("key 3") == 300
    assert [sizes.get(f"key {number}") for number in (0, 9, 10, 34)] == [0, 9, 10, 34]
    assert sizes.get("key 99") is None
    sizes.close()


@pytest.mark.parametrize("threads", [1, 4])
def test_a_parallel_list_is_the_list(threads):
    store = MemoryStore()
    digests = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(3000)]
    for digest in digests:
        store.put(blob_key(f"sha256:{digest}"), b"")
        store.put(f"trees/{digest}.zst", b"")
    store.put(blob_key("sha512:" + "0" * 128), b"")
    store.put("snapshots/r/00000001.json", b"")
    expected = [e for e in store.list() if not e.key.startswith("snapshots/")]
    assert list(list_objects(store, threads)) == expected
    assert list(list_parallel(store, "packs/", threads)) == []


# The writer


def condemned_writer(store, presence, *keys):
    return new_writer(store, presence, frozenset(keys), run="a" * 24)


def test_what_this_run_saw_is_not_written_again():
    store, refs, objects = stored()
    writer = new_writer(store, compared(store, objects))
    assert sorted(writer.put_bytes(tree_key, data) for data in SOME) == refs
    assert (writer.written, writer.written_bytes) == (0, 0)


def test_what_no_root_needs_is_written_again_under_its_name():
    """Invariant 3: a run that a power cut ended may have left names and sizes without the bytes."""
    store, refs, _ = stored()
    for ref in refs:
        store.put(ref.key, bytes(ref.size))
    data = b"chunk of a pack"
    pack = pack_key(digest_of(data)[7:])
    store.put(pack, bytes(len(data)))
    before = list(store.list())
    writer = new_writer(store, compared(store, None))
    assert sorted(writer.put_bytes(tree_key, data) for data in SOME) == refs
    stage = writer.stage()
    stage.write(data)
    assert writer.publish(stage, pack_key, len(data)).key == pack
    assert writer.written == len(refs) + 1
    assert store.get(pack) == data
    for ref in refs:
        assert hashlib.sha256(store.get(ref.key)).hexdigest() == ref.sha256
    assert [entry.key for entry in store.list()] == [entry.key for entry in before]


def test_what_this_run_did_not_see_is_written_again():
    store, refs, _ = stored()
    writer = new_writer(store, Presence(None))
    assert sorted(writer.put_bytes(tree_key, data) for data in SOME) == refs
    assert writer.written == len(refs)


@given(st.sets(st.sampled_from(range(len(SOME)))), st.sets(st.sampled_from(range(len(SOME)))))
def test_a_condemned_name_is_neither_reused_nor_written(condemned, damaged):
    store, _, objects = stored()
    names = {n: tree_key(digest_of(data)[7:]) for n, data in enumerate(SOME)}
    for number in damaged:
        store.put(names[number], b"other bytes")
    before = contents(store)
    doomed = {names[n] for n in condemned}
    writer = condemned_writer(store, compared(store, objects), *doomed)
    for number, data in enumerate(SOME):
        ref = writer.put_bytes(tree_key, data)
        assert ref.key not in doomed
        assert store.get(ref.key) == data
        assert plain_key(ref.key) == names[number]
        assert digest_of_key(ref.key) == digest_of(data)
        assert (ref.key == names[number]) == (number not in condemned | damaged)
    after = contents(store)
    assert {key: after[key] for key in before} == before
    assert writer.written == len(condemned | damaged)


def test_a_condemned_raw_blob_and_pack_get_another_name():
    store = MemoryStore()
    data = b"layer"
    digest = digest_of(data)
    pack = pack_key(digest[7:])
    writer = condemned_writer(store, Presence(None), blob_key(digest), pack)
    ref, proof = writer.put_raw(blob_key(digest), io.BytesIO(data), len(data), digest[7:])
    assert ref == (f"{blob_key(digest)}.{'a' * 24}-1", len(data), digest[7:])
    assert proof == "regvault"
    stage = writer.stage()
    stage.write(data)
    assert writer.publish(stage, pack_key, len(data)).key == f"{pack}.{'a' * 24}-2"
    assert not {blob_key(digest), pack} & set(contents(store))


def test_two_renamed_forms_of_a_run_do_not_collide():
    store = MemoryStore()
    key = tree_key(digest_of(b"x")[7:])
    writer = condemned_writer(store, Presence(None), key)
    keys = {writer.put_bytes(tree_key, b"x").key for _ in range(3)}
    assert keys == {f"{key}.{'a' * 24}-{n}" for n in (1, 2, 3)}


def test_wrong_bytes_leave_nothing_that_counts():
    store = MemoryStore()
    writer = new_writer(store)
    with pytest.raises(DigestMismatchError):
        writer.put_raw(blob_key("sha256:" + "a" * 64), io.BytesIO(b"x"), 1, "a" * 64)
    assert contents(store) == {}
    assert not writer.reusable(blob_key("sha256:" + "a" * 64), 1)


def test_a_pack_that_is_there_already_is_thrown_away():
    store = MemoryStore()
    first = new_writer(store)
    stage = first.stage()
    stage.write(b"pack")
    ref = first.publish(stage, pack_key, 4)
    stage = first.stage()
    stage.write(b"pack")
    assert first.publish(stage, pack_key, 4) == ref == ObjectRef(*ref)
    assert first.written == 1


@pytest.mark.parametrize(
    ("key", "plain", "digest"),
    [
        (f"trees/{'a' * 64}.zst", None, "sha256:" + "a" * 64),
        (f"packs/{'a' * 64}.tar.{RUN}-12", f"packs/{'a' * 64}.tar", "sha256:" + "a" * 64),
        (f"meta/{'a' * 64}.tar.zst", None, "sha256:" + "a" * 64),
        (
            f"blobs/sha512/aa/{'a' * 128}.{RUN}-1",
            f"blobs/sha512/aa/{'a' * 128}",
            "sha512:" + "a" * 128,
        ),
        ("attachments/db/x", None, None),
    ],
)
def test_a_key_tells_its_plain_form_and_its_digest(key, plain, digest):
    assert plain_key(key) == (plain or key)
    assert digest_of_key(key) == digest


def test_a_key_with_several_suffixes_still_tells_its_digest():
    """As the first copies of copies have them."""
    suffixes = ".0123456789abcdef01234567-1.0123456789abcdef01234568-12"
    key = blob_key("sha256:" + "a" * 64)
    assert plain_key(key + suffixes) == key
    assert digest_of_key(key + suffixes) == "sha256:" + "a" * 64
    assert is_keyed(f"trees/{'b' * 64}.zst.age{suffixes}")
