"""Where good bytes may come from. Whoever takes them proves them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    RegvaultError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.vault import recover
from regvault.vault.amendments import brought_along
from regvault.vault.catalog import Catalog
from regvault.vault.keys import blob_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from regvault.model.registry import RegistrySource
    from regvault.model.store import ByteReader
    from regvault.vault.vault import Vault

__all__ = ["Asked", "OwnSpare", "RegistrySpare", "Spare", "VaultSpare", "ask", "ask_for_object"]

_Place = TypeVar("_Place", bound="Spare")


class Spare(Protocol):
    """A place that may have blobs that a vault has lost. Another vault has objects too."""

    @property
    def name(self) -> str:
        """For people: where it is, without secrets."""

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob seems to be there.

        Raises:
            RegvaultError: that cannot be said.
        """

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over it, NOT proven, and its size. Raises ObjectNotFoundError."""


class Asked(NamedTuple):
    """Who has a blob.

    Attributes:
        having: names of the places that seem to have it, the best first.
        unsure: of those that could not be asked, each with why: that one has not got it is not
            known, so nobody may conclude that nobody has it (invariant 9).
    """

    having: tuple[str, ...]
    unsure: tuple[str, ...]


def ask(spares: Iterable[Spare], digest: str) -> Asked:
    """Ask each place for a blob.

    Raises:
        TemporaryError: a place cannot be reached just now.
    """
    return _asked(spares, lambda spare: spare.has_blob(digest))


def ask_for_object(spares: Iterable[VaultSpare], ref: ObjectRef) -> Asked:
    """Ask each vault for an object. Raises as `ask`."""
    return _asked(spares, lambda spare: spare.has_object(ref))


def _asked(spares: Iterable[_Place], has: Callable[[_Place], bool]) -> Asked:
    having: list[str] = []
    unsure: list[str] = []
    for spare in spares:
        try:
            if has(spare):
                having.append(spare.name)
        except TemporaryError:
            raise
        except RegvaultError as error:
            unsure.append(f"{spare.name}: {error.message}")
    return Asked(tuple(having), tuple(unsure))


class RegistrySpare:
    """A live registry: it has blobs."""

    def __init__(self, source: RegistrySource) -> None:
        self._source = source
        self.name = source.location

    def has_blob(self, digest: str) -> bool:
        """Return whether the registry has a file for it. Raises SourceError."""
        return self._source.stat_blob(digest) is not None

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over the blob, and its size."""
        return self._source.open_blob(digest)


class VaultSpare:
    """Another vault: it has objects, where it is a copy, and blobs."""

    def __init__(self, vault: Vault, name: str | None = None) -> None:
        """Wrap; `name`: for people, else where it is."""
        self.vault = vault
        self.name = name or vault.store.location
        self._catalog = Catalog(vault.store, None, vault.seal)
        self._catalog.prepare(1 << 30)
        self._unread: list[str] | None = None
        # Of a copied root some objects have other keys here.
        self._moved: dict[str, ObjectRef | None] = dict(vault.amendments)
        for registry in vault.registries():
            with suppress(RegvaultError):
                for root in vault.roots(registry):
                    self._moved |= brought_along(root).changes
                    break

    def _here(self, ref: ObjectRef) -> ObjectRef | None:
        found = self._moved.get(ref.key, ref)
        return found if found is not None and found.sha256 == ref.sha256 else None

    def key_of(self, ref: ObjectRef) -> str | None:
        """Return the key that the object has in this vault; None where it has none."""
        here = self._here(ref)
        return None if here is None else here.key

    def has_object(self, ref: ObjectRef) -> bool:
        """Return whether the vault has it, under the same or another key."""
        here = self._here(ref)
        if here is None:
            return False
        try:
            return self.vault.store.head(here.key).size == ref.size
        except ObjectNotFoundError:
            return False

    def open_object(self, ref: ObjectRef) -> ByteReader:
        """Return a stream over the object."""
        here = self._here(ref)
        if here is None:
            raise ObjectNotFoundError(ref.key)
        return self.vault.store.open(here.key)

    def _places(self, digest: str) -> Iterator[Location]:
        yield from self._catalog.find(digest)
        if self.vault.seal.sealed:
            return
        with suppress(ObjectNotFoundError):
            key = blob_key(digest)
            size = self.vault.store.head(key).size
            yield Location(digest, key, 0, size, size, "-")

    def has_blob(self, digest: str) -> bool:
        """Return whether a catalog line of the vault, and its object, are there.

        Raises:
            VaultDamagedError: neither its catalog nor its objects tell.
        """
        if self._has(digest):
            return True
        if self._unread is None:
            self._unread = self._complete()
            if self._has(digest):
                return True
        if self._unread:
            raise VaultDamagedError(f"it cannot be told what lies in {self._unread[0]}")
        return False

    def _has(self, digest: str) -> bool:
        for place in self._places(digest):
            with suppress(ObjectNotFoundError):
                if self.vault.store.head(place.key).size >= place.offset + place.length:
                    return True
        return False

    def _complete(self) -> list[str]:
        """Look into the objects that its catalog tells nothing of; return those that cannot be."""
        seal, unread = self.vault.seal, []
        known = self._catalog.objects()
        for prefix in recover.PREFIXES:
            for entry in self.vault.store.list(prefix):
                places = self._catalog.members(entry.key) if entry.key in known else []
                ref = ObjectRef(entry.key, entry.size, "")
                if places and (prefix != "packs/" or recover.tells_all(places, ref)):
                    continue
                try:
                    found = recover.members_of(self.vault.store, ref, seal)
                except (VaultDamagedError, CredentialError):
                    unread.append(entry.key)
                except ObjectNotFoundError:
                    continue
                else:
                    self._catalog.learn(entry.key, found)
        return unread

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over the blob; a packed one is proven already, whole in memory."""
        return _open(self.vault, self._places(digest), digest)


class OwnSpare:
    """The vault that is mended: other places of the same blob."""

    def __init__(self, vault: Vault, catalog: Catalog, but: Container[str]) -> None:
        """Wrap; `but`: keys of objects that are damaged."""
        self._vault = vault
        self._catalog = catalog
        self._but = but
        self.name = "the vault itself"

    def _places(self, digest: str) -> Iterator[Location]:
        yield from (place for place in self._catalog.find(digest) if place.key not in self._but)

    def has_blob(self, digest: str) -> bool:
        """Return whether another place of it is there."""
        for place in self._places(digest):
            with suppress(ObjectNotFoundError):
                if self._vault.store.head(place.key).size >= place.offset + place.length:
                    return True
        return False

    def open_blob(self, digest: str) -> tuple[ByteReader, int]:
        """Return a stream over the blob at another place."""
        return _open(self._vault, self._places(digest), digest)


def _open(vault: Vault, places: Iterator[Location], digest: str) -> tuple[ByteReader, int]:
    """Return a stream over a blob of a vault, from the first place that gives it."""
    import io

    from regvault.vault.blobs import BlobReader, is_raw

    for place in places:
        reader = BlobReader(vault.store, Catalog(vault.store, None, vault.seal), None)
        try:
            if is_raw(place):
                return reader.open(place), place.size
            data = reader.read_place(place)
        except (ObjectNotFoundError, VaultDamagedError, CredentialError):
            continue
        return io.BytesIO(data), len(data)
    raise ObjectNotFoundError(digest)
