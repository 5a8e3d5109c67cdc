"""The registry ports: what a live registry shows of itself, and how one is written.

A *survey* is what the links of one repository say, before any manifest is opened. What the links
mean together with the manifests (the closure of each image, what is missing) is worked out above,
in `regvault.ops`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from regvault.model.store import ByteReader, ObjectStore, Space

__all__ = [
    "Finding",
    "Kind",
    "LinkState",
    "RegistrySource",
    "RegistryTarget",
    "RepositoryLinks",
    "Survey",
    "TagLinks",
    "Upload",
]


class Kind(enum.StrEnum):
    """What may be wrong, or only untidy, in a registry's storage.

    The first group is *notices*: normal in any registry that lives. The second is *damage*.
    """

    TEMPORARY_FILE = "temporary-file"  # `*.tmp` beside a link or data, from a crashed 3.1 write
    UPLOAD = "upload"  # an upload in flight, or a stale one
    EMPTY_TAG = "empty-tag"  # a tag directory without any link
    TAG_WITHOUT_CURRENT = "tag-without-current"  # history, but no current: crash or deletion
    LAYER_WITHOUT_BLOB = "layer-without-blob"  # swept by garbage collection; no manifest needs it
    ORPHAN_BLOB = "orphan-blob"  # no repository links to it
    UNKNOWN_FILE = "unknown-file"  # nothing that a registry writes
    INVALID_NAME = "invalid-name"  # a directory whose name no registry would take

    LINK_EMPTY = "link-empty"  # zero-byte layer or revision link; derivable from its path
    LINK_INVALID = "link-invalid"  # a link whose content is not its path's digest; derivable
    TAG_UNREADABLE = "tag-unreadable"  # current is empty or no digest: where it pointed is lost
    TAG_DANGLING = "tag-dangling"  # current points to a revision or manifest that is not there
    MANIFEST_MISSING = "manifest-missing"  # a revision link without its blob
    MANIFEST_DAMAGED = "manifest-damaged"  # empty, truncated or wrong bytes
    MANIFEST_INVALID = "manifest-invalid"  # the right bytes, but no manifest that can be walked
    CHILD_MISSING = "child-missing"  # an index names a manifest that this repository lacks
    BLOB_MISSING = "blob-missing"  # a manifest needs it and it is not there
    BLOB_DAMAGED = "blob-damaged"  # empty, truncated or wrong bytes
    UNREADABLE = "unreadable"  # an I/O error or a refused permission: not known what is there


class Finding(NamedTuple):
    """One thing found in one repository.

    Attributes:
        repository: its name, or "" for what belongs to none.
        kind: what is wrong.
        subject: the digest, `:tag` or path that it is about.
        image: the image that it hurts, `:tag` or `@digest`; "" for none.
        detail: free words for people ("Permission denied"), or "".
    """

    repository: str
    kind: Kind
    subject: str
    image: str = ""
    detail: str = ""


class LinkState(enum.Enum):
    """What a layer or revision link's content is, beside what its path says."""

    GOOD = "good"
    EMPTY = "empty"
    INVALID = "invalid"


class TagLinks(NamedTuple):
    """One tag.

    Attributes:
        name: the tag.
        current: digest, or None where `current` is missing, empty or no digest.
        history: digests under `index`, sorted.
    """

    name: str
    current: str | None
    history: tuple[str, ...]


class Upload(NamedTuple):
    """An upload that is not finished: in flight, or broken off.

    Attributes:
        path: below `docker/registry/v2/`.
        modified_ns: when something of it was last written, nanoseconds since the epoch, by the
            store's clock.
    """

    path: str
    modified_ns: int


class RepositoryLinks(NamedTuple):
    """Everything that the links of one repository say.

    Attributes:
        tags: sorted by name.
        revisions: digests with a revision link, sorted; derivable ones (LINK_EMPTY,
            LINK_INVALID) included, since their path says it all.
        layers: the same for `_layers`.
        findings: what was wrong or untidy among the links.
    """

    tags: tuple[TagLinks, ...]
    revisions: tuple[str, ...]
    layers: tuple[str, ...]
    findings: tuple[Finding, ...]


class Survey(Protocol):
    """One look at the links of one repository."""

    @property
    def repository(self) -> str:
        """Its name."""

    @property
    def fingerprint(self) -> str:
        """`kind:version:hash` over all that the links showed.

        Equal fingerprints of one source mean that no link changed. "" where that cannot be
        promised (something changed within the last two seconds, or could not be read).
        """

    def links(self) -> RepositoryLinks:
        """Parse, and read where need be, what the survey saw."""


