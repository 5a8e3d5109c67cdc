"""Which manifests reach which blobs, over a whole registry: what is cold has to be so for all.

A pull of an index may be one of any of its children, and whoever pulls an image may pull what
refers to it (signatures, SBOMs). So what was accessed goes down these edges: from an index to its
children, from a manifest to its blobs, from a subject to its referrers.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson

from regvault.errors import ObjectNotFoundError, SourceError
from regvault.oci.manifest import MAX_MANIFEST_SIZE, InvalidManifestError, parse_manifest
from regvault.oci.verify import matches_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource, RepositoryLinks
    from regvault.ops.tier.contents import Contents
    from regvault.policy.tiering.history import Bools, Ints

__all__ = ["BUILD_TAG", "RELEASE_TAG", "UNTAGGED", "Reach", "read_reach"]

UNTAGGED, BUILD_TAG, RELEASE_TAG = range(3)
"""What tags lead to a content: none, only those of single builds, or others too."""

#: Tags that builds give, one each: a commit, a date, a number. Nobody moves them.
_BUILD: Final = re.compile(
    r"(?:.*[-_.])?(?:[0-9a-f]{7,64}|\d{8,14}|b?\d{3,}|pr-?\d+)", re.ASCII | re.IGNORECASE
)
_FALLBACK: Final = re.compile(r"(sha256)-([0-9a-f]{64})(?:\..*)?", re.ASCII)
#: What images and indexes list; those of schema 1 have other names.
_LISTS: Final = ("manifests", "layers", "blobs")
#: Edges that are looked up at once.
_BATCH = 50_000


class Reach(NamedTuple):
    """What reaches what, by the numbers of `Contents`.

    Attributes:
        parents, children: of each edge.
        manifest: of each content, whether it is one.
        repository: of each, the number of the first repository that has it; -1: none reaches it.
        repositories: their names.
        tags: of each content, what tags lead to it: `UNTAGGED` and the others.
        doubtful: of each, whether manifests that cannot be read may reach it.
        unreadable: how many of these there are.
        tag_of: of each manifest that a tag points to, one such tag; where that is asked for.
        named: (repository, tag) -> numbers of what it names, or named; of the tags asked for.
    """

    parents: Ints
    children: Ints
    manifest: Bools
    repository: Ints
    repositories: list[str]
    tags: Ints
    doubtful: Bools
    unreadable: int
    tag_of: dict[int, str]
    named: dict[tuple[str, str], list[int]]

    def spread(self, values: Ints) -> Ints:
        """Return for each content the largest value of itself and of all that reaches it."""
        found = values.copy()
        while True:  # values only grow, to the largest one at most
            before = found[self.children].copy()
            np.maximum.at(found, self.children, found[self.parents])
            if (found[self.children] == before).all():
                return found


class _Edges:
    """Edges by digest, that become edges by number."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._parents, self._children = bytearray(), bytearray()
        self._done: list[tuple[Ints, Ints]] = []

    def add(self, parent: bytes, child: bytes) -> None:
        self._parents += parent
        self._children += child
        if len(self._parents) >= 32 * _BATCH:
            self._look_up()

    def _look_up(self) -> None:
        parents = self._contents.numbers(self._parents)
        children = self._contents.numbers(self._children)
        there = (parents >= 0) & (children >= 0)
        self._done.append((parents[there].astype(np.int32), children[there].astype(np.int32)))
        self._parents, self._children = bytearray(), bytearray()

    def all(self) -> tuple[Ints, Ints]:
        self._look_up()
        return (
            np.concatenate([parents for parents, _ in self._done]),
            np.concatenate([children for _, children in self._done]),
        )


def read_reach(
    source: RegistrySource,
    contents: Contents,
    *,
    asked: frozenset[tuple[str, str]],
    threads: int,
    progress: Progress,
    with_tags: bool = False,
) -> Reach:
    """Read all links and manifests of a registry.

    Args:
        source: the registry.
        contents: what lies below its `blobs/`.
        asked: repositories and tags of which pulls are known, but not of what.
        threads: that read manifests.
        progress: is told of repositories.
        with_tags: note a tag of each manifest that has one.
    """
    reader = _Reader(source, contents, asked, with_tags=with_tags)
    with ThreadPoolExecutor(threads, thread_name_prefix="tier") as several:
        pool = several if threads > 1 and not source.at_hand else None
        for survey in source.surveys():
            reader.take(survey.repository, survey.links(), pool)
            progress.advance(1)
    return reader.reach()


