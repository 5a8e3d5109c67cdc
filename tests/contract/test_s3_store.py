import io
import os
import random
import subprocess
import sys
import time

import moto_server
import pytest
from store_contract import MIB, Failing, OneWay, StoreContract, keys, sha

import regvault
from regvault.errors import (
    DigestMismatchError,
    ObjectArchivedError,
    ObjectNotFoundError,
    PreconditionError,
    ReadOnlyStoreError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)
from regvault.model.store import Retention
from regvault.storage import s3_client, s3_read, s3_upload, s3_walk
from regvault.storage.memory import MemoryStore
from regvault.storage.s3 import S3Store
from regvault.storage.s3_list import Page, page_of
from regvault.storage.wrappers import CountingStore

A, B = ("ka", 1, "e", 0, "STANDARD"), ("kb", 1, "e", 0, "STANDARD")
LIES = {
    "backwards": Page([B, A], [], None, False),
    "twice": Page([A, A], [], None, False),
    "the same page again": Page([A], [], "t", True),
    "no token": Page([A], [], None, True),
    "the same token again": Page([], [], "t", True),
    "another prefix": Page([("other", 1, "e", 0, "STANDARD")], [], None, False),
}


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, make_s3):
        return make_s3("lax")


class TestS3StoreThatChecksChecksums(StoreContract):
    many = 40

    @pytest.fixture
    def store(self, make_s3):
        return make_s3("strict", prefix="")


class TestChecksums:
    def test_an_endpoint_that_checks_is_trusted_with_the_proof(self, make_s3, faults):
        store = make_s3("strict")
        assert store.put_stream("k", OneWay(b"abc"), size=3, sha256=sha(b"abc")).proof == "store"
        assert store.put_stream("k", OneWay(b"abc"), size=3).proof == "regvault"
        store.put_stream("k2", OneWay(b"abc"), size=3, sha256=sha(b"abc"))
        assert faults.requests.count("PUT") == 4  # one of them the probe
        with pytest.raises(DigestMismatchError):
            store.put_stream("k3", OneWay(b"abd"), size=3, sha256=sha(b"abc"))
        assert keys(store) == ["k", "k2"]

    def test_an_endpoint_that_does_not_check_is_not(self, make_s3):
        store = make_s3("lax")
        assert store.put_stream("k", OneWay(b"abc"), size=3, sha256=sha(b"abc")).proof == "regvault"
        page = page_of(store.connection.client.list_objects_v2(Bucket=store.bucket))
        assert len(page.objects) == 1

    def test_a_probe_that_may_not_be_written_or_deleted_stops_nothing(self, make_s3, faults):
        denied = moto_server.error(403, "AccessDenied")
        store = make_s3("strict")
        faults.planned.append(("PUT", "before", denied))
        assert store.put_stream("k", OneWay(b"abc"), size=3, sha256=sha(b"abc")).proof == "regvault"
        store = make_s3("lax")
        faults.planned.append(("DELETE", "before", denied))
        assert store.put_stream("k", OneWay(b"abc"), size=3, sha256=sha(b"abc")).proof == "regvault"
        assert keys(store) == ["k"]


UNAVAILABLE = moto_server.error(503, "SlowDown")


