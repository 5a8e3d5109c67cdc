"""All mutants, by what they break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import audit
import concurrency
import deletion
import durability
import hostile
import proof
import sealing
import tiering
import vault_tiering

if TYPE_CHECKING:
    from mutant import Mutant

GROUPS: dict[str, list[Mutant]] = {
    "Deletion": deletion.MUTANTS,
    "Durability": durability.MUTANTS,
    "Proof of bytes, and presence": proof.MUTANTS,
    "Concurrency": concurrency.MUTANTS,
    "Hostile input, signatures, secrets": hostile.MUTANTS,
    "Sealed vaults": sealing.MUTANTS,
    "Audit events": audit.MUTANTS,
    "Tiering": tiering.MUTANTS,
    "Tiering of vaults, thaws": vault_tiering.MUTANTS,
}
MUTANTS = [mutant for group in GROUPS.values() for mutant in group]
assert len({mutant.id for mutant in MUTANTS}) == len(MUTANTS)

#: What can be taken away without harm, since something else stands behind it: file, what, why.
EQUIVALENT: list[tuple[str, str, str]] = [
    (
        "vault/replace.py",
        "The barrier before the segment of what was moved",
        "`write_segment` waits for one itself, before it gives the segment its name.",
    ),
    (
        "vault/frames.py",
        "`size < 0`: a stream of lines that holds more than it declares",
        "zstd itself refuses such a frame, before it gives out more than a block.",
    ),
    (
        "vault/frames.py",
        "`0 <= size`: a frame that declares no size",
        "What comes out is bounded, and compared with what was declared: nothing is equal to that.",
    ),
    (
        "ops/copy/feed.py",
        "The barrier after a copied root",
        "The next root waits for one, so does the receipt at the end, and whoever ends a dead copier.",
    ),
    (
        "ops/snapshot/take.py",
        "The first `flush` of the packs, before what is sparse is stored again",
        "There is another one after that, and a blob that lies nowhere ends the run.",
    ),
    (
        "ops/repair/mending.py",
        "The SHA-256 of a pack that was made again of its members",
        "It is proven once more while it is stored.",
    ),
]
