"""Amendments: what became of keys that roots name, since roots are never rewritten.

`records/amendments/<n>.json`, numbered slots: another object took the place of one, or a content
was purged. Every reader of an object list applies them. (`docs/vault-format.md`, "Amendments".)
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, sha256
from regvault.vault.keys import AMENDMENTS, FORMAT, amendment_key, check_key, is_name
from regvault.vault.objectlist import Amendments, ObjectRef
from regvault.vault.slots import fill_next, numbers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ObjectStore
    from regvault.vault.prune_lock import PruneLock
    from regvault.vault.root import Root

__all__ = [
    "Amended",
    "brought_along",
    "changes_json",
    "commit_amendment",
    "first_names",
    "parse_amendment",
    "parse_changes",
    "read_amendments",
]


class Amended(NamedTuple):
    """What amendments say.

    Attributes:
        changes: key that a root names -> the object in its place, or None: purged.
        purged: names of the contents that were purged: their digests, keyed in a sealed vault.
    """

    changes: Amendments
    purged: frozenset[str]


def read_amendments(store: ObjectStore, vault: str, *, leave_damaged: bool = False) -> Amended:
    """Return what all amendments of a vault say.

    Args:
        store: the vault's store.
        vault: its id.
        leave_damaged: leave out what cannot be read, or is gone, instead of raising.

    Raises:
        VaultDamagedError: an amendment cannot be read, or one is gone.
    """
    found: Amendments = {}
    purged: set[str] = set()
    for expected, number in enumerate(numbers(store, AMENDMENTS, amendment_key), start=1):
        if number != expected and not leave_damaged:
            raise VaultDamagedError(f"{amendment_key(expected)} is gone")
        key = amendment_key(number)
        try:
            amended = parse_amendment(fetch_document(store, key), key, vault)
        except (VaultDamagedError, ObjectNotFoundError):
            if not leave_damaged:
                raise
        else:
            found.update(amended.changes)
            purged |= amended.purged
    return Amended(found, frozenset(purged))


def parse_amendment(data: bytes, key: str, vault: str) -> Amended:
    """Parse what is in a slot of an amendment; a void changes nothing.

    Raises:
        VaultDamagedError: it is neither, or of another slot.
    """
    body = read_document(data, key, types=("amendment", "void"), vault=vault).body
    if body.get("slot", key) != key:
        raise VaultDamagedError(f"{key} is damaged: it is of another slot")
    return parse_changes(body, key) if body["type"] == "amendment" else Amended({}, frozenset())


def brought_along(root: Root) -> Amended:
    """Return what a copied root's own amendment says of the vault that it was copied to.

    Raises:
        VaultDamagedError: it cannot be read.
    """
    if root.amendment is None:
        return Amended({}, frozenset())
    return parse_changes(root.amendment, root.name.key)


def first_names(changes: Amendments, roots: Iterable[Root]) -> set[str]:
    """Return the keys in whose place others are: in a sealed vault lines of those tell of these.

    Args:
        changes: of the vault's amendments.
        roots: of which some may be copied.
    """
    found = {key for key, ref in changes.items() if ref is not None}
    for root in roots:
        with contextlib.suppress(VaultDamagedError):
            brought = brought_along(root).changes
            found.update(key for key, ref in brought.items() if ref is not None)
    return found


def parse_changes(body: dict[str, Any], key: str) -> Amended:
    """Parse `changes`: `[old key, new key, size, sha256]` or `[old key]`; and `purged`.

    Raises:
        VaultDamagedError: they are none. `key`: of the document that has them.
    """
    found: Amendments = {}
    try:
        for old, *new in body["changes"]:
            check_key(old)
            if new:
                name, size, digest = new
                found[old] = ObjectRef(check_key(name), count(size), sha256(digest))
            else:
                found[old] = None
        purged = frozenset(body.get("purged", ()))
        if not all(isinstance(name, str) and is_name(name) for name in purged):
            raise ValueError(purged)
    except (KeyError, TypeError, ValueError):
        raise VaultDamagedError(f"{key} is damaged: its changes cannot be read") from None
    return Amended(found, purged)


def changes_json(changes: Amendments) -> list[list[Any]]:
    """Return the `changes` of a document, in byte order of the old keys."""
    return [[key] if ref is None else [key, *ref] for key, ref in sorted(changes.items())]


def commit_amendment(
    store: ObjectStore,
    vault: str,
    lock: PruneLock,
    run: str,
    changes: Amendments,
    *,
    purged: Iterable[str] = (),
    by: str,
    reason: str,
) -> str:
    """Fill the next slot with an amendment; return its key.

    All that `changes` brings in must be durable, and told by a durable segment. It needs the prune
    lock, so that no writer has read the amendments and not this one.

    Raises:
        LeaseLostError: another party took the lock.
    """

    def document(number: int) -> bytes:
        return write_document(
            {
                "type": "amendment",
                "format": FORMAT,
                "features": [],
                "vault": vault,
                "slot": amendment_key(number),
                "run": run,
                "at": to_time(time.time_ns()),
                "by": by,
                "reason": reason,
                "changes": changes_json(changes),
                "purged": sorted(purged),
            }
        )[0]

    last = numbers(store, AMENDMENTS, amendment_key)
    return fill_next(
        store, amendment_key, last[-1] + 1 if last else 1, document, lock, lambda _number: None
    )
