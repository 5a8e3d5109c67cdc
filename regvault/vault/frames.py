"""zstd frames that are proven when they are made, and bounded when they are opened."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from regvault.errors import VaultDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zstandard

__all__ = ["HEADER_BYTES", "compress", "decompress", "frame_length", "lines_of"]

#: No header of a frame is longer.
HEADER_BYTES = 18

_LEVEL = 3
_PART = 1 << 20
#: What four stored bytes hold may be 128 KiB: so much at a time comes out as 4 MiB at most.
_BITE = 128
_RLE, _RESERVED = 1, 3
_local = threading.local()


def _tools() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    found: Any = getattr(_local, "tools", None)
    if found is None:
        import zstandard

        found = _local.tools = (
            zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True),
            zstandard.ZstdDecompressor(),
        )
    return found  # type: ignore[no-any-return]


def compress(data: bytes) -> bytes:
    """Return one frame with its content size and a checksum.

    It is decompressed again and compared before anyone relies on it: a compressor's bug, or a
    flipped bit of memory, must not reach the vault.

    Raises:
        RuntimeError: zstd did not give back what it compressed.
    """
    compressor, decompressor = _tools()
    frame = compressor.compress(data)
    if decompressor.decompress(frame, max_output_size=len(data)) != data:
        raise RuntimeError("zstd did not give back what it compressed; is the memory faulty?")
    return frame


def decompress(data: bytes, key: str, limit: int) -> bytes:
    """Return the content of the one frame that `data` is.

    Args:
        data: the frame.
        key: the object that it comes from, for messages.
        limit: bytes; a frame that declares more is refused before it is opened.

    Raises:
        VaultDamagedError: it declares no size, or too much, or cannot be decompressed.
    """
    import zstandard

    try:
        size = _declared(data, key, limit)
        text = _tools()[1].decompress(data, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise VaultDamagedError(f"{key} is damaged: {error}") from None
    if len(text) != size:
        raise VaultDamagedError(f"{key} is damaged: a frame of it is shorter than it declares")
    return text


def _declared(data: bytes | memoryview, key: str, limit: int) -> int:
    """Return the size that a frame declares. Raises VaultDamagedError, zstandard.ZstdError."""
    import zstandard

    size = zstandard.frame_content_size(data)
    if not 0 <= size <= limit:
        raise VaultDamagedError(f"{key} is damaged: a frame of it declares {size} bytes")
    return size


def lines_of(
    reader: _Reader, head: bytes, key: str, limit: int, *, longest: int
) -> Iterator[bytes]:
    """Yield the lines of the one frame that an object is, holding neither it nor them.

    Args:
        reader: of the object, after `head`.
        head: its first bytes, as many as a frame's header may have.
        key: of the object, for messages.
        limit: bytes; a frame that declares or holds more is refused.
        longest: bytes of a line.

    Raises:
        VaultDamagedError: it is no such frame, or does not end with a line.
    """
    import zstandard

    left = b""
    try:
        size = _declared(head, key, limit)
        opened = zstandard.ZstdDecompressor().decompressobj()
        stored = head
        while stored:
            for at in range(0, len(stored), _BITE):
                if opened.eof:
                    raise VaultDamagedError(f"{key} is damaged: it is more than one frame")
                part = opened.decompress(stored[at : at + _BITE])
                size -= len(part)
                *lines, left = (left + part).split(b"\n")
                if size < 0 or max(map(len, (*lines, left))) > longest:
                    raise VaultDamagedError(f"{key} is damaged: it holds more than it declares")
                yield from lines
            stored = reader.read(_PART)
    except zstandard.ZstdError as error:
        raise VaultDamagedError(f"{key} is damaged: {error}") from None
    if size or left or not opened.eof or opened.unused_data:
        raise VaultDamagedError(f"{key} is damaged: it has another size than it declares")


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def frame_length(data: bytes | memoryview, key: str) -> int:
    """Return how many bytes the frame takes that `data` begins with, without opening it.

    A frame may hold a million times what it declares: its blocks say how long they are (RFC 8878,
    3.1.1.2).

    Raises:
        VaultDamagedError: there is no such frame, or it is cut off.
    """
    import zstandard

    view = memoryview(data)
    try:
        at = zstandard.frame_header_size(view)
        checksum = zstandard.get_frame_parameters(view).has_checksum
    except zstandard.ZstdError as error:
        raise VaultDamagedError(f"{key} is damaged: {error}") from None
    last = False
    while not last:
        header = int.from_bytes(view[at : at + 3], "little")
        last = bool(header & 1)
        kind, size = header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _RLE else size)
        if at > len(view) or kind == _RESERVED:
            raise VaultDamagedError(f"{key} is damaged: a frame of it is cut off")
    at += 4 if checksum else 0
    if at > len(view):
        raise VaultDamagedError(f"{key} is damaged: a frame of it is cut off")
    return at
