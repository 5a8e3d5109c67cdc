"""Into which classes things may go, and who moves them, if they may be moved at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import UsageError
from regvault.model.classes import RuledStore, archives_of
from regvault.model.store import LockingStore, VersionedStore

if TYPE_CHECKING:
    from regvault.model.classes import ClassedStore
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.shelf import Shelf
    from regvault.policy.prices import PriceTable
    from regvault.vault.vault import Vault

__all__ = ["BY_RULES", "classes_for", "moves_by_rules", "why_fixed"]

BY_RULES = (
    "the bucket keeps versions: tier apply tags objects, and lifecycle rules of the bucket move "
    "them within a day or two"
)
"""What a plan says where that is so."""


def classes_for(table: PriceTable, shelf: Shelf, store: ClassedStore) -> list[str]:
    """Return the classes that a vault may choose from: the hot one, then by what they cost.

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


def moves_by_rules(store: ObjectStore) -> bool:
    """Return whether objects are only marked, and rules of the store move them."""
    return isinstance(store, RuledStore) and store.moves_by_rules()


def why_fixed(store: ObjectStore, vault: Vault) -> str | None:
    """Return why nothing of a vault can be moved where no rules do that, or None."""
    if isinstance(store, LockingStore) and (store.locks() or vault.locks.policy is not None):
        return "the vault is locked"
    if isinstance(store, VersionedStore) and store.versioned():
        return "the bucket keeps versions"
    return None
