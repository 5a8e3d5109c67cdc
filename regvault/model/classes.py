"""The port of stores whose objects lie in storage classes: what is cold may cost less.

A storage class is the store's own name for one: `GLACIER_IR` of S3, `Cool` of Azure, `NEARLINE` of
GCS, the name of a mount beside a registry's disk. What a class costs is said by `policy.prices`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from regvault.model.store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import Entry

__all__ = ["ArchivingStore", "ClassedStore", "Moved", "Placement", "RuledStore", "archives_of"]


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


@runtime_checkable
class RuledStore(ClassedStore, Protocol):
    """A store that moves objects by itself, by rules and by tags, within a day or two.

    That is the way where it keeps versions: a copy would leave the old bytes behind. It only goes
    to colder classes.
    """

    def moves_by_rules(self) -> bool:
        """Return whether this very store keeps versions, so that rules have to move objects."""

    def mark_class(self, key: str, storage_class: str, *, expected: Placement) -> None:
        """Tag an object, so that a rule moves it; its other tags stay.

        Raises:
            ObjectNotFoundError: it is gone.
            PreconditionError: it is another object than expected.
            StoreError: it cannot be tagged, or has as many tags as there may be.
        """

    def missing_rules(self, prefix: str, classes: Iterable[str]) -> list[dict[str, Any]]:
        """Return the rules that these classes need and the store does not have, as it writes them.

        Args:
            prefix: that keys have, below the store's own.
            classes: that objects are marked with.

        Raises:
            StoreAccessError: these credentials may not look.
        """

    def add_rules(self, prefix: str, classes: Iterable[str]) -> None:
        """Add the rules that are missing; those of others stay as they are.

        Raises:
            PreconditionError: somebody changed the rules at the same moment.
            StoreError: they cannot be added.
        """
