"""What a running registry serves, read as a client does, each byte hashed."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from servers import Registry

# Without it a registry hides OCI manifests from us.
ACCEPT = (
    "application/vnd.oci.image.manifest.v1+json,application/vnd.oci.image.index.v1+json,"
    "application/vnd.docker.distribution.manifest.v2+json,"
    "application/vnd.docker.distribution.manifest.list.v2+json,*/*"
)


class Reader:
    """Reads images of one registry; what was read once is not read again."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.seen: set[tuple[str, str]] = set()

    def everything(self, tags: Mapping[str, str], revisions: Iterable[str] = ()) -> None:
        """Prove that each `repository:tag` is its digest, and that all of each image is served.

        `revisions` are `repository@digest`, tagged or not.
        """
        for name, digest in tags.items():
            repository, _, tag = name.rpartition(":")
            data = self._get(repository, "manifests", tag)
            assert sha256(data) == digest, f"{name} is {sha256(data)}, not {digest}"
            self.image(repository, digest)
        for name in revisions:
            repository, _, digest = name.partition("@")
            self.image(repository, digest)

    def image(self, repository: str, digest: str) -> None:
        """Prove that a manifest, what it lists and all of their blobs are served."""
        if (repository, digest) in self.seen:
            return
        manifest = json.loads(self._proven(repository, "manifests", digest))
        for child in manifest.get("manifests", ()):
            self.image(repository, child["digest"])
        blobs = [manifest["config"]] if "config" in manifest else []
        for blob in (*blobs, *manifest.get("layers", ())):
            if (repository, blob["digest"]) not in self.seen:
                size = len(self._proven(repository, "blobs", blob["digest"]))
                assert size == blob["size"]

    def tags(self, repository: str) -> set[str]:
        """The tags of a repository, up to 1,000."""
        try:
            listed = json.loads(self._read(f"/v2/{repository}/tags/list?n=1000"))
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:  # that is one whose manifests are all deleted
                    raise
                return set()
        return set(listed["tags"] or ())

    def repositories(self) -> set[str]:
        """All repositories, up to 1,000."""
        return set(json.loads(self._read("/v2/_catalog?n=1000"))["repositories"])

    def all_tags(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return `repository:tag` -> digest of all that the registry lists, without some."""
        found = {}
        for repository in self.repositories():
            for tag in self.tags(repository):
                name = f"{repository}:{tag}"
                if name not in without:
                    found[name] = sha256(self._get(repository, "manifests", tag))
        return found

    def _proven(self, repository: str, what: str, digest: str) -> bytes:
        data = self._get(repository, what, digest)
        assert sha256(data) == digest, f"{repository}@{digest} has other bytes"
        self.seen.add((repository, digest))
        return data

    def _get(self, repository: str, what: str, reference: str) -> bytes:
        return self._read(f"/v2/{repository}/{what}/{reference}")

    def _read(self, path: str) -> bytes:
        url = f"{self.registry.url}{path}"
        request = urllib.request.Request(url, headers={"Accept": ACCEPT})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            error.add_note(path)
            raise


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
