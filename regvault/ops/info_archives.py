"""What `info` says of archives: whether the latest snapshots need what lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.ops.info_facts import Issue
from regvault.ops.tier.outside import in_archive
from regvault.vault.keys import TIERINGS

if TYPE_CHECKING:
    from regvault.ops.info import RegistryInfo
    from regvault.vault.vault import Vault

__all__ = ["look_into_archives"]


def look_into_archives(vault: Vault, registries: list[RegistryInfo]) -> None:
    """Look whether the latest snapshots need what lies in an archive, where a tiering was."""
    if next(iter(vault.store.list(TIERINGS)), None) is None:
        return
    latest = {each.name: each.latest for each in registries if each.latest is not None}
    try:
        found = in_archive(vault, latest.values())
    except VaultDamagedError:
        return  # it is said already that the list cannot be read
    for each in registries:
        root = latest.get(each.name)
        each.archive = found.get(str(root.name)) if root is not None else None
        if each.archive is not None and each.archive.objects and root is not None:
            count = each.archive.objects
            each.issues.append(
                Issue(
                    "warning",
                    "archived",
                    f"{root.name} is outside the promise of how fast it restores: "
                    + ("1 object" if count == 1 else f"{count} objects")
                    + f" that it needs ({each.archive.nbytes} bytes) lie in an archive",
                    f"See what it takes: regvault tier thaw {root.name} --dry-run",
                )
            )
