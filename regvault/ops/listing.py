"""What is in a vault: its snapshots, their repositories, and the images of one repository.

The tree of a single image is in `regvault.ops.listing_image`. All of it takes no lease, and works
on a vault that it cannot write.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regvault.errors import NotFoundError, VaultDamagedError
from regvault.model.state import parse_line
from regvault.oci.grammar import is_digest, is_tag
from regvault.oci.media import INDEXES
from regvault.ops.images import Images
from regvault.ops.pin import active_pins, is_pinned
from regvault.ops.selector import look, read_slots, registry_named, registry_names
from regvault.vault.records import is_held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.ops.images import RepositoryState
    from regvault.ops.opened import Opened
    from regvault.ops.selector import Slot
    from regvault.ops.snapshot.session import RepositoryEntry
    from regvault.vault.vault import Vault

__all__ = [
    "HARMLESS",
    "ImageRow",
    "RepositoryRow",
    "SnapshotRow",
    "closure_bytes",
    "damaged_images",
    "find_repository",
    "list_images",
    "list_repositories",
    "list_snapshots",
    "marks",
]

#: Damage that loses nothing: what the link should say follows from its path.
HARMLESS = frozenset({"link-empty", "link-invalid"})


# -- snapshots ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot in a list.

    Attributes:
        slot: where it is, its root, or why that cannot be read.
        held: it waits for `confirm`.
        pinned: retention keeps it; None where a pin cannot be read.
    """

    slot: Slot
    held: bool
    pinned: bool | None = None

    @property
    def state(self) -> str:
        """`complete`, `confirmed` (was held), `held`, `incomplete` or `damaged`: the worst."""
        root = self.slot.root
        if root is None:
            return "damaged"
        if self.held:
            return "held"
        if not root.complete:
            return "incomplete"
        return "complete" if root.held is None else "confirmed"

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        root = self.slot.root
        if root is None:
            return None
        from regvault.vault.envelope import from_time

        try:
            return (from_time(root.finished) - root.started_at).total_seconds()
        except ValueError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Return one JSON line of `snapshots`.

        `snapshot`: `registry@sequence`; `registry`, `sequence`: its parts. `state`: `complete`,
        `confirmed`, `held`, `incomplete` or `damaged`. Then, null where the root is damaged:
        `started`, `finished`: RFC 3339 UTC. `seconds`: between them. `complete`: all that was
        restorable at the source was captured. `held`: it waits for `confirm`. `held_reason`: why it
        does, or did. `confirmed`: it was held and is confirmed. `pinned`: retention keeps it, null
        where that cannot be known. `repositories`, `tags`,
        `revisions`, `blobs`, `bytes`: what it holds; blobs and bytes each counted once.
        `stored_bytes`: of the objects that it needs. `opened`: whether the root of a sealed vault
        could be opened; else `damage`, `globs` and `source` are null. `damage`: how many things
        at the source were damaged. `globs`: what the run was narrowed to. `source`: `kind` and
        `location`. `root`: hex SHA-256 of its root. `error`: why the root cannot be read, or null.
        """
        root = self.slot.root
        name = root.name if root else self.slot.name
        fields: dict[str, Any] = {
            "snapshot": str(name),
            "registry": name.title,
            "sequence": name.sequence,
            "state": self.state,
        }
        counts = root.counts if root else None
        told = root if root is not None and root.opened else None
        return fields | {
            "started": root.started if root else None,
            "finished": root.finished if root else None,
            "seconds": self.seconds,
            "complete": root.complete if root else None,
            "held": self.held if root else None,
            "held_reason": str(root.held.get("reason", "")) if root and root.held else None,
            "confirmed": (root.held is not None and not self.held) if root else None,
            "pinned": self.pinned,
            "repositories": counts.repositories if counts else None,
            "tags": counts.tags if counts else None,
            "revisions": counts.revisions if counts else None,
            "blobs": counts.blobs if counts else None,
            "bytes": counts.nbytes if counts else None,
            "stored_bytes": root.objects.nbytes if root else None,
            "opened": root.opened if root else None,
            "damage": (told.damage.entries if told.damage else 0) if told else None,
            "globs": list(told.scope.get("globs", [])) if told else None,
            "source": told.source if told else None,
            "root": root.sha256 if root else None,
            "error": self.slot.error.message if self.slot.error else None,
        }


def list_snapshots(vault: Vault, registry: str | None = None) -> Iterator[SnapshotRow]:
    """Yield all snapshots by registry and sequence; one whose root is damaged says so.

    Raises:
        NotFoundError: there is no such registry.
    """
    names = registry_names(vault)
    if registry is not None:
        names = [registry_named(vault, registry, names)]
    confirmations, pins = vault.confirmations, None
    with suppress(VaultDamagedError):  # `verify` names it
        pins = active_pins(vault)
    for name in names:
        for slot in read_slots(vault, name, vault.slots(name)):
            if slot.root is not None:
                pinned = None if pins is None else is_pinned(slot.root, pins)
                held = is_held(slot.root, confirmations)
                yield SnapshotRow(_named(vault, slot), held, pinned)
            elif slot.error is not None:
                yield SnapshotRow(slot, held=False)


def _named(vault: Vault, slot: Slot) -> Slot:
    """Return a slot with the name that other snapshots tell, where its root is sealed to others."""
    root = slot.root
    if root is None or root.opened or not vault.seal.opens_names:
        return slot
    label = vault.titles().get(root.name.registry, "")
    return slot._replace(root=replace(root, name=replace(root.name, label=label)))


# -- repositories -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """One repository of a snapshot.

    Attributes:
        name: of the repository.
        tags, revisions: numbers of them.
        nbytes: of everything that the snapshot holds of it, each blob once.
        missing: how many blobs it names that the snapshot does not hold.
    """

    name: str
    tags: int
    revisions: int
    nbytes: int
    missing: int

    def to_json(self) -> dict[str, Any]:
        """Return one JSON line of `ls [SNAPSHOT]`.

        `repository`: its name. `tags`, `revisions`: how many. `bytes`: of everything that the
        snapshot holds of it, each blob once (other repositories may share them). `missing`: how
        many blobs it names that the snapshot does not hold.
        """
        return {
            "repository": self.name,
            "tags": self.tags,
            "revisions": self.revisions,
            "bytes": self.nbytes,
            "missing": self.missing,
        }


def list_repositories(opened: Opened) -> Iterator[RepositoryRow]:
    """Yield the repositories of a snapshot, in byte order of their names."""

    def row(entry: RepositoryEntry) -> RepositoryRow:
        tags = revisions = nbytes = missing = 0
        layers: set[str] = set()
        try:
            for raw in opened.state_lines(entry.state):
                line = parse_line(raw.decode("ascii"))
                if line.what == "tag":
                    tags += 1
                elif line.what in ("blob", "layer", "rev"):
                    revisions += line.what == "rev"
                    # Lines come sorted: layers before revisions, and a blob may be both.
                    if line.what == "layer":
                        layers.add(line.name)
                    elif line.name in layers:
                        continue
                    nbytes += line.size or 0
                    missing += line.size is None
        except ValueError:
            raise VaultDamagedError(
                f"the state of {entry.name} in {opened.root.name} has a line that is none",
                hint="See all that is wrong with: regvault verify",
            ) from None
        return RepositoryRow(entry.name, tags, revisions, nbytes, missing)

    return look(opened.entries(), row, opened.vault)


# -- the images of one repository ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One tag of a repository, or one revision that has none.

    Attributes:
        tag: or None.
        digest: "" where the source did not know where the tag points.
        media_type: "" where the manifest is not there.
        size: of the manifest, bytes; None where the snapshot does not hold it.
        nbytes: of all that a pull of all platforms gets; None where that was not asked for.
        role: `tag`; of a revision without one `child` (of an index here), `referrer`, `untagged`.
        marks: what is wrong: `unreadable`, `dangling`, `missing`, `damaged`.
        history: how many digests the tag has pointed to, as far as the registry knew.
    """

    tag: str | None
    digest: str
    media_type: str
    size: int | None
    nbytes: int | None
    role: str
    marks: tuple[str, ...]
    history: int

    def to_json(self) -> dict[str, Any]:
        """Return one JSON line of `ls [SNAPSHOT] REPO`.

        `tag`: null for a revision without one. `digest`: null where the source did not know where
        the tag points. `media_type`: null where the manifest is not there. `size`: bytes of the
        manifest, null where the snapshot does not hold it. `bytes`: with `--long`, of all that a
        pull of all platforms gets, as far as the snapshot holds it; else null. `role`: `tag`; of
        revisions without a tag `child` (an index of this repository names it), `referrer` (a
        signature, an SBOM) or `untagged`. `marks`: what is wrong: `unreadable` (the tag's link was
        damaged at the source), `dangling` (no such manifest there), `missing` (the snapshot does
        not hold the manifest), `damaged` (something that the image needs was damaged or missing at
        the source). `history`: how many digests the tag has pointed to, as far as the registry
        kept them.
        """
        return {
            "tag": self.tag,
            "digest": self.digest or None,
            "media_type": self.media_type or None,
            "size": self.size,
            "bytes": self.nbytes,
            "role": self.role,
            "marks": list(self.marks),
            "history": self.history,
        }


