"""Read a live registry's storage, whatever its driver."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    NotFoundError,
    ObjectNotFoundError,
    SourceError,
    SourceTooLargeError,
)
from regvault.model.store import HierarchicalStore
from regvault.oci.grammar import InvalidNameError, is_repository
from regvault.registry.ahead import Glimpse, LookAhead, LookAheadError
from regvault.registry.failures import source_errors
from regvault.registry.gather import FRESH_NS, GatheredSurvey, SmallBlobs, gather
from regvault.registry.layout import BASE, blob_key
from regvault.registry.pace import Pace
from regvault.registry.scan_tree import TreeScanner
from regvault.registry.uploads import tree_uploads
from regvault.registry.walk_flat import FlatScanner
from regvault.registry.walk_tree import tree_blobs, tree_findings, tree_repositories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self, TypeVar

    from regvault.errors import StoreError
    from regvault.model.registry import Finding, Survey, Upload
    from regvault.model.store import ByteReader, Entry, ObjectStore
    from regvault.registry.gather import Gathered

    Item = TypeVar("Item")

__all__ = ["DistributionSource"]


class DistributionSource:
    """A registry's storage, read by way of an object store (implements RegistrySource).

    A store with directories is scanned by them, any other by LIST. Safe to use from several
    threads.

    Args:
        store: the root directory of the registry's storage driver, which holds `docker/`. It is
            closed with the source.
        kind: the first word of fingerprints, such as `distribution-fs`.
        endpoint: the server that holds the bucket, where it is not the provider's own.
        threads: how many requests run at once, where that helps.
        now: the time by the clock that stamps the files, nanoseconds since the epoch. By default
            the store's, for a file system this machine's (asking a network file system for its
            own would mean writing to it).
        sleep: waits, in seconds, before an empty link is read again.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        kind: str,
        endpoint: str = "",
        threads: int = 8,
        now: Callable[[], int] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._kind = kind
        self._endpoint = endpoint
        self._threads = max(1, threads)
        self._tree: TreeScanner | None = None
        self._flat: FlatScanner | None = None
        self._ahead: LookAhead | None = None
        self._small = SmallBlobs()
        self._slow = False
        if isinstance(store, HierarchicalStore):
            self.now_ns = now or time.time_ns
            self._tree = TreeScanner(store, kind=kind, now=self.now_ns, sleep=sleep)
        else:
            self.now_ns = now or store.now_ns
            self._flat = FlatScanner(store, kind=kind, threads=self._threads, now=self.now_ns)

    @property
    def location(self) -> str:
        """Where it is, without secrets."""
        return self._store.location

    @property
    def endpoint(self) -> str:
        """The server that the location is at, where that does not say it; else ""."""
        return self._endpoint

    @property
    def kind(self) -> str:
        """The first word of fingerprints."""
        return self._kind

    @property
    def at_hand(self) -> bool:
        """Whether it is on a file system that answers at once, as far as is known."""
        return self._tree is not None and not self._slow

    def check(self) -> None:
        """Look whether there is a registry.

        Raises:
            NotFoundError: there is none.
            SourceError: the place cannot be read.
            SourceUnavailableError: it cannot be reached.
        """
        with source_errors():
            if self._holds(f"{BASE}/"):
                return
            hint = "name the root directory of the registry's storage, the one that holds `docker/`"
            if self._holds("repositories/") or self._holds("blobs/"):
                hint += ": three levels further up"
            elif self._holds("registry/v2/"):
                hint += ": one level further up"
        raise NotFoundError(f"no registry in {self.location}: there is no {BASE}/", hint=hint)

    def _holds(self, prefix: str) -> bool:
        if isinstance(self._store, HierarchicalStore):
            try:
                self._store.scandir(prefix)
            except ObjectNotFoundError:
                return False
            return True
        return next(iter(self._store.list(prefix)), None) is not None

    def repositories(self) -> Iterator[str]:
        """Yield the names of all repositories, in byte order."""
        if self._tree is not None:
            return self._tree.names()
        assert self._flat is not None
        return _translated(self._flat.repositories())

    def survey(self, repository: str) -> Survey:
        """Look at all links of one repository.

        Raises:
            SourceError: that is no name of a repository.
            SourceUnavailableError: the whole storage is out of reach.
        """
        _check_name(repository)
        if self._tree is not None:
            return self._tree.survey(repository)
        assert self._flat is not None
        with source_errors():
            return self._flat.survey(repository)

    def look_ahead(self) -> None:
        """Begin to survey all repositories: a file system in other processes, else by a LIST."""
        if self._flat is not None:
            self._flat.look_ahead()
        tree = self._tree
        if tree is None or self._ahead is not None:
            return

        def survey(wanted: Callable[[str], bool]) -> Iterator[Survey]:
            names = tree_repositories(tree.store, _give_up)
            return self._tree_surveys(tree, filter(wanted, names))

        def read(survey: Survey) -> Gathered:
            began = time.perf_counter()
            gathered = gather(survey, lambda digest, limit: self.read_blob(digest, limit=limit))
            if pace.is_slow(gathered.looked_at, time.perf_counter() - began):
                raise LookAheadError  # threads, many at once, are better at it
            return gathered

        pace = Pace()
        self._ahead = LookAhead(survey, read, processes=self._threads)

    def ahead_since_ns(self) -> int | None:
        """Return when it began to look ahead; give up what is too old to compare with, and None."""
        if self._flat is not None:
            began_ns = self._flat.ahead_since_ns()
        else:
            working = self._ahead is not None and self._ahead.working
            began_ns = self._ahead.began_ns if self._ahead is not None and working else None
        if began_ns is not None and time.time_ns() - began_ns < FRESH_NS:
            return began_ns
        self._end_ahead()
        return None

    def _end_ahead(self) -> None:
        if self._flat is not None:
            self._flat.end_ahead()
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def surveys(
        self, repositories: Iterable[str] | None = None, *, compare: bool = False
    ) -> Iterator[Survey]:
        """Yield surveys in byte order of the names: of these repositories, or of all.

        Given names are held in memory; all names are not.

        Args:
            repositories: names; None means all.
            compare: few links will be asked for, so that what was seen ahead may be yielded.
        """
        ahead = repositories is None and self.ahead_since_ns() is not None
        if ahead and self._tree is not None:
            return self._seen_ahead(self._tree) if compare else self._read_ahead(self._tree)
        if not ahead:
            self._end_ahead()
        names = None if repositories is None else sorted(set(repositories))
        for name in names or ():
            _check_name(name)
        if self._tree is not None:
            found = self._tree.names() if names is None else iter(names)
            return self._tree_surveys(self._tree, found)
        assert self._flat is not None
        if names is None:
            return _translated(self._flat.surveys())
        return _translated(self._flat.surveys_of(names))

    def _seen_ahead(self, tree: TreeScanner) -> Iterator[Survey]:
        """Yield what processes saw; where one ended early, the rest is surveyed here."""
        ahead, self._ahead = self._ahead, None
        assert ahead is not None
        last = ""
        try:
            for name, fingerprint in ahead.seen():
                last = name
                yield Glimpse(name, fingerprint, tree.survey)
        except LookAheadError:
            names = (name for name in tree.names() if name > last)
            yield from self._tree_surveys(tree, names)
        finally:
            ahead.close()

    def _read_ahead(self, tree: TreeScanner) -> Iterator[Survey]:
        """Yield what processes read; where one ended early, the rest is surveyed here."""
        ahead, self._ahead = self._ahead, None
        assert ahead is not None
        last = ""
        try:
            for gathered in ahead.gathered():
                last = gathered.repository
                self._small.put(gathered.blobs)
                yield GatheredSurvey(gathered, tree.survey)
        except LookAheadError:
            names = (name for name in tree.names() if name > last)
            yield from self._tree_surveys(tree, names)
        finally:
            ahead.close()

    def _tree_surveys(self, tree: TreeScanner, names: Iterator[str]) -> Iterator[Survey]:
        """Survey in this thread, or ahead in several if the first few took long."""
        pace = Pace()
        for name in names:
            began = time.perf_counter()
            survey = tree.survey(name)
            spent = time.perf_counter() - began
            yield survey
            if pace.is_slow(survey.looked_at, spent) and self._threads > 1:
                self._slow = True
                break
        else:
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="regvault-survey") as pool:
            ahead = deque()  # type: ignore[var-annotated]
            try:
                for name in names:
                    ahead.append(pool.submit(tree.survey, name))
                    if len(ahead) > 2 * self._threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def blob_object(self, digest: str) -> tuple[ObjectStore, str]:
        """Return where a blob is, for a copy that need not pass through this process.

        Raises:
            SourceError: that is no digest.
        """
        return self._store, _blob_key(digest)

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over a blob's data, and its size in bytes.

        Errors of the stream are SourceErrors too.

        Raises:
            ObjectNotFoundError: it is not there.
            SourceError: it cannot be read, or that is no digest.
        """
        key = _blob_key(digest)
        small = self._small.take(digest)
        if small is not None:
            return BytesIO(small), len(small)
        with _blob_errors():
            reader = self._store.open(key)
            return _SourceReader(reader), reader.size

    def read_blob(self, digest: str, *, limit: int) -> bytes:
        """Return a small blob's data, not proven.

        Args:
            digest: of the blob.
            limit: bytes.

        Raises:
            ObjectNotFoundError: it is not there.
            SourceTooLargeError: it is larger than `limit`.
            SourceError: it cannot be read, or that is no digest.
        """
        key = _blob_key(digest)
        data = self._small.take(digest)
        if data is None:
            with _blob_errors():
                data = self._store.get(key, length=limit + 1)
        if len(data) > limit:
            raise SourceTooLargeError(f"{digest} in {self.location} has more than {limit} bytes")
        return data

    def stat_blob(self, digest: str) -> int | None:
        """Return a blob's size in bytes, or None where it is not there."""
        entry = self._blob_entry(digest)
        return None if entry is None else entry.size

    def written_ns(self, digest: str) -> int | None:
        """Return when a blob was written, by the store's clock, or None where it is not there."""
        entry = self._blob_entry(digest)
        return None if entry is None else entry.modified_ns

    def _blob_entry(self, digest: str) -> Entry | None:
        try:
            with _blob_errors():
                return self._store.head(_blob_key(digest))
        except ObjectNotFoundError:
            return None

    def uploads(self) -> Iterator[Upload]:
        """Yield the uploads that are not finished."""
        if self._tree is not None:
            return _translated(tree_uploads(self._tree.store))
        assert self._flat is not None
        return _translated(self._flat.uploads())

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Yield (digest, size) of everything below `blobs/`, in byte order of the digests."""
        if self._tree is not None:
            return tree_blobs(self._tree.store)
        assert self._flat is not None
        return _translated(self._flat.blobs())

    def findings(self) -> Iterator[Finding]:
        """Yield what belongs to no repository: names that none may have, strays below `blobs/`.

        On object storage as the last complete `surveys()` and `blobs()` saw it, so call it last.
        """
        if self._tree is not None:
            return tree_findings(self._tree.store)
        assert self._flat is not None
        return _translated(self._flat.findings())

    def close(self) -> None:
        """Release threads, processes and connections."""
        self._end_ahead()
        if self._flat is not None:
            self._flat.close()
        self._store.close()


def _give_up(_name: str, _error: StoreError) -> None:
    """Leave a registry of which a part cannot be read to the process that reports it."""
    raise LookAheadError


def _check_name(repository: str) -> None:
    if not is_repository(repository):
        raise SourceError(f"not the name of a repository: {repository[:300]!r}")


def _blob_key(digest: str) -> str:
    try:
        return blob_key(digest)
    except InvalidNameError as error:
        raise SourceError(str(error)) from error


def _blob_errors() -> source_errors:
    """Translate errors of the store, except that a blob is not there."""
    return source_errors(but=(ObjectNotFoundError,))


def _translated(items: Iterator[Item]) -> Iterator[Item]:
    with source_errors():
        yield from items


class _SourceReader:
    """A stream whose errors are those of a source."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader

    def read(self, size: int = -1, /) -> bytes:
        with source_errors():
            return self._reader.read(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        with source_errors():
            return self._reader.readinto(buffer)

    def close(self) -> None:
        self._reader.close()

    def __getattr__(self, name: str) -> Any:
        # What some stores' streams can besides; a writer asks for it before it counts on it.
        if name in ("fileno", "seek", "seekable", "tell"):
            return getattr(self._reader, name)
        raise AttributeError(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