class TestLostAnswers:
    """What was done although its answer was lost is success; what was not is an error."""

    def test_a_create_whose_answer_was_lost_succeeds(self, make_s3, faults):
        store = make_s3()
        faults.planned.append(("PUT", "after", UNAVAILABLE))
        stored = store.put("k", b"mine", if_none_match=True)
        assert stored.etag == store.head("k").etag
        with pytest.raises(PreconditionError):
            store.put("k", b"mine", if_none_match=True)

    def test_a_swap_whose_answer_was_lost_succeeds(self, make_s3, faults):
        store = make_s3()
        etag = store.put("k", b"0").etag
        faults.planned.append(("PUT", "after", UNAVAILABLE))
        assert store.put("k", b"mine", if_match=etag).etag == store.head("k").etag

    def test_a_create_that_another_won_meanwhile_fails(self, make_s3, faults):
        store = make_s3()
        faults.planned.append(("PUT", "before", UNAVAILABLE))
        other = S3Store(store.bucket, store.prefix, endpoint_url=store.endpoint.url)
        other.connection = store.connection
        store.put("k", b"theirs")
        faults.planned.append(("PUT", "before", UNAVAILABLE))
        with pytest.raises(PreconditionError):
            store.put("k", b"mine", if_none_match=True)
        assert store.get("k") == b"theirs"

    def test_a_conflict_is_tried_again(self, make_s3, faults):
        store = make_s3()
        conflict = moto_server.error(409, "ConditionalRequestConflict")
        faults.planned += [("PUT", "before", conflict)] * 3
        store.put("k", b"mine", if_none_match=True)
        assert store.get("k") == b"mine"

    def test_a_busy_server_is_asked_again(self, make_s3, faults):
        store = make_s3()
        faults.planned += [("PUT", "before", UNAVAILABLE), ("GET", "before", UNAVAILABLE)]
        store.put_stream("k", io.BytesIO(b"x" * 100_000), size=100_000)
        assert len(store.get("k")) == 100_000

    def test_a_stream_that_cannot_be_rewound_is_given_back(self, make_s3, faults):
        store = make_s3()
        faults.planned.append(("PUT", "before", UNAVAILABLE))
        with pytest.raises(StoreUnavailableError):
            store.put_stream("k", OneWay(b"x" * 100_000), size=100_000)
        assert keys(store) == []

    def test_a_seekable_stream_is_sent_again_from_where_it_began(self, make_s3, faults):
        store = make_s3()
        faults.planned.append(("PUT", "after", UNAVAILABLE))
        reader = io.BytesIO(b"skipped" + b"x" * 100_000)
        reader.seek(7)
        store.put_stream("k", reader, size=100_000, sha256=sha(b"x" * 100_000))
        assert store.get("k") == b"x" * 100_000


class TestBrokenReads:
    @pytest.fixture
    def store(self, make_s3):
        return make_s3()

    def test_a_broken_download_goes_on_from_the_same_byte(self, store, monkeypatch):
        data = os.urandom(300_000)
        store.put("k", data)
        for start, length in ((0, None), (1000, 250_000), (-200_000, None)):
            break_bodies(store, monkeypatch, after=90_000)
            expected = data[start:] if length is None else data[start : start + length]
            assert store.get("k", start=start, length=length) == expected
            with store.open("k", start=start, length=length) as reader:
                assert b"".join(iter(lambda: reader.read(10_000), b"")) == expected

    def test_a_download_that_breaks_for_ever_is_an_error(self, store, monkeypatch):
        store.put("k", b"x" * 1000)
        monkeypatch.setattr(s3_read.time, "sleep", lambda _: None)
        break_bodies(store, monkeypatch, after=0)
        with pytest.raises(StoreUnavailableError, match="'k'"):
            store.get("k")

    def test_an_object_that_was_replaced_is_not_mixed_with_its_successor(self, store, monkeypatch):
        store.put("k", b"x" * 200_000)
        break_bodies(store, monkeypatch, after=90_000)
        with store.open("k") as reader:
            assert reader.read(10_000) == b"x" * 10_000
            store.put("k", b"y" * 200_000)
            with pytest.raises(PreconditionError):
                reader.read()

    def test_a_server_that_knows_no_ranges_is_understood(self, store, monkeypatch):
        data = os.urandom(5000)
        store.put("k", data)
        call = store.call

        def without_ranges(operation, what, key, **params):
            params.pop("Range", None)
            return call(operation, what, key, **params)

        monkeypatch.setattr(store, "call", without_ranges)
        assert store.get("k", start=10, length=20) == data[10:30]
        assert store.get("k", start=-20) == data[-20:]
        assert store.get("k", start=6000) == b""


def break_bodies(store, monkeypatch, *, after):
    """Let every download break after so many bytes."""
    call = type(store).call

    class Broken:
        def __init__(self, body):
            self._body = body
            self._left = after

        def read(self, size=-1):
            if not self._left:
                raise ConnectionResetError
            data = self._body.read(self._left if size < 0 else min(size, self._left))
            self._left -= len(data)
            return data

        def close(self):
            self._body.close()

    def breaking(operation, what, key, **params):
        answer = call(store, operation, what, key, **params)
        if operation == "get_object":
            answer["Body"] = Broken(answer["Body"])
        return answer

    monkeypatch.setattr(store, "call", breaking)


