"""A bucket as it was: of each key the version that was the newest at a moment.

What is overwritten or deleted in a bucket with versioning is only hidden. ListObjectVersions shows
it all, so a vault can be read as it was before someone deleted it.
"""

from __future__ import annotations

import base64
import threading
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, StoreError
from regvault.model.store import Entry
from regvault.storage.keys import check_directory, check_key, check_prefix, is_object
from regvault.storage.read_only import ReadOnly
from regvault.storage.s3_list import datetime_ns
from regvault.storage.s3_read import open_object
from regvault.storage.streams import check_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import SizedReader
    from regvault.storage.s3 import S3Store

__all__ = ["S3AsOf"]

# Versions of single keys that are remembered.
_KEPT = 20_000


class _Version(NamedTuple):
    """One version of a key, or a delete marker (`entry` is None)."""

    key: str
    modified_ns: int
    latest: bool
    id: str
    entry: Entry | None


class S3AsOf(ReadOnly):
    """The objects of a bucket as they were, to read only.

    Args:
        store: the bucket as it is.
        moment_ns: nanoseconds since the epoch; what was written in that very moment counts.

    Attributes:
        page_keys: versions that one answer of the server lists.
    """

    page_keys = 1000

    def __init__(self, store: S3Store, moment_ns: int) -> None:
        self._store = store
        self._moment_ns = moment_ns
        self._found: dict[str, _Version | None] = {}
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """Where this is, for messages."""
        return self._store.location

    # Versions

    def _pages(self, prefix: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield the answers of ListObjectVersions. Raises StoreError where they do not end."""
        seen: set[tuple[str, str]] = set()
        whole = self._store.prefix + prefix
        params.setdefault("MaxKeys", self.page_keys)
        while True:
            page = self._store.call("list_object_versions", "list", "", Prefix=whole, **params)
            yield page
            if not page.get("IsTruncated"):
                return
            here = page.get("NextKeyMarker") or "", page.get("NextVersionIdMarker") or ""
            if not here[0] or here in seen:
                raise self._untrue(prefix, "a marker that is missing or repeated")
            seen.add(here)
            params["KeyMarker"] = here[0]
            params.pop("VersionIdMarker", None)
            if here[1]:
                params["VersionIdMarker"] = here[1]

    def _untrue(self, prefix: str, what: str) -> StoreError:
        return StoreError(
            f"the listing of the versions of {prefix!r} in {self.location} is out of order at "
            f"{what!r}",
            key=prefix,
            hint="this server's list of versions cannot be relied on",
        )

    def _versions(self, prefix: str, **params: Any) -> Iterator[_Version]:
        """Yield versions and delete markers, by key; of one key the newest first, in each kind."""
        start, last = self._store.prefix + prefix, b""
        for page in self._pages(prefix, **params):
            found = [_version(self._store.prefix, each) for each in _entries(page)]
            found.sort(key=lambda version: version.key.encode())
            for version in found:
                order = version.key.encode()
                if order < last or not (self._store.prefix + version.key).startswith(start):
                    raise self._untrue(prefix, version.key)
                last = order
                yield version

    def _listed(self, prefix: str, **params: Any) -> Iterator[_Version]:
        """Yield of each key the version that counts, where there was one."""
        for _, group in groupby(self._versions(prefix, **params), key=itemgetter(0)):
            version = self._newest(group)
            if version is not None and is_object(version.key):
                yield version

    def _newest(self, versions: Iterable[_Version]) -> _Version | None:
        """Return what was there of one key; None where nothing was, or it was deleted.

        A server may tell whole seconds only. Of a version and a marker in one second the one that
        is the latest of all counts, else the version: what is read too much is proven all the same.
        """
        best: _Version | None = None
        for version in versions:
            if version.modified_ns > self._moment_ns:
                continue
            if best is None or _rank(version) > _rank(best):
                best = version
        return best if best is not None and best.entry is not None else None

    def _find(self, key: str) -> _Version:
        """Return the version that counts. Raises ObjectNotFoundError."""
        check_key(key)
        with self._lock:
            known = key in self._found
            version = self._found.get(key)
        if not known:
            version = self._look(key)
            with self._lock:
                if len(self._found) >= _KEPT:
                    self._found.clear()
                self._found[key] = version
        if version is None:
            raise ObjectNotFoundError(f"there was no object {key!r} in {self.location}", key=key)
        return version

    def _look(self, key: str) -> _Version | None:
        # Of all keys that begin with it the key itself comes first.
        for name, group in groupby(self._versions(key, MaxKeys=100), key=itemgetter(0)):
            return self._newest(group) if name == key else None
        return None

    def version_of(self, key: str) -> tuple[S3Store, str]:
        """Return the bucket, and the id of the version that counts, for a copy by the server."""
        return self._store, self._find(key).id

    # Reading

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes that `key` had, or a range of them."""
        with self.open(key, start=start, length=length) as reader:
            return reader.read()

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Return a stream over the same bytes."""
        check_range(start, length)
        version = self._find(key)
        return open_object(self._store, key, start=start, length=length, VersionId=version.id)

    def head(self, key: str) -> Entry:
        """Return what LIST would have said of `key`."""
        entry = self._find(key).entry
        assert entry is not None
        return entry

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield the objects that were below `prefix`, in byte order of their keys."""
        check_prefix(prefix)
        params = {"KeyMarker": self._store.prefix + after} if after else {}
        for version in self._listed(prefix, **params):
            if version.entry is not None and version.key.encode() > after.encode():
                yield version.entry

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix` that held further keys then."""
        directory = check_directory(prefix)
        base = f"{directory}/" if directory else ""
        cut = len(self._store.prefix + base)
        for page in self._pages(base, Delimiter="/"):
            for each in page.get("CommonPrefixes", ()):
                name = each["Prefix"][cut:].removesuffix("/")
                # It may hold nothing but what was written later.
                if is_object(name) and next(self._listed(f"{base}{name}/"), None) is not None:
                    yield name

    def stored_sha256(self, key: str) -> str | None:
        """Return the hex SHA-256 that the server keeps of the version, or None."""
        version = self._find(key)
        answer = self._store.call(
            "head_object", "look at", key, VersionId=version.id, ChecksumMode="ENABLED"
        )
        found = answer.get("ChecksumSHA256")
        return None if not found or "-" in found else base64.b64decode(found).hex()

    def now_ns(self) -> int:
        """Return the server's time: of now, not of then."""
        return self._store.now_ns()

    def close(self) -> None:
        """Close all connections."""
        self._store.close()


def _rank(version: _Version) -> tuple[int, bool, bool]:
    return version.modified_ns, version.latest, version.entry is not None


def _entries(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from page.get("Versions", ())
    yield from page.get("DeleteMarkers", ())


def _version(outer: str, found: dict[str, Any]) -> _Version:
    key = found["Key"].removeprefix(outer)
    modified_ns = datetime_ns(found["LastModified"])
    entry = None
    if "Size" in found:
        entry = Entry(key, int(found["Size"]), found.get("ETag", "").strip('"'), modified_ns)
    return _Version(key, modified_ns, bool(found.get("IsLatest")), found["VersionId"], entry)
