"""Real registries of both versions, on disks and on S3, come back whole wherever they go."""

from __future__ import annotations

import shutil
import urllib.error
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from images import Pushed, fill
from served import Reader
from servers import MinIO, Registry, RegistryVersion, S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault_cli import Cli

    Run = Callable[..., str]


@dataclass(frozen=True)
class Place:
    """A registry's storage, as regvault and as a registry name it."""

    location: str
    storage: Path | S3Storage


class Places:
    """Makes places on disks and in buckets of one MinIO."""

    def __init__(self, directory: Path, store: MinIO, make_bucket: Callable[[], str]) -> None:
        self.directory = directory
        self.store = store
        self.make_bucket = make_bucket
        self.count = 0

    def new(self, kind: str) -> Place:
        self.count += 1
        if kind == "fs":
            path = self.directory / f"storage-{self.count}"
            return Place(f"fs:{path}", path)
        bucket = self.make_bucket()
        return Place(f"s3://{bucket}/some/registry", self.store.bucket(bucket, "some/registry"))

    def vault(self, kind: str) -> str:
        self.count += 1
        if kind == "fs":
            return str(self.directory / f"vault-{self.count}")
        return f"s3://{self.make_bucket()}/vaults/one"

    @contextmanager
    def serve(self, version: RegistryVersion, place: Place) -> Iterator[Registry]:
        with Registry(version, storage=place.storage, state=self.directory) as registry:
            yield registry


@pytest.fixture
def places(tmp_path: Path, minio_server: MinIO, make_bucket: Callable[[], str]) -> Places:
    return Places(tmp_path, minio_server, make_bucket)


def check(registry: Registry, pushed: Pushed, run: Run) -> None:
    """The registry serves all that was pushed, to our reader and to people's programs."""
    reader = Reader(registry)
    assert reader.all_tags() == pushed.tags
    reader.everything(pushed.tags, pushed.untagged)
    for name in pushed.deleted:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            reader.everything({}, [name])
    for name in pushed.tags:
        if "/app:sha256-" not in name:  # crane takes no image index without platforms
            run("crane", "validate", "--remote", f"{registry.host}/{name}")
    found = run("oras", "discover", "--plain-http", f"{registry.host}/{pushed.subject}")
    assert "application/spdx+json" in found
    run(
        "skopeo",
        "--insecure-policy",
        "inspect",
        "--tls-verify=false",
        f"docker://{registry.host}/team/app/docker:1.0",
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("source", "written_by", "vault", "target", "served_by"),
    [
        ("fs", "3", "fs", "fs", "2.8"),
        ("fs", "2.8", "fs", "fs", "2.8"),
        ("fs", "2.8", "s3", "s3", "3"),
        ("s3", "3", "s3", "s3", "3"),
        ("s3", "3", "fs", "fs", "3"),
        ("s3", "2.8", "s3", "fs", "3"),
    ],
)
def test_a_registry_comes_back_whole(
    source: str,
    written_by: RegistryVersion,
    vault: str,
    target: str,
    served_by: RegistryVersion,
    places: Places,
    cli: Cli,
    run: Run,
    tmp_path: Path,
    minio_server: MinIO,
) -> None:
    cli = cli.on(minio_server)
    live, restored = places.new(source), places.new(target)
    where = places.vault(vault)
    cli("init", where)
    with places.serve(written_by, live) as registry:
        pushed = fill(registry, run, tmp_path)
        # While it runs, as it does everywhere.
        taken = cli("snapshot", live.location, "--vault", where).document

    assert taken["complete"]
    assert taken["counts"]["tags"] == len(pushed.tags)
    assert not [found for found in taken["findings"] if found["rank"] != "notice"]
    cli("verify", "--vault", where, "--read-data")

    done = cli("restore", "latest", "--vault", where, "--to", restored.location).document
    assert done["tags_written"] == len(pushed.tags)
    with places.serve(served_by, restored) as registry:
        check(registry, pushed, run)

    # And again onto what is there: all is good, nothing is written.
    again = cli("restore", "latest", "--vault", where, "--to", restored.location).document
    written = {key: again[key] for key in ("blobs_written", "links_written", "tags_written")}
    assert written == {"blobs_written": 0, "links_written": 0, "tags_written": 0}
    assert again["blobs_replaced"] == 0


def test_a_part_comes_back_into_a_living_registry_under_another_name(
    places: Places, cli: Cli, run: Run, tmp_path: Path
) -> None:
    live, where = places.new("fs"), places.vault("fs")
    cli("init", where)
    with places.serve("3", live) as registry:
        pushed = fill(registry, run, tmp_path)
        cli("snapshot", live.location, "--vault", where)
        tags = pushed.tags
        run("crane", "delete", f"{registry.host}/team/app@{tags['team/app:bundle']}")
        layers = ("-f", tmp_path / "tool.tar")
        run("crane", "append", "--oci-empty-base", *layers, "-t", f"{registry.host}/team/app:new")

        words = ("restore", "latest", "--vault", where, "--to", live.location)
        cli(*words, "--repo", "team/app", "--tag", "bundle", "--rename", "team/app=old/app")

        reader = Reader(registry)
        assert reader.tags("old/app") >= {"bundle"}
        reader.everything({"old/app:bundle": tags["team/app:bundle"]})
        assert "new" in reader.tags("team/app")
        assert "bundle" not in reader.tags("team/app")


def test_a_layer_link_that_the_registry_has_lost_comes_back(
    places: Places, cli: Cli, run: Run, tmp_path: Path
) -> None:
    """A registry serves no blob of a repository that does not link to it."""
    live, restored, where = places.new("fs"), places.new("fs"), places.vault("fs")
    assert isinstance(live.storage, Path)
    cli("init", where)
    with places.serve("3", live) as registry:
        pushed = fill(registry, run, tmp_path)
    links = live.storage / "docker/registry/v2/repositories/ops/cron/_layers"
    lost = [path for path in links.glob("sha256/*") if path.is_dir()]
    for path in lost:
        shutil.rmtree(path)
    cli("snapshot", live.location, "--vault", where)
    cli("restore", "latest", "--vault", where, "--to", restored.location)

    assert lost
    with places.serve("3", restored) as registry:
        Reader(registry).everything(pushed.tags, pushed.untagged)
