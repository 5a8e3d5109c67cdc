"""The verb `scan`: what is damaged, and what is only untidy, in a live registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    DigestMismatchError,
    NotFoundError,
    ObjectNotFoundError,
    SourceError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from regvault.model.registry import Finding, Kind
from regvault.oci.grammar import glob_matcher, unmatched
from regvault.oci.verify import VerifyingReader, matches_manifest
from regvault.ops.snapshot.state import Parsed, assemble, parse, wanted_blobs
from regvault.ops.snapshot.storer import MAX_MANIFEST_BYTES
from regvault.policy.damage import Rank, rank
from regvault.vault.presence import KeySizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.errors import RegvaultError
    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource, RepositoryLinks, Survey

__all__ = ["ScanOptions", "ScanResult", "scan"]

_FINDINGS_KEPT = 10_000
_ABSENT = -1


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What was asked for.

    Attributes:
        globs: repositories; () means all.
        read_data: read and hash every blob, not only manifests.
        threads: at work at once.
    """

    globs: tuple[str, ...] = ()
    read_data: bool = False
    threads: int = 4


@dataclass(slots=True)
class ScanResult:
    """What was found.

    Attributes:
        repositories, tags, revisions: that were looked at.
        blobs, nbytes: distinct blobs that are needed and there, and their bytes.
        orphans, orphan_bytes: blobs that no repository links to; None where only some were
            looked at.
        damage, notices: how many of each.
        findings: the first 10,000; damage first in each repository.
    """

    repositories: int = 0
    tags: int = 0
    revisions: int = 0
    blobs: int = 0
    nbytes: int = 0
    orphans: int | None = None
    orphan_bytes: int | None = None
    damage: int = 0
    notices: int = 0
    findings: list[tuple[Rank, Finding]] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count and keep one finding."""
        ranked = rank(finding, ())
        if ranked is Rank.NOTICE:
            self.notices += 1
        else:
            self.damage += 1
        if len(self.findings) < _FINDINGS_KEPT:
            self.findings.append((ranked, finding))

    def exit_code(self) -> int:
        """Return 0, or 3 where there is damage."""
        return 3 if self.damage else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            "repositories": self.repositories,
            "tags": self.tags,
            "revisions": self.revisions,
            "blobs": self.blobs,
            "bytes": self.nbytes,
            "orphan_blobs": self.orphans,
            "orphan_bytes": self.orphan_bytes,
            "damage_count": self.damage,
            "notice_count": self.notices,
            "findings": [
                {
                    "rank": "notice" if ranked is Rank.NOTICE else "damage",
                    "repository": finding.repository,
                    "kind": str(finding.kind),
                    "subject": finding.subject,
                    "image": finding.image,
                    "detail": finding.detail,
                }
                for ranked, finding in self.findings
            ],
        }


def scan(source: RegistrySource, options: ScanOptions, *, progress: Progress) -> ScanResult:
    """Look at every link, manifest and blob of a live registry. Changes nothing.

    Raises:
        NotFoundError: there is no registry.
    """
    source.check()
    result = ScanResult()
    prober = _Prober(source, options)
    progress.phase("Scanning repositories")
    try:
        missing = unmatched(options.globs, source.repositories() if options.globs else ())
        if missing:
            raise NotFoundError(
                f"no repository of {source.location} matches {', '.join(missing)}",
                hint="Give names or globs such as 'team/*'.",
            )
        for survey in _surveys(source, options.globs):
            links = survey.links()
            result.repositories += 1
            result.tags += len(links.tags)
            result.revisions += len(links.revisions)
            for finding in prober.check(survey, links):
                result.add(finding)
            progress.advance(1)
        for finding in source.findings():
            result.add(finding)
        result.blobs, result.nbytes = prober.blobs, prober.nbytes
        if not options.globs:
            progress.phase("Looking for orphans")
            result.orphans = result.orphan_bytes = 0
            for digest, size in source.blobs():
                if prober.size(digest) is None:
                    result.orphans += 1
                    result.orphan_bytes += size
                    result.add(Finding("", Kind.ORPHAN_BLOB, digest, "", f"{size} bytes"))
        return result
    finally:
        prober.close()


def _surveys(source: RegistrySource, globs: tuple[str, ...]) -> Iterator[Survey]:
    if not globs:
        return source.surveys()
    matches = glob_matcher(globs)
    return source.surveys(name for name in source.repositories() if matches(name))


class _Prober:
    """Looks each blob up once, whatever the number of repositories that need it."""

    def __init__(self, source: RegistrySource, options: ScanOptions) -> None:
        self._source = source
        self._read_data = options.read_data
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="scan")
        self._sizes = KeySizes()
        self._bad: dict[str, Kind] = {}
        self.blobs = 0
        self.nbytes = 0

    def size(self, digest: str) -> int | None:
        """Return what was found of a digest, _ABSENT included; None where nothing needs it."""
        return self._sizes.get(digest)

    def check(self, survey: Survey, links: RepositoryLinks) -> list[Finding]:
        """Return the findings of one repository."""
        parsed: dict[str, Parsed] = {}
        for digest, found in zip(
            links.revisions, self._pool.map(self._manifest, links.revisions), strict=True
        ):
            if found is None:
                self._note(digest, _ABSENT)
            else:
                parsed[digest] = found
                self._note(digest, found.size)
        wanted = {d: declared for d, (_, declared) in wanted_blobs(links, parsed).items()}
        fresh = [d for d in wanted if self._sizes.get(d) is None]
        declared = [wanted[d] for d in fresh]
        for digest, size in zip(fresh, self._pool.map(self._blob, fresh, declared), strict=True):
            self._note(digest, _ABSENT if size is None else size)
        sizes = {
            digest: size
            for digest in wanted
            if (size := self._sizes.get(digest)) is not None and size != _ABSENT
        }
        return assemble(survey.repository, links, parsed, sizes, self._bad.get).findings

    def _note(self, digest: str, size: int) -> None:
        if self._sizes.get(digest) is None:
            self._sizes[digest] = size
            if size != _ABSENT:
                self.blobs += 1
                self.nbytes += size

    def _manifest(self, digest: str) -> Parsed | None:
        try:
            data = self._source.read_blob(digest, limit=MAX_MANIFEST_BYTES)
        except SourceTooLargeError:
            self._bad[digest] = Kind.MANIFEST_INVALID
            return None
        except (ObjectNotFoundError, SourceError, SourceUnavailableError) as error:
            self._bad[digest] = _kind(error)
            return None
        if not matches_manifest(data, digest):
            self._bad[digest] = Kind.BLOB_DAMAGED
            return None
        return parse(data)

    def _blob(self, digest: str, declared: int | None) -> int | None:
        try:
            if not self._read_data:
                size = self._source.stat_blob(digest)
                if size is None:
                    self._bad[digest] = Kind.BLOB_MISSING
                elif size != declared and (size == 0 or declared is not None):
                    # A layer link alone declares nothing; but no digest in use is of nothing.
                    if size == 0 and digest.startswith(_EMPTY):
                        return size
                    self._bad[digest] = Kind.BLOB_DAMAGED
                    return None
                return size
            stream, size = self._source.open_blob(digest)
            with stream:
                reader = VerifyingReader(stream, digest, size)
                while reader.read(1 << 20):
                    pass
        except DigestMismatchError:
            self._bad[digest] = Kind.BLOB_DAMAGED
            return None
        except (ObjectNotFoundError, SourceError, SourceUnavailableError) as error:
            self._bad[digest] = _kind(error)
            return None
        return size

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._sizes.close()


#: Digests of nothing at all: the only blobs that may have no bytes.
_EMPTY = ("sha256:e3b0c44298fc1c14", "sha384:38b060a751ac9638", "sha512:cf83e1357eefb8bd")


def _kind(error: RegvaultError) -> Kind:
    return Kind.BLOB_MISSING if isinstance(error, ObjectNotFoundError) else Kind.UNREADABLE
