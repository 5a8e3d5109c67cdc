"""Build a throw-away sample registry, and change it as a day of pushes would.

It has one of everything that a registry's storage can hold: multi-platform and nested indexes,
layers shared between images and repositories, Docker's older formats, signatures and an SBOM as
referrers, revisions without a tag, tags with a history, a blob that no manifest needs. All is
written in a registry's order (blobs, layer links, revision links, a tag's history, its `current`),
and follows from the seed.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError
from regvault.ops.sample_images import (
    AMD64,
    ARM64,
    Blob,
    Content,
    Layer,
    Step,
    cosign_signature,
    extended,
    image,
    index,
    layer,
    noise,
    referrer,
    referrers_index,
    schema1,
    text,
)
from regvault.registry.layout import (
    blob_key,
    current_key,
    history_key,
    layer_key,
    repository_prefix,
    revision_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regvault.model.store import ObjectStore

__all__ = ["SampleChange", "SampleSummary", "build_sample", "change_sample"]

IMAGES = 60
LARGE = 1 << 20
APP_VERSIONS = 12
SERVICES = ("api", "auth", "billing", "cron", "mail", "orders", "search", "stock", "users", "web")
IMAGES_PER_SERVICE = 12
SIGNATURE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SBOM_TYPE = "application/spdx+json"

_CHANGED, _UNTAGGED = "team/app/tools", "team/app"


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What a sample registry holds.

    Attributes:
        repositories: their names, sorted.
        tags: `repository:tag` -> digest, sorted.
        revisions: manifests by repository, tagged or not.
        blobs: distinct blobs, manifests included.
        bytes: their size in all.
    """

    repositories: tuple[str, ...]
    tags: Mapping[str, str]
    revisions: int
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SampleChange:
    """What `change_sample` did.

    Attributes:
        pushed: new tags, `repository:tag` -> digest.
        moved: tags that point elsewhere now, `repository:tag` -> new digest.
        deleted: tags that are gone.
        added: the repository that is new.
        blobs: blobs that were not there before.
        bytes: their size in all.
    """

    pushed: Mapping[str, str]
    moved: Mapping[str, str]
    deleted: tuple[str, ...]
    added: str
    blobs: int
    bytes: int


def build_sample(
    store: ObjectStore,
    *,
    seed: int = 0,
    scale: int = 1,
    images: int = IMAGES,
    large: int = LARGE,
) -> SampleSummary:
    """Build a sample registry on an empty store; about 30 MB as it stands.

    Args:
        store: a registry's storage, at the root of its driver.
        seed: another one makes another registry.
        scale: how many times as many ordinary images.
        images: ordinary images at scale 1, besides one of everything that is special.
        large: size of the larger layers. Tests of other things make it small.
    """
    registry = _Registry(store)
    runtime = _base_images(registry, seed, large)
    _team_images(registry, seed, runtime, large)
    _legacy_images(registry, seed, runtime)
    _service_images(registry, seed, runtime.children[0], images * scale, large)
    store.barrier()
    return SampleSummary(
        tuple(sorted(registry.repositories)),
        dict(sorted(registry.tags.items())),
        len(registry.revisions),
        len(registry.written),
        sum(registry.written.values()),
    )


def change_sample(store: ObjectStore, *, seed: int = 1) -> SampleChange:
    """Do to a sample what a day does: push a tag, move one, delete one, add a repository.

    A tag goes only while that is less than a tenth of its repository. May be called again.
    """
    registry = _Registry(store)
    tags = registry.tags_of(_CHANGED)
    number = len(tags)
    before = registry.pull_image(tags["latest"])
    patch = layer(
        {
            "opt/tools/patch.txt": text(20_000, seed, "patch", number),
            "opt/tools/bin/tool": noise(60_000, seed, "patched", number),
        }
    )
    image_now = extended(before, Step("COPY patch /opt/tools", patch), created=10_000 + number)
    registry.push(_CHANGED, image_now, f"1.{number}")
    pushed = {f"{_CHANGED}:1.{number}": image_now.digest}
    registry.push(_CHANGED, image_now, "latest")
    moved = {f"{_CHANGED}:latest": image_now.digest}

    added = f"team/new-{seed}-{number}"
    own = Step("COPY app /srv", layer({"srv/app": noise(90_000, seed, added)}))
    fresh = extended(before, own, created=11_000 + number)
    registry.push(added, fresh, "1.0")
    pushed[f"{added}:1.0"] = fresh.digest

    deleted = []
    releases = sorted(
        (tag for tag in registry.tags_of(_UNTAGGED) if tag[:1] == "v"), key=lambda tag: int(tag[1:])
    )
    if len(releases) > 10:
        registry.untag(_UNTAGGED, releases[0])
        deleted.append(f"{_UNTAGGED}:{releases[0]}")
    store.barrier()
    written = registry.written
    return SampleChange(pushed, moved, tuple(deleted), added, len(written), sum(written.values()))


