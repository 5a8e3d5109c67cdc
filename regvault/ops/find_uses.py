"""What a digest is in one repository: which tags, indexes and images have it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.ops.images import Images
from regvault.ops.snapshot.session import RepositoryEntry

if TYPE_CHECKING:
    from regvault.ops.images import RepositoryState
    from regvault.ops.opened import Opened

__all__ = ["Occurrence", "Uses", "occurrence"]

_IMAGES_KEPT = 100
_MANIFESTS_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What a digest is in one repository. Equal ones of neighbouring snapshots are one run.

    Attributes:
        repository: its name.
        what: `manifest`, `layer`, `config`, `unused` (a link that no manifest needs), `blob` (one
            of these three: manifests do not open) or `missing`.
        media_type: of a manifest, else "".
        held: the snapshot has its bytes.
        tags, former_tags: that point to it, and that did.
        indexes: that list it.
        images: manifests that need it, the first 100.
        image_count: all of them.
        referrers: manifests whose subject it is.
        damage: kinds of damage at the source that name it.
    """

    repository: str
    what: str
    media_type: str = ""
    held: bool = False
    tags: tuple[str, ...] = ()
    former_tags: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    image_count: int = 0
    referrers: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()

    def with_damage(self, kinds: tuple[str, ...]) -> Occurrence:
        """Return the same with other damage."""
        return replace(self, damage=kinds)

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document of `find DIGEST`."""
        return {
            "repository": self.repository,
            "as": self.what,
            "media_type": self.media_type or None,
            "held": self.held,
            "tags": list(self.tags),
            "former_tags": list(self.former_tags),
            "indexes": list(self.indexes),
            "images": list(self.images),
            "image_count": self.image_count,
            "referrers": list(self.referrers),
            "damage": list(self.damage),
        }


class _Use(NamedTuple):
    """How one manifest uses the digest: as a child, a config, a layer, its subject."""

    child: bool
    config: bool
    layer: bool
    subject: bool


_NONE = _Use(child=False, config=False, layer=False, subject=False)


class Uses:
    """How manifests use one digest; each manifest is read once, also over many snapshots.

    Attributes:
        digest: that one.
        most: so many images that need it are named.
    """

    def __init__(self, digest: str, *, all_images: bool = False) -> None:
        self.digest = digest
        self.most = None if all_images else _IMAGES_KEPT
        self._known: OrderedDict[str, _Use] = OrderedDict()

    def of(self, manifest: str, images: Images) -> _Use:
        """Return how a manifest uses the digest."""
        use = self._known.get(manifest)
        if use is None:
            use = self._known[manifest] = self._read(manifest, images)
            if len(self._known) > _MANIFESTS_KEPT:
                self._known.popitem(last=False)
        return use

    def _read(self, digest: str, images: Images) -> _Use:
        manifest = images.manifest(digest)
        if manifest is None:
            return _NONE
        return _Use(
            any(child.digest == self.digest for child in manifest.children),
            manifest.config is not None and manifest.config.digest == self.digest,
            any(layer.digest == self.digest for layer in manifest.layers),
            manifest.subject is not None and manifest.subject.digest == self.digest,
        )


def occurrence(
    opened: Opened, repository: str, state: str | None, uses: Uses, damage: tuple[str, ...]
) -> Occurrence | None:
    """Return what the digest is in one repository, or None where it is not in it.

    Args:
        opened: the snapshot.
        repository: its name.
        state: its state's digest; None where the snapshot has no such repository.
        uses: of the digest.
        damage: kinds of damage at the source that name it.
    """
    if state is None:
        return Occurrence(repository, "missing", damage=damage) if damage else None
    digest = uses.digest
    tree = opened.state_tree(state)
    named = any(
        True
        for kind in ("blob", "layer", "rev")
        for _ in tree.with_prefix(f"{kind} {digest} ".encode())
    )
    if not named and not damage:
        return None
    whole = opened.state(RepositoryEntry(repository, state, ""))
    tags = tuple(sorted(tag for tag, where in whole.tags.items() if where == digest))
    former = tuple(sorted({tag for tag, was in whole.history if was == digest} - set(tags)))
    found = Occurrence(repository, "missing", tags=tags, former_tags=former, damage=damage)
    told = opened.vault.seal.opens_contents  # else names alone are known
    return _used(found, whole, uses, Images(whole, opened.read), told=told)


def _used(
    found: Occurrence, state: RepositoryState, uses: Uses, images: Images, *, told: bool
) -> Occurrence:
    """Return what it is there; `told`: manifests can be read."""
    digest = uses.digest
    manifests = sorted(state.revisions) if told else []
    by = {manifest: uses.of(manifest, images) for manifest in manifests}
    needing = [manifest for manifest, use in by.items() if use.config or use.layer]
    found = replace(
        found,
        indexes=tuple(manifest for manifest, use in by.items() if use.child),
        images=tuple(needing[: uses.most]),
        image_count=len(needing),
        referrers=tuple(manifest for manifest, use in by.items() if use.subject),
    )
    if digest in state.revisions:
        media_type, size = state.revisions[digest]
        return replace(found, what="manifest", media_type=media_type, held=size is not None)
    size = state.layers.get(digest, state.blobs.get(digest))
    if digest in state.layers or digest in state.blobs:
        what = "unused" if told else "blob"
        if needing:
            what = "config" if any(by[manifest].config for manifest in needing) else "layer"
        return replace(found, what=what, held=size is not None)
    return found
