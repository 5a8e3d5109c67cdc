"""Copies of vaults on disks and in buckets, restored into registries that serve every image."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import vaults
from images import fill
from served import Reader
from servers import MinIO, Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regvault_cli import Cli

    Run = Callable[..., str]


@pytest.fixture
def live(run: Run, tmp_path: Path) -> Path:
    """The storage of a registry with one of everything."""
    storage = tmp_path / "live"
    with Registry("3", storage=storage, state=tmp_path) as registry:
        fill(registry, run, tmp_path)
    return storage


def test_a_copy_brings_a_registry_back_when_registry_and_vault_are_gone(
    live: Path,
    cli: Cli,
    minio_server: MinIO,
    make_bucket: Callable[[], str],
    tmp_path: Path,
) -> None:
    """From a disk to a bucket, from there to another one and to a disk; then all else is lost."""
    regvault = cli.on(minio_server)
    main, second, third = str(tmp_path / "main"), make_bucket(), make_bucket()
    offsite, cold, shelf = f"s3://{second}/vault", f"s3://{third}/vault", str(tmp_path / "shelf")
    for where in (main, offsite, cold, shelf):
        regvault("init", where)
    regvault("snapshot", f"fs:{live}", "--vault", main)
    with Registry("3", storage=live, state=tmp_path) as registry:
        tags = Reader(registry).all_tags()

    first = regvault("copy", "--from", main, "--to", offsite)
    both = regvault("copy", "--from", offsite, "--to", cold, "--to", shelf)
    again = regvault("copy", "--from", main, "--to", offsite)

    assert len(first.document["targets"][0]["snapshots"]) == 1
    assert [len(target["snapshots"]) for target in both.document["targets"]] == [1, 1]
    assert again.document["targets"][0]["objects"] == 0
    # The server copied raw blobs by itself and proved them; what went through here, too.
    assert set(vaults.proofs(vaults.minio(minio_server, third, "vault")).values()) == {"store"}
    shutil.rmtree(live)
    shutil.rmtree(main)
    for number, where in enumerate((offsite, cold, shelf)):
        regvault("verify", "--vault", where, "--read-data")
        target = tmp_path / f"restored-{number}"
        regvault("restore", "latest", "--vault", where, "--to", f"fs:{target}")
        with Registry("2.8", storage=target, state=tmp_path) as registry:
            assert Reader(registry).all_tags() == tags
            Reader(registry).everything(tags)


def test_a_copy_needs_no_right_to_delete_and_only_reads_its_source(
    live: Path, cli: Cli, minio_server: MinIO, make_bucket: Callable[[], str]
) -> None:
    from regvault_cli import aws

    source, target = make_bucket(), make_bucket()
    owner = cli.on(minio_server)
    for bucket in (source, target):
        owner("init", f"s3://{bucket}/vault")
    owner("snapshot", f"fs:{live}", "--vault", f"s3://{source}/vault")
    before = vaults.minio(minio_server, source).list()
    there = {entry.key: entry.etag for entry in before}
    keys = minio_server.allow(
        target, "GetObject", "PutObject", "ListBucket", also={source: ("GetObject", "ListBucket")}
    )
    copier = cli.at(**aws(minio_server.url, *keys))

    done = copier("copy", "--from", f"s3://{source}/vault", "--to", f"s3://{target}/vault")

    assert len(done.document["targets"][0]["snapshots"]) == 1
    assert "cannot be written, so no lease" in done.stderr
    after = vaults.minio(minio_server, source).list()
    assert {entry.key: entry.etag for entry in after} == there
    owner("verify", "--vault", f"s3://{target}/vault", "--read-data")
