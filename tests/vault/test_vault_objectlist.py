from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vault_build import RUN, new_writer

from regvault.errors import VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault.frames import compress
from regvault.vault.keys import plain_key, tree_key
from regvault.vault.objectlist import (
    ListRef,
    ObjectList,
    ObjectRef,
    build_base,
    build_delta,
    check_key,
)
from regvault.vault.tree import ChunkRef, TreeRef, parse

KEYS = st.sampled_from(
    [f"{p}/{n:02x}" for p in ("blobs", "meta", "packs", "trees") for n in range(40)]
)
REFS = st.builds(ObjectRef, KEYS, st.integers(0, 1 << 40), st.sampled_from(["a" * 64, "b" * 64]))
LISTS = st.lists(REFS, unique_by=lambda ref: ref.key).map(sorted)
CHANGES = st.dictionaries(KEYS, st.none() | REFS).map(
    lambda changes: {k: r and r._replace(key=k) for k, r in changes.items()}
)


def make(base, changes=None, amendments=None):
    store = MemoryStore()
    put = new_writer(store).chunk_putter(tree_key)
    tree, count, nbytes = build_base(base, put)
    assert (count, nbytes) == (len(base), sum(ref.size for ref in base))
    delta = build_delta(changes, put) if changes else None
    ref = ListRef(tree, delta, count, nbytes)
    assert ListRef.from_json(ref.to_json()) == ref

    def load(kind, chunk):
        data = store.get(chunk.key)
        assert len(data) == chunk.size
        return parse(data, chunk.key, kind, keyed=True)

    return ObjectList(ref, load, amendments), store


@given(LISTS, CHANGES)
def test_base_and_delta_say_what_a_dictionary_says(base, changes):
    objects, _ = make(base, changes)
    expected = {ref.key: ref for ref in base}
    for key, ref in changes.items():
        if ref is None:
            expected.pop(key, None)
        else:
            expected[key] = ref
    assert list(objects) == list(objects.original()) == sorted(expected.values())
    for key in {*expected, *changes, "blobs/zz"}:
        assert objects.get(key) == expected.get(key)
    assert list(objects.base_refs()) == base


@given(LISTS, CHANGES, st.dictionaries(KEYS, st.none() | st.integers(0, 20)))
def test_amendments_replace_and_purge(base, changes, chosen):
    amendments = {
        key: None if n is None else ObjectRef(f"packs/new-{n:02d}", n, "c" * 64)
        for key, n in chosen.items()
    }
    objects, _ = make(base, changes, amendments)
    plain, _ = make(base, changes)
    expected = {amendments.get(ref.key, ref) for ref in plain} - {None}
    assert list(objects) == sorted(expected)
    for ref in plain:
        assert objects.get(ref.key) == amendments.get(ref.key, ref)


def test_an_amendment_of_an_amended_key_is_followed_and_a_circle_ends():
    ref = ObjectRef("packs/a", 1, "a" * 64)
    b, c = ObjectRef("packs/b", 2, "b" * 64), ObjectRef("packs/c", 3, "c" * 64)
    objects, _ = make([ref], None, {"packs/a": b, "packs/b": c})
    assert list(objects) == [c]
    assert objects.get("packs/a") == c
    purged, _ = make([ref], None, {"packs/a": b, "packs/b": None})
    assert list(purged) == []
    circle, _ = make([ref], None, {"packs/a": b, "packs/b": ref})
    assert len(list(circle)) == 1


def test_renamed_forms_of_a_key_are_found_and_others_are_not():
    key = tree_key("a" * 64)
    refs = sorted(
        ObjectRef(name, 1, "a" * 64)
        for name in (key, f"{key}.{RUN}-1", f"{key}.{RUN}-2", tree_key("b" * 64))
    )
    assert {plain_key(ref.key) for ref in refs} == {key, tree_key("b" * 64)}
    objects, _ = make(refs[:2], {ref.key: ref for ref in refs[2:]} | {refs[0].key: None})
    assert {ref.key for ref in objects.variants(key)} == {f"{key}.{RUN}-1", f"{key}.{RUN}-2"}


def test_the_lists_own_chunks_are_all_named():
    base = [ObjectRef(f"blobs/sha256/{n:05d}", n, "a" * 64) for n in range(5000)]
    objects, store = make(base, {"blobs/sha256/00001": None})
    assert {chunk.key for chunk in objects.own_chunks()} == {e.key for e in store.list()}
    assert objects.base_line("blobs/sha256/00001") == base[1]
    assert objects.get("blobs/sha256/00001") is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "snapshots/r/00000001.json",
        "vault.json",
        "catalog/x",
        "blobs/../vault.json",
        "blobs//x",
        "blobs/./x",
        "blobs/",
        "/blobs/x",
        "blobs/a b",
        "blobs/a\nb",
        "blobs/é",
        "blobs/\x7f",
        "blobs/" + "x" * 1024,
    ],
)
def test_a_hostile_key_is_refused(key):
    with pytest.raises(ValueError, match="no key"):
        check_key(key)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("objects", b"vault.json 1 " + b"a" * 64),
        ("objects", b"blobs/a 1"),
        ("objects", b"blobs/a x " + b"a" * 64),
        ("objects", b"blobs/\xff 1 " + b"a" * 64),
        ("objects-delta", b"blobs/a *"),
        ("objects-delta", b"blobs/a - 1"),
        ("objects-delta", b"blobs/a + 1"),
        ("objects-delta", b"../a -"),
    ],
)
def test_a_hostile_line_is_refused(kind, line):
    chunk = {
        "objects": compress(b"regvault-tree 1 objects 0\n"),
        "objects-delta": compress(b"regvault-tree 1 objects-delta 0\n"),
    }
    chunk[kind] = compress(b"regvault-tree 1 %s 0\n%s\n" % (kind.encode(), line))
    top = TreeRef(ChunkRef("sha256:" + "a" * 64, "trees/a.zst", 1), 1)
    objects = ObjectList(
        ListRef(top, top, 1, 1), lambda name, ref: parse(chunk[name], ref.key, name, keyed=True)
    )
    with pytest.raises(VaultDamagedError):
        list(objects)


def test_a_key_that_an_amendment_brought_in_is_found_under_both_names():
    """A copied root's amendment, or one of the vault: catalog lines name the new key only."""
    store = MemoryStore()
    refs = [ObjectRef(f"packs/{n:064x}.tar", n, f"{n:064x}") for n in range(5)]
    new = ObjectRef(f"{refs[2].key}.{'a' * 24}-1", 2, refs[2].sha256)
    alien = ObjectRef(f"packs/{9:064x}.tar.{'a' * 24}-2", 9, f"{9:064x}")
    writer = new_writer(store)
    base, count, nbytes = build_base(refs, writer.chunk_putter(tree_key))

    def load(kind, chunk):
        return parse(store.get(chunk.key), chunk.key, kind, keyed=True)

    amendments = {refs[2].key: new, refs[3].key: None, f"packs/{9:064x}.tar": alien}
    objects = ObjectList(ListRef(base, None, count, nbytes), load, amendments)
    assert objects.get(refs[2].key) == objects.get(new.key) == new
    assert objects.get(refs[3].key) is None
    assert objects.get(alien.key) is None
    assert objects.get(refs[4].key) == refs[4]
    assert list(objects) == sorted([refs[0], refs[1], new, refs[4]])
    assert objects.changes() == {refs[2].key: new, refs[3].key: None}
