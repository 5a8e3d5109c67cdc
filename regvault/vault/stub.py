"""Stubs: what a forgotten snapshot leaves in its slot (`docs/vault-format.md`, "Forgetting").

A slot never becomes free again. The stub keeps the chain whole (the digest of the root that was
there, and of the one before it), and names the object list, with what a copied root had elsewhere,
so that a reader that claimed the root is still protected until it is done.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, PreconditionError, VaultDamagedError
from regvault.vault.amendments import brought_along, changes_json, parse_changes
from regvault.vault.envelope import SEALED, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import text
from regvault.vault.keys import FORMAT, tree_key
from regvault.vault.objectlist import Amendments, ListRef
from regvault.vault.root import RootName, parse_root, read_slot, root_of
from regvault.vault.sealing import PLAIN, Seal
from regvault.vault.tree import ChunkRef, TreeRef

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Stub", "forget_root", "lost_stub", "parse_slot", "parse_stub", "stub_document"]

#: In the stub of a snapshot whose root is lost, what nobody can tell any more.
_UNKNOWN = "0" * 64


class Stub(NamedTuple):
    """What is left of a snapshot.

    Attributes:
        name: its slot.
        root: hex SHA-256 of the body of the root that was there; of one that is lost, zeros where
            nobody can tell.
        previous: hex SHA-256 of the body of the root before that, or None.
        objects: the object list that it had.
        changes: of that list, what a copied root had under other keys.
        run: the run that had made it; "" where the stub does not say.
    """

    name: RootName
    root: str
    previous: str | None
    objects: ListRef
    changes: Amendments
    run: str


def stub_document(vault: str, root: Root, run: str) -> bytes:
    """Return what takes the place of a root."""
    changes = brought_along(root).changes
    copier = None if root.amendment is None else root.amendment.get("run")
    told = {
        "previous": root.previous,
        "objects": root.objects.to_json(),
        **({"changes": changes_json(changes)} if changes else {}),
        "root": root.sha256,
        # Of a copied root, the run that copied it: that is who was at work in this vault.
        "root_run": copier or root.run,
    }
    return _document(vault, root.name, root.registry_id, told, run, sealed=root.sealed is not None)


def lost_stub(
    vault: Vault,
    name: RootName,
    registry_id: str | None,
    previous: str | None,
    root: str | None,
    run: str,
) -> bytes:
    """Return what takes the place of a root that nobody has any more.

    Its object list is one that is nowhere, so that a claim on it stops a pruner as long as it
    lives: what that reader needs cannot be known.

    Args:
        vault: it is of.
        name: the slot.
        registry_id: permanent id of the registry; None: not known.
        previous: hex SHA-256 of the body of the root before, as far as is known.
        root: likewise, of the root that was there.
        run: that writes the stub.
    """
    nowhere = TreeRef(ChunkRef(f"sha256:{_UNKNOWN}", tree_key(_UNKNOWN), 0), 0)
    told = {
        "previous": previous,
        "objects": ListRef(nowhere, None, 0, 0).to_json(),
        "root": root or _UNKNOWN,
    }
    sealed = vault.sealing_key is not None
    return _document(vault.id, name, registry_id or "", told, run, sealed=sealed)


def _document(
    vault: str, name: RootName, registry_id: str, told: dict[str, Any], run: str, *, sealed: bool
) -> bytes:
    return write_document(
        {
            "type": "stub",
            "format": FORMAT,
            "features": [SEALED] if sealed else [],
            "vault": vault,
            "registry": {"id": name.registry}
            if sealed
            else {"id": registry_id, "name": name.registry},
            "sequence": name.sequence,
            **told,
            "run": run,
            "at": to_time(time.time_ns()),
        }
    )[0]


def parse_stub(data: bytes, name: RootName, vault: str) -> Stub | None:
    """Parse what is in a slot; None for a root or a void.

    Raises:
        VaultDamagedError: it is none of these, or a stub of another slot.
        UnknownFormatError: a newer regvault wrote it.
    """
    body = read_slot(data, name, vault).body
    return _stub_of(body, name) if body["type"] == "stub" else None


def parse_slot(
    data: bytes, name: RootName, vault: str, seal: Seal = PLAIN
) -> tuple[Root | None, Stub | None]:
    """Parse what is in a slot, whatever it is; neither for a void.

    Args:
        data: the stored bytes.
        name: the slot.
        vault: the vault's id.
        seal: opens a sealed root, if it can.

    Raises:
        VaultDamagedError: it is none of these, or of another slot.
        UnknownFormatError: a newer regvault wrote it.
    """
    document = read_slot(data, name, vault)
    kind = document.body["type"]
    return (
        root_of(document, name, seal) if kind == "root" else None,
        _stub_of(document.body, name) if kind == "stub" else None,
    )


def _stub_of(body: dict[str, Any], name: RootName) -> Stub:
    """Return the stub that a body is. Raises VaultDamagedError."""
    try:
        return Stub(
            name,
            text(body["root"]),
            None if body["previous"] is None else text(body["previous"]),
            ListRef.from_json(body["objects"]),
            parse_changes({"changes": body.get("changes", [])}, name.key).changes,
            text(body.get("root_run", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"{name.key} is damaged: {error!r}") from None


def forget_root(store: ObjectStore, vault: str, root: Root, run: str) -> bool:
    """Put a stub in the place of a root, by compare-and-swap.

    Returns:
        False where the slot does not hold this root any more: someone else forgot it.
    """
    try:
        etag = store.head(root.name.key).etag
        found = parse_root(fetch_document(store, root.name.key), root.name, vault)
        if found is None or found.sha256 != root.sha256:
            return False
        store.put(root.name.key, stub_document(vault, root, run), if_match=etag)
    except (ObjectNotFoundError, PreconditionError):
        return False
    return True
