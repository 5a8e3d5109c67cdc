"""The members of a pack or a meta object that is damaged or gone, and what is whole of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    RegvaultError,
    VaultDamagedError,
)
from regvault.model.state import checked_line
from regvault.oci.grammar import is_digest
from regvault.oci.verify import matches_manifest
from regvault.ops.snapshot.session import parse_entry
from regvault.vault.frames import decompress
from regvault.vault.pack import MAX_FRAME_BYTES, iter_members, most_bytes
from regvault.vault.segment import Location
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from regvault.model.store import ObjectStore
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Member", "digests_of", "members_of", "needed_digests", "salvage"]

_BLOCK = 512
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"


class Member(NamedTuple):
    """One blob of an object.

    Attributes:
        digest: of the blob.
        place: where the catalog says that it lies.
        data: its bytes, proven; None where the object does not give them.
    """

    digest: str
    place: Location
    data: bytes | None


def members_of(
    vault: Vault, ref: ObjectRef, catalog: Catalog, digests: Mapping[str, str]
) -> Iterator[Member]:
    """Yield the members of an object, by offset: as the catalog has them, else as it says itself.

    Where neither tells, nothing is yielded: what lay in it cannot be known.

    Args:
        vault: it is in.
        ref: the object.
        catalog: of the vault.
        digests: of a sealed vault, which names stand for which digests; others are left out.
    """
    seal = vault.seal
    try:
        data = vault.store.get(ref.key, length=min(ref.size, most_bytes(ref.key)))
    except ObjectNotFoundError:
        data = b""
    places = sorted(catalog.members(ref.key), key=lambda place: (place.offset, place.digest))
    packed = ref.key.startswith("packs/")
    for place in places or _told_by(data, ref.key, packed=packed):
        digest = digests.get(place.digest) if seal.sealed else place.digest
        if digest is None:
            continue
        part = data[place.offset : place.offset + place.length]
        try:
            part = seal.open_content(part, ref.key)
            found = part if packed else _of_frame(part, digest, ref.key)
        except (VaultDamagedError, CredentialError):
            found = None
        whole = found is not None and matches_manifest(found, digest)
        yield Member(digest, place, found if whole else None)


def digests_of(vault: Vault, roots: Iterable[Root], names: Collection[str]) -> dict[str, str]:
    """Return what some names of a sealed vault stand for, as far as a snapshot needs it."""
    found: dict[str, str] = {}
    if names:
        for digest in needed_digests(vault, roots):
            name = vault.seal.name(digest)
            if name in names:
                found[name] = digest
    return found


def needed_digests(vault: Vault, roots: Iterable[Root]) -> Iterator[str]:
    """Yield the blobs that the states of snapshots need, as far as these can be read."""
    states: set[str] = set()
    for root in roots:
        with suppress(RegvaultError):
            objects = vault.object_list(root)
            for line in vault.tree("repositories", root.repositories, objects).lines():
                state = parse_entry(line).state
                if state in states:
                    continue
                states.add(state)
                for raw in vault.tree("state", ChunkRef(state), objects).lines():
                    parsed = checked_line(raw)
                    if parsed.size is not None:
                        yield parsed.name


def _told_by(data: bytes, key: str, *, packed: bool) -> list[Location]:
    """Return what a pack says itself, where all of its headers can be read."""
    if not packed:
        return []
    try:
        return [
            Location(digest, key, at, size, size, "regvault")
            for digest, at, size in iter_members(data, key)
        ]
    except VaultDamagedError:
        return []  # what comes after the damage is not known


def _of_frame(frame: bytes, digest: str, key: str) -> bytes | None:
    text = decompress(frame, key, MAX_FRAME_BYTES)
    for member, at, size in iter_members(text, key):
        if member == digest:
            return text[at : at + size]
    return None


def salvage(store: ObjectStore, key: str) -> dict[str, bytes]:
    """Return every blob that can still be found in a damaged object, proven.

    A pack is searched for headers block by block, a meta object for frames: what is damaged hides
    only itself.
    """
    try:
        data = store.get(key, length=most_bytes(key))
    except ObjectNotFoundError:
        return {}
    found: dict[str, bytes] = {}
    texts = [data] if key.startswith("packs/") else _frames(data, key)
    for text in texts:
        for at in range(0, len(text) - _BLOCK, _BLOCK):
            member = _member_at(text, at, key)
            if member is not None and member[0] not in found:
                found[member[0]] = member[1]
    return found


def _member_at(text: bytes, at: int, key: str) -> tuple[str, bytes] | None:
    try:
        for digest, start, size in iter_members(memoryview(text)[at:], key, whole=False):
            data = text[at + start : at + start + size]
            return (digest, data) if is_digest(digest) and matches_manifest(data, digest) else None
    except VaultDamagedError:
        pass
    return None


def _frames(data: bytes, key: str) -> Iterator[bytes]:
    """Yield what the whole frames in some bytes hold."""
    at = data.find(_FRAME_MAGIC)
    while at >= 0:
        opened = zstandard.ZstdDecompressor().decompressobj()
        try:
            if 0 <= zstandard.frame_content_size(data[at:]) <= MAX_FRAME_BYTES:
                opened.decompress(data[at:])
                if opened.eof:
                    length = len(data) - at - len(opened.unused_data)
                    yield decompress(data[at : at + length], key, MAX_FRAME_BYTES)
        except (zstandard.ZstdError, VaultDamagedError):
            pass
        at = data.find(_FRAME_MAGIC, at + 1)
