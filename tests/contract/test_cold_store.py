"""A registry's directory with cold mounts, as a store with storage classes."""

import hashlib

import pytest
from class_contract import DATA, ClassContract
from store_contract import StoreContract

from regvault.registry.layout import BLOBS, blob_key
from regvault.storage.cold_bind import bind
from regvault.storage.cold_binding import bindings_of
from regvault.storage.local_cold import ColdStore


@pytest.fixture
def store(tmp_path):
    (tmp_path / "registry").mkdir()
    (tmp_path / "cold").mkdir()
    root = str(tmp_path / "registry")
    bind(root, "hdd", str(tmp_path / "cold"), same_disk=True)
    store = ColdStore(root, bindings_of(root), blobs=BLOBS)
    yield store
    store.close()


class TestAsAnyStore(StoreContract):
    nests = False

    @pytest.fixture
    def store(self, store):
        return store


class TestClasses(ClassContract):
    hot = "hot"
    cold = "hdd"
    archive = None
    key = blob_key(f"sha256:{hashlib.sha256(DATA).hexdigest()}")

    @pytest.fixture
    def store(self, store):
        return store
