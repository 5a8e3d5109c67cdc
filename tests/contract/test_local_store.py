import pytest
from store_contract import StoreContract

from regvault.storage.local import LocalStore


class TestLocalStore(StoreContract):
    nests = False

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "store", create=True)
        yield store
        store.close()


class TestLocalStoreThatFollowsLinks(TestLocalStore):
    many = 50

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "store", create=True, follow_symlinks=True)
        yield store
        store.close()
