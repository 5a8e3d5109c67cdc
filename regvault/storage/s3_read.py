"""Reading an object of S3, over broken connections too."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Self

from regvault.errors import StoreError
from regvault.storage.s3_errors import answer_of, is_botocore, translate
from regvault.storage.streams import BytesReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from regvault.model.store import SizedReader
    from regvault.storage.s3 import S3Store

__all__ = ["S3Reader", "http_range", "open_object"]

# How often a connection may break without a single byte in between.
_ATTEMPTS = 6
# What is left of a body is read to its end up to this size, so that the connection is kept.
_DRAIN = 64 * 1024
# A buffer is filled in pieces so small that their memory is used again, still in the processor's
# cache: urllib3 has no other way to fill one.
_PIECE = 1024 * 1024


def http_range(start: int, length: int | None) -> str | None:
    """Return the Range header for a range of the port; None for the whole object."""
    if start < 0:
        return f"bytes={start}"
    if length is not None:
        return f"bytes={start}-{start + length - 1}"
    return f"bytes={start}-" if start else None


def open_object(
    store: S3Store, key: str, *, start: int, length: int | None, **version: str
) -> SizedReader:
    """Return a stream over a range of an object that survives broken connections.

    Args:
        store: where.
        key: checked.
        start: as in `ObjectStore.open`, and `length` too.
        length: bytes.
        version: `VersionId`; none: the present version.
    """
    if length == 0:
        store.call("head_object", "look at", key, **version)
        return BytesReader()

    def fetch(byte_range: str | None, etag: str | None) -> dict[str, Any]:
        params = {"Range": byte_range, "IfMatch": etag}
        given = {name: value for name, value in params.items() if value}
        return store.call("get_object", "read", key, **given, **version)

    try:
        return S3Reader(fetch, key, store.location, start=start, length=length)
    except StoreError as error:
        answer = answer_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
        if http_range(start, length) and answer is not None and answer.status == 416:
            return BytesReader()
        raise


class S3Reader:
    """A stream over a range of an object.

    When the connection breaks it goes on from the same byte with another request, if the object
    is still the one that it began with.
    """

    def __init__(
        self,
        fetch: Callable[[str | None, str | None], dict[str, Any]],
        key: str,
        location: str,
        *,
        start: int,
        length: int | None,
    ) -> None:
        """Send the first request.

        Args:
            fetch: does GetObject with a Range header and an etag for If-Match.
            key: for messages.
            location: for messages.
            start: as in `ObjectStore.open`, and `length` too; not 0.
            length: bytes.
        """
        self._fetch = fetch
        self._key = key
        self._location = location
        answer = fetch(http_range(start, length), None)
        self._etag: str = answer["ETag"]
        self._body: Any = answer["Body"]
        size = int(answer["ContentLength"])
        whole = answer.get("ContentRange")
        if whole:  # "bytes 3-9/10"
            self._start = self._position = int(whole.split()[1].partition("-")[0])
            self._end = self._position + size
        else:
            # The whole object, because no range was asked for or the server knows none.
            begin = max(0, size + start) if start < 0 else min(start, size)
            self._end = size if length is None else min(size, begin + length)
            self._start = begin
            self._position = 0
            self._skip(begin)

    @property
    def size(self) -> int:
        """The bytes of the range."""
        return self._end - self._start

    def _skip(self, count: int) -> None:
        while count:
            data = self.read(min(count, 1024 * 1024))
            if not data:
                return
            count -= len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; all that are left if negative."""
        if self._body is None and self._position < self._end:
            raise StoreError(f"the stream of {self._key!r} is closed", key=self._key)
        left = self._end - self._position
        want = left if size < 0 else min(size, left)
        parts = []
        while want:
            data = self._read(want)
            parts.append(data)
            want -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, size: int) -> bytes:
        """Return 1 to `size` bytes, from another connection if need be."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                data: bytes = self._body.read(size)
                if data:
                    self._position += len(data)
                    return data
                broken: Exception | None = None
            except Exception as error:
                if not (is_botocore(error) or isinstance(error, OSError)):
                    raise
                broken = error
            self._body.close()
            if attempt < _ATTEMPTS:
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311
                answer = self._fetch(f"bytes={self._position}-{self._end - 1}", self._etag)
                self._body = answer["Body"]
                if not answer.get("ContentRange"):
                    self._restart()
        message = f"the connection broke {_ATTEMPTS} times at byte {self._position}"
        cause = broken or ConnectionError("the body ended early")
        found = translate(cause, "read", self._location, key=self._key)
        raise type(found)(f"{found}: {message}", key=self._key, hint=found.hint) from cause

    def _restart(self) -> None:
        """Skip what was read already in an answer that has the whole object again."""
        left = self._position
        while left:
            data = self._body.read(min(left, 1024 * 1024))
            if not data:
                return
            left -= len(data)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill `buffer`, unless the stream ends before."""
        if self._body is None and self._position < self._end:
            raise StoreError(f"the stream of {self._key!r} is closed", key=self._key)
        want = min(len(buffer), self._end - self._position)
        filled = 0
        while filled < want:
            data = self._read(min(want - filled, _PIECE))
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled

    def close(self) -> None:
        """Give the connection back."""
        body, self._body = self._body, None
        if body is None:
            return
        try:
            if 0 < self._end - self._position <= _DRAIN:
                body.read()
        except Exception as error:
            if not (is_botocore(error) or isinstance(error, OSError)):
                raise
        finally:
            body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
