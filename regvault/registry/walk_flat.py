"""Walk a registry on object storage by LIST: its repositories, in order, and its blobs."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.model.registry import Finding, Kind, Upload
from regvault.registry.layout import BLOBS, REPOSITORIES, What, classify
from regvault.registry.list_ahead import ListAhead
from regvault.registry.parallel_list import Split, list_in_order
from regvault.registry.scan_flat import (
    Block,
    EtagTrust,
    FlatSurvey,
    blocks_of,
    in_name_order,
    read_link,
)
from regvault.registry.uploads import flat_uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from regvault.errors import StoreError
    from regvault.model.store import Entry, ObjectStore

__all__ = ["FlatScanner"]

# Stray keys to remember of one walk. More of them say no more.
_MAX_STRAYS = 10_000
_HEX = "0123456789abcdef"


class FlatScanner:
    """Looks at a registry on object storage. Raises StoreErrors as they come.

    Args:
        store: the registry's storage, from the root directory of its driver on.
        kind: the first word of fingerprints.
        threads: how many requests run at once.
        now: the store's time, nanoseconds since the epoch.
    """

    def __init__(
        self, store: ObjectStore, *, kind: str, threads: int, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._kind = kind
        self._threads = threads
        self._now = now
        self._trust = EtagTrust()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="regvault-read")
        # What the last complete walk saw; None before there was one.
        self._name_strays: list[Finding] | None = None
        self._blob_strays: list[Finding] | None = None
        self._ahead: ListAhead | None = None

    def look_ahead(self) -> None:
        """Begin to LIST what the next `surveys()` will want."""
        if self._ahead is None:
            self._ahead = ListAhead(self._chunks, self._now)

    def ahead_since_ns(self) -> int | None:
        """Return when `look_ahead` began, nanoseconds since the epoch, or None."""
        return None if self._ahead is None else self._ahead.began_ns

    def end_ahead(self) -> None:
        """Forget what was listed ahead."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def close(self) -> None:
        """End the threads."""
        self.end_ahead()
        self._pool.shutdown(cancel_futures=True)

    def repositories(self) -> Iterator[str]:
        """Yield the names of all repositories, in byte order."""
        for block in self._blocks(self._chunks()):
            yield block.name

    def surveys(self) -> Iterator[FlatSurvey]:
        """Survey all repositories by one LIST: that of `look_ahead`, or one of now."""
        ahead, self._ahead = self._ahead, None
        ahead = ahead or ListAhead(self._chunks, self._now)
        for block in self._blocks(ahead.chunks()):
            yield self._survey(block, ahead.started_ns)

    def survey(self, repository: str) -> FlatSurvey:
        """Survey one repository, whose name must be valid."""
        started_ns = self._now()
        return self._survey(self._pull(repository) or Block(repository), started_ns)

    def surveys_of(self, repositories: Iterable[str]) -> Iterator[FlatSurvey]:
        """Survey these repositories, one LIST each, some ahead."""
        started_ns = self._now()
        ahead = deque()  # type: ignore[var-annotated]
        for name in repositories:
            ahead.append((name, self._pool.submit(self._pull, name)))
            if len(ahead) > 2 * self._threads:
                first, future = ahead.popleft()
                yield self._survey(future.result() or Block(first), started_ns)
        for first, future in ahead:
            yield self._survey(future.result() or Block(first), started_ns)

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Yield (digest, size in bytes) of all blobs, in byte order."""
        strays: list[Finding] = []
        for chunk in list_in_order(
            self._store, BLOBS, threads=self._threads, split=self._split_blobs
        ):
            for entry in chunk:
                place = classify(entry.key)
                if place.what is What.BLOB:
                    yield place.digest, entry.size
                elif len(strays) < _MAX_STRAYS and not entry.key.endswith("/"):
                    temporary = place.what is What.TEMPORARY
                    kind = Kind.TEMPORARY_FILE if temporary else Kind.UNKNOWN_FILE
                    path = "blobs/" + entry.key.removeprefix(BLOBS)
                    strays.append(Finding("", kind, path))
        self._blob_strays = strays

    def uploads(self) -> Iterator[Upload]:
        """Yield the uploads that are not finished."""
        return flat_uploads(self._chunks())

    def findings(self) -> Iterator[Finding]:
        """Yield what belongs to no repository, as the last walks saw it, or walk now."""
        if self._name_strays is None:
            deque(self._blocks(self._chunks()), maxlen=0)
        yield from self._name_strays or ()
        if self._blob_strays is None:
            deque(self.blobs(), maxlen=0)
        yield from self._blob_strays or ()

    def _survey(self, block: Block, started_ns: int) -> FlatSurvey:
        return FlatSurvey(
            block,
            kind=self._kind,
            started_ns=started_ns,
            read_many=self._read_many,
            trust=self._trust,
        )

    def _read_many(self, keys: list[str]) -> Iterable[bytes | StoreError]:
        if len(keys) <= 1 or self._threads <= 1:
            return [read_link(self._store, key) for key in keys]
        return self._pool.map(lambda key: read_link(self._store, key), keys)

    def _pull(self, repository: str) -> Block | None:
        """LIST one repository by itself; None where it has no links."""
        listed = self._store.list(f"{REPOSITORIES}{repository}/_")
        return next(blocks_of([list(listed)], lambda _kind, _path: None), None)

    def _chunks(self) -> Generator[list[Entry], None, None]:
        return list_in_order(
            self._store, REPOSITORIES, threads=self._threads, split=self._split_names
        )

    def _blocks(self, chunks: Iterator[list[Entry]]) -> Iterator[Block]:
        strays: list[Finding] = []

        def stray(kind: Kind, path: str) -> None:
            if len(strays) < _MAX_STRAYS:
                strays.append(Finding("", kind, path))

        yield from in_name_order(blocks_of(chunks, stray), self._pull)
        self._name_strays = strays

    def _split_names(self, last: str) -> Split:
        """Split the rest of `repositories/` at directories, about evenly by their number.

        Too few directories are split again by theirs; `_layers` by its digests. What comes into
        being beside them meanwhile is for the next walk.
        """
        wanted = self._threads
        bounds = [f"{REPOSITORIES}{name}/" for name in self._store.list_prefixes(REPOSITORIES)]
        whole = True
        for _ in range(3):
            if len(bounds) >= wanted:
                break
            whole = False
            inner = [bound for bound in bounds if bound >= last or last.startswith(bound)]
            deeper = self._pool.map(self._inner_bounds, inner)
            bounds = sorted({*bounds, *(bound for found in deeper for bound in found)})
        bounds = [bound for bound in bounds if bound > last]
        # Many small repositories share a range: a LIST of its own costs a request each.
        step = max(1, len(bounds) // (4 * wanted))
        return Split(bounds[::step], whole and step == 1)

    def _inner_bounds(self, bound: str) -> list[str]:
        if "/_" in bound[len(REPOSITORIES) :]:
            return []
        found = []
        for name in self._store.list_prefixes(bound):
            found.append(f"{bound}{name}/")
            if name == "_layers":
                found.extend(f"{bound}_layers/sha256/{digit}" for digit in _HEX[::2])
        return found

    def _split_blobs(self, last: str) -> Split:
        del last
        return Split([f"{BLOBS}sha256/{first}{second}" for first in _HEX for second in _HEX[::4]])
