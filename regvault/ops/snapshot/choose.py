"""Which registry of the vault a snapshot is of, and whether who takes it can go on from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import CredentialError, ObjectNotFoundError, UsageError, VaultDamagedError
from regvault.ops.snapshot.scope import is_from, place_text
from regvault.vault.age import open_sealed
from regvault.vault.current_keys import newest_root, require_current_keys
from regvault.vault.downgrade import refuse_downgrade
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import REGISTRY_NAME, new_run_id
from regvault.vault.root import RootName, parse_root
from regvault.vault.sealing import AgeSeal

if TYPE_CHECKING:
    from regvault.model.registry import RegistrySource
    from regvault.vault.vault import Vault

__all__ = ["Chosen", "choose_registry"]

_ROTATED = (
    "After `regvault key rotate` the host needs the whole file that it made: it opens what is "
    "written from now on, and the older identity in it what was stored before."
)


class Chosen(NamedTuple):
    """The registry to snapshot.

    Attributes:
        registry: what its slots are named by: its name; in a sealed vault its id.
        title: its name.
        known: whether the vault has slots of it.
    """

    registry: str
    title: str
    known: bool


def choose_registry(vault: Vault, source: RegistrySource, name: str | None) -> Chosen:
    """Return the registry to snapshot.

    A name given must be one; else the registry that was last read from this place is meant, else a
    name is made from the place.

    Raises:
        UsageError: the name given is none; or the name made is that of another registry.
        CredentialError: the vault is sealed, and what would be gone on from does not open.
        RefusedError: it is not sealed, and is meant to be.
        VaultDamagedError: it is not known to whom it is sealed.
    """
    refuse_downgrade(vault)
    if vault.sealing_key is not None:
        vault.seal.name("")  # whoever cannot open names is told so now
        require_current_keys(vault)
        _require_open_tomorrow(vault)
    registries = vault.registries()
    chosen = _choose(vault, source, name, registries)
    if vault.sealing_key is not None:
        _require_open(vault, [chosen.registry] if chosen.known else registries)
    return chosen


def _choose(
    vault: Vault, source: RegistrySource, name: str | None, registries: list[str]
) -> Chosen:
    if name is not None:
        if not REGISTRY_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a registry",
                hint="Use 1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both "
                "ends.",
            )
        return _named(vault, name, registries)
    for registry in registries:
        newest = newest_root(vault, registry)
        if newest is not None and is_from(newest, source):
            return Chosen(registry, vault.title(registry), known=True)
    made = re.sub(r"[^a-z0-9]+", "-", source.location.partition(":")[2].lower()).strip("-")
    made = made[-64:].strip("-") or "registry"
    found = _named(vault, made, registries)
    newest = newest_root(vault, found.registry) if found.known else None
    if newest is not None:
        raise UsageError(
            f"the vault has a registry {made} already, of {place_text(newest.source)}",
            hint=f"If it is the same, say so with --registry {made}; else give this one a name.",
        )
    return found


def _named(vault: Vault, name: str, registries: list[str]) -> Chosen:
    """Return the registry of this name; in a sealed vault a new one gets an id."""
    if vault.sealing_key is None:
        return Chosen(name, name, name in registries)
    for registry, title in vault.titles().items():
        if title == name:
            return Chosen(registry, name, known=True)
    return Chosen(new_run_id(), name, known=False)


def _require_open_tomorrow(vault: Vault) -> None:
    """Refuse identities that open what is there, and not what this snapshot would write.

    It would be the last that they can take, and none that they can list.

    Raises:
        CredentialError: these are such.
    """
    if isinstance(vault.seal, AgeSeal) and not vault.seal.opens_new:
        raise CredentialError(
            f"what is written into vault {vault.id} from now on is sealed to others: no identity "
            "that was given is the host's, or a recipient's, any more",
            hint=f"{_ROTATED} See to whom it is sealed: regvault key list",
        )


def _require_open(vault: Vault, registries: list[str]) -> None:
    """Refuse where the newest root of one of these is whole, and sealed to others.

    Its registry may be the one that is meant: it would get a second chain of the same name, which
    nothing is held against, and `latest` of which is another.

    Raises:
        CredentialError: it is.
    """
    for registry in registries:
        for sequence in reversed(vault.slots(registry)):
            name = RootName(registry, sequence)
            try:
                root = parse_root(fetch_document(vault.store, name.key), name, vault.id)
                if root is None:
                    continue
                closed = open_sealed(root.sealed or b"", vault.id.keys.identities) is None
            except (VaultDamagedError, ObjectNotFoundError, ValueError):
                continue  # who reads its chain says so
            if closed:
                raise CredentialError(f"no identity that was given opens {name.key}", hint=_ROTATED)
            break
