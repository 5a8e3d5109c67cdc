"""Leases and records of another vault, which somebody wrote who took this one for that.

A verification that ran beside the `vault.json` of another vault left its lease and its record.
Neither counts here, and each stops a prune: what cannot be read may claim something. These can be
read. A lease protects what a run with its vault's id stands on: no snapshot here has that id, so
it stands on nothing; and its run, should it live, finds its lease gone, and stops. A record says
something of snapshots of its own vault only.

Slots, key records and the prune lock are left alone: a slot never becomes free, a copy has the key
records of its origin, and the lock is never deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, UnknownFormatError, VaultDamagedError
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import AMENDMENTS, KEY_RECORDS, LEASES, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.vault.vault import Vault

__all__ = ["is_stranger", "remove_strangers"]


def is_stranger(vault: Vault, key: str) -> bool:
    """Return whether a lease or a record is whole, and of another vault."""
    if not key.startswith((LEASES, RECORDS)) or key.startswith((AMENDMENTS, KEY_RECORDS)):
        return False
    kind = "lease" if key.startswith(LEASES) else key.split("/")[1]
    try:
        data = fetch_document(vault.store, key)
        body = read_document(data, key, types=(kind,), vault=None).body
    except (ObjectNotFoundError, UnknownFormatError, VaultDamagedError):
        return False
    return isinstance(body.get("vault"), str) and body["vault"] != vault.id


def remove_strangers(vault: Vault, keys: Iterable[str]) -> list[str]:
    """Delete them; return those that were deleted. One that is none any more stays."""
    done = [key for key in keys if is_stranger(vault, key)]
    for key in done:
        vault.store.delete(key)
    return done
