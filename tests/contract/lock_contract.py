"""The contract of `LockingStore` and `VersionedStore`, as tests; see `store_contract`.

A class of tests derives from `LockContract` and has a fixture `store`: empty, with Object Lock.
"""

from __future__ import annotations

import io
import time
from typing import ClassVar

import pytest
from store_contract import OneWay, keys, sha

from regvault.errors import ObjectNotFoundError, ReadOnlyStoreError
from regvault.model.store import LockingStore, ObjectStore, Retention, VersionedStore
from regvault.storage.s3_versions import S3AsOf

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


class LockContract:
    """What holds for every store that locks and keeps versions."""

    # Whether uploads in parts, which moto does not lock, can be tried.
    locks_parts: ClassVar[bool] = True

    @pytest.fixture
    def store(self) -> LockingStore:
        raise NotImplementedError

    def pause(self, store: ObjectStore) -> int:
        """Let the store's clock tick; return a moment after all that was written so far."""
        if hasattr(store, "clock_ns"):
            store.clock_ns += 10 * SECOND
            return store.clock_ns - 5 * SECOND
        time.sleep(1.1)
        moment = time.time_ns()
        time.sleep(1.1)
        return moment

    def until(self, store: ObjectStore, seconds: int = 3600) -> Retention:
        return Retention("governance", store.now_ns() // SECOND * SECOND + seconds * SECOND)

    def test_it_says_what_it_can(self, store):
        assert isinstance(store, LockingStore)
        assert isinstance(store, VersionedStore)
        assert store.locks()
        assert store.versioned()

    def test_without_a_rule_nothing_is_locked(self, store):
        store.put("k", b"1")
        assert store.retention("k") is None

    def test_every_way_to_write_locks_at_once(self, store):
        wanted = self.until(store)
        store.lock_writes(lambda key: wanted if key.startswith("locked/") else None)
        store.put("locked/put", b"1")
        store.put("locked/created", b"1", if_none_match=True)
        swapped = store.put("locked/swapped", b"1")
        store.put("locked/swapped", b"2", if_match=swapped.etag)
        store.put_stream("locked/stream", io.BytesIO(b"12"), size=2, sha256=sha(b"12"))
        if self.locks_parts:
            # S3 wants a checksum with what is to be locked; here nobody knows one yet.
            store.put_stream("locked/unknown", OneWay(b"12"), size=2)
            assert store.get("locked/unknown") == b"12"
        store.put_stream("locked/nothing", io.BytesIO(b""), size=0)
        stage = store.stage()
        stage.write(b"123")
        stage.commit("locked/stage")
        store.put("free/put", b"1")
        assert len(keys(store, "locked/")) == 6 + self.locks_parts
        for key in keys(store, "locked/"):
            assert store.retention(key) == wanted, key
        assert store.retention("free/put") is None

        store.lock_writes(None)
        store.put("locked/late", b"")
        assert store.retention("locked/late") is None

    def test_what_a_rule_raises_ends_the_write(self, store):
        def rule(key):
            raise ReadOnlyStoreError(key)

        store.lock_writes(rule)
        with pytest.raises(ReadOnlyStoreError):
            store.put("k", b"1")
        with pytest.raises(ReadOnlyStoreError):
            store.put_stream("k", io.BytesIO(b"1"), size=1, sha256=sha(b"1"))
        assert keys(store) == []

    def test_a_lock_is_extended_and_never_shortened(self, store):
        store.put("k", b"1")
        soon, later = self.until(store, 600), self.until(store, 1200)
        assert store.extend_retention("k", soon)
        assert store.retention("k") == soon
        assert store.extend_retention("k", later)
        assert not store.extend_retention("k", later)
        assert not store.extend_retention("k", soon)
        assert store.retention("k") == later
        assert store.get("k") == b"1"

    def test_what_is_not_there_has_no_lock(self, store):
        store.put("gone", b"1")
        store.delete("gone")
        for key in ("never", "gone"):
            with pytest.raises(ObjectNotFoundError):
                store.retention(key)
            with pytest.raises(ObjectNotFoundError):
                store.extend_retention(key, self.until(store))

    def test_a_newer_version_takes_the_place_of_a_locked_one(self, store):
        """Tolerated: stubs, leases and markers are written over what may be locked (rule 9)."""
        wanted = self.until(store)
        store.lock_writes(lambda _: wanted)
        store.put("k", b"1")
        store.put("k", b"2")
        assert store.get("k") == b"2"
        store.delete("k")
        with pytest.raises(ObjectNotFoundError):
            store.get("k")

    # Versions

    def test_the_past_is_as_it_was(self, store):
        """Rule 13: after everything was deleted or overwritten it can be read still."""
        data = {"a/1": b"one", "a/2": b"two", "a/2x": b"2x", "b": bytes(range(256)) * 40}
        for key, value in data.items():
            store.put(key, value)
        store.put("early", b"x")
        store.delete("early")
        moment = self.pause(store)
        store.put("a/1", b"changed")
        store.put("a/2", b"changed")
        store.put("new/deep", b"n")
        for key in ("a/2", "b"):
            store.delete(key)
        past = store.as_of(moment)
        assert isinstance(past, ObjectStore)
        assert past.location == store.location
        assert keys(past) == sorted(data)
        assert keys(past, "a/2") == ["a/2", "a/2x"]
        assert keys(past, "a/", after="a/1") == ["a/2", "a/2x"]
        assert list(past.list_prefixes()) == ["a"]
        for key, value in data.items():
            assert past.get(key) == value
            assert past.head(key).size == len(value)
            with past.open(key, start=1, length=2) as reader:
                assert reader.read() == value[1:3]
        assert past.get("b", start=-3) == data["b"][-3:]
        assert past.get("b", start=5, length=0) == b""
        for key in ("new/deep", "early", "a", "never"):
            with pytest.raises(ObjectNotFoundError):
                past.get(key)
            with pytest.raises(ObjectNotFoundError):
                past.head(key)
        assert store.get("a/1") == b"changed"
        assert keys(store.as_of(store.now_ns() + HOUR)) == keys(store)

    def test_the_past_cannot_be_written(self, store):
        store.put("k", b"1")
        past = store.as_of(store.now_ns() + HOUR)
        for write in (
            lambda: past.put("k", b"2"),
            lambda: past.put_stream("k", io.BytesIO(b"2"), size=1),
            lambda: past.delete("k"),
            past.stage,
            lambda: past.copy_in(store, "k", "l", size=1, sha256=sha(b"1")),
        ):
            with pytest.raises(ReadOnlyStoreError):
                write()
        past.barrier()
        assert past.get("k") == store.get("k") == b"1"

    def test_a_long_past_is_listed_whole(self, store, monkeypatch):
        """More versions than a page: of keys that span two pages each counts once."""
        monkeypatch.setattr(S3AsOf, "page_keys", 17)
        for number in range(10):
            for text in range(12):
                store.put(f"k/{number:03}", str(text).encode())
        moment = self.pause(store)
        for number in range(0, 10, 2):
            store.delete(f"k/{number:03}")
        past = store.as_of(moment)
        assert keys(past) == [f"k/{number:03}" for number in range(10)]
        assert {past.get(key) for key in keys(past)} == {b"11"}
