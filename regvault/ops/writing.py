"""A writer's lease on one registry of a vault, held while no prune decides."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from regvault.vault.keys import new_run_id
from regvault.vault.lease import Lease, end_dead_writers
from regvault.vault.parties import RENEW_EVERY_S
from regvault.vault.prune_lock import prune_decides, wait_for_prune
from regvault.vault.signing import require_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.vault.vault import Vault

__all__ = ["writing"]

#: A prune decides within minutes; so long a writer waits for one in any case.
PRUNE_WAIT_S = 600.0


@contextlib.contextmanager
def writing(
    vault: Vault,
    registry: str,
    *,
    wait_s: float,
    say: Callable[[str], None],
    renew_every_s: float = RENEW_EVERY_S,
) -> Iterator[tuple[str, Lease]]:
    """Take a lease, and end those of the dead; give it back, and wait, where a prune decides.

    Args:
        vault: that is to be written.
        registry: whose chain.
        wait_s: seconds to wait for another writer of it; for a prune at least 10 minutes.
        say: tells people.
        renew_every_s: seconds between renewals.

    Yields:
        The run's id, and its lease.

    Raises:
        LeaseHeldError: another writer of the registry is at work, or a prune decides.
        CredentialError: what is written is signed, and there is no key to sign with.
    """
    require_key(vault.id)
    while True:
        wait_for_prune(vault.store, vault.id, wait_s=max(wait_s, PRUNE_WAIT_S), say=say)
        run = new_run_id()
        with Lease(
            vault.store,
            vault.id,
            run,
            role="writer",
            registry=registry,
            renew_every_s=renew_every_s,
        ) as lease:
            if not prune_decides(vault.store, vault.id):
                end_dead_writers(vault.store, vault.id, run, registry=registry, retry_for_s=wait_s)
                yield run, lease
                return
