"""Tells what lies in packs and meta objects when no catalog line does (invariant 11).

The catalog is derived: a pack is a tar of its blobs, a meta object a row of zstd frames of such
tars, so their members can always be listed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.vault.frames import decompress
from regvault.vault.pack import MAX_FRAME_BYTES, iter_members
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.objectlist import ObjectRef

__all__ = ["PREFIXES", "members_of"]

#: Objects that hold several blobs. (A raw blob says itself what it is.)
PREFIXES = ("meta/", "packs/")


def members_of(store: ObjectStore, ref: ObjectRef) -> list[Location]:
    """Return the catalog lines of one object, as its own bytes tell them.

    Raises:
        ObjectNotFoundError: it is not there.
        VaultDamagedError: it is not what it should be.
    """
    data = store.get(ref.key)
    if ref.key.startswith("packs/"):
        return [
            Location(digest, ref.key, at, size, size, "regvault")
            for digest, at, size in iter_members(data, ref.key)
        ]
    found: list[Location] = []
    for offset, length, text in frames_of(data, ref.key):
        found += [
            Location(digest, ref.key, offset, length, size, "regvault")
            for digest, _, size in iter_members(text, ref.key)
        ]
    return found


def frames_of(data: bytes, key: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, stored length, content) of the zstd frames that an object is made of."""
    import zstandard

    at = 0
    while at < len(data):
        rest = memoryview(data)[at:]
        try:
            if not 0 <= zstandard.frame_content_size(rest) <= MAX_FRAME_BYTES:
                raise VaultDamagedError(f"{key} is damaged: a frame of it declares too much")
            opened = zstandard.ZstdDecompressor().decompressobj()
            opened.decompress(rest)
        except zstandard.ZstdError as error:
            raise VaultDamagedError(f"{key} is damaged: {error}") from None
        length = len(rest) - len(opened.unused_data)
        if not opened.eof or not length:
            raise VaultDamagedError(f"{key} is damaged: it is cut off")
        yield at, length, decompress(data[at : at + length], key, MAX_FRAME_BYTES)
        at += length
