"""What goes wrong with real stores: each its own exit code, message and next step, nothing lost."""

from __future__ import annotations

import shutil
import socket
import time
from typing import TYPE_CHECKING

import mounts
import pytest
from regvault_cli import aws
from servers import MinIO, free_port

from regvault.assemble import open_directory
from regvault.ops.sample import build_sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regvault_cli import Cli

#: How long a person waits for the news that an endpoint cannot be reached.
PATIENCE_S = 60


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A registry's storage, of a few MB."""
    storage = tmp_path / "live"
    build_sample(open_directory(str(storage)), seed=8, images=30, large=1 << 18)
    return storage


@pytest.fixture
def vault(tmp_path: Path, live: Path, cli: Cli) -> Path:
    """A vault on a disk with one snapshot."""
    path = tmp_path / "vault"
    cli("init", path)
    cli("snapshot", f"fs:{live}", "--vault", path)
    return path


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def half_written(directory: Path) -> list[str]:
    return [name for name in files(directory) if name.endswith(".tmp")]


class TestS3:
    def test_wrong_credentials(
        self, cli: Cli, minio_server: MinIO, bucket: str, live: Path
    ) -> None:
        vault = f"s3://{bucket}/vault"
        cli.on(minio_server)("init", vault)
        url = minio_server.url
        for access, secret, words in (
            (minio_server.access, "not the secret", "secret"),
            ("nobody", "nothing at all", "access key"),
        ):
            user = cli.at(**aws(url, access, secret))
            for command in (
                ("init", f"s3://{bucket}/other"),
                ("snapshot", f"fs:{live}", "--vault", vault),
                ("verify", "--vault", vault),
                ("ls", "--vault", vault),
                ("restore", "latest", "--vault", vault, "--to", f"fs:{live}"),
            ):
                error = user(*command, expect=12).error
                assert error["code"] == "access-denied"
                assert words in error["hint"]
                assert secret not in str(error)

    def test_no_credentials(self, cli: Cli, minio_server: MinIO, bucket: str) -> None:
        user = cli.at(AWS_ENDPOINT_URL=minio_server.url)
        error = user("verify", "--vault", f"s3://{bucket}/vault", expect=12).error
        assert "AWS_ACCESS_KEY_ID" in error["hint"]

    def test_a_bucket_that_does_not_exist(self, cli: Cli, minio_server: MinIO, live: Path) -> None:
        user = cli.on(minio_server)
        nowhere = "s3://no-such-bucket/vault"
        for command in (
            ("init", nowhere),
            ("snapshot", f"fs:{live}", "--vault", nowhere),
            ("verify", "--vault", nowhere),
            ("scan", "s3://no-such-bucket/registry"),
        ):
            error = user(*command, expect=10).error
            assert "no-such-bucket" in error["message"]
            assert "bucket" in error["hint"]

    def test_a_bucket_without_a_vault(
        self, cli: Cli, minio_server: MinIO, bucket: str, live: Path
    ) -> None:
        user = cli.on(minio_server)
        for command in (
            ("snapshot", f"fs:{live}", "--vault", f"s3://{bucket}/here"),
            ("verify", "--vault", f"s3://{bucket}"),
            ("restore", "latest", "--vault", f"s3://{bucket}/here", "--to", f"fs:{live}"),
        ):
            error = user(*command, expect=10).error
            assert "there is no vault" in error["message"]
            assert "regvault init" in error["hint"]
        assert user("scan", f"s3://{bucket}/here", expect=10).error["code"] == "not-found"

    def test_one_where_the_other_is_meant(
        self, cli: Cli, minio_server: MinIO, bucket: str, live: Path
    ) -> None:
        user = cli.on(minio_server)
        vault, registry = f"s3://{bucket}/vault", f"s3://{bucket}/registry"
        user("init", vault)
        user("snapshot", f"fs:{live}", "--vault", vault)
        user("restore", "latest", "--vault", vault, "--to", registry)

        swapped = user("snapshot", vault, "--vault", registry, expect=2).error
        assert "is a registry, not a vault" in swapped["message"]
        assert user("scan", vault, expect=2).error["hint"]
        assert user("init", registry, expect=2).error["hint"]
        assert user("snapshot", registry, "--vault", f"{registry}/in", expect=2).error["hint"]
        to = f"{vault}/packs"
        error = user("restore", "latest", "--vault", vault, "--to", to, expect=2).error
        assert "overlap" in error["message"]
        user("verify", "--vault", vault, "--read-data")

    @pytest.fixture(params=["nobody listens", "nobody answers"])
    def endpoint(self, request: pytest.FixtureRequest) -> Iterator[str]:
        if request.param == "nobody listens":
            yield f"http://127.0.0.1:{free_port()}"
            return
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            port = deaf.getsockname()[1]
            # Whoever comes after these waits for an answer to SYN.
            crowd = [socket.socket() for _ in range(4)]
            for one in crowd:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            yield f"http://127.0.0.1:{port}"
            for one in crowd:
                one.close()

    @pytest.mark.timeout(400)
    def test_an_endpoint_that_cannot_be_reached(self, cli: Cli, endpoint: str, live: Path) -> None:
        user = cli.at(**aws(endpoint, "some", "body"))
        begun = time.monotonic()
        vault = "s3://any/vault"
        error = user("snapshot", f"fs:{live}", "--vault", vault, expect=6, timeout=300).error
        took = time.monotonic() - begun
        print(f"{took:.1f} s")
        assert error["code"] == "store-unavailable"
        assert endpoint in error["message"]
        assert "endpoint" in error["hint"]
        assert took < PATIENCE_S

    def test_a_server_that_goes_away_for_a_while(
        self, cli: Cli, tmp_path: Path, live: Path
    ) -> None:
        with MinIO(tmp_path / "minio", state=tmp_path, port=free_port()) as store:
            store.create_bucket("vaults")
            user, vault = cli.on(store), "s3://vaults/one"
            user("init", vault)
            process = user.start(
                "snapshot", f"fs:{live}", "--vault", vault, "--limit-upload", "2MiB"
            )
            time.sleep(1.5)
            assert process.poll() is None
            store.kill()
            time.sleep(2)
            store.start()
            done = user.finish(process)
            assert done.code == 0, done.stdout + done.stderr
            user("verify", "--vault", vault, "--read-data")


