"""From links and manifests to a repository's state: what it holds, what is wrong with it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.registry import Finding, Kind
from regvault.model.state import encode_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from regvault.model.registry import RepositoryLinks

__all__ = ["Assembled", "Parsed", "assemble", "still_there", "wanted_blobs"]


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
        return json.dumps(self, separators=(",", ":")).encode()

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
