"""Build small registries by hand: whole images, and every state that a crash may leave.

Works on any ObjectStore. Nothing here uses regvault's own layout or manifests, so that a mistake
there does not hide itself.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore

BASE = "docker/registry/v2"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def path(digest: str) -> str:
    return digest.replace(":", "/", 1)


@dataclass(frozen=True)
class Image:
    """What was placed: digests, and the manifest's bytes."""

    digest: str
    manifest: bytes
    config: str
    layers: tuple[str, ...]


class Builder:
    """Places things in a store as a registry would, in its order."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def write(self, key: str, data: bytes) -> str:
        """Place anything, below `docker/registry/v2/`; return the whole key."""
        self.store.put_stream(f"{BASE}/{key}", io.BytesIO(data), size=len(data))
        return f"{BASE}/{key}"

    def blob(self, data: bytes, *, digest: str | None = None) -> str:
        """Place a blob, at the path of another digest where that is given."""
        digest = digest or digest_of(data)
        algorithm, digits = digest.split(":")
        self.write(f"blobs/{algorithm}/{digits[:2]}/{digits}/data", data)
        return digest

    def layer(self, repository: str, digest: str, content: bytes | None = None) -> str:
        return self._link(f"repositories/{repository}/_layers/{path(digest)}", digest, content)

    def revision(self, repository: str, digest: str, content: bytes | None = None) -> str:
        where = f"repositories/{repository}/_manifests/revisions/{path(digest)}"
        return self._link(where, digest, content)

    def history(self, repository: str, tag: str, digest: str, content: bytes | None = None) -> str:
        where = f"repositories/{repository}/_manifests/tags/{tag}/index/{path(digest)}"
        return self._link(where, digest, content)

    def current(self, repository: str, tag: str, digest: str, content: bytes | None = None) -> str:
        where = f"repositories/{repository}/_manifests/tags/{tag}/current"
        return self._link(where, digest, content)

    def _link(self, where: str, digest: str, content: bytes | None) -> str:
        return self.write(f"{where}/link", digest.encode() if content is None else content)

    def tag(self, repository: str, tag: str, digest: str) -> None:
        self.history(repository, tag, digest)
        self.current(repository, tag, digest)

    def image(self, repository: str, *tags: str, seed: object = 0, layers: int = 2) -> Image:
        """Push an OCI image whose layers are a few bytes that follow from the seed."""
        placed = [self.blob(f"layer {seed} {number}".encode()) for number in range(layers)]
        config_data = json.dumps({"seed": repr(seed)}).encode()
        config = self.blob(config_data)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_IMAGE,
                "config": {"mediaType": OCI_CONFIG, "digest": config, "size": len(config_data)},
                "layers": [
                    {"mediaType": OCI_LAYER, "digest": each, "size": len(f"layer {seed} {number}")}
                    for number, each in enumerate(placed)
                ],
            }
        ).encode()
        for each in (config, *placed):
            self.layer(repository, each)
        return self._manifest(repository, manifest, tags, config, tuple(placed))

    def index(self, repository: str, *tags: str, children: list[Image]) -> Image:
        """Push an OCI index of images that this repository has."""
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [
                    {"mediaType": OCI_IMAGE, "digest": each.digest, "size": len(each.manifest)}
                    for each in children
                ],
            }
        ).encode()
        return self._manifest(repository, manifest, tags, "", ())

    def _manifest(
        self,
        repository: str,
        manifest: bytes,
        tags: tuple[str, ...],
        config: str,
        layers: tuple[str, ...],
    ) -> Image:
        digest = self.blob(manifest)
        self.revision(repository, digest)
        for tag in tags:
            self.tag(repository, tag, digest)
        return Image(digest, manifest, config, layers)
