"""Which of the newest snapshots need what lies in an archive, and whether that was promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.model.classes import archives_of
from regvault.ops.tier.cold import DATA, find_cold
from regvault.vault.presence import KeySizes, list_objects
from regvault.vault.tiering import read_announced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["InArchive", "in_archive"]

#: Of so many it is asked whether they are thawed; of more they count as not.
_ASKED = 1000


class InArchive(NamedTuple):
    """What one snapshot needs of archives.

    Attributes:
        objects, nbytes: that nothing promises to bring back in time, and that are not thawed.
        promised, promised_bytes: that come back as was promised.
    """

    objects: int = 0
    nbytes: int = 0
    promised: int = 0
    promised_bytes: int = 0


def in_archive(vault: Vault, roots: Iterable[Root], *, threads: int = 8) -> dict[str, InArchive]:
    """Return snapshot -> what it needs of archives; {} where the store has none.

    Raises:
        VaultDamagedError: an object list cannot be read.
        StoreError: the vault cannot be listed.
    """
    archives = archives_of(vault.store)
    if not archives:
        return {}
    there = KeySizes()
    try:
        told: list[str] = []

        def tell(key: str, storage_class: str) -> None:
            if storage_class in archives:
                told.append(key)

        for _ in list_objects(vault.store, threads, tell, DATA):
            while told:
                there[told.pop()] = 1
        while told:
            there[told.pop()] = 1
        promised = read_announced(vault.store, vault.id).promised
        return {str(root.name): _of(vault, root, there, promised) for root in roots}
    finally:
        there.close()


def _of(vault: Vault, root: Root, there: KeySizes, promised: set[str]) -> InArchive:
    found = [ref for ref in vault.object_list(root) if there.get(ref.key) is not None]
    kept = [ref for ref in found if ref.key in promised]
    outside = [ref for ref in found if ref.key not in promised]
    if len(outside) <= _ASKED:
        cold = {each.key for each in find_cold(vault.store, [r.key for r in outside], threads=4)}
        outside = [ref for ref in outside if ref.key in cold]
    return InArchive(
        len(outside),
        sum(ref.size for ref in outside),
        len(kept),
        sum(ref.size for ref in kept),
    )
