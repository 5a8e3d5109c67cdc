"""Stores with storage classes: memory, wrapped, and S3 as moto is it."""

import boto3
import pytest
import requests
from class_contract import DATA, KEY, ClassContract

from regvault.errors import RefusedError
from regvault.model.classes import ClassedStore
from regvault.storage import s3_classes
from regvault.storage.memory import MemoryStore
from regvault.storage.memory_classes import ClassedMemoryStore
from regvault.storage.wrappers import LimitedStore


class TestMemory(ClassContract):
    @pytest.fixture
    def store(self):
        return ClassedMemoryStore()

    def finish(self, store):
        store.finish_thaws()


class TestWrapped(ClassContract):
    @pytest.fixture
    def store(self):
        return LimitedStore(ClassedMemoryStore(), upload=None, download=None)

    def finish(self, store):
        store.inner.finish_thaws()


def test_a_store_without_classes_is_none_with():
    assert not isinstance(MemoryStore(), ClassedStore)
    assert not isinstance(LimitedStore(MemoryStore(), upload=None, download=None), ClassedStore)


class TestS3(ClassContract):
    @pytest.fixture
    def store(self, make_s3, moto_url):
        self.url = moto_url
        self._transition({"progression": "manual", "times": 3})
        yield make_s3()
        self._transition({"progression": "immediate"})

    def _transition(self, how):
        answer = requests.post(
            f"{self.url}/moto-api/state-manager/set-transition",
            json={"model_name": "s3::keyrestore", "transition": how},
            timeout=10,
        )
        assert answer.ok, answer.text

    def finish(self, store):
        polled = 0
        while store.placement(KEY).thawing:
            polled += 1
        assert polled >= 1

    def test_a_move_keeps_metadata_tags_and_encryption(self, store):
        client = store.connection.client
        client.put_object(
            Bucket=store.bucket,
            Key=store.prefix + KEY,
            Body=DATA,
            Metadata={"of": "a registry"},
            ContentType="application/x-layer",
            Tagging="team=a&b=c%20d",
            ServerSideEncryption="AES256",
        )
        store.change_class(KEY, self.cold, expected=store.placement(KEY))
        self._kept(store)

    def _kept(self, store):
        client = store.connection.client
        found = client.head_object(Bucket=store.bucket, Key=store.prefix + KEY)
        assert found["Metadata"]["of"] == "a registry"
        assert found["ContentType"] == "application/x-layer"
        assert found["ServerSideEncryption"] == "AES256"
        tags = client.get_object_tagging(Bucket=store.bucket, Key=store.prefix + KEY)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "a", "b": "c d"}

    def test_what_is_too_large_for_one_copy_is_copied_in_parts(self, store, monkeypatch):
        monkeypatch.setattr(s3_classes, "_COPY_LIMIT", 6 << 20)
        monkeypatch.setattr(s3_classes, "_PART", 5 << 20)
        data = bytes(range(256)) * (11 << 12)
        client = store.connection.client
        client.put_object(
            Bucket=store.bucket,
            Key=store.prefix + KEY,
            Body=data,
            Metadata={"of": "a registry"},
            ContentType="application/x-layer",
            Tagging="team=a&b=c%20d",
            ServerSideEncryption="AES256",
        )
        moved = store.change_class(KEY, self.cold, expected=store.placement(KEY))
        assert (moved.placement.storage_class, moved.sha256) == (self.cold, None)
        assert store.get(KEY) == data
        self._kept(store)
        uploads = client.list_multipart_uploads(Bucket=store.bucket)
        assert not uploads.get("Uploads")

    def test_a_bucket_with_versions_is_not_copied_onto_itself(self, store):
        store.put(KEY, DATA)
        client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")
        client.put_bucket_versioning(
            Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        with pytest.raises(RefusedError):
            store.change_class(KEY, self.cold, expected=store.placement(KEY))
        versions = client.list_object_versions(Bucket=store.bucket)["Versions"]
        assert len(versions) == 1
