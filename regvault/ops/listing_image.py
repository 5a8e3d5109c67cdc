"""One image of a snapshot: index, manifests, configs and layers; and what refers to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import NotFoundError, UsageError
from regvault.oci.manifest import InvalidManifestError, load_json_object
from regvault.oci.media import MANIFESTS
from regvault.ops.images import Images
from regvault.ops.listing import closure_bytes, damaged_images, find_repository, marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.oci.manifest import Descriptor, Manifest
    from regvault.ops.images import RepositoryState
    from regvault.ops.opened import Opened
    from regvault.policy.references import Reference

__all__ = ["ImageNode", "ImageTree", "Referrer", "show_image"]

_MAX_DEPTH = 32
_MAX_TEXT = 200


@dataclass(slots=True)
class ImageNode:
    """One manifest, config or layer.

    Attributes:
        kind: `index`, `image`, `artifact`, `manifest` (one that cannot be walked, or is not
            there), `config`, `layer` or `blob` (of an artifact, or of an index).
        digest: of it.
        media_type: "" where none is stated.
        size: bytes; None where it is neither stated nor held.
        held: the snapshot has it.
        foreign: its absence is normal: registries do not distribute it.
        platform: `os/architecture[/variant]`, or "".
        created: when it was built, as its config says, or "".
        artifact_type: or "".
        repeated: it is in this tree already, and is not shown again.
        children: in their order.
    """

    kind: str
    digest: str
    media_type: str = ""
    size: int | None = None
    held: bool = True
    foreign: bool = False
    platform: str = ""
    created: str = ""
    artifact_type: str = ""
    repeated: bool = False
    children: list[ImageNode] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document; the fields are the attributes."""
        return {
            "kind": self.kind,
            "digest": self.digest,
            "media_type": self.media_type or None,
            "size": self.size,
            "held": self.held,
            "foreign": self.foreign,
            "platform": self.platform or None,
            "created": self.created or None,
            "artifact_type": self.artifact_type or None,
            "repeated": self.repeated,
            "children": [child.to_json() for child in self.children],
        }


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that refers to a part of an image: a signature, an SBOM.

    Attributes:
        subject: what it refers to.
        node: the referrer.
        tags: that point to it.
    """

    subject: str
    node: ImageNode
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document: `subject`, `tags`, and the fields of a node."""
        return {"subject": self.subject, "tags": list(self.tags), **self.node.to_json()}


