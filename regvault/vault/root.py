"""Roots: one small file for each snapshot, written last (`docs/vault-format.md`, "Roots")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import VaultDamagedError
from regvault.oci.grammar import is_digest
from regvault.vault.envelope import from_time, read_document, write_document
from regvault.vault.fields import count, mapping, text, time
from regvault.vault.keys import FORMAT, root_key
from regvault.vault.objectlist import ListRef
from regvault.vault.tree import ChunkRef, TreeRef

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MAX_ROOT_BYTES", "Counts", "Root", "RootName", "parse_root"]

#: A root is at most this large; `scope` is shortened before it would be larger.
MAX_ROOT_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class RootName:
    """A slot of the chain that holds a root.

    Attributes:
        registry: permanent name.
        sequence: its number, from 1.
    """

    registry: str
    sequence: int

    @property
    def key(self) -> str:
        """The object's key."""
        return root_key(self.registry, self.sequence)

    def __str__(self) -> str:
        return f"{self.registry}@{self.sequence}"


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

    @property
    def started_at(self) -> datetime:
        """When the run began."""
        return from_time(self.started)

    def to_document(self, vault: str) -> tuple[bytes, str]:
        """Return the bytes of the root, and the hex SHA-256 of its body."""

        def tree(ref: TreeRef | None) -> dict[str, Any] | None:
            return None if ref is None else {"tree": ref.top.digest, "entries": ref.entries}

        return write_document(
            {
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
        )


def parse_root(data: bytes, name: RootName, vault: str) -> Root | None:
    """Parse what is in a slot; None for a void, or the stub that a forgotten root leaves.

    Raises:
        VaultDamagedError: it is neither, or a root of another slot.
        UnknownFormatError: a newer regvault wrote it.
    """
    document = read_document(data, name.key, types=("root", "void", "stub"), vault=vault)
    body = document.body
    if body["type"] == "void" and body.get("slot") != name.key:
        raise VaultDamagedError(f"{name.key} is the void of another slot")
    if body["type"] == "stub":
        of = body.get("registry")
        where = (of.get("name") if isinstance(of, dict) else None, body.get("sequence"))
        if where != (name.registry, name.sequence):
            raise VaultDamagedError(f"{name.key} is the stub of another slot")
    if body["type"] != "root":
        return None

    def tree(part: Any) -> TreeRef:
        digest = text(part["tree"])
        if not is_digest(digest):
            raise ValueError(f"no digest: {digest[:200]!r}")
        return TreeRef(ChunkRef(digest), count(part["entries"]))

    try:
        if (body["registry"]["name"], body["sequence"]) != (name.registry, name.sequence):
            raise VaultDamagedError(
                f"{name.key} is the root of {body['registry']['name']}@{body['sequence']}",
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
            source={name: text(value) for name, value in mapping(body["source"]).items()},
            scope=_scope(mapping(body["scope"])),
            repositories=tree(body["repositories"]),
            objects=ListRef.from_json(body["objects"]),
            damage=None if body["damage"] is None else tree(body["damage"]),
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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"{name.key} is damaged: {error!r}") from None
    return root


def _scope(scope: dict[str, Any]) -> dict[str, Any]:
    for glob in scope.get("globs", []):
        text(glob)
    mapping(scope.get("windows", {}))
    return scope


def _held(held: dict[str, Any]) -> dict[str, Any]:
    text(held.get("reason", ""))
    return held
