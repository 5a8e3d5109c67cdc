"""Byte streams: hashing them on their way, and the buffer that they pass through."""

from __future__ import annotations

import hashlib
import io
import mmap
import threading
from typing import TYPE_CHECKING

from regvault.errors import DigestMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.store import ByteReader

__all__ = [
    "BUFFER_SIZE",
    "BytesReader",
    "check_range",
    "digest_mismatch",
    "page_buffer",
    "pump",
    "rewind",
    "size_mismatch",
]

BUFFER_SIZE = 1024 * 1024


class BytesReader(io.BytesIO):
    """A stream over bytes that are in memory."""

    @property
    def size(self) -> int:
        """How many there are."""
        return self.getbuffer().nbytes


_local = threading.local()


def page_buffer(size: int) -> memoryview:
    """Return a new buffer that begins at a page of memory, as writes past the page cache need."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _buffer() -> memoryview:
    """Return this thread's buffer: one allocation a thread, not one an object."""
    buffer: memoryview | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = page_buffer(BUFFER_SIZE)
    return buffer


def size_mismatch(key: str, size: int, *, got: int) -> DigestMismatchError:
    """Build the error for a stream that ended early or did not end where it should."""
    words = "more" if got > size else f"only {got}"
    return DigestMismatchError(f"{key}: {size} bytes were promised, {words} came", key=key)


def digest_mismatch(key: str, sha256: str, *, got: str) -> DigestMismatchError:
    """Build the error for bytes that are not what their digest says."""
    return DigestMismatchError(f"{key}: the bytes are sha256:{got}, not sha256:{sha256}", key=key)


def pump(
    reader: ByteReader,
    write: Callable[[memoryview], object],
    *,
    key: str,
    size: int,
    sha256: str | None,
) -> str:
    """Read `reader` to its end into `write`, hashing each byte once.

    `write` gets views of one buffer that is used again: it must not keep them. It is given at
    most `size` bytes. Errors of the reader pass through as they are, so that they are never
    taken for errors of the store that is written.

    Returns:
        The hex SHA-256 of the bytes.

    Raises:
        DigestMismatchError: the stream is shorter or longer than `size`, or not `sha256`.
    """
    digest = hashlib.sha256()
    view = _buffer()
    total = 0
    while count := reader.readinto(view):
        total += count
        if total > size:
            raise size_mismatch(key, size, got=total)
        chunk = view[:count]
        digest.update(chunk)
        write(chunk)
    if total != size:
        raise size_mismatch(key, size, got=total)
    got = digest.hexdigest()
    if sha256 is not None and got != sha256:
        raise digest_mismatch(key, sha256, got=got)
    return got


def rewind(reader: ByteReader, position: int) -> bool:
    """Take a seekable reader back to `position`; False where it is not seekable."""
    seekable = getattr(reader, "seekable", None)
    seek = getattr(reader, "seek", None)
    if seekable is None or seek is None or not seekable():
        return False
    seek(position)
    return True


def check_range(start: int, length: int | None) -> None:
    """Refuse a range that has no meaning.

    Raises:
        StoreError: a negative length, or a length together with a negative start.
    """
    if length is not None and (length < 0 or start < 0):
        raise StoreError(f"not a valid range: start={start} with length={length}")
