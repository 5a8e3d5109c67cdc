"""Whether the key records that a store shows are those that count: asked before anything is sealed.

A store can hide a record, and whoever was removed would open what is written then. So every root
says in its sealed part which generation it was sealed under.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.vault.sealing import AgeSeal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.errors import VaultDamagedError
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["hidden_generation", "newest_root", "newest_roots", "require_current_keys"]


def newest_root(vault: Vault, registry: str) -> Root | None:
    """Return the newest root of a registry that can be read, or None."""
    return next(vault.roots(registry, damaged=_ignore), None)


def newest_roots(vault: Vault) -> list[Root]:
    """Return the newest root of each registry that can be read."""
    found = (newest_root(vault, registry) for registry in vault.registries())
    return [root for root in found if root is not None]


def _ignore(_error: VaultDamagedError) -> None:
    """Pass over a damaged root: `verify` names it."""


def hidden_generation(seal: AgeSeal, roots: Iterable[Root]) -> str:
    """Return what is said of a root that was sealed under a later record than is there, or ""."""
    newest = max(roots, key=lambda root: root.generation, default=None)
    if newest is None or newest.generation <= seal.generation:
        return ""
    return (
        f"{newest.name} was sealed under generation {newest.generation} of the key records, and "
        f"the newest that is there is {seal.generation}: a later one is gone, or is hidden"
    )


def require_current_keys(vault: Vault) -> None:
    """Read the key records of a sealed vault again, and refuse where a later one is not there.

    Nothing is asked of a plain vault, or of one that was opened without an identity.

    Raises:
        VaultDamagedError: one cannot be read, or a root was sealed under a later one.
    """
    if vault.sealing_key is None or not isinstance(vault.seal, AgeSeal):
        return
    roots = newest_roots(vault)
    vault.forget_seal()  # they may have changed since
    seal = vault.seal
    assert isinstance(seal, AgeSeal)
    seal.stale = seal.stale or hidden_generation(seal, roots)
    seal.require_current()
