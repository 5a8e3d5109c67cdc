"""The verb `key list`: who signed what in a vault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.root import RootName
from regvault.vault.signing import UntrustedError, check_signatures

if TYPE_CHECKING:
    from regvault.vault.vault import Vault

__all__ = ["KeyUse", "list_keys"]

#: In place of a key's id, where nobody signed.
UNSIGNED = ""


@dataclass(slots=True)
class KeyUse:
    """The snapshots that one key signed.

    Attributes:
        key: its id; "" of what is not signed.
        trusted: what it signed is taken. (Where no keys are trusted, everything is.)
        snapshots: (registry, first, last, how many), forgotten ones too.
        wrong: slots with a signature of this key that is not right.
    """

    key: str
    trusted: bool
    snapshots: list[tuple[str, int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the document: `key` (null: not signed), `trusted`, `snapshots`, `wrong`."""
        return {
            "key": self.key or None,
            "trusted": self.trusted,
            "snapshots": [
                {"registry": name, "first": first, "last": last, "count": count}
                for name, first, last, count in self.snapshots
            ],
            "wrong": self.wrong,
        }


def list_keys(vault: Vault) -> list[KeyUse]:
    """Return who signed the snapshots of a vault, in the order of their first ones."""
    known = {public.id for public in vault.id.keys.trusted}
    uses: dict[str, KeyUse] = {}
    for registry in vault.registries():
        seen: dict[str, list[int]] = {}
        for sequence in vault.slots(registry):
            name = RootName(registry, sequence)
            for key, right in _signers(vault, name):
                use = uses.setdefault(key, KeyUse(key, not known or key in known))
                if right:
                    seen.setdefault(key, []).append(sequence)
                else:
                    use.wrong.append(name.key)
        for key, numbers in seen.items():
            uses[key].snapshots.append((registry, numbers[0], numbers[-1], len(numbers)))
    return list(uses.values())


def _signers(vault: Vault, name: RootName) -> list[tuple[str, bool]]:
    """Return who signed what is in a slot, and whether that signature is right, if it is known."""
    try:
        data = fetch_document(vault.store, name.key)
        # As a plain id: an untrusted signature is listed, not refused.
        document = read_document(
            data, name.key, types=("root", "stub", "void"), vault=str.__str__(vault.id)
        )
    except (ObjectNotFoundError, VaultDamagedError):
        return []
    if document.body["type"] == "void":
        return []
    known = {public.id for public in vault.id.keys.trusted}
    found: list[tuple[str, bool]] = []
    for each in document.signatures:
        key = str(each.get("key", ""))
        right = True
        if key in known:
            try:
                check_signatures(vault.id, name.key, data.split(b"\n", 1)[0], [each])
            except UntrustedError:
                right = False
        found.append((key, right))
    return found or [(UNSIGNED, True)]
