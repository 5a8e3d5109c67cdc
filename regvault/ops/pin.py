"""The verb `pin`: a snapshot stays, whatever retention says, until the pin is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regvault.ops.confirm import check_reason, who
from regvault.vault.keys import new_run_id
from regvault.vault.records import is_of, read_records, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["PinResult", "active_pins", "is_pinned", "pin", "unpin"]


def active_pins(vault: Vault) -> list[dict[str, Any]]:
    """Return the pins that were not taken away, oldest first.

    A record that takes pins away names them, so the order of records means nothing.

    Raises:
        VaultDamagedError: one cannot be read: then what is pinned is not known.
    """
    records = read_records(vault.store, vault.id, "pins")
    revoked = {run for record in records for run in record.get("revokes", ())}
    return [record for record in records if record["run"] not in revoked and "root" in record]


def is_pinned(root: Root, pins: Sequence[dict[str, Any]]) -> bool:
    """Return whether one of `pins` is of this snapshot."""
    return any(is_of(record, root) for record in pins)


@dataclass(frozen=True, slots=True)
class PinResult:
    """What was done.

    Attributes:
        snapshot: `registry@sequence`.
        pinned: whether it is now.
        changed: whether it was not before, or was.
    """

    snapshot: str
    pinned: bool
    changed: bool

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: `snapshot`, `pinned`, `changed`."""
        return {"snapshot": self.snapshot, "pinned": self.pinned, "changed": self.changed}


def pin(vault: Vault, root: Root, *, reason: str = "", by: Callable[[], str] = who) -> PinResult:
    """Pin a snapshot; nothing where it is pinned already.

    Raises:
        UsageError: the reason is too long.
        ReadOnlyStoreError, StoreAccessError: the vault cannot be written.
    """
    check_reason(reason)
    if is_pinned(root, active_pins(vault)):
        return PinResult(str(root.name), pinned=True, changed=False)
    fields = {
        "registry": root.name.registry,
        "sequence": root.name.sequence,
        "root": root.sha256,
        "reason": reason,
        "by": by(),
    }
    write_record(vault.store, vault.id, "pins", new_run_id(), fields)
    vault.store.barrier()
    return PinResult(str(root.name), pinned=True, changed=True)


def unpin(vault: Vault, root: Root, *, by: Callable[[], str] = who) -> PinResult:
    """Take all pins of a snapshot away; nothing where it has none."""
    pins = [record for record in active_pins(vault) if is_of(record, root)]
    if pins:
        fields = {"revokes": [record["run"] for record in pins], "by": by()}
        write_record(vault.store, vault.id, "pins", new_run_id(), fields)
        vault.store.barrier()
    return PinResult(str(root.name), pinned=False, changed=bool(pins))
