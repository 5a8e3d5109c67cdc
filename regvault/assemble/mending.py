"""Opens a vault to mend it: what says which vault it is, or any of its documents, may be gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regvault.assemble import open_vault, vault_store
from regvault.assemble.keys import keys_of
from regvault.errors import VaultDamagedError
from regvault.ops.repair.past import Recovered, recover_documents
from regvault.storage.memory import MemoryStore
from regvault.vault.identity import identify
from regvault.vault.keys import VAULT_JSON
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from regvault.config.places import VaultPlace
    from regvault.vault.identity import Identity

__all__ = ["open_to_repair", "recover_vault"]


def open_to_repair(
    place: VaultPlace,
    *,
    limit_upload: float | None = None,
    limit_download: float | None = None,
) -> tuple[Vault, Identity | None]:
    """Open a vault whose `vault.json` may be gone, damaged, or that of another vault.

    Returns:
        the vault, and what its `vault.json` is made again of; None where it has one. Its store is a
        `Recovered` then: nothing is written before `put_back`.

    Raises:
        CredentialError: a key is needed for that.
        VaultDamagedError: what is there does not tell which vault it is.
    """
    try:
        opened = open_vault(place, limit_upload=limit_upload, limit_download=limit_download)
    except VaultDamagedError:
        keys = keys_of(place)
        store = vault_store(place, limit_upload=limit_upload, limit_download=limit_download)
        identity = identify(store, keys)
        if identity is None:
            raise
        made = MemoryStore()
        made.put(VAULT_JSON, identity.document)
        return Vault(Recovered(store, made, (VAULT_JSON,)), keys), identity
    return opened, None


def recover_vault(
    place: VaultPlace,
    *,
    limit_upload: float | None = None,
    limit_download: float | None = None,
) -> tuple[Vault, Vault]:
    """Open a vault that may have lost anything, completed from its past; and that past.

    The store of the first is a `Recovered`.

    Args:
        place: where it is, with the time to go back to.
        limit_upload: bytes per second, instead of the configured ones.
        limit_download: likewise.

    Raises:
        NotFoundError: there was no vault then.
        RefusedError: there is another one now.
        UsageError: the store keeps no versions.
    """
    past = open_vault(place, limit_download=limit_download)
    present = vault_store(
        replace(place, as_of_ns=None), limit_upload=limit_upload, limit_download=limit_download
    )
    return Vault(recover_documents(present, past.store, past.id), keys_of(place)), past
