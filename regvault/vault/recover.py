"""Tells what lies in packs and meta objects when no catalog line does (invariant 11).

The catalog is derived: a pack is a tar of its blobs, a meta object a row of zstd frames of such
tars, so their members can always be listed again.
"""

from __future__ import annotations

import tarfile
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.vault.age import AGE_MAGIC, HEADER_BYTES, OVERHEAD
from regvault.vault.fetch import fetch
from regvault.vault.frames import decompress, frame_length
from regvault.vault.pack import (
    MAX_FRAME_BYTES,
    MAX_META_BYTES,
    MAX_PACK_BYTES,
    iter_members,
    member_header,
    most_members,
)
from regvault.vault.sealing import PLAIN, Seal
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.objectlist import ObjectRef

__all__ = ["PREFIXES", "members_of", "tells_all"]

#: The compressed end of a meta object is never longer.
_END_FRAME = 64
#: Objects that hold several blobs. (A raw blob says itself what it is.)
PREFIXES = ("meta/", "packs/")


def members_of(store: ObjectStore, ref: ObjectRef, seal: Seal = PLAIN) -> list[Location]:
    """Return the catalog lines of one object, as its own bytes tell them.

    Raises:
        ObjectNotFoundError: it is not there.
        VaultDamagedError: it is not what it should be.
        CredentialError: it is a sealed meta object, and no identity opens it.
    """
    if ref.key.startswith("packs/"):
        data = fetch(store, ref.key, MAX_PACK_BYTES)
        places = (
            Location(name, ref.key, at, size, _own_size(data, at, size, ref.key, seal), "regvault")
            for name, at, size in iter_members(data, ref.key)
        )
    else:
        data = fetch(store, ref.key, MAX_META_BYTES)
        places = (
            Location(seal.name(digest), ref.key, offset, length, size, "regvault")
            for offset, length, text in frames_of(data, ref.key, seal)
            for digest, _, size in iter_members(text, ref.key)
        )
    most = most_members(len(data))
    found = list(islice(places, most + 1))
    if len(found) > most:
        raise VaultDamagedError(f"{ref.key} is damaged: it has more than {most} members")
    return found


def tells_all(places: Iterable[Location], ref: ObjectRef) -> bool:
    """Return whether catalog lines leave no room in an object for what they do not tell of.

    Args:
        places: that are told of it, by offset.
        ref: the object; its SHA-256 does not matter.
    """
    pack, end = ref.key.startswith("packs/"), 0
    last = 2 * tarfile.BLOCKSIZE if pack else OVERHEAD if ref.key.endswith(".age") else _END_FRAME
    for offset, length, name in sorted({(p.offset, p.length, p.digest) for p in places}):
        begin = offset - len(member_header(name, length)) if pack else offset
        if begin > end:
            return False
        end = max(end, offset + length + (-length % tarfile.BLOCKSIZE if pack else 0))
    return end > 0 and (last if pack else 0) <= ref.size - end <= last


def _own_size(data: bytes, at: int, stored: int, key: str, seal: Seal) -> int:
    """Return the size of the blob that a member of a pack is, or seals."""
    size = seal.raw_size(data[at : at + HEADER_BYTES], stored)
    if size is None:
        raise VaultDamagedError(f"{key} is damaged: a member of it is no age file", key=key)
    return size


def frames_of(data: bytes, key: str, seal: Seal = PLAIN) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, stored length, content) of the zstd frames that a meta object is made of.

    Raises:
        VaultDamagedError: it is not made of frames.
        CredentialError: they are sealed, and no identity opens them.
    """
    if seal.sealed:
        for start, end in pairwise([*_age_files(data, key), len(data)]):
            frame = seal.open_content(data[start:end], key)
            yield start, end - start, decompress(frame, key, MAX_FRAME_BYTES)
        return
    at = 0
    while at < len(data):
        length = frame_length(memoryview(data)[at:], key)
        yield at, length, decompress(data[at : at + length], key, MAX_FRAME_BYTES)
        at += length


def _age_files(data: bytes, key: str) -> list[int]:
    """Return where age files begin in a row of them: what they seal never looks like that."""
    found: list[int] = []
    at = data.find(AGE_MAGIC)
    if at != 0:
        raise VaultDamagedError(f"{key} is damaged: it does not begin with an age file", key=key)
    while at >= 0:
        found.append(at)
        at = data.find(AGE_MAGIC, at + 1)
    return found
