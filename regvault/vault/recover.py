"""Tells what lies in packs and meta objects when no catalog line does (invariant 11).

The catalog is derived: a pack is a tar of its blobs, a meta object a row of zstd frames of such
tars, so their members can always be listed again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.vault.fetch import fetch
from regvault.vault.frames import decompress, frame_length
from regvault.vault.pack import (
    MAX_FRAME_BYTES,
    MAX_META_BYTES,
    MAX_PACK_BYTES,
    iter_members,
    most_members,
)
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
    if ref.key.startswith("packs/"):
        data = fetch(store, ref.key, MAX_PACK_BYTES)
        places = (
            Location(digest, ref.key, at, size, size, "regvault")
            for digest, at, size in iter_members(data, ref.key)
        )
    else:
        data = fetch(store, ref.key, MAX_META_BYTES)
        places = (
            Location(digest, ref.key, offset, length, size, "regvault")
            for offset, length, text in frames_of(data, ref.key)
            for digest, _, size in iter_members(text, ref.key)
        )
    most = most_members(len(data))
    found = list(islice(places, most + 1))
    if len(found) > most:
        raise VaultDamagedError(f"{ref.key} is damaged: it has more than {most} members")
    return found


def frames_of(data: bytes, key: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, stored length, content) of the zstd frames that an object is made of."""
    at = 0
    while at < len(data):
        length = frame_length(memoryview(data)[at:], key)
        yield at, length, decompress(data[at : at + length], key, MAX_FRAME_BYTES)
        at += length