def find_repository(opened: Opened, repository: str) -> RepositoryEntry:
    """Return a repository's line. Raises NotFoundError."""
    entry = opened.entry(repository)
    if entry is not None:
        return entry
    name = opened.root.name
    if repository in registry_names(opened.vault):
        raise NotFoundError(
            f"snapshot {name} has no repository {repository!r}",
            hint=f"That is a registry. Its newest snapshot is {repository}@latest",
        )
    raise NotFoundError(
        f"snapshot {name} has no repository {repository!r}",
        hint=f"See what it has: regvault ls {name}",
    )


def list_images(
    opened: Opened, repository: str, *, long: bool = False, everything: bool = False
) -> Iterator[ImageRow]:
    """Yield the tags of a repository; with `everything` also its revisions that have none.

    Args:
        opened: the snapshot.
        repository: its name.
        long: with the bytes of each image; that reads manifests.
        everything: with revisions that no tag points to; that reads all manifests.

    Raises:
        NotFoundError: there is no such repository.
    """
    entry = find_repository(opened, repository)
    state = opened.state(entry)
    hurt = damaged_images(opened, repository)
    images = Images(state, opened.read)
    if long or everything:
        opened.expect(len(state.revisions))
    held = state.held() if long else {}
    history: dict[str, int] = {}
    for tag, _ in state.history:
        history[tag] = history.get(tag, 0) + 1
    cache: dict[str, int] = {}

    def nbytes(digest: str) -> int | None:
        if not long:
            return None
        if digest not in cache:
            cache[digest] = closure_bytes(images, digest, held)
        return cache[digest]

    def row(tag: str | None, digest: str, role: str) -> ImageRow:
        media_type, size = state.revisions.get(digest, ("", None))
        found = marks(state, tag, digest, hurt)
        past = history.get(tag, 0) if tag is not None else 0
        return ImageRow(tag, digest, media_type, size, nbytes(digest), role, found, past)

    for tag, digest in sorted(state.tags.items()):
        _check(is_tag(tag) and (not digest or is_digest(digest)), opened, repository)
        yield row(tag, digest, "tag")
    if everything:
        tagged = set(state.tags.values())
        roles = _roles(images)
        for digest in sorted(set(state.revisions) - tagged):
            _check(is_digest(digest), opened, repository)
            yield row(None, digest, roles.get(digest, "untagged"))


