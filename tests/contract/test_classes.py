"""Stores with storage classes: memory, wrapped, and S3 as moto is it."""

import boto3
import pytest
import requests
from class_contract import DATA, KEY, ClassContract

from regvault.errors import ObjectNotFoundError, PreconditionError, RefusedError, StoreError
from regvault.model.classes import ClassedStore, RuledStore
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


OTHERS = {
    "ID": "ours",
    "Filter": {"Prefix": "logs/"},
    "Status": "Enabled",
    "Expiration": {"Days": 30},
}


class TestRules:
    """A bucket with versions: rules move what is tagged, and other people's rules stay."""

    @pytest.fixture
    def store(self, make_s3):
        store = make_s3(object_lock=True)
        assert isinstance(store, RuledStore)
        assert store.moves_by_rules()
        return store

    def client(self, store):
        return store.connection.client

    def rules(self, store):
        found = self.client(store).get_bucket_lifecycle_configuration(Bucket=store.bucket)
        return {rule["ID"]: rule for rule in found["Rules"]}

    def test_rules_that_are_missing_are_told_and_added_beside_others(self, store):
        wanted = store.missing_rules("blobs/", ["GLACIER_IR", "STANDARD_IA"])
        assert [rule["Transitions"] for rule in wanted] == [
            [{"Days": 0, "StorageClass": "GLACIER_IR"}],
            [{"Days": 30, "StorageClass": "STANDARD_IA"}],
        ]
        assert {rule["Filter"]["And"]["Prefix"] for rule in wanted} == {"some/prefix/blobs/"}
        self.client(store).put_bucket_lifecycle_configuration(
            Bucket=store.bucket, LifecycleConfiguration={"Rules": [OTHERS]}
        )
        store.add_rules("blobs/", ["GLACIER_IR"])
        found = self.rules(store)
        assert len(found) == 2
        assert found["ours"]["Expiration"] == {"Days": 30}
        assert found["ours"]["Filter"] == {"Prefix": "logs/"}
        assert store.missing_rules("blobs/", ["GLACIER_IR"]) == []
        assert len(store.missing_rules("blobs/", ["GLACIER_IR", "GLACIER"])) == 1
        assert len(store.missing_rules("other/", ["GLACIER_IR"])) == 1
        store.add_rules("blobs/", ["GLACIER_IR", "GLACIER"])
        store.add_rules("other/", ["GLACIER_IR"])
        assert len(self.rules(store)) == 4

    def test_a_rule_of_ours_that_somebody_turned_off_is_missing(self, store):
        store.add_rules("blobs/", ["GLACIER_IR"])
        (name, rule), *_ = self.rules(store).items()
        off = {key: rule[key] for key in ("ID", "Filter", "Transitions")} | {"Status": "Disabled"}
        self.client(store).put_bucket_lifecycle_configuration(
            Bucket=store.bucket, LifecycleConfiguration={"Rules": [off]}
        )
        assert [rule["ID"] for rule in store.missing_rules("blobs/", ["GLACIER_IR"])] == [name]
        store.add_rules("blobs/", ["GLACIER_IR"])
        assert self.rules(store)[name]["Status"] == "Enabled"

    def test_a_change_at_the_same_moment_is_not_overwritten(self, store, monkeypatch):
        from regvault.storage import s3_lifecycle

        answers = iter([{}, {"Rules": [OTHERS]}])
        monkeypatch.setattr(s3_lifecycle, "_configuration", lambda _: next(answers))
        with pytest.raises(PreconditionError, match="at this moment"):
            store.add_rules("blobs/", ["GLACIER_IR"])
        monkeypatch.undo()
        assert len(store.missing_rules("blobs/", ["GLACIER_IR"])) == 1

    def test_what_else_a_configuration_says_stays(self, store, monkeypatch):
        """Without it the smallest size that rules move falls back, for those of others too."""
        sent, real = [], store.call

        def call(operation, what, key, **params):
            if operation == "put_bucket_lifecycle_configuration":
                sent.append(params.get("TransitionDefaultMinimumObjectSize"))
            found = real(operation, what, key, **params)
            if operation == "get_bucket_lifecycle_configuration":
                least = "varies_by_storage_class"
                return {**found, "TransitionDefaultMinimumObjectSize": least}
            return found

        self.client(store).put_bucket_lifecycle_configuration(
            Bucket=store.bucket, LifecycleConfiguration={"Rules": [OTHERS]}
        )
        monkeypatch.setattr(store, "call", call)
        store.add_rules("blobs/", ["GLACIER_IR"])
        assert sent == ["varies_by_storage_class"]

    def test_marking_keeps_other_tags_and_makes_no_version(self, store):
        store.put(KEY, DATA)
        where = {"Bucket": store.bucket, "Key": store.prefix + KEY}
        client = self.client(store)
        client.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
        store.mark_class(KEY, "GLACIER_IR", expected=store.placement(KEY))
        store.mark_class(KEY, "GLACIER", expected=store.placement(KEY))
        tags = {t["Key"]: t["Value"] for t in client.get_object_tagging(**where)["TagSet"]}
        assert tags == {"team": "a", "regvault-class": "GLACIER"}
        assert len(client.list_object_versions(Bucket=store.bucket)["Versions"]) == 1
        assert store.get(KEY) == DATA

    def test_what_was_written_since_or_is_gone_or_full_of_tags_is_not_marked(self, store):
        store.put(KEY, DATA)
        expected = store.placement(KEY)
        store.put(KEY, DATA + b"x")
        with pytest.raises(PreconditionError):
            store.mark_class(KEY, "GLACIER_IR", expected=expected)
        where = {"Bucket": store.bucket, "Key": store.prefix + KEY}
        full = [{"Key": f"k{number}", "Value": "v"} for number in range(10)]
        self.client(store).put_object_tagging(**where, Tagging={"TagSet": full})
        with pytest.raises(StoreError, match="no other"):
            store.mark_class(KEY, "GLACIER_IR", expected=store.placement(KEY))
        store.delete(KEY)
        with pytest.raises(ObjectNotFoundError):
            store.mark_class(KEY, "GLACIER_IR", expected=expected)
