"""Which of the objects that somebody is to read lie in an archive: the store itself is asked.

So nothing is remembered between runs: a thaw that was stopped goes on from what the store says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError
from regvault.model.classes import ArchivingStore, archives_of
from regvault.ops.bounded import again_when_broken, in_order
from regvault.policy.tiering.promise import Lying
from regvault.vault.presence import list_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.model.classes import Placement
    from regvault.model.store import ObjectStore

__all__ = ["DATA", "Cold", "find_cold", "lying"]

#: Of so many objects each is asked for by itself; of more, LIST tells which are worth it.
_ASK_EACH = 2000
DATA = ("blobs/", "packs/")
"""What may lie in an archive."""


class Cold(NamedTuple):
    """An object that has to be thawed before it can be read.

    Attributes:
        key: of it.
        size: bytes.
        storage_class: where it lies.
        thawing: somebody has asked for it.
    """

    key: str
    size: int
    storage_class: str
    thawing: bool


def find_cold(store: ObjectStore, keys: Sequence[str], *, threads: int) -> list[Cold]:
    """Return those of these objects that cannot be read now, in their order.

    What is gone is left out: whoever reads it says so.

    Args:
        store: the vault's.
        keys: of the objects that are to be read.
        threads: that ask.

    Raises:
        StoreError: it cannot be asked.
    """
    if not isinstance(store, ArchivingStore):
        return []
    if len(keys) > _ASK_EACH:
        there: set[str] = set()
        archives = archives_of(store)

        def told(key: str, storage_class: str) -> None:
            if storage_class in archives:
                there.add(key)

        for _ in list_objects(store, threads, told, DATA):
            pass
        keys = [key for key in keys if key in there]

    def ask(key: str) -> Placement | None:
        try:
            return again_when_broken(lambda: store.placement(key))
        except ObjectNotFoundError:
            return None

    found = in_order(keys, ask, threads=threads, name="placement")
    return [
        Cold(key, each.entry.size, each.storage_class, each.thawing)
        for key, each in zip(keys, found, strict=True)
        if each is not None and each.archived
    ]


def lying(cold: Sequence[Cold]) -> dict[str, Lying]:
    """Return class -> how much of it lies there."""
    found: dict[str, Lying] = {}
    for each in cold:
        before = found.get(each.storage_class, Lying(0, 0))
        found[each.storage_class] = Lying(before.objects + 1, before.nbytes + each.size)
    return found
