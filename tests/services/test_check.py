"""What `check` sees of real buckets: Object Lock, who may ask for it, an endpoint that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from regvault_cli import aws
from servers import free_port

from regvault.ops.sample import build_sample
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regvault_cli import Cli
    from servers import MinIO


@pytest.fixture
def main(cli: Cli, tmp_path: Path) -> str:
    """A vault on a disk, with a snapshot of a registry beside it."""
    build_sample(LocalStore(tmp_path / "live", create=True), images=4, large=1 << 12)
    vault = str(tmp_path / "main")
    cli("init", vault)
    cli("snapshot", f"fs:{tmp_path / 'live'}", "--vault", vault, "--registry", "prod")
    return vault


def locked_bucket(store: MinIO, name: str, mode: str | None) -> str:
    """Make a bucket with Object Lock, and with a default retention of a day where a mode is given.

    It and its objects stay: a locked object cannot be deleted, and the server is of this run alone.
    """
    store.create_bucket(name, object_lock=True)
    if mode is not None:
        rule = {"DefaultRetention": {"Mode": mode, "Days": 1}}
        store.client().put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
    return name


def checked(cli: Cli, main: str, where: str, *more: str) -> dict[str, Any]:
    """Check both vaults; return what is said of the second, and of what is immutable."""
    done = cli("check", "--vault", main, "--vault", where, *more, expect=3)
    (registry,) = done.document["registries"]
    verdicts = {verdict["part"]: verdict for verdict in registry["verdicts"]}
    return {**registry["copies"][1], **{f"{k}_verdict": v for k, v in verdicts.items()}}


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_a_bucket_that_locks_what_is_written_is_immutable(
    cli: Cli, main: str, minio_server: MinIO, mode: str
) -> None:
    regvault = cli.on(minio_server)
    where = f"s3://{locked_bucket(minio_server, f'locked-{mode.lower()}', mode)}/vault"
    regvault("init", where)
    regvault("copy", "--from", main, "--to", where)

    found = checked(regvault, main, where)

    assert found["immutable"]["seen"] is True
    assert f"by default {mode.lower()}, 1 day" in found["immutable"]["detail"]
    assert f"the newest snapshot {mode.lower()} until" in found["immutable"]["detail"]
    assert found["immutable_verdict"]["met"]
    assert found["domain"]["seen"] == f"S3 at {minio_server.host}"
    assert found["media_verdict"]["met"]
    assert "its endpoint is this machine" in found["remark"]


def test_a_bucket_with_object_lock_that_locks_nothing_is_not_immutable_until_an_object_is_locked(
    cli: Cli, main: str, minio_server: MinIO
) -> None:
    regvault, bucket = cli.on(minio_server), locked_bucket(minio_server, "locks-nothing", None)
    where = f"s3://{bucket}/vault"
    regvault("init", where)
    regvault("copy", "--from", main, "--to", where)
    found = checked(regvault, main, where)
    assert (found["immutable"]["seen"], found["immutable_verdict"]["met"]) == (False, False)
    assert "no default retention" in found["immutable"]["detail"]

    until = "2099-01-01T00:00:00Z"
    minio_server.client().put_object_retention(
        Bucket=bucket,
        Key="vault/snapshots/prod/00000001.json",
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
    )
    found = checked(regvault, main, where)
    assert found["immutable_verdict"]["met"]
    assert "the newest snapshot governance until 2099-01-01" in found["immutable"]["detail"]


def test_a_plain_bucket_is_not_immutable_and_a_role_that_may_not_ask_says_so(
    cli: Cli, main: str, minio_server: MinIO, make_bucket: Callable[[], str]
) -> None:
    bucket = make_bucket()
    where = f"s3://{bucket}/vault"
    regvault = cli.on(minio_server)
    regvault("init", where)
    regvault("copy", "--from", main, "--to", where)
    found = checked(regvault, main, where)
    assert found["immutable"] == {"seen": False, "detail": "the bucket has no Object Lock"}

    reader = cli.at(**aws(minio_server.url, *minio_server.allow(bucket, "GetObject", "ListBucket")))
    found = checked(reader, main, where)
    assert (found["counts"], found["immutable"]["seen"]) == (True, False)
    assert "may not ask" in found["immutable"]["detail"]


def test_two_vaults_in_one_bucket_are_lost_together_whatever_is_declared(
    cli: Cli, main: str, minio_server: MinIO, make_bucket: Callable[[], str], tmp_path: Path
) -> None:
    regvault, bucket = cli.on(minio_server), make_bucket()
    (tmp_path / "regvault.yaml").write_text(f"""\
vaults:
  one: {{location: "s3://{bucket}/one", domain: site-a}}
  two: {{location: "s3://{bucket}/two", domain: site-b}}
""")
    configured = ("--config", str(tmp_path / "regvault.yaml"))
    for name in ("one", "two"):
        regvault(*configured, "init", name)
    regvault(*configured, "copy", "--from", main, "--to", "one", "--to", "two")
    done = regvault(*configured, "check", expect=3)
    (registry,) = done.document["registries"]
    (media,) = [verdict for verdict in registry["verdicts"] if verdict["part"] == "media"]
    assert next(reason["code"] for reason in media["reasons"]) == "domain-contradicted"


def test_an_endpoint_that_is_away_is_a_miss_with_its_reason(cli: Cli, main: str) -> None:
    away = cli.at(**aws(f"http://127.0.0.1:{free_port()}", "key", "secret"))
    found = checked(away, main, "s3://bucket/vault")
    assert (found["counts"], found["location"]) == (False, "s3://bucket/vault")
    assert not found["errors_verdict"]["met"]
    assert found["flaws"][0]["code"] == "store-unavailable"
