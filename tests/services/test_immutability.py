"""Vaults that nobody can destroy, on a real MinIO: the three roles, locks, and the way back."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from images import fill
from regvault_cli import aws
from servers import MinIO, Registry

from regvault.audit.intake import body_of
from regvault.audit.spool import Spool
from regvault.model.event import new_event
from regvault.model.progress import NO_PROGRESS
from regvault.ops.prune import plan_prune, prune
from regvault.storage.s3 import S3Store
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault_cli import Cli

    Run = Callable[..., str]

NOON = "2026-11-20T12:00:00.000000Z"
IAM = Path(__file__).parents[2] / "docs" / "iam"
ROLES = ("writer", "reader", "pruner", "auditor")


class Place:
    """A vault in a bucket with Object Lock, and its roles."""

    def __init__(self, store: MinIO, bucket: str, cli: Cli, tmp_path: Path) -> None:
        self.server, self.bucket, self.cli = store, bucket, cli
        self.vault = f"s3://{bucket}/vault"
        self.keys = {role: store.assume(policy(role, bucket)) for role in ROLES}
        self.caches = tmp_path / "caches"

    def role(self, name: str) -> Cli:
        cli = self.cli.at(**aws(self.server.url, *self.keys[name]), REGVAULT_VAULT=self.vault)
        return cli.elsewhere(self.caches / name)

    def client(self, name: str | None = None) -> Any:
        """A plain S3 client with the credentials of a role, or of the owner of the server."""
        import boto3
        from botocore.config import Config

        if name is None:
            return self.server.client()
        access, secret, token = self.keys[name]
        return boto3.client(
            "s3",
            endpoint_url=self.server.url,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name=self.server.region,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def store(self, name: str) -> S3Store:
        return S3Store(
            self.bucket,
            "vault",
            endpoint_url=self.server.url,
            region=self.server.region,
            credentials=self.keys[name],
        )

    def listed(self, kind: str = "Contents") -> list[dict[str, Any]]:
        verb = "list_objects_v2" if kind == "Contents" else "list_object_versions"
        pages = self.client().get_paginator(verb).paginate(Bucket=self.bucket)
        return [entry for page in pages for entry in page.get(kind, ())]


def policy(role: str, bucket: str) -> dict[str, Any]:
    text = (IAM / f"{role}.json").read_text()
    found: dict[str, Any] = json.loads(
        text.replace("BUCKET", bucket).replace("/PREFIX/", "/vault/")
    )
    return found


@pytest.fixture
def live(run: Run, tmp_path: Path) -> Path:
    """The storage of a registry with one of everything."""
    storage = tmp_path / "live"
    with Registry("3", storage=storage, state=tmp_path) as registry:
        fill(registry, run, tmp_path)
    return storage


@pytest.fixture
def place(minio_server: MinIO, make_bucket: Callable[..., str], cli: Cli, tmp_path: Path) -> Place:
    return Place(minio_server, make_bucket(object_lock=True), cli, tmp_path)


def refused(call: Callable[..., Any], **words: Any) -> None:
    with pytest.raises(Exception, match=r"AccessDenied|WORM|Access Denied|NotImplemented"):
        call(**words)


def test_a_bucket_without_object_lock_is_refused(
    cli: Cli, minio_server: MinIO, bucket: str
) -> None:
    user = cli.on(minio_server)
    lock = ("--lock", "governance", "--lock-for", "1d")
    error = user("init", f"s3://{bucket}/v", *lock, expect=5).error
    assert "cannot lock" in error["message"]
    assert "object-lock" in error["hint"]
    assert user("init", f"s3://{bucket}/v", "--lock", "governance", expect=2).error
    user("init", f"s3://{bucket}/v")
    error = user("snapshots", "--vault", f"s3://{bucket}/v", "--vault-at", "1 hour ago", expect=2)
    assert "keeps no versions" in error.error["message"]


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_each_role_does_its_work_and_nothing_else(
    live: Path, place: Place, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 26: the backup role cannot delete, bypass or shorten; prune is another role."""
    writer, reader, pruner, auditor = (place.role(name) for name in ROLES)
    writer("init", place.vault, "--lock", mode, "--lock-for", "1d")
    first = writer("snapshot", f"fs:{live}")
    assert first.document["locks"]["record"]
    assert "Warning" not in first.stderr
    writer("snapshot", f"fs:{live}")
    writer("verify", "--read-data")

    reader("ls")
    reader("info")
    reader("verify", "--read-data")
    reader("restore", "latest", "--to", f"fs:{tmp_path}/restored")
    assert reader("snapshot", f"fs:{live}", expect=12).error["code"] == "read-only"

    assert pruner("forget", "1", "--yes").document["locked_until"]
    assert pruner("prune", "--yes").document["locks"]["until"]

    spool = Spool(str(tmp_path / "spool"))
    past = time.time_ns() - 40 * 86_400 * 10**9  # a month that is over can be erased
    with monkeypatch.context() as patch:
        patch.setattr("time.time_ns", lambda: past)
        spool.append([body_of({**new_event(NOON, "pull", "test", "x", actor="ann"), "id": "one"})])
    writer("audit", "archive", "--spool", tmp_path / "spool")
    segment = next(e["Key"] for e in place.listed() if e["Key"].endswith(".jsonl.zst"))
    month = next(e["Key"] for e in place.listed() if "/erasable/" in e["Key"])
    assert auditor("audit", "forget", "--keep-for", "30d", "--yes").document["events"] == 0
    opened = place.client().head_object(Bucket=place.bucket, Key=month)["VersionId"]
    auditor("audit", "erase", month[-12:-5], "--yes")
    events = {"Bucket": place.bucket, "Key": segment}
    place.client("auditor").delete_object(**events)
    place.client("auditor").delete_object(Bucket=place.bucket, Key=month, VersionId=opened)
    sealed = place.client().list_object_versions(Bucket=place.bucket, Prefix=segment)
    stored = sealed["Versions"][0]["VersionId"]
    refused(place.client("auditor").delete_object, **events, VersionId=stored)
    refused(place.client("writer").delete_object, **events)

    blob = next(e["Key"] for e in place.listed() if "/blobs/" in e["Key"])
    root = next(e["Key"] for e in place.listed() if "/snapshots/" in e["Key"])
    version = place.client().head_object(Bucket=place.bucket, Key=blob)["VersionId"]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    for role in ROLES:
        s3 = place.client(role)
        key = {"Bucket": place.bucket, "Key": blob}
        refused(s3.delete_object, **key, VersionId=version)
        refused(s3.delete_object, **key, VersionId=version, BypassGovernanceRetention=True)
        retention = {"Mode": mode.upper(), "RetainUntilDate": soon}
        refused(s3.put_object_retention, **key, Retention=retention)
        if mode == "compliance" or role == "reader":
            # In governance mode MinIO lets whoever may extend a lock bypass it too, though the
            # policy denies that (docs/immutability.md). S3 does not.
            bypass = {"Retention": retention, "BypassGovernanceRetention": True}
            refused(s3.put_object_retention, **key, **bypass)
        off = {"Status": "Suspended"}
        refused(s3.put_bucket_versioning, Bucket=place.bucket, VersioningConfiguration=off)
        rule = {"ObjectLockEnabled": "Enabled"}
        refused(s3.put_object_lock_configuration, Bucket=place.bucket, ObjectLockConfiguration=rule)
        refused(s3.delete_object, Bucket=place.bucket, Key=root)
        if role != "pruner":
            refused(s3.delete_object, **key)
        if role == "reader":
            refused(s3.put_object, **key, Body=b"x")
    writer("verify", "--read-data")


