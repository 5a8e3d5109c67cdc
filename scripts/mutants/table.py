"""All mutants, by what they break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import concurrency
import deletion
import durability
import hostile
import proof

if TYPE_CHECKING:
    from mutant import Mutant

GROUPS: dict[str, list[Mutant]] = {
    "Deletion": deletion.MUTANTS,
    "Durability": durability.MUTANTS,
    "Proof of bytes, and presence": proof.MUTANTS,
    "Concurrency": concurrency.MUTANTS,
    "Hostile input, signatures, secrets": hostile.MUTANTS,
}
MUTANTS = [mutant for group in GROUPS.values() for mutant in group]
assert len({mutant.id for mutant in MUTANTS}) == len(MUTANTS)

#: What can be taken away without harm, since something else stands behind it: file, what, why.
EQUIVALENT: list[tuple[str, str, str]] = []
