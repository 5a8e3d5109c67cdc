"""Gets good bytes from wherever they are, proves them, and stores them."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    CredentialError,
    DigestMismatchError,
    ObjectNotFoundError,
    RegvaultError,
    SourceError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.oci.verify import VerifyingReader, matches, matches_manifest
from regvault.ops.repair.members import members_of, salvage
from regvault.ops.repair.spares import OwnSpare, VaultSpare
from regvault.vault.keys import digest_of_key, is_keyed, name_of_key
from regvault.vault.pack import pack_bytes
from regvault.vault.rewrite import move_members, store_members
from regvault.vault.segment import Location, sealed_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regvault.ops.repair.members import Member
    from regvault.ops.repair.plan import RepairPlan
    from regvault.ops.repair.remedies import Action
    from regvault.ops.repair.spares import Spare
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.vault import Vault
    from regvault.vault.writer import ObjectWriter

__all__ = ["Mender", "Moved"]

#: No blob of a pack or a meta object is larger.
_MEMBER_BYTES = 8 << 20
#: What a place may answer that has not got, or does not give, what it seemed to have.
_NOT_THERE = (
    ObjectNotFoundError,
    DigestMismatchError,
    VaultDamagedError,
    CredentialError,
    SourceError,
)


class Moved(NamedTuple):
    """What took the place of an object.

    Attributes:
        new: the new one; None where nothing is left.
        lines: its lines for the catalog.
        gone: labels of members (see `Member.label`) that nobody has.
    """

    new: ObjectRef | None
    lines: list[Location]
    gone: set[str]


class Mender:
    """Mends the objects of one vault.

    Attributes:
        digests: of a sealed vault, what the names in damaged objects stand for.
    """

    def __init__(
        self, vault: Vault, catalog: Catalog, plan: RepairPlan, spares: Sequence[Spare]
    ) -> None:
        """Wrap.

        Args:
            vault: that is damaged.
            catalog: of it.
            plan: what is done.
            spares: where good bytes may be, the best first.
        """
        self.vault = vault
        self.digests = plan.digests
        self._catalog = catalog
        self._plan = plan
        self._vaults = [spare for spare in spares if isinstance(spare, VaultSpare)]
        damaged = {action.ref.key for action in plan.actions}
        self._spares = (OwnSpare(vault, catalog, damaged), *spares)

    # -- in place -------------------------------------------------------------------------------

    def in_place(self, action: Action) -> bool:
        """Give an object its own bytes again; return whether that was possible.

        Raises:
            RegvaultError: the vault does not take them.
        """
        ref = action.ref
        if action.how == "add":
            return False
        if self._fetch(ref) or (_is_raw(ref) and self._store(ref)):
            return True
        sealed = self.vault.seal.sealed  # made again, it has other bytes
        made_of_members = action.how in ("rebuild", "drop") and ref.key.startswith("packs/")
        return made_of_members and not sealed and self._rebuild(ref)

    def _fetch(self, ref: ObjectRef) -> bool:
        """Copy the same object from another vault."""
        for spare in self._vaults:
            if _seems(spare.has_object, ref):
                try:
                    if not self._copy(spare, ref):
                        with spare.open_object(ref) as reader:
                            self._put(ref, reader)
                except (ObjectNotFoundError, DigestMismatchError):
                    continue
                return True
        return False

    def _copy(self, spare: VaultSpare, ref: ObjectRef) -> bool:
        """Let the server copy an object, of which it computes the digest; False: it cannot."""
        key = spare.key_of(ref)
        if key is None:
            return False
        stored = self.vault.store.copy_in(
            spare.vault.store, key, ref.key, size=ref.size, sha256=ref.sha256
        )
        return stored is not None

    def _store(self, ref: ObjectRef) -> bool:
        """Store a raw blob again, from wherever it is a blob."""
        digest = digest_of_key(ref.key) or ""
        for spare in self._having(digest):
            try:
                reader, size = spare.open_blob(digest)
                with reader:
                    if size == ref.size:
                        self._put(ref, reader)
                        return True
            except (ObjectNotFoundError, DigestMismatchError, SourceError):
                continue
        return False

    def _put(self, ref: ObjectRef, reader: Any) -> None:
        self.vault.store.put_stream(ref.key, reader, size=ref.size, sha256=ref.sha256)

    def _rebuild(self, ref: ObjectRef) -> bool:
        """Make a pack again, byte for byte, of its members; False where that is not the same."""
        members = self._members(ref)
        for some in (members, [member for member in members if member.told]):
            blobs = [(member.name, member.data) for member in some if member.data is not None]
            if len(blobs) < len(some):
                continue
            data = pack_bytes(blobs)
            if hashlib.sha256(data).hexdigest() == ref.sha256:
                self._put(ref, io.BytesIO(data))
                return True
        return False

    # -- from wherever it is --------------------------------------------------------------------

    def _having(self, digest: str) -> Iterator[Spare]:
        """Yield the places that seem to have a blob, the best first."""
        return (spare for spare in self._spares if _seems(spare.has_blob, digest))

    def _members(self, ref: ObjectRef) -> list[Member]:
        """Return the members of an object, by offset, with the bytes that any place has."""
        found: dict[str, Member] = {}
        for member in members_of(self.vault, ref, self._catalog, self.digests):
            data = member.data
            if data is None and member.digest:
                data = self._blob(member.digest)
            found[member.name] = member._replace(data=data)
        return list(found.values())

    def _blob(self, digest: str) -> bytes | None:
        """Return a small blob from wherever it is, proven; None where nobody has it."""
        for spare in self._having(digest):
            try:
                reader, size = spare.open_blob(digest)
                with reader:
                    if size > _MEMBER_BYTES:
                        continue
                    data = reader.read(size + 1)
            except _NOT_THERE:
                continue
            if matches_manifest(data, digest):
                return data
        return None

    # -- to another object ----------------------------------------------------------------------

    def moved(self, writer: ObjectWriter, action: Action) -> Moved:
        """Store what is to be had of an object in a new one."""
        ref = action.ref
        if action.how == "add":
            return self._with_more(writer, action)
        if ref.key in self._plan.unknown:
            return self._gathered(writer, action)
        name = name_of_key(ref.key)
        if name is not None:
            return self._resealed(writer, name, action)
        whole: list[tuple[str, bytes]] = []
        closed: list[tuple[str, bytes]] = []
        gone: set[str] = set()
        pack = ref.key.startswith("packs/")
        for member in self._members(ref):
            if member.data is not None:
                whole.append((member.digest, member.data))
            elif member.closed is not None and not member.digest and pack:
                closed.append((member.name, member.closed))
            else:
                gone.add(member.label)
        whole += self._added(action)
        new, lines = store_members(writer, whole, pack=pack, closed=closed)
        return Moved(new, lines, gone | (self._plan.hopeless & action.gone))

    def _with_more(self, writer: ObjectWriter, action: Action) -> Moved:
        """Store what lies in a whole object, and blobs that no object has."""
        more = self._added(action)
        if action.ref.key in self.vault.amendments:  # nothing took its place
            return Moved(*store_members(writer, more, pack=False), set())
        moved = move_members(self.vault.store, writer, action.ref, without=(), more=more)
        return Moved(*moved, set())

    def _added(self, action: Action) -> list[tuple[str, bytes]]:
        """Return the blobs that come into an object, proven, as far as they are to be had."""
        found = ((digest, self._blob(digest)) for digest in sorted(action.added))
        return [(digest, data) for digest, data in found if data is not None]

    def _resealed(self, writer: ObjectWriter, name: str, action: Action) -> Moved:
        """Seal a large blob anew, from wherever it is."""
        digest = self.digests.get(name)
        if digest is None:  # no snapshot needs it
            return Moved(None, [], {name})
        for spare in self._having(digest) if action.sources else ():
            try:
                reader, size = spare.open_blob(digest)
                with VerifyingReader(reader, digest, size) as proven:
                    ref = writer.put_sealed(digest, proven)
            except _NOT_THERE:
                continue
            place = Location(name, ref.key, 0, ref.size, size, sealed_proof(ref.sha256))
            return Moved(ref, [place], set())
        return Moved(None, [], {digest})

    def _gathered(self, writer: ObjectWriter, action: Action) -> Moved:
        """Store what can be found in an object of which nothing tells what lay in it, and more."""
        key = action.ref.key
        found = salvage(self.vault.store, key) | dict(self._added(action))
        members = sorted(found.items())
        pack = key.startswith("packs/") and all(matches(data, digest) for digest, data in members)
        new, lines = store_members(writer, members, pack=pack)
        return Moved(new, lines, self._plan.hopeless & action.gone)


def _seems(has: Callable[[Any], bool], what: Any) -> bool:
    """Ask a place; one that cannot answer gives nothing, and nothing is dropped for that."""
    try:
        return has(what)
    except TemporaryError:
        raise
    except RegvaultError:
        return False


def _is_raw(ref: ObjectRef) -> bool:
    """Return whether an object is a blob, byte for byte."""
    return ref.key.startswith("blobs/") and not is_keyed(ref.key)
