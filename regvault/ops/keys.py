"""The verb `key`: who signed what in a vault, and to whom it is sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    NotFoundError,
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    TemporaryError,
    UsageError,
    VaultDamagedError,
)
from regvault.vault.current_keys import newest_roots, require_current_keys
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keyring import key_records, look_at_records, write_key_record
from regvault.vault.keys import VAULT_JSON
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
    from collections.abc import Callable, Sequence

    from regvault.vault.keyring import KeyRecord
    from regvault.vault.signing import PublicKey
    from regvault.vault.vault import Vault

__all__ = [
    "KeyUse",
    "change_recipients",
    "describe_sealing",
    "list_keys",
    "rotate_writer",
]

#: So often a change of recipients begins again, since another one was faster.
_TRIES = 16
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
    vault: Vault,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    despite_damage: bool = False,
) -> tuple[str, ...]:
    """Seal what is written from now on to others; return to whom.

    What is stored stays as it is: whoever is added opens what is new, whoever is removed opens
    what is old.

    Args:
        vault: a sealed one.
        add: recipients.
        remove: recipients.
        despite_damage: begin from the newest key record that can be read, though there is, or was,
            a later one. What remains is written anew then, also where it is the same.

    Raises:
        CredentialError: no identity that was given opens the vault.
        RefusedError: nobody would be left.
        NotFoundError: who is to be removed is no recipient.
        UsageError: the vault is not sealed; or there are too many recipients.
        VaultDamagedError: it is not known which key record counts.
    """
    _opened(vault)

    def change(newest: KeyRecord) -> KeyRecord:
        strangers = [each for each in remove if each not in newest.recipients]
        if strangers:
            raise NotFoundError(
                f"{strangers[0]} is no recipient of the vault", hint="See: regvault key list"
            )
        kept = [each for each in newest.recipients if each not in remove]
        recipients = tuple(dict.fromkeys((*kept, *add)))
        if not recipients:
            raise RefusedError(
                "nobody could open what is written then", hint="Add another recipient first."
            )
        return newest._replace(recipients=recipients)

    return _change(vault, change, despite_damage=despite_damage).recipients


def rotate_writer(vault: Vault, writer: str, *, despite_damage: bool = False) -> None:
    """Seal trees and the catalog to a new identity of the host that takes snapshots.

    What is stored stays sealed to the old one too: that host needs both. Raises, and takes
    `despite_damage`, as `change_recipients`.
    """
    _opened(vault)
    _change(vault, lambda newest: newest._replace(writer=writer), despite_damage=despite_damage)


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


def _change(
    vault: Vault, change: Callable[[KeyRecord], KeyRecord], *, despite_damage: bool
) -> KeyRecord:
    """Write the key record that follows the newest one; return it.

    It is called by the number after that one's, and created only if absent: whoever was faster is
    seen, and the change is made to what he wrote.
    """
    require_key(vault.id)
    for _ in range(_TRIES):
        seal = _opened(vault)
        newest_root = max((root.generation for root in newest_roots(vault)), default=0)
        seen = look_at_records(vault.store, vault.id)
        newest = seen.genuine(seal.naming_key)[-1]
        lost = bool(seen.stale(newest)) or newest.generation < newest_root
        if lost and not despite_damage:
            require_current_keys(vault)
            continue  # it was there when it was looked for again
        wanted = change(newest)
        if wanted == newest and not lost:
            return newest
        try:
            written = write_key_record(
                vault.store,
                vault.id,
                seen.free_run(newest),
                naming_key=seal.naming_key,
                recipients=wanted.recipients,
                writer=wanted.writer,
                generation=max(newest.generation + len(seen.bad), newest_root) + 1,
            )
        except PreconditionError:
            continue
        vault.store.barrier()
        vault.forget_seal()
        return written
    raise TemporaryError(
        "others write key records, or the store does not list one that is there",
        hint="Nothing was changed. Try again; compare records/keys/ with a copy of the vault.",
    )
