"""A reader's claim on the snapshots that it stands on, where the vault can be written."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regvault.errors import CredentialError, NotFoundError, StoreAccessError
from regvault.storage.read_only import is_past
from regvault.vault.keys import new_run_id
from regvault.vault.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regvault.model.progress import Progress
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Claim", "claim"]


@dataclass(slots=True)
class Claim:
    """A claim while its block runs, and after that.

    Attributes:
        run: of the claim; "" where there is none.
        lost: someone ended it meanwhile. Known when the block has ended.
    """

    run: str = ""
    lost: bool = False


@contextlib.contextmanager
def claim(vault: Vault, roots: Sequence[Root], progress: Progress) -> Iterator[Claim]:
    """Hold off prune from what `roots` need while the block runs.

    On a vault that cannot be written there is no lease; that is said as a warning. So is a lease
    that someone ended meanwhile: what is then found missing is no damage of the vault.

    Raises:
        NotFoundError: a root is gone since it was read.
    """
    held = Claim()
    if is_past(vault.store):
        yield held  # no prune reaches it
        return
    named, run = [_named(root) for root in roots], new_run_id()
    try:
        lease = Lease(vault.store, vault.id, run, role="reader", roots=named)
    except (StoreAccessError, CredentialError):
        progress.warn(
            f"{vault.store.location} cannot be written, so no lease protects what is being read",
            hint="Do not prune this vault meanwhile.",
        )
        yield held
        return
    held.run = run
    try:
        with lease:
            _check_there(vault, roots)
            # What a purge or a repair deleted before it could see the claim, amendments tell now.
            vault.look_again()
            yield held
    finally:
        held.lost = lease.lost
        if held.lost:
            progress.warn(
                f"this run's claim {lease.key} ended while it slept, or could not reach the vault: "
                "it had not been renewed for 24 hours, so what it was to read may have been pruned",
                hint="What is missing need not be damage. Run it again, on a snapshot that still "
                "exists: regvault snapshots",
            )


def _check_there(vault: Vault, roots: Sequence[Root]) -> None:
    for root in roots:
        found = vault.read_slot(root.name, unopened=True)
        if found is None or found.sha256 != root.sha256:
            raise NotFoundError(
                f"snapshot {root.name} was forgotten just now", hint="See: regvault snapshots"
            )


def _named(root: Root) -> dict[str, Any]:
    tops = [root.objects.base.top.key]
    if root.objects.delta is not None:
        tops.append(root.objects.delta.top.key)
    return {"key": root.name.key, "objects": tops}
