import pytest
from store_contract import StoreContract

pytest.importorskip("moto")


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, make_s3):
        return make_s3("lax")


class TestS3StoreThatChecksChecksums(StoreContract):
    many = 40

    @pytest.fixture
    def store(self, make_s3):
        return make_s3("strict", prefix="")
