"""Records: what is said about snapshots after they were committed, each created once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, UnknownFormatError, VaultDamagedError
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, sha256, text
from regvault.vault.keys import FORMAT, is_object_key, record_key

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore
    from regvault.vault.root import Root

__all__ = [
    "forgotten",
    "is_held",
    "is_of",
    "known_damage",
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


def known_damage(store: ObjectStore, vault: str) -> set[str]:
    """Return the objects whose bytes a verification found wrong, as the newest record has them.

    A record that cannot be read is passed over, as is what is no key of an object: who reads this
    does more than without it, and never less.
    """
    prefix = "records/verifications/"
    for key in sorted((entry.key for entry in store.list(prefix)), reverse=True):
        try:
            data = fetch_document(store, key)
            document = read_document(data, key, types=("verifications",), vault=vault)
        except (VaultDamagedError, UnknownFormatError, ObjectNotFoundError):
            continue
        damaged = document.body.get("damaged", [])
        keys = damaged if isinstance(damaged, list) else []
        return {key for key in keys if isinstance(key, str) and is_object_key(key)}
    return set()


def forgotten(store: ObjectStore, vault: str) -> set[tuple[str, int, str]]:
    """Return the snapshots that somebody was about to forget: registry, sequence, root's SHA-256.

    What cannot be read is passed over.
    """
    found: set[tuple[str, int, str]] = set()
    for entry in store.list("records/forgets/"):
        try:
            data = fetch_document(store, entry.key)
            body = read_document(data, entry.key, types=("forgets",), vault=vault).body
            found |= {
                (text(each["registry"]), count(each["sequence"]), sha256(each["root"]))
                for each in body["snapshots"]
            }
        except (VaultDamagedError, UnknownFormatError, ObjectNotFoundError):
            continue
        except (KeyError, TypeError, ValueError):
            continue
    return found


def is_held(root: Root, confirmations: list[dict[str, Any]]) -> bool:
    """Return whether a snapshot still waits to be confirmed."""
    return root.held is not None and not any(is_of(record, root) for record in confirmations)


def is_of(record: dict[str, Any], root: Root) -> bool:
    """Return whether a record names this snapshot, with this body."""
    name = root.name
    named = record.get("registry"), record.get("sequence"), record.get("root")
    return named == (name.registry, name.sequence, root.sha256)
