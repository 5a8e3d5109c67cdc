"""The members of a pack or a meta object that is damaged or gone, and what is whole of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    VaultDamagedError,
)
from regvault.oci.grammar import is_digest
from regvault.oci.verify import ALGORITHMS, digest_of, matches_manifest
from regvault.vault.age import AGE_MAGIC
from regvault.vault.frames import decompress
from regvault.vault.keyring import opens_everything
from regvault.vault.pack import MAX_FRAME_BYTES, iter_members, most_bytes
from regvault.vault.sealing import SealedToOthersError
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from regvault.model.store import ObjectStore
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.sealing import Seal
    from regvault.vault.vault import Vault

__all__ = ["Member", "members_of", "names_in", "salvage"]

_BLOCK = 512
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"


class Member(NamedTuple):
    """One blob of an object.

    Attributes:
        name: of the blob in the vault: its digest, keyed in a sealed one.
        digest: of the blob; "" where only its name is known: no snapshot that can be read needs it.
        place: where it lies.
        data: its bytes, proven; None where the object does not give them.
        closed: its stored bytes, where no identity that was given opens them, so that nobody can
            say whether they are whole; else None.
        told: whether the catalog tells of it; else the object alone does.
    """

    name: str
    digest: str
    place: Location
    data: bytes | None
    closed: bytes | None = None
    told: bool = True

    @property
    def label(self) -> str:
        """What it is called for people: its digest, else its name."""
        return self.digest or self.name


def members_of(
    vault: Vault, ref: ObjectRef, catalog: Catalog, digests: Mapping[str, str]
) -> list[Member]:
    """Return the members of an object, by offset: all that the catalog or the object tells of.

    [] where neither tells anything: what lay in it cannot be known.

    Args:
        vault: it is in.
        ref: the object.
        catalog: of the vault.
        digests: of a sealed vault, which names stand for which digests, as far as that is known.
    """
    data, seal = _bytes_of(vault.store, ref.key), vault.seal
    members = [
        _member(seal, ref.key, data, place, digests, told=told)
        for place, told in _places(seal, ref.key, data, catalog)
    ]
    if any(member.closed is not None for member in members) and _opens_all(vault):
        members = [member._replace(closed=None) for member in members]
    whole = {member.name for member in members if member.data is not None}
    # The catalog may be wrong about where one lies.
    return [each for each in members if each.data is not None or each.name not in whole]


def _opens_all(vault: Vault) -> bool:
    """Return whether what the identities that were given do not open is damaged for sure."""
    mine = [identity.public for identity in vault.id.keys.identities]
    return vault.seal.opens_contents and opens_everything(vault.store, vault.id, mine)


def names_in(vault: Vault, key: str, catalog: Catalog) -> dict[str, bool]:
    """Return the names of the blobs that lie in a damaged object, as `members_of` finds them.

    And of each whether the catalog tells of it.
    """
    data = _bytes_of(vault.store, key)
    names: dict[str, bool] = {}
    for place, told in _places(vault.seal, key, data, catalog):
        names[place.digest] = told or names.get(place.digest, False)
    return names


def _bytes_of(store: ObjectStore, key: str) -> bytes:
    try:
        return store.get(key, length=most_bytes(key))
    except ObjectNotFoundError:
        return b""


def _places(seal: Seal, key: str, data: bytes, catalog: Catalog) -> list[tuple[Location, bool]]:
    """Return where members lie, by offset, and whether the catalog tells of them.

    What segments leave out is looked for between the places that they tell of: a member that they
    do not know is a member all the same.
    """
    told = catalog.members(key) if seal.opens_names else []
    found = dict.fromkeys(told, True)
    known = {place[:4] for place in told}
    for place in _told_by(seal, data, key):
        if place[:4] not in known:
            found[place] = False
    return sorted(found.items(), key=lambda item: (item[0].offset, item[0].digest))


def _told_by(seal: Seal, data: bytes, key: str) -> Iterator[Location]:
    """Yield what a damaged object says itself; what is damaged hides only itself."""
    if key.startswith("packs/"):
        for name, at, size in _headers(data, key):
            if is_digest(name) != seal.sealed:
                yield Location(name, key, at, size, size, "regvault")
        return
    for at, length, text in _frames(seal, data, key):
        for digest, _, size in _in_frame(text, key):
            yield Location(seal.name(digest), key, at, length, size, "regvault")


def _headers(data: bytes, key: str) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset, size) of members whose headers are found block by block in a pack."""
    text = memoryview(data + b"\0" * 2 * _BLOCK)  # it may be cut off behind a member
    at = 0
    while at < len(data):
        end = at + _BLOCK
        with suppress(VaultDamagedError):
            for name, start, size in iter_members(text[at:], key, whole=False):
                yield name, at + start, size
                end = at + start + size + -size % _BLOCK
                break
        at = end