def test_what_is_condemned_goes_once_its_lock_has_lapsed(live: Path, place: Place) -> None:
    """A lock delays a prune, and loses nothing that a snapshot needs."""
    writer, pruner = place.role("writer"), place.role("pruner")
    writer("init", place.vault, "--lock", "compliance", "--lock-for", "25s")
    writer("snapshot", f"fs:{live}")
    (live / "docker/registry/v2/repositories/ops").rename(live / "gone")
    if writer("snapshot", f"fs:{live}", expect=None).code:
        writer("confirm", "2", "--yes")  # the source shrank
    pruner("forget", "1", "--yes")

    def pruned() -> Any:
        # A day of grace is long for a test.
        vault = Vault(place.store("pruner"))
        plan = plan_prune(vault, progress=NO_PROGRESS, threads=4, grace_s=-60.0)
        return prune(vault, plan, progress=NO_PROGRESS, threads=4, grace_s=-60.0)

    done = pruned()
    assert done.exit_code() == 3
    assert done.locked
    assert done.deleted[0] == 0
    assert set(done.locked) <= {e["Key"].removeprefix("vault/") for e in place.listed()}
    time.sleep(max(0.0, done.locked_until_ns / 1e9 - time.time()) + 2)
    after = pruned()
    assert after.exit_code() == 0
    assert after.deleted[0] == len(done.locked)
    assert not set(done.locked) & {e["Key"].removeprefix("vault/") for e in place.listed()}
    writer("verify", "--read-data")