class TestParts:
    @pytest.fixture
    def store(self, make_s3, monkeypatch):
        monkeypatch.setattr(s3_upload, "SINGLE_PUT_LIMIT", MIB)
        monkeypatch.setattr(s3_upload, "_MIN_PART", 5 * MIB)
        return make_s3()

    @pytest.fixture
    def data(self):
        return random.Random(1).randbytes(11 * MIB)

    def test_a_large_stream_goes_up_in_parts(self, store, data):
        stored = store.put_stream("k", OneWay(data, step=MIB), size=len(data), sha256=sha(data))
        assert stored == (store.head("k").etag, len(data), sha(data), "regvault")
        assert stored.etag.endswith("-3")
        assert store.get("k") == data

    @pytest.mark.parametrize("wrong", ["digest", "longer", "shorter", "source"])
    def test_what_is_wrong_is_never_completed(self, store, data, wrong):
        store.put("k", b"before")
        reader = Failing(data) if wrong == "source" else OneWay(data)
        size = len(data) + {"longer": -1, "shorter": 1, "source": 1}.get(wrong, 0)
        with pytest.raises(Failing.Error if wrong == "source" else DigestMismatchError):
            store.put_stream("k", reader, size=size, sha256=sha(b"other"))
        assert store.get("k") == b"before"
        uploads = store.connection.client.list_multipart_uploads(Bucket=store.bucket)
        assert "Uploads" not in uploads

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_complete_without_an_answer_is_looked_after(
        self, store, data, faults, when, monkeypatch
    ):
        monkeypatch.setattr(s3_upload.time, "sleep", lambda _: None)
        ok = faults.planned
        ok.append(("POST", "pass", None))
        ok.append(("POST", when, moto_server.error(500, "InternalError")))
        stored = store.put_stream("k", OneWay(data), size=len(data))
        assert stored.etag == store.head("k").etag
        assert store.get("k") == data
        assert faults.requests.count("POST") == (3 if when == "before" else 2)

    def test_an_error_inside_a_200_is_an_error(self, store, data, faults, monkeypatch):
        monkeypatch.setattr(s3_upload.time, "sleep", lambda _: None)
        body = "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
        faults.planned.append(("POST", "pass", None))
        faults.planned += [("POST", "before", (200, {}, body))] * 10
        with pytest.raises(StoreUnavailableError):
            store.put_stream("k", OneWay(data), size=len(data))
        assert keys(store) == []

    def test_no_object_has_more_parts_than_s3_allows(self):
        for size in (1, 5 * 1024**3, 200 * 1024**3, 48 * 1024**4):
            assert -(-size // s3_upload.part_size(size)) <= 10_000


class TestListings:
    def test_keys_that_are_not_objects_of_ours_are_left_out(self, make_s3):
        store = make_s3()
        client = store.connection.client
        for key in ("some/prefix/", "some/prefix/dir/", "some/prefix/a//b", "some/prefixed",
                    "some/prefix/.regvault-probe-1", "other"):  # fmt: skip
            client.put_object(Bucket=store.bucket, Key=key, Body=b"")
        store.put("a", b"")
        store.put("dir/x", b"")
        assert keys(store) == ["a", "dir/x"]
        assert list(store.list_prefixes()) == ["a", "dir"]

    @pytest.mark.parametrize("page", LIES.values(), ids=LIES)
    def test_a_lying_listing_is_refused(self, make_s3, monkeypatch, page):
        store = make_s3(prefix="")
        monkeypatch.setattr(s3_walk, "page_of", lambda _: page)
        with pytest.raises(StoreError, match="out of order"):
            keys(store, "k")

    def test_common_prefixes_are_checked_too(self, make_s3, monkeypatch):
        store = make_s3(prefix="")
        monkeypatch.setattr(s3_walk, "page_of", lambda _: Page([], ["b/", "a/"], None, False))
        with pytest.raises(StoreError, match="out of order"):
            list(store.list_prefixes())


class TestCopies:
    def test_the_server_copies_and_proves(self, make_s3):
        source, target = make_s3(prefix="from"), make_s3(prefix="to")
        key = "odd name+%41/ü"
        source.put(key, b"abc")
        want = {"size": 3, "sha256": sha(b"abc")}
        stored = target.copy_in(CountingStore(source), key, "new/key", **want)
        assert stored == (target.head("new/key").etag, 3, sha(b"abc"), "store")
        assert target.get("new/key") == b"abc"

    def test_a_wrong_copy_is_deleted(self, make_s3):
        source, target = make_s3(), make_s3()
        source.put("k", b"abc")
        for size, digest in ((3, sha(b"other")), (4, sha(b"abc"))):
            with pytest.raises(DigestMismatchError):
                target.copy_in(source, "k", "k", size=size, sha256=digest)
            assert keys(target) == []

    def test_what_cannot_be_copied_is_left_to_the_caller(self, make_s3):
        target = make_s3()
        want = {"size": 3, "sha256": sha(b"abc")}
        elsewhere = S3Store("b", endpoint_url="http://127.0.0.1:1")
        assert target.copy_in(MemoryStore(), "k", "k", **want) is None
        assert target.copy_in(elsewhere, "k", "k", **want) is None
        assert target.copy_in(target, "k", "k", size=6 * 1024**3, sha256=want["sha256"]) is None
        with pytest.raises(ObjectNotFoundError, match="'none'"):
            target.copy_in(target, "none", "k", **want)

    def test_a_copy_that_the_server_does_not_make_with_locks_is_left_to_the_caller(self, make_s3):
        """moto takes no locks with a copy that brings no checksum of its own."""
        store = make_s3(object_lock=True)
        until = store.now_ns() + 3600 * 10**9
        store.put("k", b"abc")
        store.lock_writes(lambda _: Retention("governance", until))
        want = {"size": 3, "sha256": sha(b"abc")}
        assert store.copy_in(store, "k", "l", **want) is None
        assert keys(store) == ["k"]
        with store.open("k") as reader:
            store.put_stream("l", reader, **want)
        assert store.retention("l").until_ns >= until


class TestErrors:
    def test_a_bucket_that_is_not_there(self, moto_url, s3_environment):
        store = S3Store("not-there", endpoint_url=moto_url)
        for act in (
            lambda: store.get("k"), lambda: store.head("k"), lambda: store.put("k", b""),
            lambda: keys(store), lambda: store.put_stream("k", io.BytesIO(b"x"), size=1),
        ):  # fmt: skip
            with pytest.raises(StoreMissingError) as caught:
                act()
            assert "not-there" in str(caught.value)
            assert caught.value.hint

    def test_an_endpoint_that_cannot_be_reached(self, s3_environment, monkeypatch):
        monkeypatch.setattr(s3_client, "_ATTEMPTS", 2)
        store = S3Store("b", "p", endpoint_url="http://127.0.0.1:1")
        for act in (
            lambda: store.get("k"), lambda: store.put("k", b"", if_none_match=True),
            lambda: keys(store), store.now_ns,
        ):  # fmt: skip
            with pytest.raises(StoreUnavailableError) as caught:
                act()
            assert "s3://b/p" in str(caught.value)
            assert caught.value.exit_code == 6

    def test_no_credentials(self, s3_environment, monkeypatch, moto_url):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        store = S3Store("b", endpoint_url=moto_url)
        with pytest.raises(StoreAccessError) as caught:
            store.get("k")
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint
        with pytest.raises(StoreAccessError):
            S3Store("b", endpoint_url=moto_url, profile="none").get("k")

    @pytest.mark.parametrize("url", ["no url", "127.0.0.1:9000", "ftp://x"])
    def test_an_endpoint_that_is_no_url(self, s3_environment, url):
        with pytest.raises(StoreError):
            S3Store("b", endpoint_url=url).get("k")

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (403, "AccessDenied", ReadOnlyStoreError),
            (403, "InvalidAccessKeyId", StoreAccessError),
            (403, "SignatureDoesNotMatch", StoreAccessError),
            (403, "RequestTimeTooSkewed", StoreAccessError),
            (507, "XMinioStorageFull", StoreFullError),
            (400, "QuotaExceeded", StoreFullError),
            (400, "BadDigest", DigestMismatchError),
            (404, "NoSuchBucket", StoreMissingError),
            (418, "Teapot", StoreError),
        ],
    )
    def test_answers_to_a_write_are_told_by_their_meaning(
        self, make_s3, faults, status, code, kind
    ):
        store = make_s3()
        answer = moto_server.error(status, code)
        faults.planned += [("PUT", "before", answer)] * 10
        with pytest.raises(kind) as caught:
            store.put("some key", b"x")
        assert type(caught.value) is kind
        assert caught.value.key == "some key"
        for word in ("some key", store.location):
            assert word in str(caught.value)
        assert "made by a test" in str(caught.value)
        assert kind is StoreError or kind is DigestMismatchError or caught.value.hint

    def test_a_denied_read_is_no_read_only_store(self, make_s3, faults):
        store = make_s3()
        faults.planned.append(("GET", "before", moto_server.error(403, "AccessDenied")))
        with pytest.raises(StoreAccessError) as caught:
            store.get("k")
        assert type(caught.value) is StoreAccessError

    def test_an_archived_object_says_so(self, make_s3):
        store = make_s3(storage_class="GLACIER")
        store.put("k", b"cold")
        with pytest.raises(ObjectArchivedError, match="InvalidObjectState") as caught:
            store.get("k")
        assert "thaw" in caught.value.hint
        assert store.head("k").size == 4

    def test_no_error_shows_a_secret(self, s3_environment, monkeypatch, moto_url):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        store = S3Store("not-there", endpoint_url=moto_url)
        with pytest.raises(StoreError) as caught:
            store.put("k", b"x")
        assert "s3cr3t" not in f"{caught.value!r} {caught.value.hint} {store.location}"


