"""Scan a registry on object storage: LIST says nearly everything.

All keys of one repository's own links are neighbours in a LIST, but LIST has `a-b/...` before
`a/...`, while names sort the other way round; `in_name_order` mends that with little memory. Where
tags point follows from LIST too: a link's ETag is the MD5 of its content, and its possible contents
are the repository's revisions. Where it is not (SSE-KMS, other stores), links are read.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, StoreError
from regvault.model.registry import Kind, LinkState, RepositoryLinks
from regvault.oci.grammar import is_repository
from regvault.registry.failures import ends_scan, source_error
from regvault.registry.layout import LINK_LIMIT, REPOSITORIES, Place, What, classify_link
from regvault.registry.links import SETTLED_NS, Fingerprint, LinkBuilder, link_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.store import Entry, ObjectStore

__all__ = ["Block", "EtagTrust", "FlatSurvey", "blocks_of", "in_name_order", "read_link"]

_VERSION = 1
# Keys held back before a repository that may have to come first is asked for.
_HELD_KEYS = 20_000
# Links whose ETag is not the MD5 of what they should hold: this many are read before ETags are
# taken to be something else here (SSE-KMS), so that sizes have to do.
_PROBES = 16


@dataclass(slots=True)
class Block:
    """The keys of one repository's own links, in columns, in byte order.

    Attributes:
        name: of the repository; valid.
        keys: what follows `<name>/`.
        uploads: ids below `_uploads`.
    """

    name: str
    keys: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    etags: list[str] = field(default_factory=list)
    modified_ns: list[int] = field(default_factory=list)
    uploads: set[str] = field(default_factory=set)


def blocks_of(chunks: Iterable[list[Entry]], stray: Callable[[Kind, str], None]) -> Iterator[Block]:
    """Group a LIST of `repositories/` into repositories, in the order of their keys.

    A repository with nothing but uploads is none. `stray` is told each key that belongs to no
    repository, and once each name that none may have, as a path below `docker/registry/v2/`.
    """
    skip = len(REPOSITORIES)
    name = start = ""
    block: Block | None = None
    for chunk in chunks:
        for key, size, etag, modified_ns in chunk:
            if not start or not key.startswith(start, skip):
                if block is not None and block.keys:
                    yield block
                rest = key[skip:]
                cut = rest.find("/_")
                if cut <= 0:
                    block, start = None, ""
                    if not key.endswith("/"):  # an empty "folder" that some console made
                        stray(_stray_kind(key), f"repositories/{rest}")
                    continue
                name, start = rest[:cut], rest[: cut + 2]
                block = Block(name) if is_repository(name) else None
                if block is None:
                    stray(Kind.INVALID_NAME, f"repositories/{name}")
            if block is None:
                continue
            own = key[skip + len(start) - 1 :]
            if own.startswith("_uploads/"):
                block.uploads.add(own.split("/", 2)[1])
                continue
            block.keys.append(own)
            block.sizes.append(size)
            block.etags.append(etag)
            block.modified_ns.append(modified_ns)
    if block is not None and block.keys:
        yield block


def _stray_kind(key: str) -> Kind:
    return Kind.TEMPORARY_FILE if key.endswith(".tmp") else Kind.UNKNOWN_FILE


def in_name_order(
    blocks: Iterable[Block], pull: Callable[[str], Block | None], *, held_keys: int = _HELD_KEYS
) -> Iterator[Block]:
    """Sort repositories by name that come in the order of their keys.

    A block is held back while a name that it continues (`a` for `a-b`, `a.b` and `a/0`) may still
    come. When that holds too many keys, the missing one is fetched at once by `pull` (one LIST),
    and skipped when it comes.
    """
    held: list[tuple[str, Block]] = []
    count = 0
    pulled: set[str] = set()
    for block in blocks:
        position = block.name + "/_"
        pulled = {name for name in pulled if name + "/_" >= position}
        if block.name not in pulled:
            heapq.heappush(held, (block.name, block))
            count += len(block.keys)
        while held:
            missing = _waits_for(held[0][0], position, pulled)
            if missing is not None:
                if count <= held_keys:
                    break
                pulled.add(missing)
                early = pull(missing)
                if early is not None:
                    heapq.heappush(held, (early.name, early))
                    count += len(early.keys)
                continue
            _, first = heapq.heappop(held)
            count -= len(first.keys)
            yield first
    while held:
        yield heapq.heappop(held)[1]


def _waits_for(name: str, position: str, pulled: set[str]) -> str | None:
    """Return a name that sorts before `name` and whose keys come after `position`, if any."""
    for at in range(1, len(name)):
        character = name[at]
        if character in "-." or (character == "/" and name[at + 1] < "_"):
            shorter = name[:at]
            if shorter + "/_" > position and shorter not in pulled:
                return shorter
    return None


class FlatSurvey:
    """One look at the links of one repository on object storage."""

    def __init__(
        self,
        block: Block,
        *,
        kind: str,
        started_ns: int,
        read_many: Callable[[list[str]], Iterable[bytes | StoreError]],
        trust: EtagTrust,
    ) -> None:
        """Make a survey of what a LIST showed.

        Args:
            block: that.
            kind: the first word of the fingerprint.
            started_ns: the store's time when the LIST began.
            read_many: returns the content, or the error, of each of these keys.
            trust: what is known of the store's ETags; shared by all surveys.
        """
        self._block = block
        self._read_many = read_many
        self._trust = trust
        newest = max(block.modified_ns, default=0)
        if newest > started_ns - SETTLED_NS:
            self._fingerprint = ""
        else:
            fingerprint = Fingerprint(block.name)
            fingerprint.texts(block.keys)
            fingerprint.texts(block.etags)
            fingerprint.numbers(block.sizes)
            fingerprint.numbers(block.modified_ns)
            self._fingerprint = fingerprint.finish(kind, _VERSION)

    @property
    def repository(self) -> str:
        """Its name."""
        return self._block.name

    @property
    def fingerprint(self) -> str:
        """`kind:version:hash`, or "" where it was not settled."""
        return self._fingerprint

    def links(self) -> RepositoryLinks:
        """Tell from LIST what each link holds, and read those where that does not suffice."""
        return _BlockReader(self._block, self._read_many, self._trust).read()


@dataclass(slots=True)
class EtagTrust:
    """Whether the ETags of this store are known not to be MD5s."""

    opaque: bool = False


class _BlockReader:
    def __init__(
        self,
        block: Block,
        read_many: Callable[[list[str]], Iterable[bytes | StoreError]],
        trust: EtagTrust,
    ) -> None:
        self._block = block
        self._read_many = read_many
        self._trust = trust
        self._base = f"{REPOSITORIES}{block.name}/"
        self._builder = LinkBuilder(block.name)
        # What the right content of a link would have as its ETag -> that content.
        self._known: dict[str, bytes] = {}
        self._unproven: list[tuple[str, Place]] = []

    def read(self) -> RepositoryLinks:
        block, builder = self._block, self._builder
        tags: list[tuple[str, Place, int, str]] = []
        for key, size, etag in zip(block.keys, block.sizes, block.etags, strict=True):
            place = classify_link(key)
            if place.what is What.CURRENT:
                tags.append((key, place, size, etag))
            elif place.digest and place.what is not What.INVALID_NAME:
                self._judge(key, place, size, etag)
            elif place.what is What.INVALID_NAME:
                builder.note(Kind.INVALID_NAME, self._subject(f"_manifests/tags/{place.tag}"))
            elif not key.endswith("/"):
                builder.note(_stray_kind(key), self._subject(key))
                self._tag_of(key)
        for upload in block.uploads:
            builder.note(Kind.UPLOAD, self._subject(f"_uploads/{upload}"))
        self._prove()
        self._tags(tags)
        return builder.build()

    def _subject(self, key: str) -> str:
        return f"repositories/{self._block.name}/{key}"

    def _tag_of(self, key: str) -> None:
        """Name the tag that a stray may be all there is of."""
        parts = key.split("/")
        place = (
            classify_link(f"_manifests/tags/{parts[2]}/current/link") if len(parts) > 3 else None
        )
        if parts[:2] == ["_manifests", "tags"] and place and place.what is What.CURRENT:
            self._builder.tag(place.tag, None)

    def _judge(self, key: str, place: Place, size: int, etag: str) -> None:
        right = place.digest.encode()
        if place.what is not What.LAYER:
            md5 = self._known_md5(right)
        else:
            md5 = hashlib.md5(right, usedforsecurity=False).hexdigest()
        if size == 0:
            self._add(place, LinkState.EMPTY)
        elif size != len(right):
            self._add(place, LinkState.INVALID)
        elif etag == md5 or self._trust.opaque:
            self._add(place, LinkState.GOOD)
        else:
            self._unproven.append((key, place))

    def _known_md5(self, content: bytes) -> str:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self._known[md5] = content
        return md5

    def _add(self, place: Place, state: LinkState) -> None:
        if place.what is What.LAYER:
            self._builder.layer(place.digest, state)
        elif place.what is What.REVISION:
            self._builder.revision(place.digest, state)
        else:
            self._builder.history(place.tag, place.digest, state)

    def _prove(self) -> None:
        """Read links of the right size whose ETag is not the MD5 of the right content.

        If the first ones are right all the same, then ETags are no MD5s here, and no more is read:
        what these links should hold follows from their paths anyway.
        """
        first, rest = self._unproven[:_PROBES], self._unproven[_PROBES:]
        right = self._read_links(first)
        if right == _PROBES:
            self._trust.opaque = True
        if rest and right == _PROBES:
            for _, place in rest:
                self._add(place, LinkState.GOOD)
        else:
            self._read_links(rest)

    def _read_links(self, links: list[tuple[str, Place]]) -> int:
        """Read and add links; return how many were right."""
        right = 0
        for (_, place), content in zip(
            links, self._contents([key for key, _ in links]), strict=True
        ):
            if content is None:
                continue
            state = link_state(place.digest, content)
            right += state is LinkState.GOOD
            self._add(place, state)
        return right

    def _contents(self, keys: list[str]) -> Iterator[bytes | None]:
        """Yield the content of each link; None where it has gone or cannot be read."""
        for key, got in zip(keys, self._read_many([self._base + key for key in keys]), strict=True):
            if not isinstance(got, StoreError):
                yield got
                continue
            if ends_scan(got):
                raise source_error(got) from got
            if not isinstance(got, ObjectNotFoundError):
                self._builder.note(Kind.UNREADABLE, self._subject(key), detail=got.message)
            yield None

    def _tags(self, tags: list[tuple[str, Place, int, str]]) -> None:
        unknown: list[tuple[str, Place]] = []
        for key, place, size, etag in tags:
            content = self._known.get(etag)
            if content is not None and len(content) == size:
                self._builder.tag(place.tag, content)
            elif size == 0:
                self._builder.tag(place.tag, b"")
            else:
                unknown.append((key, place))
        contents = self._contents([key for key, _ in unknown])
        for (_, place), content in zip(unknown, contents, strict=True):
            self._builder.tag(place.tag, content)


def read_link(store: ObjectStore, key: str) -> bytes | StoreError:
    """Return a link's content, or why there is none."""
    try:
        return store.get(key, length=LINK_LIMIT)
    except StoreError as error:
        return error
