"""Says that objects were replaced or are gone: a segment, an amendment, a condemned list.

In this order, under the prune lock, so that no snapshot sees one of them without the others, and a
crash between them loses nothing: what is new is durable before anything points to it, and what is
old is condemned last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.vault.amendments import commit_amendment
from regvault.vault.condemned import commit_condemned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import Amendments
    from regvault.vault.prune_lock import PruneLock
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = ["commit_replacements"]


def commit_replacements(
    vault: Vault,
    catalog: Catalog,
    lock: PruneLock,
    run: str,
    *,
    changes: Amendments,
    lines: Iterable[Location],
    goes: Iterable[str],
    condemned: set[str],
    purged: Iterable[str],
    by: str,
    reason: str,
) -> str | None:
    """Commit what took the place of objects that were stored before; return the amendment's key.

    Args:
        vault: where.
        catalog: of it.
        lock: held.
        run: this run.
        changes: old key -> new object, or None; {} where an earlier run has said it.
        lines: of the new objects.
        goes: keys that are condemned.
        condemned: what earlier lists condemn.
        purged: digests of contents that are gone.
        by: who.
        reason: why.

    Raises:
        LeaseLostError: another party took the lock.
    """
    store = vault.store
    told = sorted({place.line() for place in lines})
    if told:
        store.barrier()
        catalog.write(told, run)
    store.barrier()
    key = None
    if changes:
        key = commit_amendment(
            store, vault.id, lock, run, changes, purged=purged, by=by, reason=reason
        )
    commit_condemned(store, vault.id, lock, run, sorted(goes), condemned)
    return key
