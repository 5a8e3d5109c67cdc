"""Roots: one small file for each snapshot, written last (`docs/vault-format.md`, "Roots")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from regvault.errors import CredentialError, VaultDamagedError
from regvault.oci.grammar import is_digest
from regvault.vault.envelope import (
    SEALED,
    from_time,
    load_object,
    read_document,
    write_document,
)
from regvault.vault.fields import count, mapping, text, time
from regvault.vault.keys import FORMAT, root_key
from regvault.vault.objectlist import ListRef
from regvault.vault.sealing import PLAIN, Seal, SealedToOthersError
from regvault.vault.tree import ChunkRef, TreeRef

if TYPE_CHECKING:
    from datetime import datetime

    from regvault.vault.envelope import Document

__all__ = [
    "MAX_ROOT_BYTES",
    "Counts",
    "Root",
    "RootName",
    "open_root",
    "parse_root",
    "read_slot",
    "registry_of",
    "root_of",
]

#: A root is at most this large; `scope` is shortened before it would be larger.
MAX_ROOT_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class RootName:
    """A slot of the chain that holds a root.

    Attributes:
        registry: permanent name; in a sealed vault, permanent id.
        sequence: its number, from 1.
        label: the name of the registry where `registry` is its id, and the name is known.
    """

    registry: str
    sequence: int
    label: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """The object's key."""
        return root_key(self.registry, self.sequence)

    @property
    def slot(self) -> tuple[str, int]:
        """What the slots of a registry are named by, and the number."""
        return self.registry, self.sequence

    @property
    def title(self) -> str:
        """The registry, for people."""
        return self.label or self.registry

    def __str__(self) -> str:
        return f"{self.title}@{self.sequence}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a snapshot holds.

    Attributes:
        repositories, tags, revisions: numbers in the repository states.
        blobs: distinct blobs, manifests included, that the snapshot holds.
        nbytes: their bytes.
    """

    repositories: int = 0
    tags: int = 0
    revisions: int = 0
    blobs: int = 0
    nbytes: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the form that a root carries."""
        return {
            "repositories": self.repositories,
            "tags": self.tags,
            "revisions": self.revisions,
            "blobs": self.blobs,
            "bytes": self.nbytes,
        }


@dataclass(frozen=True, slots=True)
class Root:
    """The root of one snapshot.

    Attributes:
        name: registry and sequence.
        registry_id: permanent id of the registry.
        previous: hex SHA-256 of the body of the root before, or None for the first.
        run: the run that wrote it.
        started, finished: of that run, RFC 3339 UTC.
        source: what was read: `kind` and `location`.
        scope: what was read and when: `globs`, and read windows of busy repositories.
        repositories: tree of `<name> <state> <fingerprint>`.
        objects: the object list.
        damage: tree of damage lines, or None.
        counts: what it holds.
        complete: whether all that was restorable at the source was captured.
        held: None, or why it waits for `confirm`: `reason` and `against` (a sequence).
        audit: the heads of the audit chains.
        sha256: hex, of the body; what the next root names.
        amendment: of a copied root: which keys differ in this vault; else None.
        sealed: of a sealed vault, what `source`, `scope`, `repositories`, `damage` and the name of
            the registry are in: an age file. They are empty here until `open_root` opened it.
        clear: of such a root, the hex SHA-256 of all that it says besides: they belong together.
        generation: of the key record that it was sealed under; 0 where it does not say.
    """

    name: RootName
    registry_id: str
    previous: str | None
    run: str
    started: str
    finished: str
    source: dict[str, Any]
    scope: dict[str, Any]
    repositories: TreeRef
    objects: ListRef
    damage: TreeRef | None
    counts: Counts
    complete: bool
    held: dict[str, Any] | None
    audit: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    amendment: dict[str, Any] | None = None
    sealed: bytes | None = None
    clear: str = ""
    generation: int = 0

    @property
    def opened(self) -> bool:
        """Whether it tells what is in it."""
        return bool(self.repositories.top.digest)

    @property
    def started_at(self) -> datetime:
        """When the run began."""
        return from_time(self.started)

    def to_document(self, vault: str, seal: Seal = PLAIN) -> tuple[bytes, str]:
        """Return the bytes of the root, and the hex SHA-256 of its body."""

        def tree(ref: TreeRef | None) -> dict[str, Any] | None:
            return None if ref is None else {"tree": ref.top.digest, "entries": ref.entries}

        body = {
            "type": "root",
            "format": FORMAT,
            "features": [],
            "vault": vault,
            "registry": {"id": self.registry_id, "name": self.name.registry},
            "sequence": self.name.sequence,
            "previous": self.previous,
            "run": self.run,
            "started": self.started,
            "finished": self.finished,
            "source": self.source,
            "scope": self.scope,
            "repositories": tree(self.repositories),
            "objects": self.objects.to_json(),
            "damage": tree(self.damage),
            "counts": self.counts.to_json(),
            "complete": self.complete,
            "held": self.held,
            "audit": self.audit,
        }
        if seal.sealed:
            hidden = {"name": self.name.label, **{name: body.pop(name) for name in _SEALED}}
            body["registry"] = {"id": self.registry_id}
            body["features"] = [SEALED]
            hidden["clear"] = seal.mac(_clear(body))
            hidden["generation"] = seal.generation
            closed = seal.close_index(json.dumps(hidden, separators=(",", ":")).encode())
            body["sealed"] = base64.b64encode(closed).decode()
        return write_document(body)


#: Members of a root that are sealed in a sealed vault, with the name of the registry.
_SEALED = ("source", "scope", "repositories", "damage")


