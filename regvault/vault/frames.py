"""zstd frames that are proven when they are made, and bounded when they are opened."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from regvault.errors import VaultDamagedError

if TYPE_CHECKING:
    import zstandard

__all__ = ["compress", "decompress"]

_LEVEL = 3
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
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= limit:
            raise VaultDamagedError(f"{key} is damaged: a frame of it declares {size} bytes")
        text = _tools()[1].decompress(data, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise VaultDamagedError(f"{key} is damaged: {error}") from None
    if len(text) != size:
        raise VaultDamagedError(f"{key} is damaged: a frame of it is shorter than it declares")
    return text
