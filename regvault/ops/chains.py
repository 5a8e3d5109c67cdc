"""A chain of snapshots, read from its first slot to its last: what is there, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain as flat
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.ops.selector import read_slots
from regvault.vault.records import is_held
from regvault.vault.slots import gaps

if TYPE_CHECKING:
    from regvault.ops.selector import Slot
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Chain", "Damage", "read_chain"]

_VERIFY = "See all that is wrong with: regvault verify"


class Damage(NamedTuple):
    """Something of a chain that is gone, or not as it was written.

    Attributes:
        message: for people.
        hint: what to do next.
    """

    message: str
    hint: str = _VERIFY


@dataclass(slots=True)
class Chain:
    """One registry's snapshots in one vault.

    Attributes:
        name: the registry's.
        roots: those that can be read, oldest first.
        held: the sequences of those that wait to be confirmed.
        empty: slots without a snapshot: forgotten ones and voids.
        damage: what is gone or cannot be read.
    """

    name: str
    roots: list[Root] = field(default_factory=list)
    held: set[int] = field(default_factory=set)
    empty: int = 0
    damage: list[Damage] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The registry, for people."""
        return self.roots[-1].name.title if self.roots else self.name

    def restorable(self) -> list[Root]:
        """Return the roots that are complete and not held, oldest first."""
        return [r for r in self.roots if r.complete and r.name.sequence not in self.held]


def read_chain(vault: Vault, name: str, confirmations: list[dict[str, Any]]) -> Chain:
    """Read all slots of a registry; what is damaged is in the result, not raised."""
    chain = Chain(name)
    numbers = vault.slots(name)
    missing = list(gaps(numbers))
    if missing:
        count = sum(map(len, missing))
        first = islice(flat.from_iterable(missing), 5)
        listed = ", ".join(map(str, first)) + (", ..." if count > 5 else "")
        chain.damage.append(
            Damage(
                f"of the chain {listed} "
                + ("is gone" if count == 1 else f"are gone, {count} slots")
                + ": no slot is ever emptied",
                "Someone deleted them, or LIST does not show all. Back from a copy, or given up: "
                "regvault repair --dry-run",
            )
        )
    before: Slot | None = None
    for slot in read_slots(vault, name, numbers):
        if slot.error is not None:
            chain.damage.append(Damage(slot.error.message))
        elif slot.root is None:
            chain.empty += 1
        else:
            if not _follows(slot.root, before):
                assert before is not None
                message = f"snapshot {slot.name} does not name {before.name} as the one before it"
                chain.damage.append(Damage(message))
            chain.roots.append(slot.root)
            if is_held(slot.root, confirmations):
                chain.held.add(slot.name.sequence)
        before = slot
    return chain


def _follows(root: Root, before: Slot | None) -> bool:
    """Return whether a root follows from the one in the slot right before it, if there is one."""
    return (
        before is None
        or before.root is None
        or before.name.sequence + 1 != root.name.sequence
        or root.previous == before.root.sha256
    )