@dataclass(slots=True)
class _Registry:
    """A registry's storage as its server writes it, and what was pushed so far."""

    store: ObjectStore
    written: dict[str, int] = field(default_factory=dict)
    revisions: set[tuple[str, str]] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    repositories: set[str] = field(default_factory=set)
    _links: set[str] = field(default_factory=set)

    def push(self, repository: str, content: Content, *tags: str) -> None:
        """Push a manifest after everything below it, then its tags."""
        for child in content.children:
            self.push(repository, child)
        for blob in content.blobs:
            self.push_blob(repository, blob)
        self._store_blob(content.manifest)
        digest = content.digest
        self._link(revision_key(repository, digest), digest)
        self.repositories.add(repository)
        self.revisions.add((repository, digest))
        for tag in tags:
            self._link(history_key(repository, tag, digest), digest)
            self._link(current_key(repository, tag), digest, moves=True)
            self.tags[f"{repository}:{tag}"] = digest

    def push_blob(self, repository: str, blob: Blob) -> None:
        """Push a config, a layer, or a blob for nothing."""
        self._store_blob(blob)
        self._link(layer_key(repository, blob.digest), blob.digest)

    def untag(self, repository: str, tag: str) -> None:
        """Delete a tag with its history; its revision stays."""
        where = current_key(repository, tag).removesuffix("current/link")
        for key in [entry.key for entry in self.store.list(where)]:
            self.store.delete(key)

    def tags_of(self, repository: str) -> dict[str, str]:
        """Return tag -> digest."""
        found: dict[str, str] = {}
        for tag in self.store.list_prefixes(f"{repository_prefix(repository)}_manifests/tags/"):
            # On a file system the empty directory of a deleted tag stays.
            with contextlib.suppress(ObjectNotFoundError):
                found[tag] = self.store.get(current_key(repository, tag)).decode()
        return found

    def pull_image(self, digest: str) -> Content:
        """Return an OCI image that this module has pushed before."""
        manifest = json.loads(self._read_blob(digest))
        config = json.loads(self._read_blob(manifest["config"]["digest"]))
        layers = (
            Layer(self._read_blob(each["digest"]), diff_id)
            for each, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
        )
        steps = [
            Step(line["created_by"], None if line.get("empty_layer") else next(layers))
            for line in config["history"]
        ]
        platform = {key: config[key] for key in ("architecture", "os", "variant") if key in config}
        return image(steps, platform)

    def _read_blob(self, digest: str) -> bytes:
        return self.store.get(blob_key(digest))

    def _store_blob(self, blob: Blob) -> None:
        key = blob_key(blob.digest)
        # A registry keeps what is there.
        if blob.digest in self.written or self._exists(key):
            return
        _, _, name = blob.digest.partition(":")
        size = len(blob.data)
        self.store.put_stream(key, io.BytesIO(blob.data), size=size, sha256=name)
        self.written[blob.digest] = size

    def _exists(self, key: str) -> bool:
        try:
            self.store.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def _link(self, key: str, digest: str, *, moves: bool = False) -> None:
        if key in self._links and not moves:
            return
        self._links.add(key)
        data = digest.encode()
        # Not `put`: that would wait for the disk at each of a thousand links.
        self.store.put_stream(key, io.BytesIO(data), size=len(data))


