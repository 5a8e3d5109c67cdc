"""When all metadata and all data of a registry were last proven, by the records of a vault."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from regvault.ops.info_facts import DEPTHS, read_verifications
from regvault.vault.envelope import from_time

if TYPE_CHECKING:
    from datetime import datetime

    from regvault.ops.info_facts import Verification
    from regvault.vault.vault import Vault

__all__ = ["Verified", "read_verified"]

#: So many records are read at most, and so many in any case, however old they are.
_MOST = 4096
_ALWAYS = 256


@dataclass(slots=True)
class Verified:
    """What the verifications of one registry prove together. Add them newest first.

    Attributes:
        newest: of any depth.
        failed: the newest that found problems, unless a later one as deep found none.
        metadata_at: when all metadata was last found right.
        data_at: by when all data was found right: the oldest of the parts that make up all of it.
        archived_bytes: that none of these could read, since they lie in archives.
    """

    newest: Verification | None = None
    failed: Verification | None = None
    metadata_at: datetime | None = None
    data_at: datetime | None = None
    archived_bytes: int = 0
    _cleared: int = -1
    _parts: dict[int, dict[int, datetime]] = field(default_factory=dict)

    def add(self, each: Verification) -> None:
        """Take note of one verification, older than all before."""
        self.newest = self.newest or each
        depth = DEPTHS.index(each.depth)
        if each.problems:
            # What makes up all data without it was read after it.
            if depth > self._cleared and self.data_at is None:
                self.failed = self.failed or each
            return
        if each.of_all:
            self._cleared = max(self._cleared, depth)
        at = from_time(each.at)
        if each.depth != "quick":
            self.metadata_at = self.metadata_at or at
        if each.depth == "data" and self.data_at is None:
            self._add_part(each, at)

    def _add_part(self, each: Verification, at: datetime) -> None:
        part, parts = (1, 1) if each.of_all else _part(each)
        if not parts:
            return
        seen = self._parts.setdefault(parts, {})
        if part not in seen:
            seen[part] = at
            self.archived_bytes += each.archived_bytes
        if len(seen) == parts:
            self.data_at = at


def _part(each: Verification) -> tuple[int, int]:
    """Return which part of how many was read; of a random share (0, 0): no number makes it all."""
    match each.sample:
        case [None, int(part), int(parts)] if 1 <= part <= parts:
            return part, parts
    return 0, 0


def read_verified(vault: Vault, since: datetime) -> tuple[dict[str, Verified], list[str]]:
    """Return registry -> what is proven of it, and what of the records cannot be read.

    Args:
        vault: whose records.
        since: what is older matters to nobody any more.
    """
    found: dict[str, Verified] = {}
    problems: list[str] = []
    for number, records in zip(count(1), read_verifications(vault, most=_MOST), strict=False):
        if isinstance(records, str):
            problems.append(records)
            continue
        for registry, each in records:
            found.setdefault(registry, Verified()).add(each)
        if records and number >= _ALWAYS and from_time(records[0][1].at) < since:
            break
    return found, problems
