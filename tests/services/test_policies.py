"""Vaults in buckets: with few rights, with stores that check bytes or do not, for few requests."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import vaults
from images import RAW, fill, layer
from regvault_cli import aws
from served import Reader
from servers import MinIO, Moto, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault_cli import Cli

    Run = Callable[..., str]

WRITER = ("GetObject", "PutObject", "ListBucket")
READER = ("GetObject", "ListBucket")
REPOSITORIES = 300


def allowed(cli: Cli, store: MinIO, bucket: str, actions: tuple[str, ...]) -> Cli:
    """The same user, who may do nothing else than this in one bucket."""
    return cli.at(**aws(store.url, *store.allow(bucket, *actions)))


@pytest.fixture
def live(run: Run, tmp_path: Path) -> Path:
    """The storage of a registry with one of everything."""
    storage = tmp_path / "live"
    with Registry("3", storage=storage, state=tmp_path) as registry:
        fill(registry, run, tmp_path)
    return storage


def test_everything_works_without_the_right_to_delete(
    live: Path, cli: Cli, minio_server: MinIO, bucket: str, run: Run, tmp_path: Path
) -> None:
    backup = allowed(cli, minio_server, bucket, WRITER)
    vault = f"s3://{bucket}/vault"
    backup("init", vault)
    first = backup("snapshot", f"fs:{live}", "--vault", vault)
    second = backup("snapshot", f"fs:{live}", "--vault", vault)
    backup("verify", "--vault", vault, "--read-data")
    restored = backup("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path}/restored")

    assert [done.document["sequence"] for done in (first, second)] == [1, 2]
    assert "Warning" not in first.stderr + second.stderr + restored.stderr
    with (
        Registry("3", storage=live, state=tmp_path) as one,
        Registry("2.8", storage=tmp_path / "restored", state=tmp_path) as other,
    ):
        tags = Reader(one).all_tags()
        Reader(other).everything(tags)


def test_a_reader_can_look_verify_and_restore_but_not_write(
    live: Path, cli: Cli, minio_server: MinIO, bucket: str, tmp_path: Path
) -> None:
    vault = f"s3://{bucket}/vault"
    owner = cli.on(minio_server)
    owner("init", vault)
    owner("snapshot", f"fs:{live}", "--vault", vault)
    before = objects(minio_server, bucket)
    reader = allowed(cli, minio_server, bucket, READER).elsewhere(tmp_path / "other-cache")

    listed = reader("ls", "--vault", vault)
    verified = reader("verify", "--vault", vault, "--read-data")
    restored = reader("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path}/restored")

    assert {line["repository"] for line in listed.lines} >= {"team/app", "ops/cron"}
    for done in (verified, restored):
        assert "cannot be written, so no lease" in done.stderr
    assert restored.document["blobs_written"] > 0
    refused = reader("snapshot", f"fs:{live}", "--vault", vault, expect=12).error
    assert refused["code"] == "read-only"
    assert "backup role" in refused["hint"]
    assert reader("init", f"s3://{bucket}/another", expect=12).error["code"] == "read-only"
    assert objects(minio_server, bucket) == before


def objects(store: MinIO, bucket: str) -> dict[str, str]:
    pages = store.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}


def test_minio_proves_the_bytes_and_regvault_says_so(
    live: Path, cli: Cli, minio_server: MinIO, bucket: str
) -> None:
    vault = f"s3://{bucket}/vault"
    user = cli.on(minio_server)
    user("init", vault)
    user("snapshot", f"fs:{live}", "--vault", vault)

    found = vaults.proofs(vaults.minio(minio_server, bucket, "vault"))
    assert found
    assert set(found.values()) == {"store"}


def test_wrong_bytes_at_the_source_are_refused_by_minio_and_never_catalogued(
    live: Path, cli: Cli, minio_server: MinIO, bucket: str
) -> None:
    damaged = []
    for path in live.glob("docker/registry/v2/blobs/sha256/*/*/data"):
        if path.stat().st_size >= RAW:
            damaged.append(f"sha256:{path.parent.name}")
            with path.open("r+b") as file:
                file.seek(RAW // 2)
                file.write(b"\0\0\0\0 not what was pushed")
    vault = f"s3://{bucket}/vault"
    user = cli.on(minio_server)
    user("init", vault)
    taken = user("snapshot", f"fs:{live}", "--vault", vault, expect=3).document

    assert damaged
    named = {found["subject"] for found in taken["findings"] if found["kind"] == "blob-damaged"}
    assert named == set(damaged)
    keys = objects(minio_server, bucket)
    for digest in damaged:
        assert digest not in vaults.proofs(vaults.minio(minio_server, bucket, "vault"))
        assert not [key for key in keys if digest.partition(":")[2] in key]
    user("verify", "--vault", vault, "--read-data")


def test_where_a_store_takes_wrong_checksums_regvault_hashes(
    live: Path, cli: Cli, tmp_path: Path
) -> None:
    with Moto(state=tmp_path) as store:
        store.create_bucket("vaults")
        user = cli.at(**aws(store.url, store.access, store.secret))
        vault = "s3://vaults/one"
        user("init", vault)
        user("snapshot", f"fs:{live}", "--vault", vault)

        found = vaults.proofs(vaults.moto(store, "vaults", "one"))
        assert found
        assert set(found.values()) == {"regvault"}
        # What was written to find out is not left behind.
        assert not [key for key in store.keys("vaults") if "probe" in key]
        user("verify", "--vault", vault, "--read-data")
        user("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path}/restored")


def test_a_day_without_a_change_is_a_handful_of_requests(
    cli: Cli, run: Run, minio_server: MinIO, bucket: str, tmp_path: Path
) -> None:
    live = tmp_path / "live"
    with Registry("3", storage=live, state=tmp_path) as registry:
        image = f"{registry.host}/team/r0:v1"
        run("crane", "append", "--oci-empty-base", "-f", layer(tmp_path, "one"), "-t", image)
    team = live / "docker/registry/v2/repositories/team"
    for number in range(1, REPOSITORIES):
        shutil.copytree(team / "r0", team / f"r{number}")
    vault = f"s3://{bucket}/vault"
    user = cli.on(minio_server)
    user("init", vault)
    assert user("snapshot", f"fs:{live}", "--vault", vault).document["repositories_read"] == 300
    # Links of the last two seconds are read again, since they may change within one tick.
    time.sleep(2.5)
    user("snapshot", f"fs:{live}", "--vault", vault)

    before, received = minio_server.requests()
    done = user("snapshot", f"fs:{live}", "--vault", vault).document
    after, received_now = minio_server.requests()

    assert done["repositories_inherited"] == REPOSITORIES
    made = {name: count - before.get(name, 0) for name, count in after.items()}
    made = {name: count for name, count in made.items() if count}
    print(made, received_now - received)
    assert sum(made.values()) <= 50, made
    writes = {n: c for n, c in made.items() if n.startswith(("Put", "Delete", "Copy", "New"))}
    assert writes.keys() == {"PutObject"}
    assert writes["PutObject"] <= 5
    assert received_now - received <= 64 << 10


PRICES = """
name = "here"
as_of = 2026-11-28
currency = "EUR"
hot = "STANDARD"
[classes.STANDARD]
gb_month = 0.02
put_per_1000 = 0.005
[classes.REDUCED_REDUNDANCY]
gb_month = 0.01
put_per_1000 = 0.005
retrieval_gb = 0.01
"""


def test_the_role_that_tiers_a_registry_moves_its_blobs_and_can_delete_none(
    cli: Cli, minio_server: MinIO, bucket: str, run: Run, tmp_path: Path
) -> None:
    storage = minio_server.bucket(bucket, "/prod")
    with Registry("3", storage=storage, state=tmp_path) as registry:
        file = layer(tmp_path, "one", size=2 << 20)
        run("crane", "append", "-f", file, "-t", f"{registry.host}/team/app:v1")
    client = minio_server.client()
    key = next(k for k, size in sizes(client, bucket).items() if size >= RAW)
    client.copy_object(
        Bucket=bucket,
        Key=key,
        CopySource={"Bucket": bucket, "Key": key},
        StorageClass="REDUCED_REDUNDANCY",
        MetadataDirective="COPY",
    )
    (tmp_path / "prices.toml").write_text(PRICES)
    document = (Path(__file__).parents[2] / "docs/iam/tierer.json").read_text()
    policy = json.loads(document.replace("BUCKET", bucket).replace("PREFIX", "prod"))
    tierer = cli.at(**aws(minio_server.url, *minio_server.assume(policy)))
    plan = tmp_path / "plan.jsonl"

    words = ["--prices", tmp_path / "prices.toml", "--all-hot", "--out", plan]
    made = tierer("tier", "plan", f"s3://{bucket}/prod", *words).lines[0]["plan"]
    assert made["moves"] == 1
    assert tierer("tier", "apply", plan, "--yes", "--unchecked").document["moved"] == 1
    head = client.head_object(Bucket=bucket, Key=key)
    assert head.get("StorageClass", "STANDARD") == "STANDARD"

    mine = minio_server.client(minio_server.assume(policy))
    with pytest.raises(mine.exceptions.ClientError, match="AccessDenied"):
        mine.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(mine.exceptions.ClientError, match="AccessDenied"):
        mine.put_object(Bucket=bucket, Key="prod/docker/registry/v2/repositories/x", Body=b"")


def sizes(client: Any, bucket: str) -> dict[str, int]:
    return {e["Key"]: e["Size"] for e in client.list_objects_v2(Bucket=bucket)["Contents"]}
