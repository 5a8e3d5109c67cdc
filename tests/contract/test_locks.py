"""Object Lock and versions, on the stores that run without a server."""

from __future__ import annotations

import pytest
from lock_contract import HOUR, LockContract
from store_contract import StoreContract

from regvault.errors import StoreAccessError, StoreError
from regvault.model.store import LockingStore, Retention, VersionedStore
from regvault.storage.memory import MemoryStore
from regvault.storage.memory_versions import VersionedMemoryStore
from regvault.storage.wrappers import CountingStore, FaultyStore, LimitedStore


class TestVersionedMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return VersionedMemoryStore()


class TestMemoryLocks(LockContract):
    @pytest.fixture
    def store(self):
        return VersionedMemoryStore()


class TestS3Locks(LockContract):
    locks_parts = False

    @pytest.fixture
    def store(self, make_s3):
        return make_s3("strict-lock", object_lock=True)


class TestWrappedLocks(LockContract):
    @pytest.fixture
    def store(self):
        return FaultyStore(LimitedStore(CountingStore(VersionedMemoryStore())))

    def pause(self, store):
        memory = store.inner.inner.inner
        memory.clock_ns += 10
        return memory.clock_ns - 5


def test_a_store_that_cannot_lock_says_so(make_s3):
    for store in (MemoryStore(), CountingStore(MemoryStore())):
        assert not isinstance(store, LockingStore)
        assert not isinstance(store, VersionedStore)
    plain = make_s3("lax")
    assert not plain.locks()
    assert not plain.versioned()
    assert not VersionedMemoryStore(object_lock=False).locks()
    plain.put("k", b"1")
    assert plain.retention("k") is None
    without = VersionedMemoryStore(object_lock=False)
    without.lock_writes(lambda _: Retention("governance", without.now_ns() + HOUR))
    with pytest.raises(StoreError, match="cannot lock"):
        without.put("k", b"1")


def test_the_lock_of_a_fraction_of_a_second_is_never_shorter_than_asked_for(make_s3):
    store = make_s3("strict-lock", object_lock=True)
    wanted = Retention("governance", store.now_ns() // 10**9 * 10**9 + HOUR + 1)
    store.lock_writes(lambda _: wanted)
    store.put("k", b"1")
    assert store.retention("k").until_ns == wanted.until_ns - 1 + 10**9


def test_compliance_is_never_weakened():
    store = VersionedMemoryStore()
    until = store.now_ns() + HOUR
    store.lock_writes(lambda _: Retention("compliance", until))
    store.put("k", b"1")
    store.extend_retention("k", Retention("governance", until + HOUR))
    assert store.retention("k") == Retention("compliance", until + HOUR)


def test_a_bucket_with_a_default_locks_what_brings_no_lock():
    store = VersionedMemoryStore(default=("governance", HOUR))
    store.put("k", b"1")
    found = store.retention("k")
    assert found.until_ns >= store.now_ns() + HOUR - 10**9
    with pytest.raises(StoreAccessError, match="locked"):
        store.remove_version("k")
    store.clock_ns += 2 * HOUR
    store.remove_version("k")
    assert "k" not in [entry.key for entry in store.list()]
