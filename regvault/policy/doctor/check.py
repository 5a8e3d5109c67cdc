"""The checks of `doctor`: their names, and what one comes to."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.doctor import FINDING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.doctor import Asked

__all__ = [
    "CHECKS",
    "Check",
    "State",
    "error",
    "failed",
    "ok",
    "size",
    "skipped",
    "warning",
    "worst",
]


class State(enum.StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


class Check(NamedTuple):
    """One check, judged.

    Attributes:
        id: a stable word, one of CHECKS.
        state: what it came to.
        found: what was found, or why it was skipped.
        hint: what to do next, or None.
        exit_code: of the command, where `state` is an error.
    """

    id: str
    state: State
    found: str
    hint: str | None = None
    exit_code: int = FINDING


#: Every check there is, in the order in which they are shown; docs/doctor.md explains each.
CHECKS = (
    "reachable",
    "vault-format",
    "snapshots",
    "archived",
    "identity",
    "sign-key",
    "leases",
    "prune-lock",
    "clock",
    "permission-list",
    "permission-read",
    "permission-write",
    "permission-delete",
    "permission-delete-versions",
    "create-only",
    "compare-and-swap",
    "read-after-write",
    "range-read",
    "durable",
    "checksums",
    "multipart",
    "versioning",
    "object-lock",
    "lifecycle-expiration",
    "lifecycle-transition",
    "lifecycle-abort",
    "lifecycle-noncurrent",
    "temporary-space",
    "space",
    "inodes",
    "file-system",
    "file-modes",
    "source-layout",
    "source-readable",
    "source-overlap",
    "second-copy",
    "brokers",
    "topic",
    "topic-rights",
    "topic-replication",
    "topic-in-sync",
    "topic-unclean-election",
    "topic-cleanup",
    "topic-retention",
    "topic-record-size",
    "dead-letter-topic",
    "archive-lag",
    "spool",
    "spool-durable",
    "spool-space",
    "spool-file-system",
    "spool-consumers",
    "spool-damage",
)


def ok(check: str, found: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(check, State.OK, found)


def warning(check: str, found: str, hint: str) -> Check:
    """Return a check that found something to look at; nothing fails because of it today."""
    return Check(check, State.WARNING, found, hint)


def error(check: str, found: str, hint: str | None, exit_code: int = FINDING) -> Check:
    """Return a check that found what makes a backup or a restore fail, or destroys a vault."""
    return Check(check, State.ERROR, found, hint, exit_code)


def skipped(check: str, why: str, hint: str | None = None) -> Check:
    """Return a check that could not be made."""
    return Check(check, State.SKIPPED, why, hint)


def failed(check: str, asked: Asked[Any]) -> Check:
    """Return a check that has no answer: skipped where nobody asked, else an error."""
    if not asked.tried:
        return skipped(check, asked.why)
    return error(check, asked.why, asked.hint, asked.exit_code)


def size(count: int) -> str:
    """Return a number of bytes for people."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.1f} {unit}"
    return f"{count} B"


def worst(checks: Iterable[Check]) -> State:
    """Return `error`, `warning` or `ok`: what was skipped is no finding."""
    states = {check.state for check in checks}
    return next((s for s in (State.ERROR, State.WARNING) if s in states), State.OK)
