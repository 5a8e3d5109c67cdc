"""A reader's claim on the snapshots that it stands on, where the vault can be written."""

from __future__ import annotations

import contextlib
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

__all__ = ["claim"]


@contextlib.contextmanager
def claim(vault: Vault, roots: Sequence[Root], progress: Progress) -> Iterator[str]:
    """Hold off prune from what `roots` need while the block runs; yield the run of the claim.

    On a vault that cannot be written there is no lease, and no run; that is said as a warning.

    Raises:
        NotFoundError: a root is gone since it was read.
    """
    if is_past(vault.store):
        yield ""  # no prune reaches it
        return
    named, run = [_named(root) for root in roots], new_run_id()
    try:
        lease = Lease(vault.store, vault.id, run, role="reader", roots=named)
    except (StoreAccessError, CredentialError):
        progress.warn(
            f"{vault.store.location} cannot be written, so no lease protects what is being read",
            hint="Do not prune this vault meanwhile.",
        )
        yield ""
        return
    with lease:
        for root in roots:
            found = vault.read_slot(root.name, unopened=True)
            if found is None or found.sha256 != root.sha256:
                raise NotFoundError(
                    f"snapshot {root.name} was forgotten just now", hint="See: regvault snapshots"
                )
        yield run


def _named(root: Root) -> dict[str, Any]:
    tops = [root.objects.base.top.key]
    if root.objects.delta is not None:
        tops.append(root.objects.delta.top.key)
    return {"key": root.name.key, "objects": tops}
