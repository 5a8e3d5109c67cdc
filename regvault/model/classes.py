"""The port of stores whose objects lie in storage classes: what is cold may cost less.

A storage class is the store's own name for one: `GLACIER_IR` of S3, `Cool` of Azure, `NEARLINE` of
GCS, the name of a mount beside a registry's disk. What a class costs is said by `policy.prices`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from regvault.model.store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import Entry

__all__ = ["ArchivingStore", "ClassedStore", "Moved", "Placement", "archives_of"]


class Placement(NamedTuple):
    """In which class one object lies, and whether it can be read.

    Attributes:
        entry: as HEAD shows it.
        storage_class: its name.
        archived: it cannot be read now: it has to be thawed before.
        thawing: somebody has asked for that, and it is not done.
        thawed_until_ns: until when a thawed copy can be read, nanoseconds since the epoch; None
            where there is none.
    """

    entry: Entry
    storage_class: str
    archived: bool = False
    thawing: bool = False
    thawed_until_ns: int | None = None


class Moved(NamedTuple):
    """What a store made of a move.

    Attributes:
        placement: where the object lies now.
        sha256: hex digest of its bytes, as far as they were looked at on the way; None: nobody did.
    """

    placement: Placement
    sha256: str | None


@runtime_checkable
class ClassedStore(ObjectStore, Protocol):
    """A store that tells in which class an object lies, and moves it to another one by itself."""

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        """Yield what `list` does, each with the name of its class."""

    def placement(self, key: str) -> Placement:
        """Return in which class an object lies. Raises ObjectNotFoundError."""

    def change_class(self, key: str, storage_class: str, *, expected: Placement) -> Moved:
        """Move an object to another class; its bytes stay what they are.

        At any moment the object is there, in the old class or in the new one.

        Args:
            key: of it.
            storage_class: where to.
            expected: what it is known to be: size and etag are those of this entry.

        Raises:
            ObjectNotFoundError: it is gone.
            PreconditionError: it is another object than expected, or was written meanwhile.
            ObjectArchivedError: it lies in an archive, and is not thawed.
            RefusedError: this store must not be asked so (it would keep the old bytes as well).
            StoreError: the store refuses, knows no such class, or made something else of it.
        """

    def thaw(self, key: str, *, way: str, days: int) -> None:
        """Ask for an archived object to be brought back; it takes hours, `placement` tells.

        Where somebody has asked before, or it is there, nothing changes but how long it stays.

        Args:
            key: of it.
            way: how fast, by its name in the prices: `bulk`, `standard` or `expedited`.
            days: how long it can be read then.

        Raises:
            ObjectNotFoundError: it is gone.
            StoreError: the store does not do it.
        """


@runtime_checkable
class ArchivingStore(ClassedStore, Protocol):
    """A store some of whose classes are archives: what lies there has to be thawed before."""

    @property
    def archives(self) -> frozenset[str]:
        """The names of these classes."""


def archives_of(store: ObjectStore) -> frozenset[str]:
    """Return the names of a store's archives; none where it has no classes."""
    return store.archives if isinstance(store, ArchivingStore) else frozenset()
