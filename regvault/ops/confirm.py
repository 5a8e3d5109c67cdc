"""The verb `confirm`: a person accepts a snapshot that was held because the source had shrunk."""

from __future__ import annotations

import contextlib
import getpass
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regvault.errors import NotFoundError, UsageError, VaultDamagedError
from regvault.vault.keys import new_run_id
from regvault.vault.records import is_held, write_record
from regvault.vault.root import RootName

if TYPE_CHECKING:
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["ConfirmPlan", "ConfirmResult", "check_reason", "confirm", "plan_confirm", "who"]

MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class ConfirmPlan:
    """What a confirmation is about.

    Attributes:
        root: of the snapshot.
        before: the root that it was compared with, or None: none, or it is gone.
        needed: whether it waits to be confirmed; otherwise it is confirmed already.
    """

    root: Root
    before: Root | None
    needed: bool

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints.

        `snapshot`: `registry@sequence`. `held`: `reason`, and `against`: the sequence that it was
        compared with, or null. `confirmed`: it is confirmed already. `counts`, `counts_before`:
        what it holds, and what that other one held (null where that one is gone).
        """
        return {
            "snapshot": str(self.root.name),
            "held": self.root.held,
            "confirmed": not self.needed,
            "counts": self.root.counts.to_json(),
            "counts_before": self.before.counts.to_json() if self.before else None,
        }


@dataclass(frozen=True, slots=True)
class ConfirmResult:
    """What came of it.

    Attributes:
        plan: as it was executed.
        record: the key of the record that was written; None where none was needed.
        by: who confirmed, `user@host`.
    """

    plan: ConfirmPlan
    record: str | None
    by: str

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: the plan's, with `record` and `by`.

        `confirmed` is true now; `record` is the key in the vault, null where nothing was to do.
        """
        return {**self.plan.to_json(), "confirmed": True, "record": self.record, "by": self.by}


def who() -> str:
    """Return `user@host` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def check_reason(reason: str) -> None:
    """Refuse a reason that is too long to be kept in a record.

    Raises:
        UsageError: it is.
    """
    if len(reason) > MAX_REASON:
        raise UsageError(
            f"the reason has {len(reason)} characters", hint=f"Use at most {MAX_REASON}."
        )


def plan_confirm(vault: Vault, root: Root) -> ConfirmPlan:
    """Say what confirming a snapshot would accept.

    Raises:
        UsageError: it never was held.
    """
    if root.held is None:
        raise UsageError(
            f"snapshot {root.name} is not held: there is nothing to confirm",
            hint="See which are held: regvault snapshots",
        )
    needed = is_held(root, vault.confirmations)
    before = None
    against = root.held.get("against")
    if isinstance(against, int):
        with contextlib.suppress(NotFoundError, VaultDamagedError):
            before = vault.read_slot(RootName(root.name.registry, against))
    return ConfirmPlan(root, before, needed)


def confirm(vault: Vault, plan: ConfirmPlan, *, by: str, reason: str = "") -> ConfirmResult:
    """Write the confirmation; nothing where none is needed.

    Raises:
        UsageError: the reason is too long.
        ReadOnlyStoreError, StoreAccessError: the vault cannot be written.
    """
    check_reason(reason)
    if not plan.needed:
        return ConfirmResult(plan, None, by)
    name = plan.root.name
    record = write_record(
        vault.store,
        vault.id,
        "confirmations",
        new_run_id(),
        {
            "registry": name.registry,
            "sequence": name.sequence,
            "root": plan.root.sha256,
            "by": by,
            "reason": reason,
        },
    )
    vault.store.barrier()
    return ConfirmResult(plan, record, by)