class TestTheConnection:
    def test_importing_the_store_does_not_load_botocore(self):
        code = (
            "import sys, regvault.storage.s3 as s; s.S3Store('b');"
            "sys.exit(any(m.split('.')[0] in ('boto3', 'botocore') for m in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_the_clock_is_the_servers(self, make_s3):
        store = make_s3()
        fresh = S3Store(store.bucket, endpoint_url=store.endpoint.url)
        assert abs(fresh.now_ns() - time.time_ns()) < 3_000_000_000
        fresh.close()

    def test_the_clock_does_not_jump_within_a_second_but_follows_the_server(self):
        clock = s3_client.Clock()
        assert clock.now_ns() is None
        clock.observe("Thu, 01 Jan 2026 00:00:10 GMT")
        first = clock.now_ns()
        clock.observe("Thu, 01 Jan 2026 00:00:10 GMT")
        assert 0 <= clock.now_ns() - first < 500_000_000
        clock.observe("Thu, 01 Jan 2026 01:00:00 GMT")
        assert clock.now_ns() - first > 3_000_000_000_000
        clock.observe("nonsense")
        assert clock.now_ns() is not None

    @pytest.mark.parametrize("variable", [None, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
    def test_other_servers_are_asked_by_path_and_aws_is_not(
        self, s3_environment, monkeypatch, variable
    ):
        if variable:
            monkeypatch.setenv(variable, "http://storage.example:9000")
        store = S3Store("bucket", region="eu-central-1")
        url = store.connection.client.generate_presigned_url(
            "get_object", Params={"Bucket": "bucket", "Key": "k"}
        )
        aws = "https://bucket.s3."
        assert url.startswith("http://storage.example:9000/bucket/k" if variable else aws)

    def test_an_endpoint_of_the_configuration_file_is_asked_by_path(
        self, s3_environment, monkeypatch, tmp_path
    ):
        file = tmp_path / "config"
        file.write_text(
            "[profile far]\nendpoint_url = https://storage.example\nregion = here\n"
            "aws_access_key_id = a\naws_secret_access_key = b\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
        client = S3Store("bucket", profile="far").connection.client
        params = {"Bucket": "bucket", "Key": "k"}
        url = client.generate_presigned_url("get_object", Params=params)
        assert url.startswith("https://storage.example/bucket/k")

    def test_requests_say_who_asks(self, make_s3):
        seen = []
        store = make_s3()
        store.connection.client.meta.events.register(
            "before-send.s3", lambda request, **_: seen.append(request.headers), unique_id="t"
        )
        store.put("k", b"x")
        store.connection.client.meta.events.unregister("before-send.s3", unique_id="t")
        assert f"regvault/{regvault.__version__}".encode() in seen[0]["User-Agent"]
        assert seen[0]["X-Amz-Content-SHA256"] in (b"UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD")