def wipe(place: Place) -> None:
    """What who owns the bucket can do: hide all of it, and try to destroy it."""
    owner = place.client()
    for entry in place.listed():
        owner.delete_object(Bucket=place.bucket, Key=entry["Key"])
    for entry in place.listed("Versions"):
        with suppress(Exception):  # locked
            owner.delete_object(Bucket=place.bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    assert not place.listed()


def overwrite(place: Place) -> None:
    """What a writer's host that was taken over can do."""
    for entry in place.listed():
        place.client("writer").put_object(
            Bucket=place.bucket, Key=entry["Key"], Body=b"encrypted", ChecksumAlgorithm="SHA256"
        )


@pytest.mark.parametrize("harm", [wipe, overwrite])
def test_after_everything_is_destroyed_it_is_read_and_brought_back(
    live: Path, place: Place, tmp_path: Path, harm: Callable[[Place], None]
) -> None:
    """Rule 13."""
    writer, reader = place.role("writer"), place.role("reader")
    writer("init", place.vault, "--lock", "governance", "--lock-for", "1d")
    writer("snapshot", f"fs:{live}")
    writer("snapshot", f"fs:{live}")
    time.sleep(1.5)
    then = datetime.now(UTC).isoformat()
    time.sleep(1.5)
    harm(place)
    assert reader("snapshots", expect=None).code in (4, 10)

    at = ("--vault-at", then)
    assert len(reader("snapshots", *at).lines) == 2
    assert reader("ls", *at).lines
    assert reader("info", *at).document["registries"][0]["restorable"]["count"] == 2
    assert reader("verify", "--read-data", *at).document["problem_count"] == 0
    reader("diff", "1", "2", *at)
    restored = reader("restore", "latest", "--to", f"fs:{tmp_path}/restored", *at)
    assert restored.document["blobs_written"] > 0

    plan = writer("repair", *at, "--read-data", "--dry-run", expect=4).document
    assert "vault.json" in plan["documents"]
    assert not [a for a in plan["actions"] if a["action"] != "fetch"]
    mended = writer("repair", *at, "--read-data", "--yes").document
    assert mended["after"]["ok"]
    writer("verify", "--read-data")
    again = writer("repair", *at, "--read-data", "--dry-run").document
    assert again["problem_count"] == 0
    writer("snapshot", f"fs:{live}")
    for entry in place.store("writer").list("blobs/"):
        assert place.store("writer").retention(entry.key), entry.key


def test_the_past_of_a_reader_without_the_right_to_versions_is_an_error(place: Place) -> None:
    writer = place.role("writer")
    writer("init", place.vault)
    few = place.server.allow(place.bucket, "GetObject", "ListBucket")
    reader = place.cli.at(**aws(place.server.url, *few))
    error = reader("ls", "--vault", place.vault, "--vault-at", "now", expect=12).error
    assert "docs/iam" in error["hint"]