@dataclass(frozen=True, slots=True)
class ImageTree:
    """One image.

    Attributes:
        repository: it is in.
        tag: that was asked for, or None.
        tags: all that point to it.
        root: the manifest that is meant.
        nbytes: of all that a pull of all platforms gets, as far as the snapshot holds it.
        marks: what is wrong, as in a list.
        referrers: of it and of what is below it.
        history: (digest, whether the snapshot holds the manifest) that the tag has pointed to.
    """

    repository: str
    tag: str | None
    tags: tuple[str, ...]
    root: ImageNode
    nbytes: int
    marks: tuple[str, ...]
    referrers: tuple[Referrer, ...]
    history: tuple[tuple[str, bool], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document of `ls [SNAPSHOT] REPO:TAG`.

        `repository`; `tag`: that was asked for, or null; `tags`: all that point there; `digest`.
        `bytes`: of all that a pull of all platforms gets, each blob once. `marks`: what is wrong:
        `unreadable`, `dangling`, `missing`, `damaged`. `image`: a node: `kind` (`index`, `image`,
        `artifact`, `manifest` where it cannot be walked, `config`, `layer`, `blob`), `digest`,
        `media_type`, `size`, `held` (the snapshot has it), `foreign` (its absence is normal),
        `platform`, `created`, `artifact_type`, `repeated` (shown in this tree before), `children`.
        `referrers`: nodes with their `subject` and `tags`. `history`: `digest` and `held` of what
        the tag has pointed to, in no order of time.
        """
        return {
            "repository": self.repository,
            "tag": self.tag,
            "tags": list(self.tags),
            "digest": self.root.digest,
            "bytes": self.nbytes,
            "marks": list(self.marks),
            "image": self.root.to_json(),
            "referrers": [referrer.to_json() for referrer in self.referrers],
            "history": [{"digest": digest, "held": held} for digest, held in self.history],
        }


def show_image(opened: Opened, reference: Reference) -> ImageTree:
    """Return the tree of one image.

    Raises:
        NotFoundError: there is no such repository, tag or manifest; or the tag points nowhere.
        UsageError: the short digest is that of several.
    """
    entry = find_repository(opened, reference.repository)
    state = opened.state(entry)
    digest = _digest(opened, state, reference)
    opened.expect(len(state.revisions))
    images = Images(state, opened.read)
    walker = _Walker(opened, images)
    root = walker.node(digest)
    everything = images.manifests_of(digest, referrers=False) | {digest}
    referrers = tuple(
        Referrer(subject, walker.summary(other), _tags(state, other))
        for subject, others in sorted(images.referrers().items())
        if subject in everything
        for other in sorted(others)
        if other
    )
    return ImageTree(
        repository=reference.repository,
        tag=reference.tag,
        tags=_tags(state, digest),
        root=root,
        nbytes=closure_bytes(images, digest, state.held()),
        marks=marks(state, reference.tag, digest, damaged_images(opened, reference.repository)),
        referrers=referrers,
        history=tuple(
            (was, state.revisions.get(was, ("", None))[1] is not None)
            for tag, was in state.history
            if tag == reference.tag
        ),
    )


def _tags(state: RepositoryState, digest: str) -> tuple[str, ...]:
    return tuple(sorted(tag for tag, where in state.tags.items() if where == digest))


def _digest(opened: Opened, state: RepositoryState, reference: Reference) -> str:
    name = opened.root.name
    if reference.tag is not None:
        where = state.tags.get(reference.tag)
        if where:
            return where
        if where == "":
            raise NotFoundError(
                f"where {reference} pointed was lost at the source before snapshot {name}",
                hint=f"See an older snapshot: regvault find {reference}",
            )
        raise NotFoundError(
            f"snapshot {name} has no {reference}",
            hint=f"See its tags: regvault ls {name} {reference.repository}. See other snapshots: "
            f"regvault find {reference}",
        )
    assert reference.digest is not None
    found = [d for d in state.revisions if d.startswith(reference.digest)]
    if not found:
        raise NotFoundError(
            f"snapshot {name} has no manifest {reference}",
            hint=f"See what has it: regvault find {reference.digest}",
        )
    if len(found) > 1:
        raise UsageError(
            f"{reference.digest} is the beginning of {len(found)} digests: {', '.join(found[:5])}",
            hint="Give more digits.",
        )
    return found[0]


class _Walker:
    def __init__(self, opened: Opened, images: Images) -> None:
        self._opened = opened
        self._images = images
        self._state = images.state
        self._held = images.state.held()
        self._seen: set[str] = set()

    def summary(self, digest: str) -> ImageNode:
        """Return a manifest without what is below it."""
        media_type, size = self._state.revisions.get(digest, ("", None))
        node = ImageNode("manifest", digest, media_type, size, held=size is not None)
        manifest = self._images.manifest(digest)
        if manifest is not None:
            node.media_type = manifest.media_type
            node.artifact_type = manifest.artifact_type
            node.kind = _kind(manifest)
        return node

    def node(self, digest: str, depth: int = 0) -> ImageNode:
        """Return a manifest with what is below it."""
        node = self.summary(digest)
        if digest in self._seen:
            node.repeated = True
            return node
        self._seen.add(digest)
        manifest = self._images.manifest(digest)
        if manifest is None or depth > _MAX_DEPTH:
            return node
        if manifest.is_index:
            platforms = _platforms(self._opened.read(digest))
            for child, platform in zip(manifest.children, platforms, strict=False):
                node.children.append(self._child(child, platform, depth))
            return node
        if manifest.config is not None:
            node.platform, node.created = self._config(manifest.config)
            node.children.append(self._blob("config", manifest.config))
        kind = "layer" if node.kind == "image" else "blob"
        node.children += [self._blob(kind, layer) for layer in manifest.layers]
        return node

    def _child(self, child: Descriptor, platform: str, depth: int) -> ImageNode:
        if child.digest in self._state.revisions:
            node = self.node(child.digest, depth + 1)
        elif child.media_type in MANIFESTS:
            size = child.size if child.size >= 0 else None
            node = ImageNode("manifest", child.digest, child.media_type, size, held=False)
            node.foreign = child.foreign
        else:
            node = self._blob("blob", child)
        node.platform = platform or node.platform
        return node

    def _blob(self, kind: str, blob: Descriptor) -> ImageNode:
        held = self._held.get(blob.digest)
        size = blob.size if blob.size >= 0 else held
        return ImageNode(
            kind, blob.digest, blob.media_type, size, held=held is not None, foreign=blob.foreign
        )

    def _config(self, config: Descriptor) -> tuple[str, str]:
        """Return the platform and the time of building that a config states."""
        if config.digest not in self._held or not config.media_type.endswith("+json"):
            return "", ""
        try:
            body = load_json_object(self._opened.read(config.digest))
        except InvalidManifestError:
            return "", ""
        created = body.get("created")
        return _platform(body), created[:_MAX_TEXT] if isinstance(created, str) else ""


def _kind(manifest: Manifest) -> str:
    if manifest.is_index:
        return "index"
    config = manifest.config
    is_image = not manifest.artifact_type and (
        config is None or "image" in config.media_type or not config.media_type
    )
    return "image" if is_image else "artifact"


def _platforms(data: bytes) -> Iterator[str]:
    """Yield the platform of each child of an index, "" where it states none."""
    listed = load_json_object(data).get("manifests")
    for item in listed if isinstance(listed, list) else []:
        platform = item.get("platform") if isinstance(item, dict) else None
        yield _platform(platform) if isinstance(platform, dict) else ""


def _platform(fields: dict[str, Any]) -> str:
    parts = [fields.get(name) for name in ("os", "architecture", "variant")]
    words = [part[:_MAX_TEXT] for part in parts if isinstance(part, str) and part]
    return "/".join(words) if len(words) > 1 else ""
