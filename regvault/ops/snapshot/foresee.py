"""Foresees, in a dry run, whether the snapshot would be held."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.ops.snapshot.state import still_there
from regvault.policy.shrink import shrunk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from regvault.ops.snapshot.capture import Captured
    from regvault.ops.snapshot.session import RepositoryEntry, Session

__all__ = ["Foreseen"]

_KINDS = {b"tag": "tags", b"rev": "revisions"}


class Foreseen:
    """Counts what the new snapshot would have, from the newest one's counts on."""

    def __init__(self, session: Session, *, afresh: bool) -> None:
        """Begin.

        Args:
            session: of the dry run.
            afresh: everything is read, since the newest snapshot cannot be.
        """
        self._session = session
        self._counts: Counter[str] = Counter()
        self._known = True
        if session.previous is not None and not afresh:
            self._counts.update(session.previous.counts.to_json())

    def read(self, captured: Captured, entry: RepositoryEntry | None) -> None:
        """Count a repository that was read; `entry`: of the newest snapshot, or None."""
        lines = captured.lines
        if entry is not None:
            try:
                old = list(self._session.state_lines(entry.state))
            except VaultDamagedError:
                self._known = False
                return
            self._add(old, -1)
            if captured.unreadable:
                lines = [*lines, *still_there(lines, old)]
        self._add(lines, 1)

    def hold(self, removed: Collection[str]) -> str | None:
        """Return why the snapshot would be held, as far as is known: its bytes are not.

        Args:
            removed: repositories that are gone from the source.
        """
        gone = set(removed)
        for entry in self._session.entries() if gone else ():
            if entry.name in gone:
                try:
                    self._add(self._session.state_lines(entry.state), -1)
                except VaultDamagedError:
                    self._known = False
        if not self._known:
            return None
        accepted = self._session.accepted
        before = accepted.counts.to_json() if accepted else None
        counts = {name: self._counts[name] for name in ("repositories", *_KINDS.values())}
        return shrunk(before, {**counts, "bytes": before["bytes"] if before else 0})

    def _add(self, lines: Iterable[bytes], change: int) -> None:
        self._counts["repositories"] += change
        for line in lines:
            name = _KINDS.get(line.partition(b" ")[0])
            if name is not None:
                self._counts[name] += change
