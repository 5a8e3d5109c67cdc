"""Write an OCI image layout, which skopeo, crane and oras read.

    oci-layout                 {"imageLayoutVersion": "1.0.0"}
    blobs/<alg>/<hex>
    index.json                 one descriptor for each tag

Source: OCI image specification 1.1, `image-layout.md`.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, PreconditionError, RefusedError
from regvault.oci.grammar import is_digest, is_repository, is_tag, parse_digest
from regvault.oci.manifest import (
    MAX_MANIFEST_SIZE,
    InvalidManifestError,
    Manifest,
    parse_manifest,
)
from regvault.oci.media import OCI_INDEX
from regvault.registry.writer import BlobWriter, refusing_bad_names

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from regvault.model.store import ObjectStore

__all__ = ["REF_NAME", "OciLayoutTarget"]

REF_NAME = "org.opencontainers.image.ref.name"
_MARK = "oci-layout"
_INDEX = "index.json"
_VERSION = "1.0.0"
# An index.json of a hundred thousand tags has about 25 MB.
_MAX_INDEX = 256 * 1024 * 1024
_TRIES = 5


class OciLayoutTarget(BlobWriter):
    """An OCI image layout in the root of a store (implements RegistryTarget). Thread-safe.

    A restore writes it as it writes a registry: blobs, links, tags, then `finish`, which makes
    all blobs durable and only then writes `index.json`. Until then no reader sees anything new,
    and without it nothing was exported. An index.json that is there is kept and added to.

    - `put_tag` becomes a descriptor with `org.opencontainers.image.ref.name`; one of the same name
      loses it. The manifest must have been written before.
    - `put_revision` becomes a descriptor without a name where nothing else would lead to it:
      of a manifest with a `subject` (a signature, an SBOM), and, if no tag is written at all,
      of each that no index lists.
    - layers and histories have no place in a layout.

    Args:
        store: an empty one, or one with a layout. It is closed with the target.
        full_names: name descriptors `repository:tag` instead of `tag`. skopeo finds both; oras
            takes only plain tags, so it is for layouts of several repositories.
    """

    def __init__(self, store: ObjectStore, *, full_names: bool = False) -> None:
        super().__init__(store)
        self._full_names = full_names
        self._lock = threading.Lock()
        # Name -> digest, and digests of revisions, since the last `finish`.
        self._tags: dict[str, str] = {}
        self._revisions: set[str] = set()
        self._owners: dict[str, str] = {}  # name -> repository
        self._has_names = False  # of tags that were asked for

    blobs = "blobs"

    def blob_key(self, digest: str) -> str:
        """Return where a blob belongs. Raises InvalidNameError."""
        algorithm, digits = parse_digest(digest)
        return f"blobs/{algorithm}/{digits}"

    def existing(self) -> Iterator[tuple[str, int]]:
        """Yield (digest, size) of the blobs that are there."""
        for entry in self._store.list(f"{self.blobs}/"):
            algorithm, _, digits = entry.key.removeprefix(f"{self.blobs}/").partition("/")
            digest = f"{algorithm}:{digits}"
            if is_digest(digest):
                yield digest, entry.size

    def put_layer(self, repository: str, digest: str) -> bool:
        """Do nothing."""
        del repository, digest
        return False

    def put_revision(self, repository: str, digest: str) -> bool:
        """Remember a manifest that may need a descriptor of its own; return whether it was new."""
        del repository
        with refusing_bad_names():
            parse_digest(digest)
        with self._lock:
            new = digest not in self._revisions
            self._revisions.add(digest)
        return new

    def put_links(
        self,
        repository: str,
        *,
        layers: Iterable[str],
        revisions: Iterable[str],
        history: Iterable[tuple[str, str]],
    ) -> int:
        """Note revisions, in `put_revision`'s way; return how many."""
        del layers, history
        return sum(self.put_revision(repository, digest) for digest in revisions)

    def put_tags(
        self, repository: str, tags: Mapping[str, str], *, only_new: Container[str] = ()
    ) -> list[str]:
        """Note tags, in `put_tag`'s way; nobody pushes to a layout meanwhile."""
        del only_new
        for tag, digest in tags.items():
            self.put_tag(repository, tag, digest)
        return []

    def put_history(self, repository: str, tag: str, digest: str) -> bool:
        """Do nothing."""
        del repository, tag, digest
        return False

    def put_tag(self, repository: str, tag: str, digest: str) -> None:
        """Let `finish` write a descriptor for a tag.

        Raises:
            RefusedError: two repositories have a tag of this name, and names are not full.
        """
        if not is_repository(repository) or not is_tag(tag):
            raise RefusedError(f"refused to write: not an image's name: {repository}:{tag}"[:500])
        with refusing_bad_names():
            parse_digest(digest)
        name = self._name(repository, tag)
        with self._lock:
            other = self._owners.setdefault(name, repository)
            if other != repository:
                raise RefusedError(
                    f"both {other} and {repository} have a tag {tag}; a layout has each name once",
                    hint="export one repository at a time, or with full names",
                )
            self._tags[name] = digest

    def tag(self, repository: str, tag: str) -> str | None:
        """Return the digest that the layout has under the tag's name, or None."""
        name = self._name(repository, tag)
        with self._lock:
            if name in self._tags:
                return self._tags[name]
        for descriptor in self._read_index()[0]["manifests"]:
            if _name_of(descriptor) == name:
                digest = descriptor.get("digest")
                self._has_names = True
                return digest if isinstance(digest, str) else ""
        return None

    def finish(self) -> None:
        """Make all blobs durable, then write `oci-layout` and `index.json`.

        Raises:
            RefusedError: what is there is no layout of this version, or a manifest that was
                tagged was not written.
        """
        self.barrier()
        with self._lock:
            tags, self._tags = self._tags, {}
            revisions, self._revisions = self._revisions, set()
            try:
                if tags or revisions:
                    self._commit(tags, revisions)
            except BaseException:
                self._tags = tags | self._tags
                self._revisions |= revisions
                raise

    def _name(self, repository: str, tag: str) -> str:
        return f"{repository}:{tag}" if self._full_names else tag

    def _commit(self, tags: dict[str, str], revisions: set[str]) -> None:
        new = [self._descriptor(digest, name) for name, digest in sorted(tags.items())]
        new += self._unnamed(revisions - set(tags.values()), named=bool(tags) or self._has_names)
        self._mark()
        for _ in range(_TRIES):
            index, etag = self._read_index()
            _merge(index["manifests"], new)
            data = json.dumps(index, indent=2).encode()
            try:
                if etag is None:
                    self._store.put(_INDEX, data, if_none_match=True)
                else:
                    self._store.put(_INDEX, data, if_match=etag)
            except PreconditionError:
                continue
            return
        raise RefusedError(f"{_INDEX} in {self.location} is being changed by something else")

    def _mark(self) -> None:
        mark = json.dumps({"imageLayoutVersion": _VERSION}).encode()
        try:
            self._store.put(_MARK, mark, if_none_match=True)
        except PreconditionError:
            there = _load(self._store.get(_MARK, length=4096), _MARK, self.location)
            version = there.get("imageLayoutVersion")
            if version != _VERSION:
                raise RefusedError(
                    f"{self.location} is a layout of version {version!r}, not {_VERSION}"
                ) from None

    def _read_index(self) -> tuple[dict[str, Any], str | None]:
        """Return index.json, or an empty one, and its etag."""
        try:
            etag = self._store.head(_INDEX).etag
            data = self._store.get(_INDEX, length=_MAX_INDEX)
        except ObjectNotFoundError:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, None
        index = _load(data, _INDEX, self.location)
        listed = index.setdefault("manifests", [])
        if not isinstance(listed, list) or not all(
            isinstance(each, dict) and isinstance(each.get("digest"), str) for each in listed
        ):
            raise RefusedError(f"{_INDEX} in {self.location} lists no manifests")
        return index, etag

    def _manifest(self, digest: str) -> Manifest:
        try:
            data = self._store.get(self.blob_key(digest), length=MAX_MANIFEST_SIZE + 1)
            return parse_manifest(data)
        except ObjectNotFoundError as error:
            raise RefusedError(
                f"the manifest {digest} was not written to {self.location}"
            ) from error
        except InvalidManifestError as error:
            raise RefusedError(f"{digest} cannot be listed in a layout: {error}") from error

    def _descriptor(self, digest: str, name: str = "") -> dict[str, Any]:
        manifest = self._manifest(digest)
        found: dict[str, Any] = {
            "mediaType": manifest.media_type,
            "digest": digest,
            "size": manifest.size,
        }
        if manifest.artifact_type:
            found["artifactType"] = manifest.artifact_type
        if name:
            found["annotations"] = {REF_NAME: name}
        return found

    def _unnamed(self, revisions: set[str], *, named: bool) -> list[dict[str, Any]]:
        """Return descriptors of those manifests that nothing else leads to."""
        manifests: dict[str, Manifest] = {}
        for digest in sorted(revisions):
            try:
                manifests[digest] = self._manifest(digest)
            except RefusedError:
                continue  # damaged or missing at the source, and no tag wants it
        listed = {child.digest for each in manifests.values() for child in each.children}
        return [
            self._descriptor(digest)
            for digest, manifest in manifests.items()
            if manifest.subject is not None or (not named and digest not in listed)
        ]


