import itertools
import logging

import pytest

pytest.register_assert_rewrite("store_contract", "lock_contract", "class_contract")

_numbers = itertools.count()
_connections = {}


@pytest.fixture(scope="session")
def moto_url():
    import moto_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    url, stop = moto_server.start()
    yield url
    stop()


@pytest.fixture
def s3_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_s3(moto_url, s3_environment):
    """Make stores in new buckets of moto: `make_s3("strict")` in one that checks checksums."""
    from regvault.storage.s3 import S3Store

    def make(kind="lax", prefix="some/prefix", bucket=None, object_lock=False, **options):
        bucket = bucket or f"{kind}-{next(_numbers)}"
        store = S3Store(bucket, prefix, endpoint_url=moto_url, **options)
        # Making a client takes a tenth of a second; all of the tests share one.
        store.connection = _connections.setdefault(moto_url, store.connection)
        client = store.connection.client
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=object_lock)
        return store

    return make


@pytest.fixture
def faults(moto_url):
    from moto_server import faults

    faults.clear()
    yield faults
    faults.clear()
