"""Roots that were copied from another vault: two lines verbatim, and an amendment of this vault.

(`docs/vault-format.md`, "Documents" and "Copies".)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.vault.amendments import changes_json
from regvault.vault.envelope import write_document
from regvault.vault.keys import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.vault.objectlist import Amendments
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["copied_document", "origin_of"]


def origin_of(vault: Vault, root: Root) -> str:
    """Return the id of the vault that a root was first committed in.

    Raises:
        VaultDamagedError: a copied root does not say it.
    """
    if root.amendment is None:
        return vault.id
    origin = root.amendment.get("origin")
    if not isinstance(origin, str):
        raise VaultDamagedError(f"{root.name.key} is damaged: it does not say where it is from")
    return origin


def copied_document(
    data: bytes, *, vault: str, slot: str, run: str, changes: Amendments, purged: Iterable[str] = ()
) -> bytes:
    """Return what goes into the slot of a copy.

    Args:
        data: the stored bytes of the root or stub, already read as right.
        vault: id of the vault that it is copied to.
        slot: its key, the same in both.
        run: that copies.
        changes: of its object list, what has another key in that vault: key -> object; None for
            what was purged.
        purged: digests of the contents that were purged from it.
    """
    body, seal = data.split(b"\n")[:2]
    amendment, _ = write_document(
        {
            "type": "amendment",
            "format": FORMAT,
            "features": [],
            "vault": vault,
            "run": run,
            "slot": slot,
            "origin": json.loads(body)["vault"],
            "changes": changes_json(changes),
            **({"purged": sorted(purged)} if purged else {}),
        }
    )
    return b"%s\n%s\n%s" % (body, seal, amendment)
