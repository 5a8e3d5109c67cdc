"""Which lists need a key: what is wrong here is deleted by prune, or archived by a tiering."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vault_objectlist import CHANGES, KEYS, LISTS, make
from vault_build import new_writer

from regvault.errors import VaultDamagedError
from regvault.vault import reach, tree
from regvault.vault.keys import check_key, check_keys, tree_key
from regvault.vault.objectlist import ListRef, ObjectList, ObjectRef, build_delta, followed
from regvault.vault.reach import needed_by, needed_keys

AMENDED = st.dictionaries(KEYS, st.none() | st.integers(0, 5), max_size=4).map(
    lambda chosen: {
        key: None if n is None else ObjectRef(f"packs/new-{n}", n, "c" * 64)
        for key, n in chosen.items()
    }
)


@pytest.fixture(autouse=True)
def many_leaves(monkeypatch):
    """Trees of few lines have several leaves, and few leaves are read at once."""
    monkeypatch.setattr(tree, "_MIN_ENTRIES", 2)
    monkeypatch.setattr(tree, "_MASK", 1)
    monkeypatch.setattr(reach, "_AT_ONCE", 2)


def expected_of(lists, amendments):
    """The same, list by list."""
    found = {}
    for number, each in enumerate(lists):
        mine = {chunk.key for chunk in each.own_chunks()}
        mine |= set(each.brought_keys(but=amendments))
        named = {ref.key for ref in each.original()}
        named -= set(each.replaced_lines(but=amendments)) - mine
        for key in mine | named:
            found[key] = found.get(key, 0) | 1 << number
    brought = {}
    for key, which in found.items():
        ref = followed(amendments, key) if key in amendments else None
        if ref is not None:
            brought[ref.key] = brought.get(ref.key, 0) | which
    for key, which in brought.items():
        found[key] = found.get(key, 0) | which
    return {k: w for k, w in found.items() if k not in amendments.keys() - brought.keys()}


@settings(max_examples=200)
@given(st.lists(st.tuples(LISTS, CHANGES, AMENDED), max_size=5), AMENDED)
def test_each_key_is_needed_by_the_lists_that_have_it(parts, amendments):
    lists = [
        make(base, changes, {**amendments, **own})[0] for base, changes, own in (*parts, *parts[:1])
    ]
    found = list(needed_by(lists, amendments))
    assert [key for key, _ in found] == sorted({key for key, _ in found})
    assert dict(found) == expected_of(lists, amendments)
    assert list(needed_keys(lists, amendments)) == [key for key, _ in found]


def test_what_a_delta_takes_from_nothing_takes_nothing_from_others():
    """A list from elsewhere may say anything of itself, and nothing of what others need."""
    good, _ = make([ObjectRef("blobs/aa", 1, "a" * 64)])
    liar, _ = make([ObjectRef("blobs/bb", 1, "a" * 64)], {"blobs/aa": None})
    assert dict(needed_by([liar, good, liar], {}))["blobs/aa"] == 0b010


@pytest.mark.parametrize("bad", ["blobs/../x", "records/pins/1", "blobs//x", "blobs/a\x07"])
def test_a_key_that_no_list_may_name_is_damage(bad):
    objects, store = make([ObjectRef("blobs/aa", 1, "a" * 64)])
    put = new_writer(store).chunk_putter(tree_key)
    delta = build_delta({bad: ObjectRef(bad, 1, "a" * 64)}, put)
    both = ListRef(objects.ref.base, delta, 2, 2)

    def load(kind, chunk):
        return tree.parse(store.get(chunk.key), chunk.key, kind, keyed=True)

    with pytest.raises(VaultDamagedError, match="damaged"):
        list(needed_by([ObjectList(both, load)], {}))


@given(st.lists(st.text(alphabet="ab/.\n -_", max_size=6).map(lambda end: f"blobs/{end}")))
def test_many_keys_are_checked_as_each_of_them_is(keys):
    def good(check, what):
        try:
            check(what)
        except ValueError:
            return False
        return True

    assert good(check_keys, keys) == all(good(check_key, key) for key in keys)
    assert good(check_keys, [*keys, "blobs/" + "a" * 2000]) is False


def test_nothing_is_needed_where_there_is_no_list():
    assert list(needed_keys([], {})) == []
