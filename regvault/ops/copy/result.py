"""What is asked of a copy, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regvault.ops.audit.copying import CopiedAudit

__all__ = ["Copied", "CopyOptions", "CopyProblem", "CopyResult"]


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What is asked for.

    Attributes:
        registries: names; () means all of the source.
        dry_run: look what is missing, and store nothing.
        threads: objects under way at once.
        wait_s: seconds to wait for another writer of a registry, and for a prune.
        cache_base: directory of the local caches; None keeps nothing.
    """

    registries: tuple[str, ...] = ()
    dry_run: bool = False
    threads: int = 4
    wait_s: float = 0.0
    cache_base: str | None = None


@dataclass(slots=True)
class CopyProblem:
    """A snapshot that could not be copied, and why.

    Attributes:
        snapshot: `registry@sequence`.
        detail: what is wrong with it at the source.
    """

    snapshot: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return its part of the document."""
        return {"snapshot": self.snapshot, "detail": self.detail}


@dataclass(slots=True)
class Copied:
    """What one target got.

    Attributes:
        target: its location.
        snapshots: `registry@sequence` of those copied, oldest first.
        healed: objects that an earlier copy had lost, and has again.
        objects, nbytes: that were stored, or with `--dry-run` would be.
        returned: names of contents that were purged there, and came again with what was copied.
        locks: what became of its locks; None of a vault without.
        audit: what was copied of archived events; None where none were asked for.
    """

    target: str
    snapshots: list[str] = field(default_factory=list)
    healed: int = 0
    objects: int = 0
    nbytes: int = 0
    returned: set[str] = field(default_factory=set)
    locks: dict[str, Any] | None = None
    audit: CopiedAudit | None = None

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document."""
        return {
            "target": self.target,
            "snapshots": self.snapshots,
            "healed": self.healed,
            "objects": self.objects,
            "bytes": self.nbytes,
            "returned": sorted(self.returned),
            "locks": self.locks,
            "audit": None if self.audit is None else self.audit.to_json(),
        }


@dataclass(slots=True)
class CopyResult:
    """What became of a copy.

    Attributes:
        source: location of the vault that was copied.
        targets: what each got, in the order that they were named.
        problems: snapshots that could not be copied.
        dry_run: nothing was stored.
    """

    source: str
    targets: list[Copied] = field(default_factory=list)
    problems: list[CopyProblem] = field(default_factory=list)
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints.

        `source`; `targets`: each with `target`, `snapshots` (`registry@sequence`), `healed`
        (objects that were lost there), `objects` and `bytes` stored, `returned` (contents that were
        purged there, and came again), `locks` as of `snapshot`, and `audit`: of archived events,
        `links`, `events`, `bytes`, `erased_months`, `problems`; null where none were asked for;
        `problems`: each with `snapshot` and `detail`; `dry_run`.
        """
        return {
            "source": self.source,
            "targets": [target.to_json() for target in self.targets],
            "problems": [problem.to_json() for problem in self.problems],
            "dry_run": self.dry_run,
        }

    def exit_code(self) -> int:
        """Return 4 where the source is damaged, 3 where purged contents came again, else 0."""
        returned = any(target.returned for target in self.targets)
        audit = any(target.audit and target.audit.problems for target in self.targets)
        return 4 if self.problems or audit else 3 if returned else 0
