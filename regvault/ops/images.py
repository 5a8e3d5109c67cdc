"""Images of a snapshot: a repository's state, its manifests, and what each image reaches."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.state import checked_line
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.media import MANIFESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from regvault.oci.manifest import Manifest

__all__ = ["Images", "RepositoryState", "parse_state"]

#: Tags by which clients without a referrers API find signatures, attestations and SBOMs.
_FALLBACK_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(?:\.[A-Za-z0-9_.-]+)?", re.ASCII)
#: Indexes in indexes deeper than this are not followed (hostile input).
_MAX_DEPTH = 32


class RepositoryState(NamedTuple):
    """One repository of a snapshot.

    Attributes:
        tags: name -> digest; "" where the snapshot does not know where it pointed.
        history: (tag, digest) of former and present values.
        revisions: digest -> (media type, size); size None where the snapshot does not hold it.
        layers: digest -> size or None, of the layer links.
        blobs: digest -> size or None, that manifests need and no link names.
    """

    tags: dict[str, str]
    history: list[tuple[str, str]]
    revisions: dict[str, tuple[str, int | None]]
    layers: dict[str, int | None]
    blobs: dict[str, int | None]

    def held(self) -> dict[str, int]:
        """Return digest -> size of everything that the snapshot holds of this repository."""
        found = {digest: size for digest, (_, size) in self.revisions.items() if size is not None}
        for part in (self.layers, self.blobs):
            found |= {digest: size for digest, size in part.items() if size is not None}
        return found

    def without(self, digests: Container[str]) -> RepositoryState:
        """Return the same, but that it does not hold some contents."""

        def kept(part: dict[str, int | None]) -> dict[str, int | None]:
            return {d: None if d in digests else size for d, size in part.items()}

        revisions = {
            d: (media, None if d in digests else size)
            for d, (media, size) in self.revisions.items()
        }
        return self._replace(revisions=revisions, layers=kept(self.layers), blobs=kept(self.blobs))


def parse_state(lines: Iterable[bytes]) -> RepositoryState:
    """Parse the lines of a state; kinds of line that a later version adds are passed over.

    Raises:
        VaultDamagedError: a line is none, or has a name or a digest that no registry would take.
    """
    state = RepositoryState({}, [], {}, {}, {})
    for raw in lines:
        line = checked_line(raw)
        if line.what == "tag":
            state.tags[line.name] = line.value
        elif line.what == "was":
            state.history.append((line.name, line.value))
        elif line.what == "rev":
            state.revisions[line.name] = (line.value, line.size)
        elif line.what == "layer":
            state.layers[line.name] = line.size
        elif line.what == "blob":
            state.blobs[line.name] = line.size
    return state


class Images:
    """What the images of one repository reach. Manifests are read as they are asked for."""

    def __init__(self, state: RepositoryState, read: Callable[[str], bytes]) -> None:
        """Wrap.

        Args:
            state: of the repository.
            read: returns a manifest's bytes, proven.
        """
        self.state = state
        self._read = read
        self._parsed: dict[str, Manifest | None] = {}
        self._referrers: dict[str, set[str]] | None = None

    def manifest(self, digest: str) -> Manifest | None:
        """Return a parsed manifest; None where the snapshot does not hold it, or it is none."""
        if digest not in self._parsed:
            parsed = None
            if self.state.revisions.get(digest, ("", None))[1] is not None:
                try:
                    parsed = parse_manifest(self._read(digest))
                except InvalidManifestError:
                    parsed = None
            self._parsed[digest] = parsed
        return self._parsed[digest]

    def manifests_of(self, digest: str, *, referrers: bool) -> set[str]:
        """Return a manifest with its children, theirs, and what refers to any of them.

        Children that the repository lacks are not among them.
        """
        seen: set[str] = set()
        # Level by level: what two ways lead to is met on the shorter one, so that a long one of a
        # hostile index does not hide what lies below it.
        todo = deque([(digest, 0)])
        while todo:
            one, depth = todo.popleft()
            if one in seen or one not in self.state.revisions or depth > _MAX_DEPTH:
                continue
            seen.add(one)
            manifest = self.manifest(one)
            if manifest is not None:
                todo += [(child.digest, depth + 1) for child in manifest.children]
            if referrers:
                todo += [(other, depth + 1) for other in self.referrers().get(one, ())]
        return seen

    def referrers(self) -> dict[str, set[str]]:
        """Return subject -> manifests that refer to it: by `subject`, or by a fallback tag."""
        if self._referrers is None:
            found: dict[str, set[str]] = {}
            for digest in self.state.revisions:
                manifest = self.manifest(digest)
                if manifest is not None and manifest.subject is not None:
                    found.setdefault(manifest.subject.digest, set()).add(digest)
            for tag, subject in self.fallback_tags():
                found.setdefault(subject, set()).add(self.state.tags[tag])
            self._referrers = found
        return self._referrers

    def fallback_tags(self) -> list[tuple[str, str]]:
        """Return (tag, subject) of the tags that name the digest they belong to."""
        found: list[tuple[str, str]] = []
        for tag, digest in self.state.tags.items():
            match = _FALLBACK_TAG.fullmatch(tag)
            if match and digest:
                found.append((tag, f"{match[1]}:{match[2]}"))
        return found

    def blobs_of(self, manifests: Iterable[str]) -> dict[str, bool]:
        """Return the configs and layers of manifests: digest -> whether its absence is normal."""
        found: dict[str, bool] = {}
        for digest in manifests:
            manifest = self.manifest(digest)
            if manifest is None:
                continue
            others = [
                child
                for child in manifest.children
                if child.media_type not in MANIFESTS and child.digest not in self.state.revisions
            ]
            for blob in (*manifest.blobs, *others):
                found[blob.digest] = found.get(blob.digest, True) and blob.foreign
        return found
