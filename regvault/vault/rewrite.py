"""Makes a new pack or meta object of the members of an old one, without some of them.

Snapshots never do it (nothing is repacked under a root); `purge` and `repair` do, and say so in an
amendment.
"""

from __future__ import annotations

import contextlib
import hashlib
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from regvault.errors import VaultDamagedError
from regvault.oci.verify import matches_manifest
from regvault.vault.age import HEADER_BYTES
from regvault.vault.blobs import is_digest_of
from regvault.vault.keys import KEYED
from regvault.vault.pack import MetaWriter, PackWriter, Placed, iter_members, most_bytes
from regvault.vault.recover import frames_of
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.sealing import Seal
    from regvault.vault.writer import ObjectWriter

__all__ = ["move_members", "store_members"]

_Writer = TypeVar("_Writer", bound=PackWriter | MetaWriter)

#: One old object becomes one new one, however large.
_NO_LIMIT = 1 << 62


def move_members(
    store: ObjectStore,
    writer: ObjectWriter,
    ref: ObjectRef,
    *,
    without: Collection[str],
    more: Iterable[tuple[str, bytes]] = (),
) -> tuple[ObjectRef | None, list[Location]]:
    """Store the members of an object in a new one, each proven.

    Args:
        store: the vault's store.
        writer: that stores the new one.
        ref: the old one, with the SHA-256 that its bytes must have.
        without: names of those that are left out: their digests; in a sealed vault, keyed.
        more: (digest, bytes) of blobs that come to them, each proven.

    Returns:
        the new object, None where no member is left; its lines for the catalog.

    Raises:
        ObjectNotFoundError: there is no such object.
        VaultDamagedError: its bytes are not what they should be; nothing was stored.
        CredentialError: it is a sealed meta object, and no identity opens contents.
    """
    data = store.get(ref.key, length=min(ref.size, most_bytes(ref.key)) + 1)
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise VaultDamagedError(
            f"{ref.key} is damaged, so what shares it cannot be moved",
            hint="Nothing was changed. The next snapshot stores anew what `verify --read-data` "
            "found damaged; or bring the object back from a copy.",
            key=ref.key,
        )
    seal, pack = writer.seal, ref.key.startswith("packs/")
    if seal.sealed and pack:
        return _store_as_they_are(writer, data, ref.key, without, more)
    members = _members(data, ref.key, seal)
    kept = ((d, member) for d, member in members if seal.name(d) not in without)
    return store_members(writer, chain(kept, more), pack=pack)


def _store_as_they_are(
    writer: ObjectWriter,
    data: bytes,
    key: str,
    without: Collection[str],
    more: Iterable[tuple[str, bytes]],
) -> tuple[ObjectRef | None, list[Location]]:
    """Store the sealed members of a pack in a new one, unopened: the old pack proves them."""
    made: list[Placed] = []
    with _flushed(PackWriter(writer, made.extend, limit=_NO_LIMIT)) as new:
        for name, at, size in iter_members(data, key):
            member = data[at : at + size]
            own = writer.seal.raw_size(member[:HEADER_BYTES], size)
            if own is None:
                raise VaultDamagedError(f"{key} is damaged: {name} in it is no age file", key=key)
            if name not in without:
                new.add_stored(name, name, member, own)
        for digest, blob in more:
            new.add(digest, blob)
    return _told(made, writer.seal.name)


def store_members(
    writer: ObjectWriter,
    members: Iterable[tuple[str, bytes]],
    *,
    pack: bool,
    closed: Iterable[tuple[str, bytes]] = (),
) -> tuple[ObjectRef | None, list[Location]]:
    """Store blobs in one new object; return it, None where there are none, and its lines.

    Args:
        writer: that stores it.
        members: (digest, bytes), each proven.
        pack: in a pack; else in a meta object.
        closed: of a sealed pack, (name, age file) of members that go along unopened.
    """
    made: list[Placed] = []
    kind = PackWriter if pack else MetaWriter
    with _flushed(kind(writer, made.extend, limit=_NO_LIMIT)) as new:
        for digest, member in members:
            new.add(digest, member)
        if isinstance(new, PackWriter):
            for name, stored in closed:
                own = writer.seal.raw_size(stored[:HEADER_BYTES], len(stored))
                new.add_stored(name, name, stored, own or 0)
    return _told(made, writer.seal.name)


@contextlib.contextmanager
def _flushed(new: _Writer) -> Iterator[_Writer]:
    """Publish what the block stores, or throw it away where it fails."""
    try:
        yield new
        new.flush()
    finally:
        new.abort()


def _told(
    made: list[Placed], name: Callable[[str], str]
) -> tuple[ObjectRef | None, list[Location]]:
    """Return the object that was made, None where there is none, and its lines."""
    lines = [
        Location(
            p.digest if p.digest.startswith(KEYED) else name(p.digest),
            p.ref.key,
            p.offset,
            p.length,
            p.size,
            "regvault",
        )
        for p in made
    ]
    return made[0].ref if made else None, lines


def _members(data: bytes, key: str, seal: Seal) -> Iterator[tuple[str, bytes]]:
    """Yield (digest, bytes) of the members of a pack or a meta object, proven."""
    texts = (
        [data] if key.startswith("packs/") else (text for _, _, text in frames_of(data, key, seal))
    )
    right = is_digest_of if key.startswith("packs/") else _is_blob
    for text in texts:
        for digest, at, size in iter_members(text, key):
            member = bytes(text[at : at + size])
            if not right(digest, member):
                raise VaultDamagedError(
                    f"{key} is damaged: {digest} in it has other bytes", key=key
                )
            yield digest, member


def _is_blob(digest: str, data: bytes) -> bool:
    """Return whether a member of a meta object is right; one of Docker's may be by its payload."""
    return matches_manifest(data, digest)
