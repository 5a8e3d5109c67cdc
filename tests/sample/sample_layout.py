"""Reads a sample with nothing of regvault's own reader, to judge both by the same facts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass, field
from functools import cached_property

BASE = "docker/registry/v2"
LINK = re.compile(
    BASE + r"/repositories/(?P<repository>.+)/"
    r"(?:_layers/(?P<layer>[^/]+/[^/]+)"
    r"|_manifests/revisions/(?P<revision>[^/]+/[^/]+)"
    r"|_manifests/tags/(?P<tag>[^/]+)/(?:index/(?P<index>[^/]+/[^/]+)|(?P<current>current)))/link",
)
BLOB = re.compile(BASE + r"/blobs/(?P<alg>[^/]+)/(?P<two>..)/(?P<hex>(?P=two)[^/]+)/data")


@dataclass
class Repository:
    layers: set[str] = field(default_factory=set)
    revisions: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, set[str]] = field(default_factory=dict)


class Layout:
    """What the keys and links of a store say; any key that no registry writes is an error."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        for key, data in objects.items():
            if blob := BLOB.fullmatch(key):
                self.blobs[f"{blob['alg']}:{blob['hex']}"] = data
                continue
            link = LINK.fullmatch(key)
            assert link, key
            repository = self.repositories.setdefault(link["repository"], Repository())
            digest = data.decode()
            named = link["layer"] or link["revision"] or link["index"]
            assert named is None or named.replace("/", ":") == digest, key
            if link["layer"]:
                repository.layers.add(digest)
            elif link["revision"]:
                repository.revisions.add(digest)
            elif link["index"]:
                repository.history.setdefault(link["tag"], set()).add(digest)
            else:
                repository.tags[link["tag"]] = digest

    def manifest(self, digest: str) -> dict:
        return json.loads(self.blobs[digest])

    @cached_property
    def manifests(self) -> dict[str, dict]:
        """Every revision of every repository."""
        digests = {d for each in self.repositories.values() for d in each.revisions}
        return {digest: self.manifest(digest) for digest in sorted(digests)}

    def images(self) -> dict[str, dict]:
        """Those manifests that are images: their config says how their layers unpack."""
        return {
            digest: manifest
            for digest, manifest in self.manifests.items()
            if "tar" in manifest.get("layers", [{"mediaType": ""}])[0]["mediaType"]
        }

    def media_types(self) -> set[str]:
        return {manifest.get("mediaType", "schema 1") for manifest in self.manifests.values()}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def unpacked(layer: bytes) -> tuple[str, dict[str, bytes]]:
    """The diff_id of a layer, and its files."""
    plain = gzip.decompress(layer)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    return sha256(plain), files
