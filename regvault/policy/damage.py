"""The ranks of what is wrong at a source (invariant 12)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from regvault.model.registry import Kind

if TYPE_CHECKING:
    from collections.abc import Container

    from regvault.model.registry import Finding

__all__ = ["NOTICES", "Rank", "rank"]


class Rank(enum.StrEnum):
    """How much a finding matters."""

    NOTICE = "notice"  # normal in a registry that lives
    KNOWN = "known"  # damage that the snapshot before has already
    NEW = "new"  # damage that is seen for the first time


NOTICES = frozenset(
    {
        Kind.TEMPORARY_FILE,
        Kind.UPLOAD,
        Kind.EMPTY_TAG,
        Kind.TAG_WITHOUT_CURRENT,
        Kind.LAYER_WITHOUT_BLOB,
        Kind.ORPHAN_BLOB,
        Kind.UNKNOWN_FILE,
        Kind.INVALID_NAME,
    }
)


def rank(finding: Finding, before: Container[tuple[str, str, str, str]]) -> Rank:
    """Return the rank of a finding.

    Args:
        finding: what was found.
        before: (repository, kind, subject, image) of the damage that the snapshot before has.
    """
    if finding.kind in NOTICES:
        return Rank.NOTICE
    seen = (finding.repository, str(finding.kind), finding.subject, finding.image) in before
    return Rank.KNOWN if seen else Rank.NEW
