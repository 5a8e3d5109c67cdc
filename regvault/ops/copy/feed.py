"""One registry's chain in a vault that it is copied to: what is there, and how it grows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    StoreError,
    StoreUnavailableError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.ops.copy.segments import merge_opened, take_segments
from regvault.vault.amendments import brought_along
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.certain import read_chain
from regvault.vault.condemned import read_condemned_to, refuse_if_condemned_since
from regvault.vault.copied import copied_document, origin_of
from regvault.vault.fetch import fetch_document, sha256_of
from regvault.vault.keys import (
    RAW_BLOB_BYTES,
    digest_of_key,
    is_keyed,
    name_of_key,
)
from regvault.vault.parties import void_document
from regvault.vault.presence import Presence, list_objects
from regvault.vault.root import RootName, parse_root
from regvault.vault.segment import Location
from regvault.vault.slots import holds
from regvault.vault.stub import parse_slot
from regvault.vault.tiering import read_archived
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ByteReader, ObjectStore
    from regvault.vault.lease import Lease
    from regvault.vault.objectlist import Amendments, ObjectList, ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Feed"]

#: What is stored is written into a segment after so many lines or seconds: a copy that is
#: interrupted goes on from there.
CHECKPOINT_LINES = 100_000
CHECKPOINT_S = 120.0


class Feed:
    """A registry's chain at one target. `has` and `store` may be called by several threads.

    Attributes:
        vault: the target.
        newest: the newest root there, or None.
        missing: keys that this root needs, and that are not there with their size, or lie in an
            archive.
        lost: those of them under whose key nothing is at all.
        objects, nbytes: that were stored.
        returned: names of contents among them that were purged here before.
    """

    def __init__(self, vault: Vault, registry: str, run: str) -> None:
        """Read the chain; the lease of a writer, if it is to be written, is taken before.

        Raises:
            VaultDamagedError: the chain cannot be read.
        """
        vault.require_amendments()
        self.vault = vault
        self._registry = registry
        self._run = run
        self._slots = {slot.name.sequence: slot for slot in read_chain(vault, registry)}
        roots = [slot.root for slot in self._slots.values() if slot.root is not None]
        self.newest: Root | None = roots[-1] if roots else None
        self._moved: Amendments = brought_along(self.newest).changes if self.newest else {}
        self._condemned: set[str] = set()
        self._condemned_to = 0
        self._others: list[ObjectList] = []
        self.missing: list[str] = []
        self.lost: list[ObjectRef] = []
        self._presence = Presence(
            vault.object_list(self.newest) if self.newest else None,
            archived=read_archived(vault.store, vault.id),
        )
        self._catalog: Catalog | None = None
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._last_checkpoint = time.monotonic()
        self.objects = 0
        self.nbytes = 0
        self.returned: set[str] = set()
        self._longer: bool | None = None

    def look(self, cache_base: str | None, threads: int) -> None:
        """Look at what is there: the condemned lists, the catalog, a LIST of all objects.

        Raises:
            VaultDamagedError: what condemns its objects, or a list of objects, cannot be read.
        """
        vault = self.vault
        self._others = [vault.object_list(root) for root in self._newest_of_others()]
        self._condemned, self._condemned_to = read_condemned_to(vault.store, vault.id)
        archived = self._presence.archived
        told = None if archived is None else archived.saw
        self._presence.compare(list_objects(vault.store, threads, told))
        cold = filter(self._presence.is_cold, self._presence.cold)
        self.missing = [*self._presence.missing, *cold]
        self.lost = [
            ref for ref in self._presence.missing.values() if self._presence.size(ref.key) is None
        ]
        if vault.sealing_key is None:
            self._catalog = Catalog(vault.store, vault_cache(cache_base, vault.id))
            self._catalog.prepare(1 << 30)
        self._writer = ObjectWriter(
            vault.store, self._run, self._presence, self._condemned, vault.seal
        )

    def _newest_of_others(self) -> Iterable[Root]:
        for name in self.vault.registries():
            if name != self._registry:
                root = next(self.vault.roots(name), None)
                if root is not None:
                    yield root

    def close(self) -> None:
        """Close the caches."""
        self._presence.close()
        if self._catalog is not None:
            self._catalog.close()

    # -- the chain ------------------------------------------------------------------------------

    def refuse_strangers(self, source: Vault, root: Root) -> None:
        """Refuse where this chain is not fed by the origin of a root of the source.

        Raises:
            RefusedError: it is native, of another origin, or has gone another way.
        """
        newest = self.newest
        if newest is None:
            return
        where = f"{self._registry} of {self.vault.store.location}"
        hint = "Give the registry another name in one of them, or copy to another vault."
        if newest.amendment is None:
            raise RefusedError(f"{where} has snapshots of its own, which are no copies", hint=hint)
        origin = origin_of(source, root)
        found = origin_of(self.vault, newest)
        if found != origin or newest.registry_id != root.registry_id:
            raise RefusedError(f"{where} is a copy from another vault ({found})", hint=hint)
        there = _in_slot(source, newest.name)
        if there not in (None, newest.sha256):
            raise RefusedError(
                f"{newest.name} of {source.store.location} is another snapshot than the one that"
                f" was copied to {self.vault.store.location}",
                hint="One of the two was tampered with, or set back. See: regvault verify",
            )

    def wants(self, sequence: int) -> bool:
        """Return whether a slot is free for a root: empty, or a void that may be replaced."""
        slot = self._slots.get(sequence)
        return slot is None or (slot.root is None and slot.stub is None)

    def is_empty(self, sequence: int) -> bool:
        """Return whether nothing at all is in a slot."""
        return sequence not in self._slots

    def fill(
        self,
        lease: Lease,
        name: RootName,
        data: bytes,
        objects: ObjectList | None,
        purged: Iterable[str] = (),
    ) -> None:
        """Commit a root or a stub: all that was stored becomes durable first.

        Args:
            lease: of this run.
            name: the slot.
            data: the source's bytes.
            objects: the object list of the root; None for a stub.
            purged: digests of what was purged from it in the source.

        Raises:
            LeaseLostError: this run was declared dead.
            TemporaryError: somebody else filled the slot with something else.
        """
        self.checkpoint(final=True)
        self.vault.store.barrier()
        changes = self._changes(objects) if objects is not None else {}
        document = copied_document(
            data,
            vault=self.vault.id,
            slot=name.key,
            run=self._run,
            changes=changes,
            purged=purged if changes else (),
        )
        self._put(lease, name, document)

    def fill_void(self, lease: Lease, name: RootName) -> None:
        """Leave a void in an empty slot, so that the chain has no gap. A later copy may fill it."""
        self._put(lease, name, void_document(self.vault.id, name.key, self._run))

    def _put(self, lease: Lease, name: RootName, document: bytes) -> None:
        store = self.vault.store
        lease.renew(slot=name.key)
        refuse_if_condemned_since(store, self._condemned_to)
        try:
            if self.is_empty(name.sequence):
                store.put(name.key, document, if_none_match=True)
            else:
                store.put(name.key, document, if_match=_etag_of_void(self.vault, name))
        except StoreUnavailableError:
            # Its outcome is not known. (The lease fills the slot before it is let go.)
            if not holds(store, name.key, document):
                raise
        except PreconditionError:
            if not holds(store, name.key, document):
                raise TemporaryError(
                    f"another run filled the slot {name} of {store.location} meanwhile",
                    hint="Run the same command again.",
                ) from None
        store.barrier()

    def _changes(self, objects: ObjectList) -> Amendments:
        """Return which keys of a source's list differ here."""
        changes = objects.changes()
        for key, ref in changes.items():
            if ref is not None:
                changes[key] = self._moved.get(ref.key, ref)
        own = {chunk.key for chunk in objects.original_chunks()} if self._moved else set()
        for key, ref in self._moved.items():
            if key not in changes and (key in own or objects.lists(key)):
                changes[key] = ref
        return changes

    # -- the objects ----------------------------------------------------------------------------

    def has(self, ref: ObjectRef) -> bool:
        """Return whether an object is surely here: seen, and named by a root or the catalog."""
        moved = self._moved.get(ref.key)
        if moved is not None:
            ref = moved
        if self._writer.reusable(ref.key, ref.size):
            return True
        if ref.key in self._condemned or self._presence.size(ref.key) != ref.size:
            return False
        if self._presence.is_cold(ref.key):
            return False  # it is stored again, where it can be read
        return any(objects.get(ref.key) == ref for objects in self._others) or self._told(ref)

    def _told(self, ref: ObjectRef) -> bool:
        """Return whether a segment names an object: it was durable before the segment was."""
        if self._catalog is None:
            return self._proven(ref)  # of a sealed vault it may be that nobody can read it here
        if ref.key.startswith("blobs/"):
            digest = digest_of_key(ref.key)
            places = self._catalog.find(digest) if digest is not None else []
            return any(place.key == ref.key for place in places)
        return ref.key.startswith(("packs/", "meta/")) and bool(self._catalog.members(ref.key))

    def _proven(self, ref: ObjectRef) -> bool:
        """Return whether what a copy that was interrupted left here are the right bytes.

        Only LIST shows it, so the store's own checksum is asked for, or else all of it is read. It
        becomes durable, with what this run stores, before a root needs it.
        """
        store = self.vault.store
        try:
            found = store.stored_sha256(ref.key) or sha256_of(store, ref.key)
        except StoreError:
            return False  # it is stored anew
        if found != ref.sha256:
            return False
        self._presence.add(ref.key, ref.size)
        return True

    def pretend(self, ref: ObjectRef) -> None:
        """Count an object as stored, and store nothing."""
        self._presence.add(ref.key, ref.size)
        self._count(ref)

    def store(self, ref: ObjectRef, reader: ByteReader, members: list[Location]) -> None:
        """Store an object, proven by its SHA-256; note what lies in it for the catalog.

        Raises:
            DigestMismatchError: the bytes are not those of the list.
        """
        stored, proof = self._writer.put_raw(ref.key, reader, ref.size, ref.sha256)
        self._keep(ref, stored, proof, members)
        self._count(ref)

    def copy_in(self, ref: ObjectRef, source: ObjectStore, members: list[Location]) -> bool:
        """Let the store copy a large object from the source's by itself; False where it cannot.

        Raises:
            DigestMismatchError: what was copied is not what the list says.
        """
        if ref.size < RAW_BLOB_BYTES:
            return False
        found = self._writer.copy_raw(ref.key, source, ref.key, ref.size, ref.sha256)
        if found is None:
            return False
        self._keep(ref, *found, members)
        self._count(ref)
        return True

    def _count(self, ref: ObjectRef) -> None:
        with self._lock:
            self.objects += 1
            self.nbytes += ref.size

    def _keep(self, ref: ObjectRef, stored: ObjectRef, proof: str, members: list[Location]) -> None:
        digest = digest_of_key(ref.key)
        if ref.key.startswith("blobs/") and digest is not None and not is_keyed(ref.key):
            if not digest.startswith("sha256:"):
                proof = "regvault"  # the store knows nothing of this digest
            members = [Location(digest, ref.key, 0, ref.size, ref.size, proof)]
        names = {place.digest for place in members} | {name_of_key(ref.key) or ""}
        with self._lock:
            self.returned |= names & self.vault.amended.purged
            if stored.key != ref.key:
                self._moved[ref.key] = stored
            else:
                self._moved.pop(ref.key, None)
            self._lines += [place._replace(key=stored.key).line() for place in members]

    def checkpoint(self, *, final: bool = False) -> None:
        """Write the lines of what is stored as a segment, when it is time, or at the end."""
        late = time.monotonic() - self._last_checkpoint >= CHECKPOINT_S
        with self._lock:
            if not self._lines or not (final or late or len(self._lines) >= CHECKPOINT_LINES):
                return
            lines, self._lines = self._lines, []
        assert self._catalog is not None
        self._catalog.write(sorted(set(lines)), self._run)
        self._last_checkpoint = time.monotonic()

    def take_segments(self, source: Vault) -> None:
        """Copy the segments of a sealed vault that are not here: no key is needed for that.

        What was stored becomes durable first.
        """
        self.vault.store.barrier()
        if self._longer is None:  # what is copied meanwhile is in both
            self._longer = self._keeps_longer(source)
        take_segments(self.vault, source.store, self._run, keeps_longer=self._longer)

    def _keeps_longer(self, source: Vault) -> bool:
        """Return whether a snapshot is here that the source has forgotten."""
        there = {
            slot.name.sequence
            for slot in read_chain(source, self._registry)
            if slot.root is not None
        }
        return any(
            slot.root is not None and number not in there for number, slot in self._slots.items()
        )

    def merge(self) -> None:
        """Merge segments where there are many."""
        vault = self.vault
        if self._catalog is not None:
            self._catalog.merge(self._run, set(self._condemned))
        elif vault.sealing_key is not None:
            merge_opened(vault, self._run, set(self._condemned))


def _in_slot(vault: Vault, name: RootName) -> str | None:
    """Return the SHA-256 of the root that is, or was, in a slot; None: void, empty or damaged."""
    try:
        data = fetch_document(vault.store, name.key)
        root, stub = parse_slot(data, name, vault.id)
    except (ObjectNotFoundError, VaultDamagedError):
        return None
    if root is not None:
        return root.sha256
    return None if stub is None else stub.root


def _etag_of_void(vault: Vault, name: RootName) -> str:
    """Return the etag of the void in a slot.

    Raises:
        PreconditionError: something else is there by now.
    """
    entry = vault.store.head(name.key)
    root = parse_root(fetch_document(vault.store, name.key), name, vault.id)
    if root is not None or vault.store.head(name.key).etag != entry.etag:
        raise PreconditionError(f"{name.key} was filled", key=name.key)
    return entry.etag
