"""Images for the sample registry: real layers, configs and manifests, made up from a seed.

Pure: the same arguments give the same bytes (with the same zlib), so a sample can be built twice
and compared. Nothing here knows how a registry stores them, that is `regvault.ops.sample`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.oci.media import DOCKER_IMAGE, DOCKER_INDEX, DOCKER_SCHEMA1, OCI_IMAGE, OCI_INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AMD64",
    "ARM64",
    "Blob",
    "Content",
    "Layer",
    "Step",
    "cosign_signature",
    "extended",
    "image",
    "index",
    "layer",
    "noise",
    "referrer",
    "referrers_index",
    "schema1",
    "text",
]

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"

AMD64 = {"architecture": "amd64", "os": "linux"}
ARM64 = {"architecture": "arm64", "os": "linux", "variant": "v8"}

_EPOCH = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)

Json = dict[str, Any]


class Blob:
    """Some bytes and their digest."""

    __slots__ = ("data", "digest")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.digest = f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layer(Blob):
    """A gzip'd tar; `diff_id` is the digest of the tar inside."""

    __slots__ = ("diff_id",)

    def __init__(self, data: bytes, diff_id: str) -> None:
        super().__init__(data)
        self.diff_id = diff_id


class Step(NamedTuple):
    """One line of an image's history; without a layer it only changed the config."""

    created_by: str
    layer: Layer | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest with everything below it, as a client has it before it pushes.

    Attributes:
        media_type: the manifest's.
        manifest: the manifest itself.
        blobs: its config and layers, in the order of the manifest.
        children: the manifests that an index names.
        platform: what an index says of it, or None.
        artifact_type: what a list of referrers says of it, or "".
        steps: an image's history, to extend it.
    """

    media_type: str
    manifest: Blob
    blobs: tuple[Blob, ...] = ()
    children: tuple[Content, ...] = ()
    platform: Json | None = None
    artifact_type: str = ""
    steps: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.manifest.digest


def noise(size: int, *words: object) -> bytes:
    """Return bytes that do not compress, the same for the same words."""
    return hashlib.shake_128("/".join(map(str, words)).encode()).digest(size)


def text(size: int, *words: object) -> bytes:
    """Return lines of text that compress, the same for the same words."""
    line = noise(24, *words).hex()
    lines = (f"{number:06d} {line[number % 40 :]}\n" for number in range(size // 32 + 1))
    return "".join(lines).encode()[:size]


def layer(files: Mapping[str, bytes]) -> Layer:
    """Return a layer with these files, their directories before them."""
    raw = io.BytesIO()
    made: set[str] = set()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                directory = "/".join(parts[:depth])
                if directory not in made:
                    made.add(directory)
                    tar.addfile(_member(directory, kind=tarfile.DIRTYPE, mode=0o755))
            mode = 0o755 if "bin" in parts[:-1] else 0o644
            tar.addfile(_member(path, mode=mode, size=len(data)), io.BytesIO(data))
    plain = raw.getvalue()
    # zlib's own gzip header has no file name and the time 0. Level 1: most of it is noise anyway.
    packer = zlib.compressobj(level=1, wbits=31)
    packed = packer.compress(plain) + packer.flush()
    return Layer(packed, f"sha256:{hashlib.sha256(plain).hexdigest()}")


def image(
    steps: Sequence[Step],
    platform: Json,
    *,
    created: int = 0,
    labels: Mapping[str, str] | None = None,
    docker: bool = False,
) -> Content:
    """Return an image: OCI, or Docker's schema 2.

    Args:
        steps: its history, oldest first; at least one has a layer.
        platform: what it runs on.
        created: minutes after the sample's first day; makes otherwise equal images differ.
        labels: for its config.
        docker: Docker's media types and layout of the JSON, with the same layers.
    """
    layers = [step.layer for step in steps if step.layer is not None]
    config_json: Json = {
        "created": _time(created),
        **platform,
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Cmd": ["/usr/local/bin/run"],
            "WorkingDir": "/",
            "Labels": dict(labels or {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        "history": [_history(step, _time(created)) for step in steps],
    }
    config = Blob(_json(config_json))
    media_type = DOCKER_IMAGE if docker else OCI_IMAGE
    body: Json = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config, DOCKER_CONFIG if docker else OCI_CONFIG),
        "layers": [_descriptor(each, DOCKER_LAYER if docker else OCI_LAYER) for each in layers],
    }
    return Content(
        media_type,
        Blob(_json(body, indent=3 if docker else None)),
        blobs=(config, *layers),
        platform=platform,
        steps=tuple(steps),
    )


def extended(
    below: Content,
    *steps: Step,
    created: int = 0,
    labels: Mapping[str, str] | None = None,
    docker: bool = False,
) -> Content:
    """Return an image with the layers of `below` and more on top."""
    assert below.platform is not None
    return image(
        (*below.steps, *steps), below.platform, created=created, labels=labels, docker=docker
    )


def index(children: Sequence[Content], *, docker: bool = False, name: str | None = None) -> Content:
    """Return an index of images or of further indexes; with `docker` a manifest list."""
    body: Json = {
        "schemaVersion": 2,
        "mediaType": DOCKER_INDEX if docker else OCI_INDEX,
        "manifests": [
            _descriptor(child.manifest, child.media_type, platform=child.platform)
            for child in children
        ],
    }
    if name is not None:
        body["annotations"] = {"org.opencontainers.image.title": name}
    return Content(
        body["mediaType"],
        Blob(_json(body, indent=3 if docker else None)),
        children=tuple(children),
    )


def schema1(repository: str, tag: str, layers: Sequence[Layer]) -> Content:
    """Return a Docker schema 1 image as a registry stores it: the payload without signatures.

    Args:
        repository: schema 1 manifests name themselves.
        tag: the same.
        layers: oldest first.
    """
    history: list[Json] = []
    parent = None
    for number, each in enumerate(layers):
        ident = hashlib.sha256(f"{parent}{each.digest}".encode()).hexdigest()
        version: Json = {"id": ident, "created": _time(number), "os": "linux"}
        version |= {"architecture": "amd64", "config": {"Cmd": ["/usr/local/bin/run"]}}
        if parent is not None:
            version["parent"] = parent
        history.append({"v1Compatibility": _json(version).decode()})
        parent = ident
    body = {
        "schemaVersion": 1,
        "name": repository,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": each.digest} for each in reversed(layers)],
        "history": history[::-1],
    }
    return Content(DOCKER_SCHEMA1, Blob(_json(body, indent=3)), blobs=tuple(layers))


def cosign_signature(subject: Content, reference: str, *, seed: int) -> Content:
    """Return what cosign stores at the tag `sha256-<hex>.sig`; only its shape, no key signed it."""
    payload = Blob(
        _json(
            {
                "critical": {
                    "identity": {"docker-reference": reference},
                    "image": {"docker-manifest-digest": subject.digest},
                    "type": "cosign container image signature",
                },
                "optional": None,
            }
        )
    )
    config = Blob(
        _json(
            {
                "architecture": "",
                "created": "0001-01-01T00:00:00Z",
                "history": [{"created": "0001-01-01T00:00:00Z"}],
                "os": "",
                "rootfs": {"type": "layers", "diff_ids": [payload.digest]},
                "config": {},
            }
        )
    )
    signature = base64.b64encode(noise(71, seed, "signature", subject.digest)).decode()
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": _descriptor(config, OCI_CONFIG),
        "layers": [
            _descriptor(
                payload,
                COSIGN_PAYLOAD,
                annotations={"dev.cosignproject.cosign/signature": signature},
            )
        ],
    }
    return Content(OCI_IMAGE, Blob(_json(body)), blobs=(config, payload))


def referrer(subject: Content, artifact_type: str, payload: Json) -> Content:
    """Return an artifact about `subject`: it names its subject, the subject knows nothing of it."""
    config = Blob(b"{}")
    data = Blob(_json(payload))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": artifact_type,
        "config": _descriptor(config, OCI_EMPTY),
        "layers": [_descriptor(data, artifact_type)],
        "subject": _descriptor(subject.manifest, subject.media_type),
    }
    return Content(OCI_IMAGE, Blob(_json(body)), (config, data), artifact_type=artifact_type)


def referrers_index(referrers: Sequence[Content]) -> Content:
    """Return what clients keep at the tag `sha256-<hex>` where a registry lists no referrers."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            _descriptor(each.manifest, each.media_type, artifactType=each.artifact_type)
            for each in referrers
        ],
    }
    return Content(OCI_INDEX, Blob(_json(body)), children=tuple(referrers))


def _descriptor(blob: Blob, media_type: str, **more: object) -> Json:
    present = {name: value for name, value in more.items() if value}
    return {
        "mediaType": media_type,
        "digest": blob.digest,
        "size": len(blob.data),
        **present,
    }


def _history(step: Step, created: str) -> Json:
    line: Json = {"created": created, "created_by": step.created_by}
    if step.layer is None:
        line["empty_layer"] = True
    return line


def _member(
    name: str, *, mode: int, size: int = 0, kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    member.mtime = int(_EPOCH.timestamp())
    member.uname = member.gname = "root"
    return member


def _time(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Json, *, indent: int | None = None) -> bytes:
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, indent=indent, separators=separators).encode()