def _check(good: bool, opened: Opened, repository: str) -> None:
    if not good:
        raise VaultDamagedError(
            f"the state of {repository} in {opened.root.name} has a name that no registry takes",
            hint="Someone may have written it to do harm; compare with a second copy.",
        )


def damaged_images(opened: Opened, repository: str) -> set[str]:
    """Return `:tag` or `@digest` of each image of which something was damaged at the source."""
    return {d.image for d in opened.damage(repository) if d.image and d.kind not in HARMLESS}


def marks(state: RepositoryState, tag: str | None, digest: str, hurt: set[str]) -> tuple[str, ...]:
    """Return what is wrong with an image."""
    if not digest:
        return ("unreadable",)
    found: list[str] = []
    if digest not in state.revisions:
        found.append("dangling")
    elif state.revisions[digest][1] is None:
        found.append("missing")
    if (tag is not None and f":{tag}" in hurt) or f"@{digest}" in hurt:
        found.append("damaged")
    return tuple(found)


def closure_bytes(images: Images, digest: str, held: dict[str, int]) -> int:
    """Return the bytes that a pull of a manifest with all below it gets, each blob once."""
    manifests = images.manifests_of(digest, referrers=False)
    return sum(held.get(d, 0) for d in manifests | set(images.blobs_of(manifests)))


def _roles(images: Images) -> dict[str, str]:
    """Return what revisions are to others of their repository."""
    found: dict[str, str] = {}
    for digest, (media_type, _) in images.state.revisions.items():
        manifest = images.manifest(digest) if media_type in INDEXES else None
        if manifest is not None:
            found |= {child.digest: "child" for child in manifest.children}
    # A fallback tag's index lists referrers: they are no less referrers for that.
    return found | {digest: "referrer" for some in images.referrers().values() for digest in some}