class TestDisk:
    def test_a_vault_that_is_none(self, cli: Cli, tmp_path: Path, live: Path) -> None:
        (tmp_path / "empty").mkdir()
        for vault in (tmp_path / "empty", tmp_path / "missing"):
            for command in (
                ("snapshot", f"fs:{live}", "--vault", vault),
                ("verify", "--vault", vault),
                ("ls", "--vault", vault),
                ("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path}/new"),
            ):
                error = cli(*command, expect=10).error
                assert str(vault) in error["message"]
        assert not (tmp_path / "missing").exists()
        assert not (tmp_path / "new").exists()

    def test_one_where_the_other_is_meant(self, cli: Cli, vault: Path, live: Path) -> None:
        before = files(vault) | files(live)
        swapped = cli("snapshot", f"fs:{vault}", "--vault", live, expect=2).error
        assert "is a registry, not a vault" in swapped["message"]
        assert "not a registry" in cli("scan", f"fs:{vault}", expect=2).error["message"]
        assert "registry" in cli("init", live, expect=2).error["message"]
        words = ("restore", "latest", "--vault", vault, "--to")
        for to in (vault, vault / "snapshots", vault / "new"):
            assert "overlap" in cli(*words, f"fs:{to}", expect=2).error["message"]
        link = vault.with_name("link")
        link.symlink_to(vault)
        assert "overlap" in cli(*words, f"fs:{link}/new", expect=2).error["message"]
        assert "overlap" in cli(*words, f"oci:{vault}/new", expect=2).error["message"]
        after = files(vault) | files(live)
        assert {name for name in after - before if not name.startswith("leases/")} == set()

    def test_no_registry(self, cli: Cli, tmp_path: Path) -> None:
        cli("init", tmp_path / "vault")
        (tmp_path / "empty").mkdir()
        for place in ("empty", "missing"):
            source = f"fs:{tmp_path}/{place}"
            error = cli("snapshot", source, "--vault", tmp_path / "vault", expect=10).error
            assert place in error["message"]
        assert not (tmp_path / "vault" / "snapshots").exists()

    @pytest.mark.parametrize("empty", [True, False])
    def test_a_source_that_is_not_mounted_any_more(
        self, empty: bool, cli: Cli, tmp_path: Path, live: Path
    ) -> None:
        vault, at = tmp_path / "vault", tmp_path / "mnt"
        cli("init", vault)
        source = f"fs:{at}"
        with mounts.bound(live, at):
            cli("snapshot", source, "--vault", vault)
        if not empty:
            at.rmdir()
        before = files(vault / "snapshots")
        error = cli("snapshot", source, "--vault", vault, expect=6).error
        assert error["code"] == "source-unavailable"
        assert "mounted" in error["hint"]
        assert files(vault / "snapshots") == before
        cli("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path}/restored")

    def test_a_registry_that_shrank_is_held(
        self, cli: Cli, vault: Path, live: Path, tmp_path: Path
    ) -> None:
        services = live / "docker/registry/v2/repositories/service"
        for path in sorted(services.iterdir())[:4]:
            shutil.rmtree(path)
        done = cli("snapshot", f"fs:{live}", "--vault", vault, expect=3)
        assert "shrank" in done.document["held"]["reason"]
        assert "regvault confirm" in done.stderr
        listed = cli("ls", "--vault", vault).lines
        assert sum(row["repository"].startswith("service/") for row in listed) == 10
        name = f"{done.document['registry']}@{done.document['sequence']}"
        cli("confirm", name, "--vault", vault, "--yes")
        listed = cli("ls", "--vault", vault).lines
        assert sum(row["repository"].startswith("service/") for row in listed) == 6

    def test_a_full_disk(self, cli: Cli, live: Path, tmp_path: Path) -> None:
        with mounts.small(tmp_path / "small", "2m") as disk:
            vault = disk / "vault"
            cli("init", vault)
            error = cli("snapshot", f"fs:{live}", "--vault", vault, expect=6).error
            assert error["code"] == "store-full"
            assert "free some space" in error["hint"]
            assert not (vault / "snapshots").exists()
            assert half_written(vault) == []

            mounts.enlarge(disk, "64m")
            cli("snapshot", f"fs:{live}", "--vault", vault)
            cli("verify", "--vault", vault, "--read-data")

    def test_a_full_disk_below_a_restore(
        self, cli: Cli, vault: Path, live: Path, tmp_path: Path
    ) -> None:
        with mounts.small(tmp_path / "small", "2m") as disk:
            words = ("restore", "latest", "--vault", vault, "--to", f"fs:{disk}/registry")
            error = cli(*words, expect=6).error
            assert error["code"] == "store-full"
            assert "--repo" in error["hint"]
            assert files(disk) == set()  # seen before anything was written
            mounts.enlarge(disk, "64m")
            cli(*words)
            assert files(disk / "registry") == files(live)

    def test_a_vault_that_is_mounted_read_only(
        self, cli: Cli, vault: Path, live: Path, tmp_path: Path
    ) -> None:
        before = files(vault)
        with mounts.read_only(vault, tmp_path / "ro") as mounted:
            where = ("--vault", mounted)
            assert cli("ls", *where).lines
            for command in (
                ("verify", "--read-data"),
                ("restore", "latest", "--to", f"fs:{tmp_path}/restored"),
            ):
                done = cli(*command, *where)
                assert "cannot be written, so no lease" in done.stderr
            error = cli("snapshot", f"fs:{live}", *where, expect=12).error
            assert error["code"] == "read-only"
            assert "read-only" in error["hint"]
        assert files(tmp_path / "restored") == files(live)
        assert files(vault) == before | {n for n in files(vault) if n.startswith("leases/")}
