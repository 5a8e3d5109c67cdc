import pytest
from store_contract import StoreContract

from regvault.model.store import HierarchicalStore
from regvault.storage.memory import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()


def test_the_clock_is_the_tests_to_set():
    store = MemoryStore(clock_ns=5)
    assert store.now_ns() == 5
    first = store.put("k", b"x")
    assert store.head("k").modified_ns == store.now_ns() > 5
    store.clock_ns = 10**18
    again = MemoryStore(clock_ns=5).put("k", b"x")
    assert again == first
    assert not isinstance(store, HierarchicalStore)
