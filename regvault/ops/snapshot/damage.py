"""Collects what a run found damaged at the source, beside what was known before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.ops.snapshot.session import damage_line
from regvault.policy.damage import Rank, rank
from regvault.vault.tree import TreeBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from regvault.ops.snapshot.capture import Captured
    from regvault.ops.snapshot.plan import Plan
    from regvault.ops.snapshot.result import SnapshotResult
    from regvault.vault.tree import ChunkRef, TreeRef

__all__ = ["SourceDamage"]

_FINDINGS_KEPT = 1000


class SourceDamage:
    """The damage list of the root that a run makes. Ranks and findings go into its result."""

    def __init__(self, result: SnapshotResult, sequence: int) -> None:
        """Begin; `sequence`: of the root that is to be made."""
        self._result = result
        self._sequence = sequence
        self._lines: list[bytes] = []

    def inherit(self, plan: Plan) -> None:
        """Count all that is known, where nothing has changed."""
        self._result.ranks[Rank.KNOWN] += len(plan.damage)

    def find(self, captured: Captured, plan: Plan) -> None:
        """Rank the findings of one repository, and keep its damage for the root."""
        lines: set[bytes] = set()
        for finding in captured.findings:
            ranked = rank(finding, plan.damage)
            self._result.ranks[ranked] += 1
            if len(self._result.findings) < _FINDINGS_KEPT:
                self._result.findings.append((ranked, finding))
            if ranked is not Rank.NOTICE:
                key = (finding.repository, str(finding.kind), finding.subject, finding.image)
                lines.add(damage_line(*key, plan.damage.get(key, self._sequence)))
        self._lines += lines
        if captured.unreadable:
            self.keep(captured.name, plan, but=lines)

    def keep(self, name: str, plan: Plan, but: Container[bytes] = ()) -> None:
        """Keep what is known of a repository that was not read, or not whole."""
        for key, since in plan.damage.items():
            line = damage_line(*key, since)
            if key[0] == name and line not in but:
                self._lines.append(line)
                self._result.ranks[Rank.KNOWN] += 1

    def store(self, put: Callable[[bytes], ChunkRef]) -> TreeRef | None:
        """Store the list, and return it; None where nothing is damaged."""
        if not self._lines:
            return None
        builder = TreeBuilder("damage", put)
        for line in sorted(self._lines):
            builder.add(line)
        return builder.finish()
