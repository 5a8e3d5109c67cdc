"""When something is worth a signal."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """Bounds of the signals.

    Attributes:
        auth_failures: share of requests that may fail to authenticate.
        auth_requests: so many requests at least, before that share means something.
        pull_ms: milliseconds within which 95 of 100 pulls are to be answered.
        pulls: so many pulls at least, before that means something.
        deletions: so many different manifests, tags, blobs or repositories within
            `deletions_s` are a mass.
        window_s: seconds over which shares are taken.
        deletions_s: seconds within which deletions are counted.
        learning_s: seconds from the first event on during which nothing counts as new.
    """

    auth_failures: float = 0.01
    auth_requests: int = 100
    pull_ms: float = 500.0
    pulls: int = 100
    deletions: int = 50
    window_s: float = 300.0
    deletions_s: float = 600.0
    learning_s: float = 7 * 86400.0