def _in_frame(text: bytes, key: str) -> Iterator[tuple[str, int, int]]:
    """Yield (digest, offset, size) of the members of a frame of a meta object."""
    with suppress(VaultDamagedError):
        for digest, at, size in iter_members(text, key):
            if is_digest(digest):
                yield digest, at, size


def _member(
    seal: Seal,
    key: str,
    data: bytes,
    place: Location,
    digests: Mapping[str, str],
    *,
    told: bool,
) -> Member:
    """Look at one member: its bytes where they are right, whatever is known of its name."""
    name = place.digest
    digest = digests.get(name, "") if seal.sealed else name
    part = data[place.offset : place.offset + place.length]
    looks_whole = part.startswith(AGE_MAGIC) and len(part) == place.length
    found: bytes | None
    try:
        opened = seal.open_content(part, key)
    except (SealedToOthersError, CredentialError):
        return Member(name, digest, place, None, part if looks_whole else None, told)
    except VaultDamagedError:
        return Member(name, digest, place, None, None, told)
    if key.startswith("packs/"):
        found, digest = opened, digest or _digest_named(seal, name, opened)
    else:
        found, digest = _of_frame(seal, opened, name, digest, key)
    whole = bool(digest) and found is not None and matches_manifest(found, digest)
    return Member(name, digest, place, found if whole else None, None, told)


def _digest_named(seal: Seal, name: str, data: bytes) -> str:
    """Return the digest of a blob that a keyed name stands for; "": these are not its bytes."""
    found = (digest_of(data, each) for each in ALGORITHMS)
    return next((digest for digest in found if seal.name(digest) == name), "")


def _of_frame(
    seal: Seal, frame: bytes, name: str, digest: str, key: str
) -> tuple[bytes | None, str]:
    """Return a blob of a meta object's frame, and its digest."""
    with suppress(VaultDamagedError):
        text = decompress(frame, key, MAX_FRAME_BYTES)
        for member, at, size in _in_frame(text, key):
            if seal.name(member) == name:
                return text[at : at + size], member
    return None, digest


def salvage(store: ObjectStore, key: str) -> dict[str, bytes]:
    """Return every blob that can still be found in a damaged object of a plain vault, proven."""
    data = _bytes_of(store, key)
    found: dict[str, bytes] = {}
    if key.startswith("packs/"):
        parts = [(data, _headers(data, key))]
    else:
        parts = [(text, _in_frame(text, key)) for _, _, text in _plain_frames(data, key)]
    for text, members in parts:
        for digest, at, size in members:
            blob = text[at : at + size]
            if is_digest(digest) and matches_manifest(blob, digest):
                found.setdefault(digest, blob)
    return found


def _frames(seal: Seal, data: bytes, key: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, stored length, content) of the frames that are whole and can be opened."""
    yield from _sealed_frames(seal, data, key) if seal.sealed else _plain_frames(data, key)


def _sealed_frames(seal: Seal, data: bytes, key: str) -> Iterator[tuple[int, int, bytes]]:
    at = data.find(AGE_MAGIC)
    while at >= 0:
        following = data.find(AGE_MAGIC, at + 1)
        end = len(data) if following < 0 else following
        with suppress(VaultDamagedError, CredentialError):
            frame = seal.open_content(data[at:end], key)
            yield at, end - at, decompress(frame, key, MAX_FRAME_BYTES)
        at = following


def _plain_frames(data: bytes, key: str) -> Iterator[tuple[int, int, bytes]]:
    at = data.find(_FRAME_MAGIC)
    while at >= 0:
        opened = zstandard.ZstdDecompressor().decompressobj()
        try:
            if 0 <= zstandard.frame_content_size(data[at:]) <= MAX_FRAME_BYTES:
                opened.decompress(data[at:])
                if opened.eof:
                    length = len(data) - at - len(opened.unused_data)
                    yield at, length, decompress(data[at : at + length], key, MAX_FRAME_BYTES)
        except (zstandard.ZstdError, VaultDamagedError):
            pass
        at = data.find(_FRAME_MAGIC, at + 1)
