"""Whether a vault that says that it is plain was a sealed one: asked before contents are written.

A store can show another `vault.json` than that of the vault which is meant. What a plain vault
holds it can read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import RefusedError
from regvault.vault.current_keys import newest_roots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["GIVEN", "IF_PLAIN", "SEALED_ROOT", "first_sealed", "refuse_downgrade"]

GIVEN = "it is not sealed, and an identity is given for it"
SEALED_ROOT = "it says that it is not sealed, and has a sealed snapshot"
IF_PLAIN = (
    "If it is meant to be sealed, its store shows another vault: compare vault.json with a copy. "
    "If it is meant to be plain, give no identity for it: leave --identity away, take `identity` "
    "out of its configuration, or unset REGVAULT_IDENTITY."
)
_COMPARE = "Someone has changed vault.json: put it back from a copy of the vault."


def first_sealed(roots: Iterable[Root]) -> Root | None:
    """Return the first of these roots that is sealed."""
    return next((root for root in roots if root.sealed is not None), None)


def refuse_downgrade(vault: Vault) -> None:
    """Refuse to write contents as they are where they are meant to be sealed.

    Raises:
        RefusedError: the vault is plain, and an identity was given for it, or it has sealed roots.
    """
    if vault.sealing_key is not None:
        return
    nothing = " Nothing was written."
    if vault.id.keys.identities:
        raise RefusedError(f"{vault.store.location}: {GIVEN}", hint=IF_PLAIN + nothing)
    root = first_sealed(newest_roots(vault))
    if root is not None:
        raise RefusedError(
            f"{vault.store.location}: {SEALED_ROOT}, {root.name}", hint=_COMPARE + nothing
        )
