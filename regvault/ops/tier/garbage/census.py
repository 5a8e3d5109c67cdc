"""What a registry holds, which of it an image needs, and which of it nobody does.

All of it in a private temporary database, so that a registry of millions of blobs needs no more
memory than a small one.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    SourceError,
    SourceTooLargeError,
)
from regvault.model.registry import Finding, Kind
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.verify import matches_manifest
from regvault.ops.snapshot.storer import MAX_MANIFEST_BYTES
from regvault.vault.cache import digest_bytes, digest_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource, RepositoryLinks, Upload

__all__ = ["Census", "Looked", "ManifestReader", "Needs", "links_hash"]

_TABLES = """
CREATE TABLE repositories (name TEXT PRIMARY KEY, looked BLOB) WITHOUT ROWID;
CREATE TABLE marks (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE blobs (digest BLOB PRIMARY KEY, size INTEGER, kept INTEGER) WITHOUT ROWID;
CREATE TABLE lacking (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE retagged (name TEXT, tag TEXT, PRIMARY KEY (name, tag)) WITHOUT ROWID;
CREATE TABLE lost (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX by_use ON blobs (kept, size);
"""
_PROBLEMS_KEPT = 1000


class Needs(NamedTuple):
    """What one manifest names.

    Attributes:
        children: the digests that an index lists; most are manifests.
        blobs: config and layers, foreign ones too: where one is there, it is kept.
    """

    children: tuple[str, ...]
    blobs: tuple[str, ...]


class Looked(NamedTuple):
    """One repository, as it was looked at.

    Attributes:
        fingerprint: as a Survey's.
        links: a hash of what its links say.
        tags: name -> where it points; "" where nobody knows.
        stay: revisions that are to stay, sorted.
        go: revisions that are to go, sorted: no tag reaches them.
        linked: blobs that those that stay need and that the repository links to, sorted: without
            its link a registry does not serve a blob.
        unlinked: blobs that they need besides.
    """

    fingerprint: str
    links: str
    tags: dict[str, str]
    stay: list[str]
    go: list[str]
    linked: list[str]
    unlinked: list[str]

    def pack(self) -> bytes:
        """Return a compact form."""
        return zlib.compress(json.dumps(self, separators=(",", ":")).encode(), 1)

    @classmethod
    def unpack(cls, data: bytes) -> Looked:
        """Undo `pack`."""
        return cls(*json.loads(zlib.decompress(data)))


def links_hash(links: RepositoryLinks) -> str:
    """Return a hash of what the links of a repository say."""
    text = repr((links.tags, links.revisions, links.layers))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


class ManifestReader:
    """Reads manifests of a live registry, some at once, and says why one cannot be walked."""

    def __init__(self, source: RegistrySource, threads: int) -> None:
        """Wrap.

        Args:
            source: the registry.
            threads: that read at once, where that helps.
        """
        self._source = source
        self._pool = (
            None
            if source.at_hand or threads <= 1
            else ThreadPoolExecutor(threads, thread_name_prefix="collect")
        )

    def read(self, digests: Iterable[str]) -> Iterator[tuple[str, Needs | Kind]]:
        """Yield each digest with what its manifest names, or with what is wrong with it.

        MANIFEST_MISSING: there is no such blob.
        """
        if self._pool is None:
            return map(self._one, digests)
        return iter(self._pool.map(self._one, digests))

    def _one(self, digest: str) -> tuple[str, Needs | Kind]:
        try:
            data = self._source.read_blob(digest, limit=MAX_MANIFEST_BYTES)
            if not matches_manifest(data, digest):
                return digest, Kind.MANIFEST_DAMAGED
            manifest = parse_manifest(data)
        except ObjectNotFoundError:
            return digest, Kind.MANIFEST_MISSING
        except (SourceTooLargeError, InvalidManifestError):
            return digest, Kind.MANIFEST_INVALID
        except SourceError:
            return digest, Kind.UNREADABLE
        children = tuple(dict.fromkeys(child.digest for child in manifest.children))
        return digest, Needs(children, tuple(dict.fromkeys(blob.digest for blob in manifest.blobs)))

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


class Census:
    """One look at a whole registry. One thread only.

    Attributes:
        repositories, tags: how many there are.
        stay, go: revisions that stay, and that are to go.
        missing: revisions that stay, and whose manifest is not there.
        problems: what keeps from knowing what images need, the first 1,000; and how many.
        uploads: that are not finished.
    """

    def __init__(self, *, untagged: bool) -> None:
        """Begin.

        Args:
            untagged: revisions that no tag of their repository reaches are to go, too.
        """
        # "" is a private temporary database that SQLite keeps in memory or on disk by size.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        self._untagged = untagged
        self.repositories = self.tags = self.stay = self.go = self.missing = 0
        self.problems: list[Finding] = []
        self.problem_count = 0
        self.uploads: list[Upload] = []

    # -- looking --------------------------------------------------------------------------------

    def look(self, source: RegistrySource, *, threads: int, progress: Progress) -> None:
        """Read all links and manifests, then list blobs and uploads.

        Raises:
            SourceError, SourceUnavailableError: the registry cannot be read.
        """
        progress.phase("Reading what images need")
        with ManifestReader(source, threads) as reader:
            for survey in source.surveys():
                links = survey.links()
                self._add(survey.repository, survey.fingerprint, links, reader)
                progress.advance(1)
        progress.phase("Listing blobs")
        self._db.executemany(
            "INSERT OR REPLACE INTO blobs VALUES"
            " (?1, ?2, EXISTS (SELECT 1 FROM marks WHERE digest = ?1))",
            _counted(source.blobs(), progress),
        )
        for finding in source.findings():
            if finding.kind is Kind.UNREADABLE:
                self._problem(finding)  # blobs that are not listed would not be proven
        self.uploads = list(source.uploads())

    def _add(
        self, name: str, fingerprint: str, links: RepositoryLinks, reader: ManifestReader
    ) -> None:
        needs: dict[str, Needs] = {}
        gone: set[str] = set()
        for digest, found in reader.read(links.revisions):
            if isinstance(found, Needs):
                needs[digest] = found
            elif found is Kind.MANIFEST_MISSING:
                gone.add(digest)
            else:
                self._problem(Finding(name, found, digest))
        for finding in links.findings:
            if self._hides(finding):
                self._problem(finding)
        tags = {tag.name: tag.current or "" for tag in links.tags}
        stay = self._staying(links, needs, tags)
        wanted = {blob for digest in stay for part in needs.get(digest, ()) for blob in part}
        self._db.executemany(
            "INSERT OR IGNORE INTO marks VALUES (?)",
            [(digest_bytes(digest),) for digest in {*wanted, *stay}],
        )
        wanted -= stay
        layers = set(links.layers)
        looked = Looked(
            fingerprint,
            links_hash(links),
            tags,
            sorted(stay),
            sorted(set(links.revisions) - stay),
            sorted(wanted & layers),
            sorted(wanted - layers),
        )
        self._db.execute("INSERT INTO repositories VALUES (?, ?)", (name, looked.pack()))
        self.repositories += 1
        self.tags += len(tags)
        self.stay += len(stay)
        self.go += len(looked.go)
        self.missing += len(gone & stay)

    def _staying(
        self, links: RepositoryLinks, needs: dict[str, Needs], tags: dict[str, str]
    ) -> set[str]:
        """Return the revisions that stay: all, or those that a tag of the repository reaches."""
        revisions = set(links.revisions)
        if not self._untagged:
            return revisions
        stay: set[str] = set()
        todo = [digest for digest in tags.values() if digest in revisions]
        while todo:
            digest = todo.pop()
            if digest not in stay:
                stay.add(digest)
                children = needs[digest].children if digest in needs else ()
                todo += [child for child in children if child in revisions]
        return stay

    def _hides(self, finding: Finding) -> bool:
        """Return whether a finding keeps from knowing what the registry's own mark would see."""
        if finding.kind in (Kind.LINK_EMPTY, Kind.LINK_INVALID):
            # A registry goes by what a link says, not by its path.
            return finding.detail == "revision link"
        return finding.kind is Kind.UNREADABLE or (
            self._untagged and finding.kind is Kind.TAG_UNREADABLE
        )

    def _problem(self, finding: Finding) -> None:
        self.problem_count += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(finding)

    # -- what was seen --------------------------------------------------------------------------

    def looked(self) -> Iterator[tuple[str, Looked]]:
        """Yield all repositories, in byte order of their names."""
        rows = self._db.execute("SELECT name, looked FROM repositories ORDER BY name")
        for name, data in rows:
            yield name, Looked.unpack(data)

    def totals(self, *, kept: bool) -> tuple[int, int]:
        """Return how many blobs are needed, or are not; and their bytes."""
        query = "SELECT count(*), CAST(total(size) AS INTEGER) FROM blobs WHERE kept = ?"
        count, nbytes = self._db.execute(query, (kept,)).fetchone()
        return int(count), int(nbytes)

    def absent(self) -> int:
        """Return how many blobs images need that are not there."""
        query = "SELECT count(*) FROM marks WHERE digest NOT IN (SELECT digest FROM blobs)"
        return int(self._db.execute(query).fetchone()[0])

    def blobs(self, *, kept: bool) -> Iterator[tuple[str, int]]:
        """Yield (digest, size) of the blobs that are needed, or are not, in byte order."""
        query = "SELECT digest, size FROM blobs WHERE kept = ? ORDER BY digest"
        for packed, size in self._db.execute(query, (kept,)):
            yield digest_text(packed), size

    def largest(self, count: int) -> list[tuple[str, int]]:
        """Return (digest, size) of the largest blobs that nobody needs, the largest first."""
        query = "SELECT digest, size FROM blobs WHERE kept = 0 ORDER BY size DESC, digest LIMIT ?"
        return [(digest_text(packed), size) for packed, size in self._db.execute(query, (count,))]

    def size(self, digest: str) -> int | None:
        """Return the size of a blob that was there, or None."""
        query = "SELECT size FROM blobs WHERE digest = ?"
        row = self._db.execute(query, (digest_bytes(digest),)).fetchone()
        return None if row is None else int(row[0])

    def changes(self, source: RegistrySource) -> Iterator[str]:
        """Yield what is not any more as it was: links of repositories, and uploads.

        Raises:
            SourceError, SourceUnavailableError: the registry cannot be read.
        """
        before = self.looked()
        known = next(before, None)
        for survey in source.surveys(compare=True):
            name = survey.repository
            while known is not None and known[0] < name:
                yield f"{known[0]} is gone"
                known = next(before, None)
            if known is None or known[0] != name:
                yield f"{name} is new"
                continue
            looked, known = known[1], next(before, None)
            settled = bool(survey.fingerprint) and survey.fingerprint == looked.fingerprint
            if not settled and links_hash(survey.links()) != looked.links:
                yield f"{name} has other links"
        while known is not None:
            yield f"{known[0]} is gone"
            known = next(before, None)
        now, then = set(source.uploads()), set(self.uploads)
        for upload in sorted(now - then):
            yield f"{upload.path} goes on"
        for upload in sorted(then - now):
            if upload.path not in {each.path for each in now}:
                yield f"{upload.path} has ended"

    # -- what others note -----------------------------------------------------------------------

    def note_lacking(self, digests: Iterable[str]) -> None:
        """Note blobs of which the vault has no copy."""
        self._note("lacking", digests)

    def lacking(self) -> tuple[int, int]:
        """Return how many of those are there and needed, and their bytes."""
        query = (
            "SELECT count(*), CAST(total(b.size) AS INTEGER) FROM blobs b JOIN lacking"
            " USING (digest) WHERE b.kept = 1"
        )
        count, nbytes = self._db.execute(query).fetchone()
        return int(count), int(nbytes)

    def note_retagged(self, name: str, tags: Iterable[str]) -> None:
        """Note tags of a repository that point elsewhere in the snapshot of the vault."""
        rows = ((name, tag) for tag in tags)
        self._db.executemany("INSERT OR IGNORE INTO retagged VALUES (?, ?)", rows)

    def is_retagged(self, name: str, tag: str) -> bool:
        """Return whether a tag points elsewhere in that snapshot."""
        query = "SELECT 1 FROM retagged WHERE name = ? AND tag = ?"
        return self._db.execute(query, (name, tag)).fetchone() is not None

    def set_lost(self, digests: Iterable[str]) -> None:
        """Note which blobs are lost; those of before are not any more."""
        self._db.execute("DELETE FROM lost")
        self._note("lost", digests)

    def is_lost(self, digest: str) -> bool:
        """Return whether a blob was lost."""
        query = "SELECT 1 FROM lost WHERE digest = ?"
        return self._db.execute(query, (digest_bytes(digest),)).fetchone() is not None

    def _note(self, table: str, digests: Iterable[str]) -> None:
        rows = ((digest_bytes(digest),) for digest in digests)
        self._db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", rows)  # noqa: S608 (ours)

    def close(self) -> None:
        """Free the temporary database."""
        self._db.close()


def _counted(blobs: Iterable[tuple[str, int]], progress: Progress) -> Iterator[tuple[bytes, int]]:
    for digest, size in blobs:
        progress.advance(1, size)
        yield digest_bytes(digest), size
