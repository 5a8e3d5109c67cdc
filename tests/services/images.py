"""Real pushes: small images of every kind, by crane, skopeo and oras."""

from __future__ import annotations

import io
import json
import random
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from served import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers import Registry

    Run = Callable[..., str]

#: So large that a vault keeps it as an object of its own.
RAW = (1 << 20) + 4096


def layer(directory: Path, name: str, size: int = 2000) -> Path:
    """A layer with one file of bytes that follow from its name."""
    path = directory / f"{name}.tar"
    if not path.exists():
        content = random.Random(name).randbytes(size)
        with tarfile.open(path, "w") as tar:
            entry = tarfile.TarInfo(f"srv/{name}")
            entry.size = size
            tar.addfile(entry, io.BytesIO(content))
    return path


def push_one(run: Run, registry: Registry, directory: Path, name: str) -> str:
    """Push an image with a layer of 2 MiB; return the digest of the layer."""
    file = layer(directory, name.replace("/", "-"), size=2 << 20)
    run("crane", "append", "-f", file, "-t", f"{registry.host}/{name}:v1")
    manifest = json.loads(run("crane", "manifest", f"{registry.host}/{name}:v1"))
    return str(manifest["layers"][0]["digest"])


@dataclass
class Pushed:
    """What a registry was filled with, as the registry itself says."""

    tags: dict[str, str] = field(default_factory=dict)
    #: `repository@digest` of manifests that are there without a tag.
    untagged: list[str] = field(default_factory=list)
    #: `repository@digest` of manifests that were deleted.
    deleted: list[str] = field(default_factory=list)
    #: `repository@digest` of an image with an SBOM.
    subject: str = ""


def fill(registry: Registry, run: Run, directory: Path, prefix: str = "") -> Pushed:
    """Push one of everything; `prefix` goes before each repository's name."""
    pushed = Pushed()
    at = f"{registry.host}/{prefix}"
    app = f"{at}team/app"

    def push(name: str, *layers: Path) -> str:
        files = [word for path in layers for word in ("-f", path)]
        run("crane", "append", "--oci-empty-base", *files, "-t", f"{at}{name}")
        return run("crane", "digest", f"{at}{name}").strip()

    base = layer(directory, "base", RAW)
    amd, arm = (layer(directory, word, 30_000) for word in ("amd64", "arm64"))

    # A multi-platform index, pushed twice: its first version loses its tag, and stays.
    for version in (1, 2):
        own = layer(directory, f"app-{version}")
        for architecture, binary in (("amd64", amd), ("arm64", arm)):
            push(f"team/app:build-{architecture}", base, binary, own)
            image, platform = f"{app}:build-{architecture}", f"linux/{architecture}"
            run("crane", "mutate", "--set-platform", platform, "-t", image, image)
        builds = (f"{app}:build-amd64", f"{app}:build-arm64")
        run("crane", "index", "append", "-m", builds[0], "-m", builds[1], "-t", f"{app}:latest")
        if version == 1:
            digest = run("crane", "digest", f"{app}:latest").strip()
            pushed.untagged.append(f"{prefix}team/app@{digest}")
    # An index of an index and an image.
    push("team/app:tool", layer(directory, "tool"))
    nested = ("--flatten=false", "-m", f"{app}:latest", "-m", f"{app}:tool")
    run("crane", "index", "append", *nested, "-t", f"{app}:bundle")
    # A referrer, which is found by its fallback tag.
    (directory / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    digest = run("crane", "digest", f"{app}:latest").strip()
    pushed.subject = f"{prefix}team/app@{digest}"
    oras_attach = ("oras", "attach", "--plain-http", "--artifact-type", "application/spdx+json")
    run(*oras_attach, f"{app}@{digest}", "sbom.json:application/spdx+json")

    # Docker schema 2, in a repository below another one, with layers that are there already.
    run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--format=v2s2",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{app}:tool",
        f"docker://{app}/docker:1.0",
    )
    # A tag that moves, one that is copied, an image that is deleted.
    first = push("ops/cron:stable", layer(directory, "cron-1"))
    run("crane", "tag", f"{at}ops/cron:stable", "v1")
    push("ops/cron:stable", layer(directory, "cron-2"))
    run("crane", "tag", f"{at}ops/cron@{first}", "previous")
    gone = push("ops/cron:gone", layer(directory, "cron-3"))
    run("crane", "delete", f"{at}ops/cron@{gone}")
    pushed.deleted.append(f"{prefix}ops/cron@{gone}")

    pushed.tags = {
        name: digest
        for name, digest in Reader(registry).all_tags().items()
        if name.startswith(prefix)
    }
    return pushed
