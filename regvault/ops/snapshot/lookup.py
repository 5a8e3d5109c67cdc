"""Finds blobs that the vault holds already, as far as this run may count on them (invariant 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.vault.fetch import sha256_of
from regvault.vault.keys import blob_key, digest_of_key, is_keyed, name_of_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.segment import Location, stored_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from regvault.model.store import ObjectStore
    from regvault.vault.catalog import Catalog
    from regvault.vault.needs import NeedIndex
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.presence import Presence

__all__ = ["VaultLookup"]


class VaultLookup:
    """Looks blobs up: in what the newest root needs, then in the catalog. Thread-safe.

    Args:
        store: the vault's.
        needs: what the newest root needs, and this run placed.
        catalog: of the vault.
        objects: the newest root's object list, or None.
        presence: what this run saw in the vault's LIST.
        condemned: keys that may go.
        recovered: is told the line of a blob that no segment has any more.
    """

    def __init__(
        self,
        store: ObjectStore,
        needs: NeedIndex,
        catalog: Catalog,
        objects: ObjectList | None,
        presence: Presence,
        condemned: Container[str],
        recovered: Callable[[bytes], None],
    ) -> None:
        self._store = store
        self._needs = needs
        self._catalog = catalog
        self._seal = catalog.seal
        self._objects = objects
        self._presence = presence
        self._condemned = condemned
        self._recovered = recovered
        # A first snapshot into an empty vault has nothing to ask.
        self._ask_catalog = bool(catalog.segments())

    def _usable(self, key: str, *, cold: bool = False) -> bool:
        if key in self._condemned:
            return False
        if cold and self._presence.is_cold(key):
            return key not in self._presence.missing and key not in self._presence.bad
        return self._presence.usable(key)

    def find(self, digest: str, *, cold: bool = False) -> int | None:
        """Return the size of a blob that the vault holds and this run may count on, or None.

        Args:
            digest: of the blob.
            cold: that it lies in an archive is no hindrance: it is to be had nowhere else.
        """
        known = self._needs.known(digest)
        if known is not None and self._usable(known.key, cold=cold):
            return known.size
        places = self._catalog.find(digest) if self._ask_catalog else []
        for place in places or self._raw(digest):
            ref = self._present(place, cold=cold)
            if ref is not None:
                self._needs.place(digest, ref, place.size)
                return place.size
        return None

    def _raw(self, digest: str) -> list[Location]:
        """Return where a raw blob lies by the newest root, though no segment says so any more."""
        if self._objects is None or self._seal.sealed:
            return []  # its key does not tell which of several forms, nor its own size
        ref = self._objects.get(blob_key(digest))
        if ref is None:
            return []
        place = Location(digest, ref.key, 0, ref.size, ref.size, "regvault")
        if self._present(place) is not None:
            self._recovered(place.line())
        return [place]

    def _present(self, place: Location, *, cold: bool = False) -> ObjectRef | None:
        """Return the object of a catalog line if this run saw it, with room for the line."""
        if not self._usable(place.key, cold=cold):
            return None
        size = self._presence.size(place.key)
        if size is None:
            return None
        stated = digest_of_key(place.key)
        if is_keyed(place.key):
            return self._sealed(place, size)
        if place.key.startswith("blobs/"):
            if size != place.size or stated != place.digest:
                return None
            if not stated.startswith("sha256:"):
                return ObjectRef(place.key, size, sha256_of(self._store, place.key))
        elif size < max(place.offset + place.length, self._catalog.end_of(place.key)):
            return None  # cut off: its other members may be gone, and its bytes are not its name's
        if stated is None:
            return None
        return ObjectRef(place.key, size, stated.partition(":")[2])

    def _sealed(self, place: Location, size: int) -> ObjectRef | None:
        """Return the object of a sealed raw blob, whose line tells its SHA-256."""
        sha256 = stored_sha256(place)
        named = name_of_key(place.key) == self._seal.name(place.digest)
        if sha256 is None or not named or size != place.length:
            return None
        return ObjectRef(place.key, size, sha256)
