"""What doctor asks a store, on real ones: a directory, and moto's S3."""

from __future__ import annotations

import os

import moto_server
import pytest

from regvault.errors import PreconditionError, StoreAccessError, StoreMissingError
from regvault.model.doctor import LifecycleRule, Lock
from regvault.ops.doctor.trials import WRITERS, try_store
from regvault.storage.local import LocalStore
from regvault.storage.local_probe import DirectoryProbe, file_system_type
from regvault.storage.memory import MemoryStore
from regvault.storage.s3 import S3Store
from regvault.storage.s3_probe import BucketProbe
from regvault.storage.wrappers import CountingStore
from regvault.vault.keys import PROBES


def keys(store):
    return [entry.key for entry in store.list()]


def outcomes(trials):
    """What became of each, of what every store must do."""
    names = ("written", "read_back", "listed", "ranged", "swapped", "winners", "deleted")
    return {name: getattr(trials, name).value for name in names}


GOOD = {
    "written": True,
    "read_back": True,
    "listed": True,
    "ranged": True,
    "swapped": True,
    "winners": 1,
    "deleted": True,
}


class TestDirectory:
    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "vault", create=True)
        yield store
        store.close()

    def test_trials_pass_and_leave_no_object(self, store):
        counting = CountingStore(store, record=True)
        trials = try_store(counting, DirectoryProbe(store), lists=True)
        assert outcomes(trials) == GOOD
        assert trials.durable.value >= 0
        assert trials.bucket is None
        assert keys(store) == []
        written = {key for verb, key in counting.calls if verb in ("put", "delete")}
        assert written
        assert all(key.startswith(PROBES) for key in written)

    def test_facts(self, store):
        probe = DirectoryProbe(store)
        assert probe.reach().value
        os.chmod(store.root, 0o750)
        facts = probe.look()
        status = os.statvfs(store.root)
        assert facts.total_bytes == status.f_blocks * status.f_frsize
        assert 0 < facts.free_bytes <= facts.total_bytes
        assert facts.mode == 0o750
        assert not facts.read_only
        assert facts.kind

    def test_a_directory_that_others_cannot_get_to_is_closed(self, tmp_path):
        store = LocalStore(tmp_path / "closed/vault", create=True)
        os.chmod(tmp_path / "closed", 0o700)
        assert DirectoryProbe(store).look().closed_above
        store.close()

    def test_the_type_of_a_file_system_is_that_of_its_mount(self):
        assert file_system_type("/proc/self") == "proc"
        assert file_system_type("/proc") == "proc"
        root = file_system_type("/")
        assert root
        assert file_system_type("/procession") == root


class Careless(MemoryStore):
    """Overwrites whatever the condition says."""

    def put(self, key, data, *, if_none_match=False, if_match=None):
        return super().put(key, data)


class Forgetful(MemoryStore):
    """LIST shows nothing new, and what is deleted stays."""

    def list(self, prefix="", *, after=""):
        return iter([e for e in super().list(prefix, after=after) if e.key in self.shown])

    shown: tuple[str, ...] = ()

    def get(self, key, *, start=0, length=None):
        return super().get(key)  # ignores the range, as some proxies do


class NoProbe:
    def try_writes(self, key):
        return None

    def sweep(self, keys):
        pass


def test_a_store_without_conditional_writes_is_found_out():
    found = outcomes(try_store(Careless("x"), NoProbe(), lists=True))
    assert found == {**GOOD, "swapped": False, "winners": WRITERS}


def test_a_store_that_lists_late_or_reads_no_ranges_is_found_out():
    found = outcomes(try_store(Forgetful("x"), NoProbe(), lists=True))
    assert found == {**GOOD, "listed": False, "ranged": False}


class Undeleting(MemoryStore):
    def delete(self, key):
        pass


class Liar(MemoryStore):
    """Says that the condition does not hold, and keeps the body all the same."""

    def put(self, key, data, *, if_none_match=False, if_match=None):
        try:
            return super().put(key, data, if_none_match=if_none_match, if_match=if_match)
        except PreconditionError:
            super().put(key, data)
            raise


def test_a_store_that_keeps_what_it_refused_is_found_out():
    """Some servers do: the run that was ended would have written over the one that goes on."""
    assert outcomes(try_store(Liar("x"), NoProbe(), lists=True)) == {**GOOD, "swapped": False}


def test_a_store_that_does_not_delete_is_found_out():
    found = outcomes(try_store(Undeleting("x"), NoProbe(), lists=True))
    assert found == {**GOOD, "deleted": False}