class RegistrySource(Protocol):
    """A live registry that is read. Raises SourceError, SourceUnavailableError, NotFoundError."""

    @property
    def location(self) -> str:
        """Where it is, without secrets."""

    @property
    def endpoint(self) -> str:
        """The server that `location` is at, where that does not say it; else ""."""

    @property
    def kind(self) -> str:
        """`distribution-fs`, `distribution-s3`, ..."""

    @property
    def at_hand(self) -> bool:
        """Whether a small read takes less time than handing it to another thread (a disk)."""

    def check(self) -> None:
        """Raise NotFoundError where there is no registry at this place."""

    def repositories(self) -> Iterator[str]:
        """Yield the names of all repositories, in byte order.

        A repository is a directory that holds `_manifests` or `_layers`; one that holds only
        uploads is none.
        """

    def survey(self, repository: str) -> Survey:
        """Look at all links of one repository. An empty survey if it is gone."""

    def look_ahead(self) -> None:
        """Begin in the background what `surveys(compare=True)` will ask for, where that helps.

        Call it before there are other threads; `close` ends it.
        """

    def ahead_since_ns(self) -> int | None:
        """Return when `look_ahead` began, in nanoseconds since the epoch, where it will be used.

        None: where there was none, or too long ago.
        """

    def surveys(
        self, repositories: Iterable[str] | None = None, *, compare: bool = False
    ) -> Iterator[Survey]:
        """Yield surveys in byte order of the names: of these repositories, or of all.

        May look ahead in parallel. What cannot be read becomes an UNREADABLE finding of its survey.

        Args:
            repositories: names; None means all.
            compare: few links will be asked for, so fingerprints of `look_ahead` will do.
        """

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over a blob's data, and its size; ObjectNotFoundError if absent."""

    def blob_object(self, digest: str) -> tuple[ObjectStore, str]:
        """Return the store and the key where a blob is, for a copy that the store makes itself."""

    def read_blob(self, digest: str, *, limit: int) -> bytes:
        """Return a small blob's data; raises SourceError when it is larger than `limit` bytes."""

    def stat_blob(self, digest: str) -> int | None:
        """Return a blob's size in bytes, or None where it is not there."""

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Yield (digest, size) of everything below `blobs/`, in byte order of the digests."""

    def written_ns(self, digest: str) -> int | None:
        """Return when a blob was written, ns since the epoch by the store's clock; None: absent."""

    def uploads(self) -> Iterator[Upload]:
        """Yield the uploads that are not finished, also of what is no repository yet."""

    def now_ns(self) -> int:
        """Return the time by the clock that stamps what is written, ns since the epoch."""

    def findings(self) -> Iterator[Finding]:
        """Yield findings that belong to no repository's links: stray files below `blobs/`."""

    def close(self) -> None:
        """Release connections."""


class RegistryTarget(Protocol):
    """Registry storage that a restore writes.

    Callers write blobs first, then layers, revisions, history, and `current` links last.
    """

    @property
    def location(self) -> str:
        """Where it is, without secrets."""

    def blob_size(self, digest: str) -> int | None:
        """Return the size of what is at the blob's place, or None."""

    def open_blob(self, digest: str) -> ByteReader:
        """Return a stream over what is at the blob's place."""

    def proves_blob(self, digest: str) -> bool:
        """Return whether the store itself keeps a checksum that says: this is the blob."""

    def put_blob(self, digest: str, reader: ByteReader, size: int) -> None:
        """Write a blob, replacing what is there, whole or not at all.

        Raises DigestMismatchError when the bytes are not the digest.
        """

    def put_small_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """The same, of (digest, bytes) that the caller has proven."""

    def put_links(
        self,
        repository: str,
        *,
        layers: Iterable[str],
        revisions: Iterable[str],
        history: Iterable[tuple[str, str]],
    ) -> int:
        """Write layer links, revision links and (tag, digest) of tags' indexes, in this order.

        Returns how many were not there, or wrong, before.
        """

    def put_tags(
        self, repository: str, tags: Mapping[str, str], *, only_new: Container[str] = ()
    ) -> list[str]:
        """Point tags' current links at revisions. Each is atomic.

        Args:
            repository: its name.
            tags: tag -> digest.
            only_new: of them, those that are to stay as they are if someone pushes them meanwhile;
                where the store cannot tell, the last one wins.

        Returns:
            Those that stayed.
        """

    def tag(self, repository: str, tag: str) -> str | None:
        """Return where the tag points now, or None; "" where its link is damaged."""

    def doubtful(self) -> bool:
        """Return whether a barrier failed in an earlier restore, and none was finished since.

        What is there can then be read, and may be gone after the next start of the machine: it is
        to be written again.
        """

    def barrier(self) -> None:
        """Return once everything written before is durable."""

    def finish(self) -> None:
        """Return once everything is durable and to be seen; called once, after the last tag."""

    def space(self) -> Space:
        """Return what is left."""

    def close(self) -> None:
        """Release connections."""
