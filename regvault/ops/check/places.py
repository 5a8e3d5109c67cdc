"""What is to be checked: how each place is opened, and what is declared of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.policy.rule321 import Declared

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from regvault.model.registry import RegistrySource
    from regvault.model.store import ObjectStore
    from regvault.model.whereabouts import Lock, Whereabouts
    from regvault.vault.vault import Vault

__all__ = ["RegistryAt", "VaultAt"]


@dataclass(frozen=True, slots=True)
class VaultAt:
    """A vault to check.

    Attributes:
        name: as one writes it on the command line.
        location: where it is, without secrets.
        open: opens it.
        whereabouts: tells where its store lies.
        lock: tells whether what is in its store is locked: (store, a key of it or None, now).
        declared: what the configuration says of it.
    """

    name: str
    location: str
    open: Callable[[], Vault]
    whereabouts: Callable[[ObjectStore], Whereabouts]
    lock: Callable[[ObjectStore, str | None, datetime], Lock]
    declared: Declared = field(default_factory=Declared)


@dataclass(frozen=True, slots=True)
class RegistryAt:
    """A live registry to check.

    Attributes:
        name: as one writes it on the command line.
        permanent: its name in the vaults, where the configuration has one; else None.
        location, endpoint: as a snapshot of it says where it was read from.
        open: opens it.
        whereabouts: tells where its storage lies.
        declared: what the configuration says of it.
    """

    name: str
    permanent: str | None
    location: str
    endpoint: str
    open: Callable[[], RegistrySource]
    whereabouts: Callable[[], Whereabouts]
    declared: Declared = field(default_factory=Declared)
