"""The half of a store that cannot be written: it says so, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from regvault.errors import ReadOnlyStoreError
from regvault.model.store import Space
from regvault.storage.delegate import unwrap

if TYPE_CHECKING:
    from regvault.model.store import ByteReader, ObjectStore, Stored

__all__ = ["ReadOnly", "is_past"]


def is_past(store: ObjectStore) -> bool:
    """Return whether this is a store as it was: nothing can change it, and no lease helps."""
    return isinstance(unwrap(store), ReadOnly)


class ReadOnly:
    """What a store of the past answers to writes. Subclasses read."""

    @property
    def location(self) -> str:
        """Where this is, for messages."""
        raise NotImplementedError

    def _refuse(self, key: str) -> NoReturn:
        raise ReadOnlyStoreError(
            f"{self.location} cannot be written: it is the past",
            key=key,
            hint="Write to the vault as it is now: leave out --vault-at.",
        )

    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> Stored:
        """Refuse."""
        del data, if_none_match, if_match
        self._refuse(key)

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Refuse."""
        del reader, size, sha256
        self._refuse(key)

    def stage(self) -> NoReturn:
        """Refuse."""
        self._refuse("")

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Refuse."""
        del source, source_key, size, sha256
        self._refuse(key)

    def delete(self, key: str) -> None:
        """Refuse."""
        self._refuse(key)

    def barrier(self) -> None:
        """Do nothing: nothing was written."""

    def space(self) -> Space:
        """Return that nothing is known."""
        return Space(None, None)