class _Reader:
    def __init__(
        self,
        source: RegistrySource,
        contents: Contents,
        asked: frozenset[tuple[str, str]],
        *,
        with_tags: bool,
    ) -> None:
        self._source = source
        self._contents = contents
        self._asked = asked
        self._asked_in: dict[str, list[str]] = {}
        for name, tag in asked:
            self._asked_in.setdefault(name, []).append(tag)
        self._with_tags = with_tags
        self._tag_of: dict[int, str] = {}
        self._edges = _Edges(contents)
        count = len(contents)
        self._manifest = np.zeros(count, dtype=bool)
        self._repository = np.full(count, np.iinfo(np.int32).max, dtype=np.int64)
        self._repositories: list[str] = []
        self._tags = np.full(count, UNTAGGED, dtype=np.int64)
        self._doubtful = np.zeros(count, dtype=bool)
        self._unreadable = 0
        self._seen: set[bytes] = set()
        self._named: dict[tuple[str, str], list[int]] = {}

    def take(
        self, repository: str, links: RepositoryLinks, pool: ThreadPoolExecutor | None
    ) -> None:
        """Take one repository."""
        number = len(self._repositories)
        self._repositories.append(repository)
        every = self._contents.numbers(b"".join(map(_bytes_of, links.revisions)))
        revisions = every[every >= 0]
        self._manifest[revisions] = True
        np.minimum.at(self._repository, revisions, number)
        self._take_tags(repository, links, revisions)
        there = [
            d for d, number in zip(links.revisions, every.tolist(), strict=True) if number >= 0
        ]
        fresh = [digest for digest in there if _bytes_of(digest) not in self._seen]
        # One that is not listed (pushed since, or not named by SHA-256) has no number: nobody can
        # tell when it was pulled, so what it reaches is in doubt.
        whole = self._doubt([links.revisions[place] for place in np.flatnonzero(every < 0)])
        read = map(self._read, fresh) if pool is None else pool.map(self._read, fresh)
        for digest, found in zip(fresh, read, strict=True):
            if found is None:
                whole = False
                self._unreadable += 1
                continue
            self._seen.add(_bytes_of(digest))
            self._add(digest, found)
        if not whole:
            # What cannot be read may reach anything that is linked here.
            self._doubtful[self._numbers(links.layers)] = True

    def _doubt(self, digests: list[str]) -> bool:
        """Doubt what some manifests reach; return whether all of them could be read."""
        whole = True
        for digest in digests:
            self._unreadable += 1
            found = self._read(digest)
            whole = whole and found is not None
            if found is not None:
                self._doubtful[self._numbers(found.needs)] = True
        return whole

    def _take_tags(self, repository: str, links: RepositoryLinks, revisions: Ints) -> None:
        # A tag that is gone may have been anything here.
        for tag_name in self._asked_in.get(repository, ()):
            self._named[repository, tag_name] = revisions.tolist()
        for tag in links.tags:
            digests = [each for each in (tag.current, *tag.history) if each is not None]
            if (repository, tag.name) in self._asked:
                found = self._numbers(digests)
                self._named[repository, tag.name] = sorted(set(found.tolist()))
            if tag.current is None:
                continue
            kind = BUILD_TAG if _BUILD.fullmatch(tag.name) else RELEASE_TAG
            here = self._numbers([tag.current])
            self._tags[here] = np.maximum(self._tags[here], kind)
            if self._with_tags and len(here):
                # A tag that moves is a better name than that of one build.
                number = int(here[0])
                if number not in self._tag_of or kind == RELEASE_TAG:
                    self._tag_of[number] = tag.name
            fallback = _FALLBACK.fullmatch(tag.name)
            if fallback is not None:
                self._edges.add(bytes.fromhex(fallback[2]), _bytes_of(tag.current))

    def _read(self, digest: str) -> _Named | None:
        try:
            data = self._source.read_blob(digest, limit=MAX_MANIFEST_SIZE)
        except (ObjectNotFoundError, SourceError):
            return None
        return _named_by(data) if matches_manifest(data, digest) else None

    def _add(self, digest: str, named: _Named) -> None:
        name = _bytes_of(digest)
        for each in named.needs:
            self._edges.add(name, _bytes_of(each))
        if named.subject is not None:
            self._edges.add(_bytes_of(named.subject), name)

    def _numbers(self, digests: Iterable[str]) -> Ints:
        found = self._contents.numbers(b"".join(map(_bytes_of, digests)))
        return found[found >= 0]

    def reach(self) -> Reach:
        """Return all of it."""
        parents, children = self._edges.all()
        found = Reach(
            parents,
            children,
            self._manifest,
            self._repository,
            self._repositories,
            self._tags,
            self._doubtful,
            self._unreadable,
            self._tag_of,
            self._named,
        )
        # Of the first repository that has something that reaches it; smaller is first.
        none = np.iinfo(np.int32).max
        first = none - found.spread(none - self._repository)
        return found._replace(
            repository=np.where(first == none, -1, first),
            tags=found.spread(self._tags),
            doubtful=found.spread(self._doubtful.astype(np.int64)) > 0,
        )


class _Named(NamedTuple):
    """What a manifest names.

    Attributes:
        needs: digests of its children, config and layers.
        subject: the digest of what it refers to, or None.
    """

    needs: list[str]
    subject: str | None


def _named_by(data: bytes) -> _Named | None:
    """Return what a manifest names; None where it cannot be walked.

    Plain ones are read in a fifth of the time that all checks take: a registry has many.
    """
    try:
        found = orjson.loads(data)
        needs = [each["digest"] for name in _LISTS for each in found.get(name) or ()]
        if found.get("config") is not None:
            needs.append(found["config"]["digest"])
        subject = found.get("subject")
        subject = None if subject is None else subject["digest"]
        if needs and all(map(_is_sha256, [*needs, *([] if subject is None else [subject])])):
            return _Named(needs, subject)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    try:
        manifest = parse_manifest(data)
    except InvalidManifestError:
        return None
    return _Named(
        [each.digest for each in (*manifest.blobs, *manifest.children)],
        None if manifest.subject is None else manifest.subject.digest,
    )


_is_sha256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII).fullmatch


def _bytes_of(digest: str) -> bytes:
    """Return 32 bytes for a digest; what is no SHA-256 is nowhere in `Contents`."""
    algorithm, _, digits = digest.partition(":")
    return bytes.fromhex(digits) if algorithm == "sha256" else bytes(32)
