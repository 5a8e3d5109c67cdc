"""What a snapshot is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.policy.damage import Rank

if TYPE_CHECKING:
    from regvault.model.registry import Finding
    from regvault.vault.root import Root

__all__ = ["SnapshotOptions", "SnapshotResult"]


@dataclass(frozen=True, slots=True)
class SnapshotOptions:
    """What was asked for.

    Attributes:
        registry: permanent name; None: the one last read from this place, or made from it.
        globs: repositories to read; () means all. The others are inherited.
        threads: that read, hash and store blobs.
        dry_run: say what would be done; write nothing.
        fail_on: `new`: only new damage makes exit code 3; `any`: known damage too.
        wait_s: how long to wait for another writer of this registry, or for a prune.
    """

    registry: str | None = None
    globs: tuple[str, ...] = ()
    threads: int = 4
    dry_run: bool = False
    fail_on: str = "new"
    wait_s: float = 0.0


@dataclass(slots=True)
class SnapshotResult:
    """What came of it.

    Attributes:
        root: as committed; None of a dry run.
        registry: permanent name.
        read, inherited, removed: numbers of repositories.
        stored, stored_bytes: blobs that were read and stored.
        objects, objects_bytes: objects that were written, by number and bytes.
        lost: objects that the vault had lost, and that were stored again.
        archived, archived_bytes: objects that it needs, that lie in an archive, and that nothing
            promises to bring back in time: it is outside the promise.
        promised, promised_bytes: those that come back as was promised.
        findings: what is wrong at the source with its rank, the first 1,000.
        ranks: how many findings of each rank.
        unreadable: something could not be read at all.
        fail_on: as in the options.
        would_hold: of a dry run, why its snapshot would be held, or None.
        vault_damaged: whether older snapshots of this registry cannot be read.
    """

    registry: str
    root: Root | None = None
    read: int = 0
    inherited: int = 0
    removed: int = 0
    stored: int = 0
    stored_bytes: int = 0
    objects: int = 0
    objects_bytes: int = 0
    lost: list[str] = field(default_factory=list)
    archived: int = 0
    archived_bytes: int = 0
    promised: int = 0
    promised_bytes: int = 0
    findings: list[tuple[Rank, Finding]] = field(default_factory=list)
    ranks: dict[Rank, int] = field(default_factory=lambda: dict.fromkeys(Rank, 0))
    unreadable: bool = False
    fail_on: str = "new"
    would_hold: str | None = None
    vault_damaged: bool = False

    def count_archived(self, size: int, *, promised: bool) -> None:
        """Count an object in an archive that the snapshot needs.

        Args:
            size: of it, bytes.
            promised: it comes back as was promised.
        """
        if promised:
            self.promised += 1
            self.promised_bytes += size
        else:
            self.archived += 1
            self.archived_bytes += size

    def exit_code(self) -> int:
        """Return 0; 4 where the vault is damaged; 3 where it was done in part."""
        if self.vault_damaged:
            return 4
        held = self.root is not None and self.root.held is not None
        bad = self.ranks[Rank.NEW] or (self.fail_on == "any" and self.ranks[Rank.KNOWN])
        return 3 if bad or self.unreadable or held else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints.

        `archived`: objects that it needs and that lie in an archive; those `outside_promise` keep
        it from being restored in time until they are thawed.

        The command adds `locks`: null of a vault without locks, else `until` (to when all that
        snapshots need is locked), `looked` and `extended` (objects whose locks were looked at, and
        extended), `gone` (keys of those that are not there any more), `record`; or `error`.
        """
        root = self.root
        return {
            "registry": self.registry,
            "sequence": root.name.sequence if root else None,
            "started": root.started if root else None,
            "finished": root.finished if root else None,
            "complete": root.complete if root else None,
            "held": root.held if root else None,
            "counts": root.counts.to_json() if root else None,
            "repositories_read": self.read,
            "repositories_inherited": self.inherited,
            "repositories_removed": self.removed,
            "blobs_stored": self.stored,
            "blob_bytes_stored": self.stored_bytes,
            "objects_written": self.objects,
            "object_bytes_written": self.objects_bytes,
            "lost_objects_stored_again": self.lost,
            "archived": {
                "outside_promise": {"objects": self.archived, "bytes": self.archived_bytes},
                "promised": {"objects": self.promised, "bytes": self.promised_bytes},
            },
            "findings_by_rank": {str(rank): count for rank, count in self.ranks.items()},
            "findings": [
                {
                    "rank": str(rank),
                    "repository": finding.repository,
                    "kind": str(finding.kind),
                    "subject": finding.subject,
                    "image": finding.image,
                    "detail": finding.detail,
                }
                for rank, finding in self.findings
            ],
            "dry_run": root is None,
            "would_hold": self.would_hold,
        }
