"""Into which classes the data of a vault may go, and whether it may be moved at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import UsageError
from regvault.model.classes import archives_of
from regvault.model.store import LockingStore, VersionedStore

if TYPE_CHECKING:
    from regvault.model.classes import ClassedStore
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.shelf import Shelf
    from regvault.policy.prices import PriceTable
    from regvault.vault.vault import Vault

__all__ = ["classes_for", "why_fixed"]


def classes_for(table: PriceTable, shelf: Shelf, store: ClassedStore) -> list[str]:
    """Return the classes to choose from: the hot one, then by what they cost.

    Raises:
        UsageError: nothing lies in any of them; or an archive of the store has a price as if it
            could be read at once.
    """
    names = [name for name, each in table.classes.items() if each.durable and not each.idle]
    wrong = [name for name in archives_of(store) if name in names and table.price(name).instant]
    if wrong:
        raise UsageError(
            f"the prices {table.name} say nothing of how {', '.join(wrong)} is thawed",
            hint="Add `thaw` to it: docs/tiering.md, Prices.",
        )
    if len(shelf) and not set(table.classes) & set(shelf.classes):
        raise UsageError(
            f"the prices {table.name} have none of the classes that {store.location} has: "
            f"{', '.join(shelf.classes)}",
            hint="Write down what its storage costs, and name that: --prices FILE "
            "(docs/tiering.md)",
        )
    return sorted(names, key=lambda name: (name != table.hot, -table.classes[name].gb_month))


def why_fixed(store: ObjectStore, vault: Vault) -> str | None:
    """Return why nothing of a vault can be moved, or None."""
    if isinstance(store, LockingStore) and (store.locks() or vault.locks.policy is not None):
        return "the vault is locked"
    if isinstance(store, VersionedStore) and store.versioned():
        return "the bucket keeps versions"
    return None
