"""The verb `key`: who signed what in a vault, and to whom it is sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    NotFoundError,
    ObjectNotFoundError,
    RefusedError,
    UsageError,
    VaultDamagedError,
)
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keyring import key_records, write_key_record
from regvault.vault.keys import VAULT_JSON, new_run_id
from regvault.vault.root import RootName
from regvault.vault.sealing import AgeSeal
from regvault.vault.signing import (
    Keys,
    UntrustedError,
    VaultId,
    check_signatures,
    require_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.vault.signing import PublicKey
    from regvault.vault.vault import Vault

__all__ = [
    "KeyUse",
    "change_recipients",
    "describe_sealing",
    "list_keys",
    "rotate_writer",
]

#: In place of a key's id, where nobody signed.
UNSIGNED = ""


@dataclass(slots=True)
class KeyUse:
    """What one key signed.

    Attributes:
        key: its id; "" of what is not signed.
        trusted: what it signed is taken. (Where no keys are trusted, everything is.)
        vault: it signed `vault.json`.
        snapshots: (registry, first, last, how many), forgotten ones too.
        wrong: slots with a signature of this key that is not right.
    """

    key: str
    trusted: bool
    vault: bool = False
    snapshots: list[tuple[str, int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return `key` (null: not signed), `trusted`, `vault`, `snapshots` and `wrong`."""
        return {
            "key": self.key or None,
            "trusted": self.trusted,
            "vault": self.vault,
            "snapshots": [
                {"registry": name, "first": first, "last": last, "count": count}
                for name, first, last, count in self.snapshots
            ],
            "wrong": self.wrong,
        }


def list_keys(vault: Vault, trusted: Sequence[PublicKey]) -> list[KeyUse]:
    """Return who signed `vault.json` and the snapshots, in the order of their first ones.

    Args:
        vault: it; it need not be opened with keys.
        trusted: whose signatures count; (): everyone's.
    """
    known = {public.id for public in trusted}
    judge = VaultId(str(vault.id), Keys(trusted=tuple(trusted)))
    uses: dict[str, KeyUse] = {}

    def of(key: str) -> KeyUse:
        return uses.setdefault(key, KeyUse(key, not known or key in known))

    for key, right in _signers(vault, judge, VAULT_JSON, ("vault",)):
        if key != UNSIGNED:
            of(key).vault = right
            of(key).wrong += [] if right else [VAULT_JSON]
    for registry in vault.registries():
        seen: dict[str, list[int]] = {}
        for sequence in vault.slots(registry):
            name = RootName(registry, sequence)
            for key, right in _signers(vault, judge, name.key, ("root", "stub", "void")):
                use = of(key)
                if right:
                    seen.setdefault(key, []).append(sequence)
                else:
                    use.wrong.append(name.key)
        for key, numbers in seen.items():
            uses[key].snapshots.append((registry, numbers[0], numbers[-1], len(numbers)))
    return list(uses.values())


def _signers(
    vault: Vault, judge: VaultId, key: str, types: tuple[str, ...]
) -> list[tuple[str, bool]]:
    """Return who signed a document, and whether that signature is right, if it is known."""
    try:
        data = fetch_document(vault.store, key)
        # As a plain id: an untrusted signature is listed, not refused.
        document = read_document(data, key, types=types, vault=str.__str__(vault.id))
    except (ObjectNotFoundError, VaultDamagedError):
        return []
    if document.body["type"] == "void":
        return []
    known = {public.id for public in judge.keys.trusted}
    found: list[tuple[str, bool]] = []
    for each in document.signatures:
        signer = str(each.get("key", ""))
        right = True
        if signer in known:
            try:
                check_signatures(judge, key, data.split(b"\n", 1)[0], [each])
            except UntrustedError:
                right = False
        found.append((signer, right))
    return found or [(UNSIGNED, True)]


def describe_sealing(vault: Vault) -> dict[str, Any]:
    """Return to whom a sealed vault is sealed; needs no identity.

    `key`: id of the key that names are made with. `recipients`: who can open what is written now.
    `writer`: who takes snapshots. `before`: who else can open what was written before.
    """
    records = [r for r in key_records(vault.store, vault.id) if r.key == vault.sealing_key]
    newest = records[-1] if records else None
    now = [] if newest is None else list(newest.recipients)
    before = dict.fromkeys(each for r in records for each in r.recipients if each not in now)
    return {
        "key": vault.sealing_key,
        "recipients": now,
        "writer": None if newest is None else newest.writer,
        "before": list(before),
    }


def change_recipients(
    vault: Vault, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> tuple[str, ...]:
    """Seal what is written from now on to others; return to whom.

    What is stored stays as it is: whoever is added opens what is new, whoever is removed opens
    what is old.

    Raises:
        CredentialError: no identity that was given opens the vault.
        RefusedError: nobody would be left.
        NotFoundError: who is to be removed is no recipient.
        UsageError: the vault is not sealed.
    """
    seal = _opened(vault)
    strangers = [each for each in remove if each not in seal.recipients]
    if strangers:
        raise NotFoundError(
            f"{strangers[0]} is no recipient of the vault", hint="See: regvault key list"
        )
    kept = [each for each in seal.recipients if each not in remove]
    recipients = tuple(dict.fromkeys((*kept, *add)))
    if not recipients:
        raise RefusedError(
            "nobody could open what is written then", hint="Add another recipient first."
        )
    if recipients != seal.recipients:
        _write(vault, seal, recipients, seal.writer)
    return recipients


def rotate_writer(vault: Vault, writer: str) -> None:
    """Seal trees and the catalog to a new identity of the host that takes snapshots.

    What is stored stays sealed to the old one too: that host needs both.

    Raises:
        CredentialError: no identity that was given opens the vault.
        UsageError: the vault is not sealed.
    """
    seal = _opened(vault)
    _write(vault, seal, seal.recipients, writer)


def _opened(vault: Vault) -> AgeSeal:
    seal = vault.seal
    if not seal.sealed:
        raise UsageError(
            f"{vault.store.location} is not sealed",
            hint="A vault is sealed when it is made: regvault init VAULT --recipient age1...",
        )
    seal.name("")  # refuses where no identity was given
    assert isinstance(seal, AgeSeal)
    return seal


def _write(vault: Vault, seal: AgeSeal, recipients: Sequence[str], writer: str) -> None:
    require_key(vault.id)
    records = key_records(vault.store, vault.id)
    write_key_record(
        vault.store,
        vault.id,
        new_run_id(),
        naming_key=seal.naming_key,
        recipients=recipients,
        writer=writer,
        generation=max((record.generation for record in records), default=0) + 1,
    )
    vault.store.barrier()