def _base_images(registry: _Registry, seed: int, large: int) -> Content:
    """Push `library/base` and `library/runtime`; return the newest runtime, for two platforms."""
    for number, version in enumerate(("12", "13")):
        bases = []
        for platform in (AMD64, ARM64):
            words = (seed, "base", version, platform["architecture"])
            # The older one is a small one, so that the sample stays quick to build.
            size = 2 * large if version == "13" else large // 8
            files = {
                "etc/os-release": f'NAME="sample"\nVERSION_ID="{version}"\n'.encode(),
                "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
                "usr/bin/sh": noise(large // 8, *words, "sh"),
                "usr/lib/libc.so": noise(size, *words, "libc"),
                "usr/share/words": text(large // 8, *words),
            }
            steps = (Step("ADD rootfs.tar.gz /", layer(files)), Step('CMD ["/bin/sh"]'))
            bases.append(image(steps, platform, created=number))
        newest = index(bases)
        registry.push("library/base", newest, version, "latest")
    for number, version in enumerate(("3.12", "3.13")):
        runtimes = []
        for below in newest.children:
            words = (seed, "runtime", version, below.digest)
            files = {
                f"usr/lib/runtime/{version}/core": noise(large, *words),
                f"usr/lib/runtime/{version}/stdlib.txt": text(large // 16, *words),
                "usr/bin/runtime": noise(2_000, *words, "bin"),
            }
            install = Step(f"RUN install-runtime {version}", layer(files))
            registry.push("library/runtime", below)
            runtimes.append(extended(below, install, Step("ENV LANG=C.UTF-8"), created=10 + number))
        runtime = index(runtimes)
        registry.push("library/runtime", runtime, version, "latest")
    return runtime


def _team_images(registry: _Registry, seed: int, runtime: Content, large: int) -> None:
    """Push what the formats allow: history, referrers, nesting, revisions without a tag."""
    for number in range(1, APP_VERSIONS + 1):
        common = layer({"srv/app/settings.txt": text(3_000, seed, "settings")})
        builds = []
        for below in runtime.children:
            binary = layer({"srv/app/bin/app": noise(30_000, seed, "app", number, below.digest)})
            steps = (Step("COPY settings /srv/app", common), Step("COPY app /srv/app/bin", binary))
            builds.append(extended(below, *steps, created=100 + number))
        app = index(builds)
        registry.push("team/app", app, f"v{number}", "latest")

    fallback = app.digest.replace(":", "-")
    registry.push(
        "team/app",
        cosign_signature(app, "registry.example.com/team/app", seed=seed),
        f"{fallback}.sig",
    )
    packages = [{"name": f"library-{n}", "versionInfo": f"1.{n}"} for n in range(40)]
    sbom = referrer(app, SBOM_TYPE, {"spdxVersion": "SPDX-2.3", "packages": packages})
    signed = referrer(app, SIGNATURE_TYPE, {"signature": noise(32, seed, "bundle").hex()})
    registry.push("team/app", referrers_index([sbom, signed]), fallback)

    # Pushed by digest only, and built over and over at one tag: revisions without a tag.
    by_digest = extended(runtime.children[0], Step('LABEL by="digest"'), created=150)
    registry.push("team/app", by_digest)
    for number in range(3):
        nightly = layer({"srv/app/nightly.txt": text(9_000, seed, "nightly", number)})
        build = extended(runtime.children[0], Step("COPY nightly /srv", nightly), created=160)
        registry.push("team/app", build, "nightly")

    tools = layer(
        {
            "opt/tools/bin/tool": noise(large + 40_000, seed, "tool"),
            "opt/tools/README.txt": text(8_000, seed, "tool"),
        }
    )
    tool = extended(runtime.children[0], Step("COPY tools /opt/tools", tools), created=170)
    registry.push("team/app/tools", tool, "1.0", "latest")
    registry.push("team/app/tools", index([app, tool], name="bundle"), "bundle")
    # An upload whose manifest never came.
    left = layer({"tmp/left-behind": noise(50_000, seed, "left behind")})
    registry.push_blob("team/app/tools", left)


def _legacy_images(registry: _Registry, seed: int, runtime: Content) -> None:
    """Push Docker's formats, with the layers that the OCI images have too."""
    docker = []
    for below in runtime.children:
        own = layer({"srv/billing": noise(20_000, seed, "legacy", below.digest)})
        docker.append(extended(below, Step("COPY billing /srv", own), created=200, docker=True))
    registry.push("legacy/billing", docker[0], "1.0")
    registry.push("legacy/billing", index(docker, docker=True), "2.0")
    old = [step.layer for step in docker[0].steps if step.layer is not None]
    registry.push("legacy/billing", schema1("legacy/billing", "0.9", old), "0.9")


def _service_images(registry: _Registry, seed: int, below: Content, count: int, large: int) -> None:
    """Push ordinary images: a shared runtime, a few small layers, and a large one at the start."""
    for number, (repository, release) in enumerate(itertools.islice(_releases(count), count)):
        words = (seed, "service", repository, release)
        # Dependencies change every fourth release, the program changes every time.
        dependencies = (seed, "dependencies", repository, release // 4)
        size = large + 100_000 if release < 4 else 40_000
        steps = (
            Step("RUN install-packages", layer({"srv/lib/packages": noise(size, *dependencies)})),
            Step("COPY config /etc/service", layer({"etc/service.txt": text(2_000, *words)})),
            Step("COPY service /srv/bin", layer({"srv/bin/service": noise(15_000, *words)})),
            Step(f'LABEL version="{release}"'),
        )
        built = extended(
            below,
            *steps,
            created=300 + number,
            labels={"version": f"1.{release}", "team": "sample"},
        )
        registry.push(repository, built, f"1.{release}", "latest")
        if number % 7 == 0:
            name = f"registry.example.com/{repository}"
            signature = cosign_signature(built, name, seed=seed)
            registry.push(repository, signature, built.digest.replace(":", "-") + ".sig")


def _releases(count: int) -> Iterator[tuple[str, int]]:
    """Yield (repository, number of its release) for about `count` images, spread evenly."""
    groups = -(-count // (IMAGES_PER_SERVICE * len(SERVICES)))
    for release in range(IMAGES_PER_SERVICE):
        for group in range(groups):
            for name in SERVICES:
                yield f"service/{name}" if group == 0 else f"service/{name}-{group}", release
