"""Records: what is said about snapshots after they were committed, each created once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, sha256
from regvault.vault.keys import AMENDMENTS, FORMAT, amendment_key, check_key, record_key
from regvault.vault.objectlist import Amendments, ObjectRef
from regvault.vault.slots import numbers

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore
    from regvault.vault.root import Root

__all__ = [
    "is_held",
    "is_of",
    "parse_amendment",
    "parse_changes",
    "read_amendments",
    "read_records",
    "write_record",
]


def write_record(
    store: ObjectStore, vault: str, kind: str, run: str, fields: dict[str, Any]
) -> str:
    """Create one record; return its key. `kind`: `confirmations`, `verifications`."""
    body = {
        "type": kind,
        "format": FORMAT,
        "features": [],
        "vault": vault,
        "run": run,
        "at": to_time(time.time_ns()),
        **fields,
    }
    key = record_key(kind, run)
    store.put(key, write_document(body)[0], if_none_match=True)
    return key


def read_records(
    store: ObjectStore, vault: str, kind: str, *, leave_damaged: bool = False
) -> list[dict[str, Any]]:
    """Return the bodies of all records of one kind, oldest first.

    Args:
        store: the vault's store.
        vault: its id.
        kind: which.
        leave_damaged: leave out what cannot be read (`verify` names it), instead of raising.

    Raises:
        VaultDamagedError: one cannot be read.
    """
    found: list[dict[str, Any]] = []
    for entry in store.list(f"records/{kind}/"):
        try:
            document = read_document(
                fetch_document(store, entry.key), entry.key, types=(kind,), vault=vault
            )
        except VaultDamagedError:
            if not leave_damaged:
                raise
        else:
            found.append(document.body)
    return found


def read_amendments(store: ObjectStore, vault: str, *, leave_damaged: bool = False) -> Amendments:
    """Return what became of keys that roots name: another object, or None: purged.

    Args:
        store: the vault's store.
        vault: its id.
        leave_damaged: leave out what cannot be read, or is gone, instead of raising.

    Raises:
        VaultDamagedError: an amendment cannot be read, or one is gone.
    """
    found: Amendments = {}
    for expected, number in enumerate(numbers(store, AMENDMENTS, amendment_key), start=1):
        if number != expected and not leave_damaged:
            raise VaultDamagedError(f"{amendment_key(expected)} is gone")
        key = amendment_key(number)
        try:
            found.update(parse_amendment(fetch_document(store, key), key, vault))
        except (VaultDamagedError, ObjectNotFoundError):
            if not leave_damaged:
                raise
    return found


def parse_amendment(data: bytes, key: str, vault: str) -> Amendments:
    """Parse what is in a slot of an amendment; a void changes nothing.

    Raises:
        VaultDamagedError: it is neither, or of another slot.
    """
    body = read_document(data, key, types=("amendment", "void"), vault=vault).body
    if body.get("slot", key) != key:
        raise VaultDamagedError(f"{key} is damaged: it is of another slot")
    return parse_changes(body.get("changes"), key) if body["type"] == "amendment" else {}


def parse_changes(changes: Any, key: str) -> Amendments:
    """Parse the `changes` of an amendment: `[old key, new key, size, sha256]` or `[old key]`.

    Raises:
        VaultDamagedError: they are none.
    """
    found: Amendments = {}
    try:
        for old, *new in changes:
            check_key(old)
            if new:
                name, size, digest = new
                found[old] = ObjectRef(check_key(name), count(size), sha256(digest))
            else:
                found[old] = None
    except (TypeError, ValueError):
        raise VaultDamagedError(f"{key} is damaged: its changes cannot be read") from None
    return found


def is_held(root: Root, confirmations: list[dict[str, Any]]) -> bool:
    """Return whether a snapshot still waits to be confirmed."""
    return root.held is not None and not any(is_of(record, root) for record in confirmations)


def is_of(record: dict[str, Any], root: Root) -> bool:
    """Return whether a record names this snapshot, with this body."""
    name = root.name
    named = record.get("registry"), record.get("sequence"), record.get("root")
    return named == (name.registry, name.sequence, root.sha256)
