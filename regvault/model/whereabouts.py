"""What a store shows of where its bytes lie, and whether they can be deleted."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOT_LOCKED", "Lock", "Whereabouts"]


class Lock(NamedTuple):
    """Whether what is stored can be deleted or overwritten before its time.

    Attributes:
        held: it cannot.
        detail: how that is known, or why it is not so, for people.
    """

    held: bool
    detail: str


NOT_LOCKED = Lock(held=False, detail="a file system has no Object Lock")


class Whereabouts(NamedTuple):
    """Where a store lies, as far as can be seen from here.

    Attributes:
        place: equal for two stores that are one and the same.
        domain: what it fails together with, for people: a disk, a file server, an endpoint or a
            region; "" where that cannot be seen.
        bound: what it cannot be apart from, whatever anybody declares: two stores with the same
            are lost together. "" where nothing is that certain.
        medium: `disk`, `memory` or `object`.
        remark: what else an auditor should know, or "".
    """

    place: str
    domain: str
    bound: str
    medium: str
    remark: str = ""
