"""doctor on MinIO, which enforces rights, locks and rules; and on file systems of its own."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mounts
import pytest
from images import fill
from regvault_cli import aws
from servers import MinIO, Registry, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault_cli import Cli

    Run = Callable[..., str]

PAGE = Path(__file__).parents[2] / "docs/doctor.md"


def rights(role: str) -> tuple[str, ...]:
    """The actions that the documentation gives a role."""
    row = re.search(rf"^\| `{role}`[^|]* \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    assert row is not None
    named = tuple(re.findall(r"`s3:([A-Za-z]+)`", row[1]))
    return (*rights("writer"), *named) if "what a writer needs" in row[1] else named


def states(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["state"] for check in document["checks"]}


def found(document: dict[str, Any], name: str) -> str:
    (text,) = [check["found"] for check in document["checks"] if check["id"] == name]
    return str(text)


def rules(store: MinIO, bucket: str, *rules: dict[str, Any]) -> None:
    store.client().put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={"Rules": [{"Status": "Enabled", **rule} for rule in rules]},
    )


def keep_versions(store: MinIO, bucket: str) -> None:
    store.client().put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )


OLD_VERSIONS = {
    "ID": "old",
    "Filter": {"Prefix": ""},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
}


@pytest.fixture
def live(run: Run, tmp_path: Path) -> Path:
    storage = tmp_path / "live"
    with Registry("3", storage=storage, state=tmp_path) as registry:
        fill(registry, run, tmp_path)
    return storage


@pytest.fixture
def vault(cli: Cli, minio_server: MinIO, bucket: str) -> str:
    """A vault in a bucket that keeps versions, as the documentation wants it."""
    keep_versions(minio_server, bucket)
    rules(minio_server, bucket, OLD_VERSIONS)
    where = f"s3://{bucket}/vault"
    cli.on(minio_server)("init", where)
    return where


def test_a_bucket_is_probed_before_and_after_init_and_nothing_is_left(
    cli: Cli, minio_server: MinIO, bucket: str, live: Path
) -> None:
    user = cli.on(minio_server)
    before = user("doctor", f"fs:{live}", "--vault", f"s3://{bucket}/vault", "--new").document
    assert before["status"] == "ok"
    assert minio_server.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert (
        user("doctor", "--vault", f"s3://{bucket}/vault", expect=10).document["status"] == "error"
    )

    user("init", f"s3://{bucket}/vault")
    user("snapshot", f"fs:{live}", "--vault", f"s3://{bucket}/vault")
    after = user("doctor", f"fs:{live}", "--vault", f"s3://{bucket}/vault").document
    assert after["counts"]["ok"] >= 26
    for name in ("create-only", "compare-and-swap", "checksums", "multipart", "snapshots"):
        assert states(after)[name] == "ok"


@pytest.mark.parametrize(
    ("prefix", "code"),
    [("", 3), ("vau", 3), ("vault/blobs/", 3), ("logs/", 0), ("vault/locks/probe-", 0)],
)
def test_a_rule_that_would_eat_the_vault_is_an_error(
    cli: Cli, minio_server: MinIO, bucket: str, vault: str, prefix: str, code: int
) -> None:
    cleanup = {"ID": "cleanup", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 30}}
    rules(minio_server, bucket, OLD_VERSIONS, cleanup)
    done = cli.on(minio_server)("doctor", "--vault", vault, expect=code).document
    assert states(done)["lifecycle-expiration"] == ("error" if code else "ok")
    if code:
        assert "'cleanup'" in found(done, "lifecycle-expiration")
        assert "after 30 days" in found(done, "lifecycle-expiration")


@pytest.mark.parametrize("role", ["writer", "reader", "pruner"])
def test_the_documented_rights_of_a_role_are_enough_and_not_too_many(
    cli: Cli, minio_server: MinIO, bucket: str, vault: str, role: str
) -> None:
    user = cli.at(**aws(minio_server.url, *minio_server.allow(bucket, *rights(role))))
    done = user("doctor", "--vault", vault, "--role", role).document
    assert done["status"] == "ok"
    others = {"writer": "reader", "reader": "writer", "pruner": "writer"}
    wrong = user("doctor", "--vault", vault, "--role", others[role], expect=None).document
    check = {"writer": "permission-write", "reader": "permission-write"}.get(
        role, "permission-delete"
    )
    assert states(wrong)[check] in ("warning", "error")


def test_a_right_that_a_role_lacks_is_named(
    cli: Cli, minio_server: MinIO, bucket: str, vault: str
) -> None:
    lacking = {
        "ListBucket": ("permission-list", "error", 12),
        "PutObject": ("permission-write", "error", 12),
        "GetLifecycleConfiguration": ("lifecycle-expiration", "warning", 3),
        "AbortMultipartUpload": ("multipart", "warning", 3),
        "GetBucketVersioning": ("versioning", "skipped", 0),
    }
    for right, (check, state, code) in lacking.items():
        allowed = [each for each in rights("writer") if each != right]
        user = cli.at(**aws(minio_server.url, *minio_server.allow(bucket, *allowed)))
        done = user("doctor", "--vault", vault, "--role", "writer", expect=code).document
        assert states(done)[check] == state, right
        (text,) = [f"{c['found']} {c['hint']}" for c in done["checks"] if c["id"] == check]
        assert right in text or right == "PutObject"


def test_a_writer_that_can_delete_is_a_warning(
    cli: Cli, minio_server: MinIO, bucket: str, vault: str
) -> None:
    for more in (("DeleteObject",), ("DeleteObject", "DeleteObjectVersion")):
        given = minio_server.allow(bucket, *rights("writer"), *more)
        user = cli.at(**aws(minio_server.url, *given))
        done = user("doctor", "--vault", vault, "--role", "writer", expect=3).document
        assert states(done)["permission-delete"] == "warning"
        expected = "warning" if len(more) == 2 else "ok"
        assert states(done)["permission-delete-versions"] == expected
        assert user("doctor", "--vault", vault).document["status"] == "ok"  # as anybody


def test_a_bucket_that_locks_what_is_new(cli: Cli, minio_server: MinIO, bucket: str) -> None:
    name = f"{bucket}-locked"
    minio_server.create_bucket(name, object_lock=True)
    minio_server.client().put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    user = cli.on(minio_server)
    user("init", f"s3://{name}/vault")
    done = user("doctor", "--vault", f"s3://{name}/vault", expect=3).document
    assert states(done)["object-lock"] == "ok"
    assert "GOVERNANCE for 1 day" in found(done, "object-lock")
    assert states(done)["permission-delete-versions"] == "skipped"
    assert states(done)["lifecycle-noncurrent"] == "warning"


def test_what_cannot_be_reached_ends_with_its_own_exit_code(
    cli: Cli, minio_server: MinIO, bucket: str, live: Path
) -> None:
    vault = f"s3://{bucket}/vault"
    wrong = cli.at(**aws(minio_server.url, minio_server.access, "wrong-secret"))
    nobody = cli.at(**aws(minio_server.url, "nobody", "wrong-secret"))
    away = cli.at(**aws(f"http://127.0.0.1:{free_port()}", "a", "b"))
    user = cli.on(minio_server)
    for done in (
        wrong("doctor", f"fs:{live}", "--vault", vault, expect=12),
        nobody("doctor", f"fs:{live}", "--vault", vault, expect=12),
        away("doctor", f"fs:{live}", "--vault", vault, expect=6),
        user("doctor", f"fs:{live}", "--vault", "s3://no-such-bucket/vault", expect=10),
    ):
        assert states(done.document)["reachable"] == "error"
        assert states(done.document)["source-readable"] == "ok"  # the others are looked at


def test_a_source_in_a_bucket_that_may_be_listed_but_not_read(
    cli: Cli, minio_server: MinIO, bucket: str, run: Run, tmp_path: Path
) -> None:
    with Registry("3", storage=minio_server.bucket(bucket), state=tmp_path) as registry:
        fill(registry, run, tmp_path)
    source = f"s3://{bucket}"
    assert cli.on(minio_server)("doctor", source).document["status"] == "ok"
    user = cli.at(**aws(minio_server.url, *minio_server.allow(bucket, "ListBucket")))
    done = user("doctor", source, expect=12).document
    assert states(done)["source-layout"] == "error"
    assert "403" in found(done, "source-layout")


def test_a_read_only_mount_and_a_full_disk(cli: Cli, live: Path, tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    cli("init", vault)
    cli("snapshot", f"fs:{live}", "--vault", vault)
    with mounts.read_only(vault, tmp_path / "seen") as seen:
        reader = cli("doctor", "--vault", seen, "--role", "reader", expect=None).document
        assert states(reader)["permission-write"] == "ok"
        writer = cli("doctor", "--vault", seen, "--role", "writer", expect=12).document
        assert states(writer)["permission-write"] == "error"
        assert states(writer)["snapshots"] == "ok"
    with mounts.small(tmp_path / "full", "8m") as full:
        cli("init", full / "vault")
        with (full / "ballast").open("wb") as ballast:
            with contextlib.suppress(OSError):
                ballast.write(b"\0" * (9 << 20))
        done = cli("doctor", "--vault", full / "vault", expect=6).document
        assert states(done)["space"] == states(done)["permission-write"] == "error"
        assert states(done)["leases"] == "ok"
        assert states(done)["file-system"] == "warning"