def registry_of(body: dict[str, Any]) -> str:
    """Return what the slots of a root's or stub's registry are named by: its name, or its id.

    Raises KeyError, TypeError, ValueError.
    """
    sealed = SEALED in body.get("features", ())
    return text(body["registry"]["id" if sealed else "name"])


def _clear(body: dict[str, Any]) -> str:
    """Return the hex SHA-256 of all that a sealed root says in clear."""
    said = {name: value for name, value in body.items() if name != "sealed"}
    line = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(line.encode()).hexdigest()


def _tree(part: Any) -> TreeRef:
    digest = text(part["tree"])
    if not is_digest(digest):
        raise ValueError(f"no digest: {digest[:200]!r}")
    return TreeRef(ChunkRef(digest), count(part["entries"]))


#: The repository list of a root that is sealed, and was not opened.
_HIDDEN = TreeRef(ChunkRef(""), 0)


def parse_root(data: bytes, name: RootName, vault: str, seal: Seal = PLAIN) -> Root | None:
    """Parse what is in a slot; None for a void, or the stub that a forgotten root leaves.

    Args:
        data: the stored bytes.
        name: the slot.
        vault: the vault's id.
        seal: opens a sealed one, if it can.

    Raises:
        VaultDamagedError: it is neither, or a root of another slot.
        UnknownFormatError: a newer regvault wrote it.
    """
    document = read_slot(data, name, vault)
    return root_of(document, name, seal) if document.body["type"] == "root" else None


def read_slot(data: bytes, name: RootName, vault: str) -> Document:
    """Check what is in a slot: the document of a root, a stub or a void.

    Raises:
        VaultDamagedError: it is none of these, or a stub or void of another slot.
        UnknownFormatError: a newer regvault wrote it.
    """
    document = read_document(data, name.key, types=("root", "void", "stub"), vault=vault)
    body = document.body
    if body["type"] == "void" and body.get("slot") != name.key:
        raise VaultDamagedError(f"{name.key} is the void of another slot")
    if body["type"] == "stub":
        try:
            registry = registry_of(body)
        except (KeyError, TypeError, ValueError):
            registry = ""
        if (registry, body.get("sequence")) != (name.registry, name.sequence):
            raise VaultDamagedError(f"{name.key} is the stub of another slot")
    return document


def root_of(document: Document, name: RootName, seal: Seal = PLAIN) -> Root:
    """Return the root that a document of `read_slot` is.

    Args:
        document: of type `root`.
        name: the slot.
        seal: opens a sealed one, if it can.

    Raises:
        VaultDamagedError: it is a root of another slot, or none.
    """
    body = document.body
    sealed = SEALED in body.get("features", ())
    try:
        if (registry_of(body), body["sequence"]) != (name.registry, name.sequence):
            raise VaultDamagedError(
                f"{name.key} is the root of {registry_of(body)}@{body['sequence']}",
                hint="Someone put a root into another's slot; compare with a second copy.",
            )
        counts = body["counts"]
        root = Root(
            name=name,
            registry_id=text(body["registry"]["id"]),
            previous=None if body["previous"] is None else text(body["previous"]),
            run=text(body["run"]),
            started=time(body["started"]),
            finished=time(body["finished"]),
            source={},
            scope={},
            repositories=_HIDDEN,
            objects=ListRef.from_json(body["objects"]),
            damage=None,
            counts=Counts(
                count(counts["repositories"]),
                count(counts["tags"]),
                count(counts["revisions"]),
                count(counts["blobs"]),
                count(counts["bytes"]),
            ),
            complete=bool(body["complete"]),
            held=None if body["held"] is None else _held(mapping(body["held"])),
            audit=mapping(body["audit"]),
            sha256=document.sha256,
            amendment=document.amendment,
            sealed=base64.b64decode(text(body["sealed"]), validate=True) if sealed else None,
            clear=_clear(body) if sealed else "",
        )
        if not sealed:
            return _telling(root, body)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise VaultDamagedError(f"{name.key} is damaged: {error!r}") from None
    return open_root(root, seal)


def _telling(root: Root, told: dict[str, Any]) -> Root:
    """Return a root with what it tells of its contents. Raises KeyError, TypeError, ValueError."""
    return replace(
        root,
        source={name: text(value) for name, value in mapping(told["source"]).items()},
        scope=_scope(mapping(told["scope"])),
        repositories=_tree(told["repositories"]),
        damage=None if told["damage"] is None else _tree(told["damage"]),
    )


def open_root(root: Root, seal: Seal) -> Root:
    """Return a root whose sealed part is opened, where the seal can do that.

    Raises:
        VaultDamagedError: what is in it is no part of a root. (One that is sealed to others is
            left as it is: its document is proven.)
    """
    if root.sealed is None or not seal.sealed:
        return root
    try:
        told = load_object(seal.open_index(root.sealed, root.name.key))
        # The first sealed roots have none. No store can take it away: it opens none of them.
        bound = text(told.get("clear", "")) or seal.mac(root.clear)
        if not hmac.compare_digest(bound.encode(), seal.mac(root.clear).encode()):
            raise VaultDamagedError(
                f"{root.name.key} is damaged: what is sealed in it was sealed with another root"
            )
        label = text(told["name"])
        generation = count(told.get("generation", 0))  # the first sealed roots have none
        opened = replace(_telling(root, told), generation=generation)
        return replace(opened, name=replace(root.name, label=label))
    except (CredentialError, SealedToOthersError):
        return root
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"{root.name.key} is damaged: {error!r}") from None


def _scope(scope: dict[str, Any]) -> dict[str, Any]:
    for glob in scope.get("globs", []):
        text(glob)
    mapping(scope.get("windows", {}))
    return scope


def _held(held: dict[str, Any]) -> dict[str, Any]:
    text(held.get("reason", ""))
    return held
