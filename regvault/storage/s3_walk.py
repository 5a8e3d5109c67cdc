"""Listing a bucket, and not believing a listing that cannot be true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.errors import StoreError
from regvault.model.store import Entry
from regvault.storage.keys import is_object
from regvault.storage.s3_list import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.storage.s3 import S3Store
    from regvault.storage.s3_list import Page

__all__ = ["objects", "prefixes"]


def objects(store: S3Store, prefix: str, after: str) -> Iterator[tuple[Entry, str]]:
    """Yield the objects below `prefix` whose keys are greater than `after`, and their classes.

    Raises:
        StoreError: keys are not in order, or the listing does not come to an end.
    """
    outer = store.prefix
    cut = len(outer)
    start = outer + prefix
    last = b""
    first = after.encode("utf-8", "surrogateescape")
    given = {"StartAfter": outer + after} if after else {}
    for page in _pages(store, prefix, **given):
        for whole, size, etag, modified, storage_class in page.objects:
            order = whole.encode()
            if order <= last or not whole.startswith(start):
                raise _untrue(store, prefix, whole)
            last = order
            key = whole[cut:]
            if is_object(key) and (not first or key.encode() > first):
                yield Entry(key, size, etag, modified), storage_class


def prefixes(store: S3Store, base: str) -> Iterator[str]:
    """Yield the names directly below `base` ("" or ending in a slash) that hold further keys.

    Raises:
        StoreError: they are not in order, or the listing does not come to an end.
    """
    start = store.prefix + base
    last = b""
    for page in _pages(store, base, Delimiter="/"):
        for whole in page.prefixes:
            order = whole.encode()
            if order <= last or not whole.startswith(start):
                raise _untrue(store, base, whole)
            last = order
            name = whole[len(start) :].removesuffix("/")
            if is_object(name):
                yield name


def _pages(store: S3Store, prefix: str, **params: Any) -> Iterator[Page]:
    seen: set[str] = set()
    whole = store.prefix + prefix
    while True:
        page = page_of(store.call("list_objects_v2", "list", "", Prefix=whole, **params))
        yield page
        if not page.truncated:
            return
        if not page.token or page.token in seen:
            raise _untrue(store, prefix, "a continuation token that is missing or repeated")
        seen.add(page.token)
        params["ContinuationToken"] = page.token


def _untrue(store: S3Store, prefix: str, what: str) -> StoreError:
    return StoreError(
        f"the listing of {prefix!r} in {store.location} is out of order at {what!r}",
        key=prefix,
        hint="this server's LIST cannot be relied on: do not keep a vault there",
    )
