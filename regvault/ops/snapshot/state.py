"""From links and manifests to a repository's state: what it holds, what is wrong with it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.registry import Finding, Kind, RepositoryLinks
from regvault.model.state import encode_field
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.media import MANIFESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from regvault.model.registry import TagLinks

__all__ = [
    "Assembled",
    "Parsed",
    "assemble",
    "parse",
    "settle",
    "still_there",
    "wanted_blobs",
]


_encode = json.JSONEncoder(separators=(",", ":")).encode


class Parsed(NamedTuple):
    """What matters of one manifest.

    Attributes:
        media_type: as its body says.
        size: of the manifest itself, bytes.
        children: digests of the manifests that an index names.
        blobs: (digest, declared size, is the config) of what it needs, foreign layers left out.
        valid: False where the right bytes are no manifest that can be walked.
    """

    media_type: str
    size: int
    children: tuple[str, ...]
    blobs: tuple[tuple[str, int, bool], ...]
    valid: bool = True

    def pack(self) -> bytes:
        """Return a compact form for the local cache."""
        return _encode(self).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Parsed:
        """Undo `pack`."""
        media_type, size, children, blobs, valid = json.loads(data)
        return cls(
            media_type,
            size,
            tuple(children),
            tuple((digest, nbytes, config) for digest, nbytes, config in blobs),
            valid,
        )


def parse(data: bytes) -> Parsed:
    """Parse a proven manifest; one that cannot be walked is kept as it is."""
    try:
        manifest = parse_manifest(data)
    except InvalidManifestError:
        return Parsed("", len(data), (), (), valid=False)
    blobs: dict[str, tuple[str, int, bool]] = {}
    for layer in manifest.layers:
        if not layer.foreign:
            blobs[layer.digest] = (layer.digest, layer.size, False)
    if manifest.config is not None:
        blobs[manifest.config.digest] = (manifest.config.digest, manifest.config.size, True)
    # An index may list blobs too (BuildKit's cache does): they are what a pull needs, no more.
    for child in manifest.children:
        if child.media_type not in MANIFESTS and not child.foreign:
            blobs.setdefault(child.digest, (child.digest, child.size, False))
    children = tuple(
        dict.fromkeys(c.digest for c in manifest.children if c.media_type in MANIFESTS)
    )
    return Parsed(manifest.media_type, len(data), children, tuple(blobs.values()))


class Assembled(NamedTuple):
    """A repository's state, ready to be stored.

    Attributes:
        lines: sorted.
        needs: (digest, size) of every blob that the state says the snapshot holds.
        findings: damage and notices, those of the links included.
    """

    lines: list[bytes]
    needs: dict[str, int]
    findings: list[Finding]


def wanted_blobs(
    links: RepositoryLinks, parsed: Mapping[str, Parsed]
) -> dict[str, tuple[bool, int | None]]:
    """Return digest -> (is a config, declared size or None) of all blobs but the manifests."""
    wanted: dict[str, tuple[bool, int | None]] = dict.fromkeys(links.layers, (False, None))
    for manifest in parsed.values():
        for digest, size, config in manifest.blobs:
            before, declared = wanted.get(digest, (False, None))
            # Schema 1 does not state sizes.
            wanted[digest] = (config or before, size if size >= 0 else declared)
    for revision in links.revisions:
        wanted.pop(revision, None)
    return wanted


def assemble(
    repository: str,
    links: RepositoryLinks,
    parsed: Mapping[str, Parsed],
    sizes: Mapping[str, int],
    bad: Callable[[str], Kind | None],
) -> Assembled:
    """Make the state of one repository.

    Args:
        repository: its name.
        links: what its links say.
        parsed: revision -> manifest, of those that could be read.
        sizes: digest -> size of the blobs that the snapshot holds, manifests not included.
        bad: what is wrong with a digest at the source (missing, damaged, unreadable), or None.
    """
    needs = dict(sizes)
    lines: list[str] = []
    for digest in links.revisions:
        manifest = parsed.get(digest)
        if manifest is None:
            lines.append(f"rev {digest} - -")
        else:
            needs[digest] = manifest.size
            lines.append(f"rev {digest} {encode_field(manifest.media_type)} {manifest.size}")
    layers = set(links.layers)
    revisions = set(links.revisions)
    for digest in links.layers:
        size = needs.get(digest)
        lines.append(f"layer {digest} {'-' if size is None else size}")
    others = {d for m in parsed.values() for d, _, _ in m.blobs} - layers - revisions
    for digest in others:
        size = needs.get(digest)
        lines.append(f"blob {digest} {'-' if size is None else size}")
    for tag in links.tags:
        lines += [f"was {tag.name} {digest}" for digest in tag.history]
        if tag.current is not None:
            lines.append(f"tag {tag.name} {tag.current}")
        elif any(
            f.kind is Kind.TAG_UNREADABLE and f.subject == f":{tag.name}" for f in links.findings
        ):
            lines.append(f"tag {tag.name} -")
    findings = list(links.findings)
    findings += _damage(repository, links, parsed, needs, bad)
    return Assembled(sorted(line.encode() for line in set(lines)), needs, findings)


def settle(
    links: RepositoryLinks,
    newer: RepositoryLinks,
    parsed: Mapping[str, Parsed],
    held: Container[str],
) -> RepositoryLinks:
    """Leave out of a repository what is not whole and was deleted since it was read.

    A tag that was moved meanwhile is taken where it points now, if that was read too. What is not
    whole although its links are still there stays: that is damage.

    Args:
        links: that were read.
        newer: a later look at the same links.
        parsed: revision -> manifest, of those that could be read.
        held: digests of the blobs that the snapshot holds, manifests not included.
    """
    whole = _whole(links, parsed, held)
    there = set(newer.revisions)
    now = {tag.name: tag for tag in newer.tags}
    tags: list[TagLinks] = []
    for tag in links.tags:
        newest = now.get(tag.name)
        if tag.current in whole or (tag.current is None and not tag.history):
            tags.append(tag)
        elif newest is not None:
            tags.append(newest if newest.current in whole else tag)
    still = set(newer.findings)
    lost = {f":{tag.name}" for tag in tags if tag.current is None}
    return RepositoryLinks(
        tuple(tags),
        tuple(digest for digest in links.revisions if digest in whole or digest in there),
        links.layers,
        tuple(
            f
            for f in links.findings
            if f in still
            or f.kind not in (Kind.LINK_EMPTY, Kind.LINK_INVALID, Kind.TAG_UNREADABLE)
            or f.subject in lost
        ),
    )


def _whole(links: RepositoryLinks, parsed: Mapping[str, Parsed], held: Container[str]) -> set[str]:
    """Return the revisions that were read with all that they reach."""
    hurt = {d for d in links.revisions if d not in parsed}
    parents: dict[str, list[str]] = {}
    revisions = set(links.revisions)
    for digest, manifest in parsed.items():
        for child in manifest.children:
            parents.setdefault(child, []).append(digest)
        if any(blob not in held and blob not in parsed for blob, _, _ in manifest.blobs) or (
            not revisions.issuperset(manifest.children)
        ):
            hurt.add(digest)
    todo = list(hurt)
    while todo:
        for parent in parents.get(todo.pop(), ()):
            if parent not in hurt:
                hurt.add(parent)
                todo.append(parent)
    return revisions - hurt


def still_there(lines: list[bytes], before: Iterable[bytes]) -> list[bytes]:
    """Return the lines of the state before that a state lacks which could not be read whole.

    What cannot be read is not gone. Where both know something, what was read now holds.
    """
    known = {_subject(line) for line in lines}
    return [line for line in before if _subject(line) not in known]


def _subject(line: bytes) -> bytes:
    """Return what a line is about: `was` a whole line, anything else its first two fields."""
    return line if line.startswith(b"was ") else b" ".join(line.split(b" ", 2)[:2])


def _damage(
    repository: str,
    links: RepositoryLinks,
    parsed: Mapping[str, Parsed],
    held: Mapping[str, int],
    bad: Callable[[str], Kind | None],
) -> list[Finding]:
    """Return what is missing or damaged, once for each image that it belongs to."""
    revisions = set(links.revisions)
    hurt: dict[tuple[Kind, str], set[str]] = {}  # (kind, subject) -> manifests that it hurts
    for digest in links.revisions:
        manifest = parsed.get(digest)
        if manifest is None:
            kind = bad(digest) or Kind.MANIFEST_MISSING
            if kind is Kind.BLOB_MISSING:
                kind = Kind.MANIFEST_MISSING
            elif kind is Kind.BLOB_DAMAGED:
                kind = Kind.MANIFEST_DAMAGED
            hurt.setdefault((kind, digest), set()).add(digest)
            continue
        if not manifest.valid:
            hurt.setdefault((Kind.MANIFEST_INVALID, digest), set()).add(digest)
        for child in manifest.children:
            if child not in revisions:
                hurt.setdefault((Kind.CHILD_MISSING, child), set()).add(digest)
        for blob, _, _ in manifest.blobs:
            if blob not in held:
                kind = bad(blob) or Kind.BLOB_MISSING
                hurt.setdefault((kind, blob), set()).add(digest)
    found: list[Finding] = []
    named = {subject for _, subject in hurt}
    for digest in links.layers:
        if digest in held or digest in named:
            continue
        kind = bad(digest) or Kind.BLOB_MISSING
        # No manifest needs it: garbage collection leaves such links behind.
        notice = Kind.LAYER_WITHOUT_BLOB if kind is Kind.BLOB_MISSING else kind
        found.append(Finding(repository, notice, digest))
    if hurt:
        images = _images(links, parsed)
        for (kind, subject), manifests in hurt.items():
            names = {name for digest in manifests for name in images(digest)}
            found += [Finding(repository, kind, subject, name) for name in sorted(names)]
    for tag in links.tags:
        if tag.current is not None and (tag.current not in revisions or tag.current not in parsed):
            found.append(Finding(repository, Kind.TAG_DANGLING, tag.current, f":{tag.name}"))
    return found


def _images(links: RepositoryLinks, parsed: Mapping[str, Parsed]) -> Callable[[str], set[str]]:
    """Return the function from a manifest to the images that it belongs to, tags first."""
    parents: dict[str, set[str]] = {}
    for digest, manifest in parsed.items():
        for child in manifest.children:
            parents.setdefault(child, set()).add(digest)
    tags: dict[str, set[str]] = {}
    for tag in links.tags:
        if tag.current is not None:
            tags.setdefault(tag.current, set()).add(f":{tag.name}")

    def images(digest: str) -> set[str]:
        seen: set[str] = set()
        todo = [digest]
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += parents.get(one, ())
        named = {name for one in seen for name in tags.get(one, ())}
        return named or {f"@{digest}"}

    return images
