"""What a restore is asked for, what it is going to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.ops.restore.select import Problem
    from regvault.ops.tier.cold import Cold
    from regvault.vault.root import Root

__all__ = ["RestoreOptions", "RestorePlan", "RestoreResult"]

_PROBLEMS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What was asked for.

    Attributes:
        globs: repositories; () means all.
        tags, digests: only these, with what they reach; () means everything.
        referrers: with signatures, SBOMs and the like.
        renames: `FROM=TO`.
        trust: what is there is kept when its bytes (`read`), the store's checksum (`checksum`) or
            its size (`size`) are right.
        overwrite: tags that point elsewhere at the target are kept (`never`) or moved (`tags`);
            `always` also writes every blob and link anew.
        deny: digests never to bring back.
        threads: at work at once.
        dry_run: only planned, so the plan looks at the target's tags too.
    """

    globs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    referrers: bool = True
    renames: tuple[str, ...] = ()
    trust: str = "read"
    overwrite: str = "never"
    deny: frozenset[str] = frozenset()
    threads: int = 4
    dry_run: bool = False


@dataclass(slots=True)
class RestorePlan:
    """What a restore is going to do.

    Attributes:
        snapshot: the root.
        repositories, tags: how many come back.
        blobs, nbytes: that are not at the target, by size.
        present, present_bytes: that are there with the right size.
        links: layer, revision and tag links, at most.
        tags_moved: (repository, tag, where it points) that point elsewhere, and would be left
            alone or, if that was asked for, moved back; looked for in a dry run only, the others
            find out when they come to it.
        problems: what does not come back, the first 1,000.
        problem_count: all of them.
        purged: what was removed from all snapshots, and so does not come back: the first 1,000.
            Where it was asked for by its name it is a problem.
        purged_count: all of it.
        named: whether tags or digests were asked for.
        cold: objects that have to be thawed before they can be read, in the order in which they
            are read; known after `Restorer.locate`.
        untold: those of them that have to be read to know what lies in them, since the catalog does
            not say so.
        objects: how many are read at all; their bytes are not asked for.
    """

    snapshot: Root
    repositories: int = 0
    tags: int = 0
    blobs: int = 0
    nbytes: int = 0
    present: int = 0
    present_bytes: int = 0
    links: int = 0
    tags_moved: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    purged: list[Problem] = field(default_factory=list)
    purged_count: int = 0
    named: bool = False
    cold: list[Cold] = field(default_factory=list)
    untold: list[Cold] = field(default_factory=list)
    objects: int = 0

    def add(self, problems: Iterable[Problem]) -> None:
        """Keep problems, counted all, listed up to a bound."""
        for problem in problems:
            if problem.reason == "purged" and not self.named:
                self.purged_count += 1
                if len(self.purged) < _PROBLEMS_KEPT:
                    self.purged.append(problem)
                continue
            self.problem_count += 1
            if len(self.problems) < _PROBLEMS_KEPT:
                self.problems.append(problem)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints."""
        return {
            "snapshot": str(self.snapshot.name),
            "repositories": self.repositories,
            "tags": self.tags,
            "blobs_to_write": self.blobs,
            "bytes_to_write": self.nbytes,
            "blobs_present": self.present,
            "bytes_present": self.present_bytes,
            "tags_moved": _moved(self.tags_moved),
            "problem_count": self.problem_count,
            "problems": [problem._asdict() for problem in self.problems],
            "purged_count": self.purged_count,
            "purged": [problem._asdict() for problem in self.purged],
        }


@dataclass(slots=True)
class RestoreResult:
    """What came of it.

    Attributes:
        plan: as it was made; its problems include what was found on the way.
        blobs_written, bytes_written: new at the target.
        blobs_kept: there and good.
        blobs_replaced: there and wrong.
        links_written: layer, revision and history links that were not there.
        tags_written: that point where the snapshot says, now.
        tags_kept: that did so before.
        tags_moved: (repository, tag, where it points) that point elsewhere, and were left alone.
        tags_moved_back: (repository, tag, where it pointed) that do not any more.
        refused: whether a tag that was asked for by its name was left alone.
        damaged: whether the vault could not give all.
        others: what it could not give is whole, and sealed to others than whose identities were
            given.
    """

    plan: RestorePlan
    blobs_written: int = 0
    bytes_written: int = 0
    blobs_kept: int = 0
    blobs_replaced: int = 0
    links_written: int = 0
    tags_written: int = 0
    tags_kept: int = 0
    tags_moved: list[tuple[str, str, str]] = field(default_factory=list)
    tags_moved_back: list[tuple[str, str, str]] = field(default_factory=list)
    refused: bool = False
    damaged: bool = False
    others: bool = False

    def exit_code(self) -> int:
        """Return 0; 4 where the vault is damaged; 3 where something asked for did not come back.

        12 where that is only since it is sealed to others.
        """
        if self.damaged:
            return 12 if self.others else 4
        return 3 if self.plan.problem_count or self.refused else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            **self.plan.to_json(),
            "blobs_written": self.blobs_written,
            "bytes_written": self.bytes_written,
            "blobs_kept": self.blobs_kept,
            "blobs_replaced": self.blobs_replaced,
            "links_written": self.links_written,
            "tags_written": self.tags_written,
            "tags_kept": self.tags_kept,
            "tags_moved": _moved(self.tags_moved),
            "tags_moved_back": _moved(self.tags_moved_back),
        }


def _moved(tags: list[tuple[str, str, str]]) -> list[dict[str, str]]:
    return [{"repository": name, "tag": tag, "points_to": digest} for name, tag, digest in tags]
