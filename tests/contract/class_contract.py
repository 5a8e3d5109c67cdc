"""What every store with storage classes promises. See `regvault.model.classes`."""

import hashlib

import pytest

from regvault.errors import (
    ObjectArchivedError,
    ObjectNotFoundError,
    PreconditionError,
    StoreError,
)
from regvault.model.classes import ClassedStore

DATA = b"layer " * 40_000
KEY = "blobs/ab/one"


class ClassContract:
    """Subclasses give `store`, the names `hot`, `cold`, `archive` (or None), and `finish`."""

    hot = "STANDARD"
    cold = "GLACIER_IR"
    archive = "GLACIER"
    key = KEY

    def finish(self, store):
        """Let what is being thawed be there."""
        raise NotImplementedError

    def test_what_is_written_is_hot(self, store):
        store.put(self.key, DATA)
        assert isinstance(store, ClassedStore)
        found = store.placement(self.key)
        assert found.entry == store.head(self.key)
        assert (found.storage_class, found.archived, found.thawing) == (self.hot, False, False)
        assert [(e.key, name) for e, name in store.list_classes()] == [(self.key, self.hot)]

    def test_a_move_changes_the_class_and_nothing_else(self, store):
        store.put(self.key, DATA)
        before = store.placement(self.key)
        moved = store.change_class(self.key, self.cold, expected=before)
        assert moved.placement == store.placement(self.key)
        assert moved.placement.storage_class == self.cold
        assert moved.placement.entry.size == len(DATA)
        assert moved.sha256 in (None, hashlib.sha256(DATA).hexdigest())
        assert store.get(self.key) == DATA
        assert store.get(self.key, start=6, length=5) == b"layer"
        assert [(e.key, e.size, name) for e, name in store.list_classes()] == [
            (self.key, len(DATA), self.cold)
        ]

    def test_it_comes_back(self, store):
        store.put(self.key, DATA)
        moved = store.change_class(self.key, self.cold, expected=store.placement(self.key))
        back = store.change_class(self.key, self.hot, expected=moved.placement)
        assert back.placement.storage_class == self.hot
        assert store.get(self.key) == DATA

    def test_a_move_to_where_it_is_does_nothing(self, store):
        store.put(self.key, DATA)
        moved = store.change_class(self.key, self.cold, expected=store.placement(self.key))
        again = store.change_class(self.key, self.cold, expected=moved.placement)
        assert again.placement == moved.placement

    def test_what_was_written_since_is_not_moved(self, store):
        store.put(self.key, DATA)
        expected = store.placement(self.key)
        store.put(self.key, b"other" + DATA)
        with pytest.raises(PreconditionError):
            store.change_class(self.key, self.cold, expected=expected)
        assert store.placement(self.key).storage_class == self.hot
        assert store.get(self.key) == b"other" + DATA

    def test_what_is_gone_is_not_moved(self, store):
        store.put(self.key, DATA)
        expected = store.placement(self.key)
        store.delete(self.key)
        with pytest.raises(ObjectNotFoundError):
            store.change_class(self.key, self.cold, expected=expected)
        with pytest.raises(ObjectNotFoundError):
            store.placement(self.key)
        assert list(store.list()) == []

    def test_a_class_that_it_does_not_know_is_an_error(self, store):
        store.put(self.key, DATA)
        with pytest.raises(StoreError):
            store.change_class(self.key, "NO_SUCH_CLASS", expected=store.placement(self.key))
        assert store.get(self.key) == DATA
        assert store.placement(self.key).storage_class == self.hot

    def test_what_is_archived_is_read_once_it_is_thawed(self, store):
        if self.archive is None:
            pytest.skip("this store has no archive")
        store.put(self.key, DATA)
        moved = store.change_class(self.key, self.archive, expected=store.placement(self.key))
        assert (moved.placement.archived, moved.placement.thawing) == (True, False)
        with pytest.raises(ObjectArchivedError):
            store.get(self.key)
        with pytest.raises(ObjectArchivedError):
            store.change_class(self.key, self.hot, expected=moved.placement)
        store.thaw(self.key, way="bulk", days=3)
        store.thaw(self.key, way="bulk", days=3)  # a run that was struck down asks again
        found = store.placement(self.key)
        assert (found.archived, found.thawing) == (True, True)
        self.finish(store)
        found = store.placement(self.key)
        assert (found.archived, found.thawing) == (False, False)
        assert found.storage_class == self.archive
        assert found.thawed_until_ns > store.now_ns()
        assert store.get(self.key) == DATA
        back = store.change_class(self.key, self.hot, expected=found)
        assert back.placement.storage_class == self.hot
        assert store.get(self.key) == DATA

    def test_what_is_gone_is_not_thawed(self, store):
        with pytest.raises(ObjectNotFoundError):
            store.thaw(self.key, way="bulk", days=1)
