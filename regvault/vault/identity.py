"""Which vault this is, as what is in it says: where `vault.json` is gone, damaged or another's.

Every root, stub and void names its vault. What a copied one was in first does not count: its
amendment is of this vault. (`docs/vault-format.md`, "Documents".)
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.vault.envelope import SEALED, from_time, read_document, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import text, time
from regvault.vault.keyring import key_records, open_seal
from regvault.vault.keys import FORMAT, SNAPSHOTS, name_of_slot
from regvault.vault.root import RootName, parse_root
from regvault.vault.signing import VaultId, check_signatures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import ObjectStore
    from regvault.vault.signing import Keys
    from regvault.vault.vault import Vault

__all__ = ["Identity", "all_own", "identify", "require_own", "vault_document"]


class Identity(NamedTuple):
    """What `vault.json` said, as far as the rest of a vault tells.

    Attributes:
        id: of the vault.
        created: RFC 3339 UTC; of one that is made again, when its oldest snapshot began.
        sealing_key: of a sealed vault, the id of the key that names are made with; else None.
        signed: it is signed.
        document: its bytes.
    """

    id: str
    created: str
    sealing_key: str | None
    signed: bool
    document: bytes


class _Slot(NamedTuple):
    """What a slot of a chain says of its vault.

    Attributes:
        owner: id of the vault.
        at: when the snapshot began, or was forgotten; RFC 3339 UTC; "" of a void.
        sealed: it is of a sealed vault.
        signers: ids of the keys by which what makes it one of this vault is signed.
    """

    owner: str
    at: str
    sealed: bool
    signers: frozenset[str]


def vault_document(vault: str, created: str, sealing_key: str | None) -> bytes:
    """Return the bytes of `vault.json`; signed where `vault` was made with a key to sign with."""
    body: dict[str, Any] = {
        "type": "vault",
        "format": FORMAT,
        "features": [] if sealing_key is None else [SEALED],
        "vault": vault,
        "created": created,
    }
    if sealing_key is not None:
        body["sealing"] = {"key": sealing_key}
    return write_document(body)[0]


def require_own(vault: Vault) -> None:
    """Refuse a vault none of whose snapshots is its own: `vault.json` is that of another.

    One that is its own is looked for, from the first slot on; that what can be read is of other
    vaults is no proof where nothing can be read.

    Raises:
        VaultDamagedError: it is.
    """
    others: dict[str, str] = {}
    for key, slot in _slots(vault.store, None):
        if slot.owner == vault.id:
            return
        others.setdefault(slot.owner, key)
    if others:
        owner, key = next(iter(others.items()))
        raise VaultDamagedError(
            f"vault.json says that this is vault {vault.id}, and no snapshot in it is of that one"
            f" ({key} is of vault {owner:.100})",
            hint="Someone put the vault.json of another vault here; that of a copy is another's "
            "too. Nothing was written. Make the right one again: regvault repair --dry-run",
        )


def all_own(vault: Vault) -> bool:
    """Return whether every slot that can be read is of this vault, and there is one."""
    owners = {slot.owner for _, slot in _slots(vault.store, None)}
    return owners == {vault.id}


def identify(store: ObjectStore, keys: Keys) -> Identity | None:
    """Return what `vault.json` must say; None where no slot tells.

    Args:
        store: of the vault.
        keys: only what they vouch for counts; they open and sign what needs it.

    Raises:
        CredentialError: a key is missing to sign it with, or an identity to tell its keys apart.
        VaultDamagedError: slots are of several vaults, or a sealed vault has no key record.
    """
    slots = [slot for _, slot in _slots(store, keys)]
    owners = sorted({slot.owner for slot in slots})
    if not owners:
        return None
    if len(owners) > 1:
        raise VaultDamagedError(
            f"the snapshots at {store.location} are of several vaults: "
            + ", ".join(owner[:100] for owner in owners[:5]),
            hint="Someone put objects of another vault here. Compare with a second copy, and move "
            "those of the others away.",
        )
    told = [slot for slot in slots if slot.at]
    if not told:
        return None
    signed = all(slot.signers for slot in told)
    identity = VaultId(owners[0], keys if signed else keys._replace(signer=None), signed=signed)
    if signed:
        _require_signer(keys, frozenset().union(*(slot.signers for slot in told)), identity)
    key = _sealing_key(store, identity) if any(slot.sealed for slot in told) else None
    created = min((slot.at for slot in told), key=from_time)
    return Identity(str(identity), created, key, signed, vault_document(identity, created, key))


def _slots(store: ObjectStore, keys: Keys | None) -> Iterator[tuple[str, _Slot]]:
    """Yield (key, what it says) of all slots that can be read; with `keys`, that these trust."""
    trust = None if keys is None else VaultId("", keys)
    for entry in store.list(SNAPSHOTS):
        if name_of_slot(entry.key) is None:
            continue
        with suppress(VaultDamagedError, UnknownFormatError, ObjectNotFoundError):
            yield entry.key, _read(fetch_document(store, entry.key), entry.key, trust)


def _read(data: bytes, key: str, trust: VaultId | None) -> _Slot:
    document = read_document(data, key, types=("root", "stub", "void"), vault=None)
    body, signatures = document.body, document.signatures
    owner, line = body.get("vault"), data.split(b"\n", 1)[0]
    if document.amendment is not None:
        here = data.split(b"\n", 2)[2]
        owner, line = document.amendment.get("vault"), here.split(b"\n", 1)[0]
        signatures = read_document(here, key, types=("amendment",), vault=None).signatures
    try:
        if body["type"] == "void":
            return _Slot(text(owner), "", False, frozenset())
        check_signatures(trust, key, line, signatures)
        at = time(body["started" if body["type"] == "root" else "at"])
        sealed = SEALED in body.get("features", ())
        return _Slot(text(owner), at, sealed, frozenset(str(s.get("key")) for s in signatures))
    except (KeyError, ValueError) as error:
        raise VaultDamagedError(f"{key} is damaged: {error!r}") from None


def _require_signer(keys: Keys, signers: frozenset[str], vault: str) -> None:
    """Refuse where what was signed would be signed by nobody, or by a stranger.

    Raises:
        CredentialError: so it would.
    """
    signer = keys.signer
    if signer is None or (signer.public.id not in signers and signer.public not in keys.trusted):
        raise CredentialError(
            f"vault {vault} is a signed one, and no key that signs it is given, to sign vault.json",
            hint="Name it by sign_key in the configuration, or $REGVAULT_SIGN_KEY: file:/PATH or "
            "env:NAME.",
        )


def _sealing_key(store: ObjectStore, vault: VaultId) -> str:
    """Return the id of the key that a sealed vault's names are made with, as its key records say.

    Raises:
        CredentialError: they do not agree, and no identity tells which is right.
        VaultDamagedError: they are gone, or none is right.
    """
    found = list(dict.fromkeys(record.key for record in key_records(store, vault)))
    if not found:
        raise VaultDamagedError(
            f"the key records of the sealed vault at {store.location} are gone",
            hint="Bring records/keys/ back, from a copy of the vault. Nothing can be opened "
            "without them.",
        )
    if not vault.keys.identities:
        if len(found) == 1:
            return found[0]
        raise CredentialError(
            f"vault {vault} is sealed, and its key records name several keys",
            hint="An identity tells which is right: $REGVAULT_IDENTITY=file:PATH",
        )
    right = [key for key in found if _opens(store, vault, key)]
    if len(right) != 1:
        raise CredentialError(
            f"no identity that was given opens vault {vault}",
            hint="Without vault.json it is needed, to tell by which key its names are made.",
        )
    return right[0]


def _opens(store: ObjectStore, vault: VaultId, key: str) -> bool:
    """Return whether a key is the one that a root of a sealed vault was sealed with."""
    try:
        seal = open_seal(store, vault, key, vault.keys.identities)
    except (CredentialError, VaultDamagedError):
        return False
    for entry in store.list(SNAPSHOTS):
        slot = name_of_slot(entry.key)
        if slot is None:
            continue
        with suppress(VaultDamagedError, UnknownFormatError, ObjectNotFoundError):
            data = fetch_document(store, entry.key)
            root = parse_root(data, RootName(*slot), str.__str__(vault), seal)
            if root is not None and root.opened:
                return True
    return False
