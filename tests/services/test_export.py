"""An OCI image layout that regvault writes is read by skopeo, crane and oras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from images import Pushed, fill
from served import Reader
from servers import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regvault_cli import Cli

    Run = Callable[..., str]


@pytest.fixture
def exported(cli: Cli, run: Run, tmp_path: Path) -> Pushed:
    """What was pushed; `layout` has the images of one repository of it, `one` a single image."""
    with Registry("3", storage=tmp_path / "live", state=tmp_path) as registry:
        pushed = fill(registry, run, tmp_path)
    vault = tmp_path / "vault"
    cli("init", vault)
    cli("snapshot", f"fs:{tmp_path}/live", "--vault", vault)
    words = ("restore", "latest", "--vault", vault, "--repo")
    cli(*words, "team/app", "--to", f"oci:{tmp_path}/layout")
    cli(*words, "ops/cron", "--tag", "stable", "--to", f"oci:{tmp_path}/one")
    cli(*words, "team/app/docker", "--to", f"oci:{tmp_path}/docker")
    cli(*words, "**", "--to", f"oci:{tmp_path}/all")
    return pushed


def test_skopeo_reads_it(exported: Pushed, run: Run, tmp_path: Path) -> None:
    raw = run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/layout:latest")
    assert len(json.loads(raw)["manifests"]) == 2
    config = run("skopeo", "inspect", "--config", f"oci:{tmp_path}/layout:tool")
    assert json.loads(config)["rootfs"]["diff_ids"]
    words = ("skopeo", "--insecure-policy", "copy")
    for tag in ("tool", "build-arm64"):
        copied = f"oci:{tmp_path}/copied:{tag}"
        run(*words, "--preserve-digests", f"oci:{tmp_path}/layout:{tag}", copied)
    # This skopeo cannot keep the digest of an index whose descriptors say artifactType.
    run(*words, "--all", f"oci:{tmp_path}/layout:latest", f"oci:{tmp_path}/copied:latest")
    # Images of several repositories are told apart by their whole name.
    # (It finds nothing of Docker's types in a layout.)
    name = "team/app:bundle"
    assert run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/all:{name}")
    index = json.loads((tmp_path / "copied" / "index.json").read_text())
    names = {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in index["manifests"]
    }
    assert names.keys() == {"tool", "build-arm64", "latest"}
    assert names["tool"] == exported.tags["team/app:tool"]
    assert names["build-arm64"] == exported.tags["team/app:build-arm64"]


def test_crane_pushes_it(exported: Pushed, run: Run, tmp_path: Path) -> None:
    with Registry("3", storage=tmp_path / "target", state=tmp_path) as registry:
        run("crane", "push", tmp_path / "one", f"{registry.host}/back/cron:stable")
        run("crane", "validate", "--remote", f"{registry.host}/back/cron:stable")
        digest = exported.tags["ops/cron:stable"]
        Reader(registry).everything({"back/cron:stable": digest})

        run("crane", "push", tmp_path / "docker", f"{registry.host}/back/docker:1.0")
        digest = exported.tags["team/app/docker:1.0"]
        Reader(registry).everything({"back/docker:1.0": digest})

        run("crane", "push", "--index", tmp_path / "layout", f"{registry.host}/back/app:all")
        wanted = [d for name, d in exported.tags.items() if name.startswith("team/app:")]
        Reader(registry).everything({}, [f"back/app@{digest}" for digest in wanted])


def test_oras_copies_it_with_what_refers_to_it(exported: Pushed, run: Run, tmp_path: Path) -> None:
    layout = f"{tmp_path}/layout"
    assert "latest" in run("oras", "repo", "tags", "--oci-layout", layout).split()
    fetched = run("oras", "manifest", "fetch", "--descriptor", "--oci-layout", f"{layout}:bundle")
    assert json.loads(fetched)["digest"] == exported.tags["team/app:bundle"]
    found = run("oras", "discover", "--oci-layout", f"{layout}:latest")
    assert "application/spdx+json" in found
    with Registry("2.8", storage=tmp_path / "target", state=tmp_path) as registry:
        copied = f"{registry.host}/back/app:latest"
        run("oras", "cp", "-r", "--from-oci-layout", f"{layout}:latest", "--to-plain-http", copied)
        Reader(registry).everything({"back/app:latest": exported.tags["team/app:latest"]})
        found = run("oras", "discover", "--plain-http", copied)
        assert "application/spdx+json" in found
