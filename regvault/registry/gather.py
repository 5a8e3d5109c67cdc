"""What a process reads ahead of one repository: its links, its manifests and their configs.

They are half of all files that a first snapshot opens, and the smallest. The bytes are not proven
here: who asks for them does that, as with any others.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, SourceError
from regvault.oci.manifest import InvalidManifestError, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.model.registry import RepositoryLinks, Survey

__all__ = ["FRESH_NS", "Gathered", "GatheredSurvey", "SmallBlobs", "gather"]

#: A blob that is larger is left to who needs it.
_BLOB_BYTES = 64 << 10
#: Of one repository no more is sent.
_REPOSITORY_BYTES = 1 << 20
#: Of all repositories no more is kept.
_KEPT_BYTES = 16 << 20
#: What was seen longer ago is not taken for the state of now: the run waited for something.
FRESH_NS = 10_000_000_000


class Gathered(NamedTuple):
    """One repository, as a process read it.

    Attributes:
        repository: its name.
        fingerprint: as a Survey's.
        seen_ns: when it was read, nanoseconds since the epoch.
        links: what its links say.
        blobs: (digest, bytes) of manifests and configs, not proven.
    """

    repository: str
    fingerprint: str
    seen_ns: int
    links: RepositoryLinks
    blobs: list[tuple[str, bytes]]

    @property
    def looked_at(self) -> int:
        """How many files it took, about."""
        links = self.links
        return len(links.layers) + len(links.revisions) + 3 * len(links.tags) + len(self.blobs)


def gather(survey: Survey, read: Callable[[str, int], bytes]) -> Gathered:
    """Read a repository's links, then the manifests, then the configs: a pull's own order.

    Args:
        survey: of the repository.
        read: returns the bytes of a blob that has at most so many.

    Raises:
        SourceUnavailableError: the whole source is out of reach.
    """
    seen_ns = time.time_ns()
    links = survey.links()
    blobs: list[tuple[str, bytes]] = []
    left = _REPOSITORY_BYTES

    def take(digests: Iterable[str]) -> None:
        nonlocal left
        for digest in digests:
            if left <= 0:
                return
            # What is missing, large or not to be read, whoever needs it will find out.
            with suppress(SourceError, ObjectNotFoundError):
                data = read(digest, min(_BLOB_BYTES, left))
                left -= len(data)
                blobs.append((digest, data))

    take(links.revisions)
    take(dict.fromkeys(config for _, data in tuple(blobs) if (config := _config(data))))
    return Gathered(survey.repository, survey.fingerprint, seen_ns, links, blobs)


def _config(data: bytes) -> str | None:
    """Return the digest of a manifest's config."""
    try:
        config = parse_manifest(data).config
    except InvalidManifestError:
        return None
    return None if config is None or config.size > _BLOB_BYTES else config.digest


class SmallBlobs:
    """Bytes that were read ahead, until they are asked for or too many. Thread-safe."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def put(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """Keep them; the oldest go when there are too many."""
        with self._lock:
            for digest, data in blobs:
                if digest not in self._blobs:
                    self._blobs[digest] = data
                    self._nbytes += len(data)
            while self._nbytes > _KEPT_BYTES:
                self._nbytes -= len(self._blobs.popitem(last=False)[1])

    def take(self, digest: str) -> bytes | None:
        """Return the bytes of a blob, once; None where they are not here."""
        if not self._blobs:
            return None
        with self._lock:
            data = self._blobs.pop(digest, None)
            if data is not None:
                self._nbytes -= len(data)
        return data


class GatheredSurvey:
    """A survey whose links were read ahead (implements Survey)."""

    def __init__(self, gathered: Gathered, survey: Callable[[str], Survey]) -> None:
        """Make one.

        Args:
            gathered: what was read.
            survey: looks at the repository anew.
        """
        self._gathered = gathered
        self._survey = survey

    @property
    def repository(self) -> str:
        """Its name."""
        return self._gathered.repository

    @property
    def fingerprint(self) -> str:
        """`kind:version:hash`, or "" where it was not settled."""
        return self._gathered.fingerprint

    def links(self) -> RepositoryLinks:
        """Return what was read; where that is long ago, read them now.

        What changed meanwhile shows, and makes the next fingerprint differ.
        """
        if time.time_ns() - self._gathered.seen_ns < FRESH_NS:
            return self._gathered.links
        return self._survey(self._gathered.repository).links()