def _load(data: bytes, what: str, location: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            f"{what} in {location} is not JSON", hint="export into an empty directory"
        ) from error
    if not isinstance(body, dict):
        raise RefusedError(f"{what} in {location} is no OCI image layout's")
    return body


def _name_of(descriptor: dict[str, Any]) -> str | None:
    annotations = descriptor.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _without_name(descriptor: dict[str, Any]) -> dict[str, Any]:
    annotations = {k: v for k, v in descriptor["annotations"].items() if k != REF_NAME}
    bare = {k: v for k, v in descriptor.items() if k != "annotations"}
    return {**bare, "annotations": annotations} if annotations else bare


def _merge(manifests: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """Add descriptors in place: a name moves to the new one, one without a name is there once.

    What had the name stays in the index without it: no image is lost with its name.
    """
    by_name = {name: at for at, each in enumerate(manifests) if (name := _name_of(each))}
    digests = {each.get("digest") for each in manifests}
    for descriptor in new:
        name = _name_of(descriptor)
        if name in by_name:
            before = manifests[by_name[name]]
            manifests[by_name[name]] = descriptor
            if all(each.get("digest") != before.get("digest") for each in manifests):
                manifests.append(_without_name(before))
        elif name is not None or descriptor["digest"] not in digests:
            manifests.append(descriptor)
        digests.add(descriptor["digest"])