class TestBucket:
    @pytest.fixture
    def store(self, make_s3):
        return make_s3("strict")

    def client(self, store):
        return store.connection.client

    def test_trials_pass_and_leave_nothing(self, store):
        trials = try_store(store, BucketProbe(store), lists=True)
        assert outcomes(trials) == GOOD
        assert trials.bucket.checksums.value is True
        assert trials.bucket.multipart.value is True
        assert trials.bucket.aborted.value is True
        assert not trials.bucket.delete_versions.tried
        assert keys(store) == []
        uploads = self.client(store).list_multipart_uploads(Bucket=store.bucket)
        assert not uploads.get("Uploads")

    def test_a_server_that_takes_wrong_checksums_is_found_out(self, make_s3):
        store = make_s3("lax")
        assert try_store(store, BucketProbe(store), lists=True).bucket.checksums.value is False
        assert keys(store) == []

    def test_no_version_of_a_probe_is_left_where_that_can_be_done(self, store):
        self.client(store).put_bucket_versioning(
            Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        store.put("locks/probe-of-another", b"x")
        trials = try_store(store, BucketProbe(store), lists=True)
        assert outcomes(trials) == GOOD
        assert trials.bucket.delete_versions.value is True
        found = self.client(store).list_object_versions(Bucket=store.bucket)
        assert [v["Key"] for v in found["Versions"]] == ["some/prefix/locks/probe-of-another"]
        assert not found.get("DeleteMarkers")

    def test_rights_that_are_missing_stop_no_other_trial(self, store, faults):
        denied = moto_server.error(403, "AccessDenied")
        plain = try_store(store, BucketProbe(store), lists=True)
        deletes = faults.requests.count("DELETE")
        faults.clear()
        faults.planned += [("DELETE", "before", denied)] * deletes
        trials = try_store(store, BucketProbe(store), lists=True)
        assert trials.deleted.denied
        assert trials.bucket.aborted.denied
        assert {**outcomes(trials), "deleted": True} == outcomes(plain)
        assert all(key.startswith(PROBES) for key in keys(store))

    def test_a_bucket_that_was_never_configured(self, store):
        probe = BucketProbe(store)
        probe.reach()
        facts = probe.look()
        assert (facts.versioning.value, facts.lock.value, facts.lifecycle.value) == (
            "",
            Lock(enabled=False),
            (),
        )
        assert facts.prefix == "some/prefix/"
        assert os.path.isdir(facts.spool.value.path)

    def test_a_bucket_with_all_there_is(self, store):
        client, bucket = self.client(store), store.bucket
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        client.put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
            },
        )
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={
                "Rules": [
                    {
                        "ID": "cleanup",
                        "Status": "Enabled",
                        "Filter": {"Prefix": "some/"},
                        "Expiration": {"Days": 30},
                        "Transitions": [{"Days": 7, "StorageClass": "DEEP_ARCHIVE"}],
                    },
                    {
                        "ID": "tidy",
                        "Status": "Disabled",
                        "Filter": {"And": {"Prefix": "x", "Tags": [{"Key": "k", "Value": "v"}]}},
                        "NoncurrentVersionExpiration": {"NoncurrentDays": 9},
                    },
                    {
                        "ID": "uploads",
                        "Status": "Enabled",
                        "Filter": {"Prefix": ""},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    },
                ]
            },
        )
        facts = BucketProbe(store).look()
        assert facts.versioning.value == "Enabled"
        assert facts.lock.value == Lock(True, "COMPLIANCE", "1 day")
        assert facts.lifecycle.value == (
            LifecycleRule(
                "cleanup",
                prefix="some/",
                expires="after 30 days",
                transitions=(("DEEP_ARCHIVE", "after 7 days"),),
            ),
            LifecycleRule(
                "tidy", enabled=False, prefix="x", tagged=True, noncurrent="after 9 days"
            ),
            LifecycleRule("uploads", aborts="after 1 day"),
        )

    def test_no_bucket_is_no_mere_denial(self, store):
        missing = S3Store("not-there", endpoint_url=store.endpoint.url)
        with pytest.raises(StoreMissingError):
            BucketProbe(missing).reach()
        missing.close()


class Answering:
    """A server that answers every request with one error."""

    def __init__(self, code, status=403):
        self.code, self.status = code, status

    def __enter__(self):
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        status = self.status

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return S3Store("bucket", endpoint_url=f"http://127.0.0.1:{self.server.server_port}")

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_who_may_not_list_is_told_apart_from_who_is_not_known(s3_environment):
    with Answering("AccessDenied") as store:
        assert BucketProbe(store).reach().denied
        store.close()
    with Answering("InvalidAccessKeyId") as store:
        with pytest.raises(StoreAccessError, match="InvalidAccessKeyId"):
            BucketProbe(store).reach()
        store.close()


def test_what_a_server_does_not_know_is_no_outage(s3_environment):
    with Answering("NotImplemented", 501) as store:
        facts = BucketProbe(store).look()
        store.close()
    for asked in (facts.versioning, facts.lock, facts.lifecycle):
        assert "does not know it" in asked.why
        assert (asked.denied, asked.exit_code) == (False, 3)
