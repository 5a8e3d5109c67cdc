"""The verb `key countersign`: what a trusted key has signed, this host's key signs too.

Then who trusts this key alone reads the whole vault, and the other one, which may have been stolen,
need not be trusted any more. Bodies stay as they are, and so does each root's `previous`; each
object is swapped by compare-and-swap, so whoever writes at the same time is not in the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    PreconditionError,
    TemporaryError,
    UsageError,
    VaultDamagedError,
)
from regvault.vault.condemned import MAX_BYTES, countersign_condemned
from regvault.vault.envelope import MAX_DOCUMENT_BYTES, countersign_document
from regvault.vault.fetch import fetch
from regvault.vault.keyring import KIND
from regvault.vault.keys import (
    AMENDMENTS,
    CONDEMNED,
    KEY_RECORDS,
    SNAPSHOTS,
    VAULT_JSON,
    sequence_of,
)

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.vault.vault import Vault

__all__ = ["Countersigned", "countersign"]

#: Where what is signed lies, and the types of documents there. `vault.json` comes last: until then
#: nobody reads the vault by the new key alone.
_SIGNED = (
    (SNAPSHOTS, ("root", "stub", "void")),
    (AMENDMENTS, ("amendment", "void")),
    (KEY_RECORDS, (KIND,)),
    (CONDEMNED, ()),
    (VAULT_JSON, ("vault",)),
)
_TRIES = 5


@dataclass(slots=True)
class Countersigned:
    """What became of it.

    Attributes:
        key: id of the key that signed.
        public: the key, `ed25519:...`.
        dry_run: nothing was written.
        signed: keys of the objects that it signed, or would.
        already: how many had its signature before.
        refused: (key, why) of those that no trusted key has signed, or that are damaged.
    """

    key: str
    public: str
    dry_run: bool
    signed: list[str] = field(default_factory=list)
    already: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def exit_code(self) -> int:
        """Return 0; 4 where something was refused."""
        return VaultDamagedError.exit_code if self.refused else 0

    def to_json(self) -> dict[str, Any]:
        """Return `key`, `public_key`, `dry_run`, `signed`, `already`, `refused` (`key`, `why`)."""
        return {
            "key": self.key,
            "public_key": self.public,
            "dry_run": self.dry_run,
            "signed": self.signed,
            "already": self.already,
            "refused": [{"key": key, "why": why} for key, why in self.refused],
        }


def countersign(vault: Vault, *, dry_run: bool, progress: Progress) -> Countersigned:
    """Sign everything that a trusted key has signed.

    Args:
        vault: opened with the key to sign with, and with the others that are trusted.
        dry_run: write nothing.
        progress: is told how far it is.

    Raises:
        UsageError: the vault is not a signed one.
        CredentialError: there is no key to sign with.
        TemporaryError: an object is written again and again by others.
    """
    signer = vault.id.keys.signer
    if not vault.id.signed:
        raise UsageError(
            f"{vault.store.location} is not signed",
            hint="A vault is signed when it is made: regvault init VAULT --sign-key REF",
        )
    if signer is None:
        raise CredentialError(
            "there is no key to sign with",
            hint="Name the new one by sign_key in the configuration, or $REGVAULT_SIGN_KEY.",
        )
    result = Countersigned(signer.public.id, str(signer.public), dry_run)
    for prefix, types in _SIGNED:
        progress.phase(f"Signing {prefix}")
        for entry in list(vault.store.list(prefix)):
            _countersign(vault, entry.key, types, result)
    if not dry_run:
        vault.store.barrier()
    return result


def _countersign(vault: Vault, key: str, types: tuple[str, ...], result: Countersigned) -> None:
    """Sign one object, as it is when nobody else writes it."""
    for _ in range(_TRIES):
        try:
            etag = vault.store.head(key).etag
            data = fetch(vault.store, key, MAX_DOCUMENT_BYTES if types else MAX_BYTES)
            if types:
                signed = countersign_document(data, key, types=types, vault=vault.id)
            else:
                signed = countersign_condemned(data, sequence_of(key) or 0, vault.id)
            if signed == data:
                result.already += 1
                return
            if not result.dry_run:
                vault.store.put(key, signed, if_match=etag)
        except PreconditionError:
            continue
        except ObjectNotFoundError:
            return
        except VaultDamagedError as error:
            result.refused.append((key, error.message))
            return
        result.signed.append(key)
        return
    raise TemporaryError(
        f"{key} is written by others again and again", hint="Run the same command again."
    )
