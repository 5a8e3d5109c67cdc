"""Executes a plan: under the lock it decides once more and commits; then it deletes.

What is condemned is condemned for ever, so the deletion needs no lock, may be interrupted, and is
done again by the next prune.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.ops.prune.deleting import delete_all
from regvault.ops.prune.plan import (
    GRACE_S,
    Keys,
    PrunePlan,
    Seen,
    read_needs,
    settled_before,
    still_unneeded,
    with_needs,
)
from regvault.vault.certain import check_clock, claimed_lists
from regvault.vault.condemned import commit_condemned, read_condemned
from regvault.vault.envelope import time_or_none
from regvault.vault.keys import new_run_id
from regvault.vault.prune_lock import PruneLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.vault.vault import Vault

__all__ = ["PruneResult", "prune"]


@dataclass
class PruneResult:
    """What was done.

    Attributes:
        plan: that was executed.
        slot: key of the condemned list that was written; None where nothing was to condemn.
        condemned: objects that were condemned now; and their bytes.
        deleted: objects that are gone now; and their bytes.
        locked: condemned objects that the store does not let go yet (Object Lock, a missing right).
        locked_until_ns: when the last of their locks lapses; None where it is no lock.
        claimed: condemned objects that stay until whoever reads them is done.
    """

    plan: PrunePlan
    slot: str | None = None
    condemned: tuple[int, int] = (0, 0)
    deleted: tuple[int, int] = (0, 0)
    locked: list[str] = field(default_factory=list)
    locked_until_ns: int | None = None
    claimed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints.

        `list`: the key of the condemned list, or null. `condemned`, `deleted`: `objects` and
        `bytes`. `locked`: keys that could not be deleted yet. `locked_until`: when the last of
        their locks lapses, or null. `claimed`: keys that a restore or a verify reads still.
        `needed`: as in the plan.
        """
        return {
            "list": self.slot,
            "condemned": {"objects": self.condemned[0], "bytes": self.condemned[1]},
            "deleted": {"objects": self.deleted[0], "bytes": self.deleted[1]},
            "young": self.plan.to_json()["young"],
            "locked": self.locked,
            "locked_until": time_or_none(self.locked_until_ns),
            "claimed": self.claimed,
            "needed": self.plan.needed,
        }

    def exit_code(self) -> int:
        """Return 4 where something needed is condemned, 3 where something could not be deleted."""
        if self.plan.needed:
            return 4
        return 3 if self.locked else 0


def prune(
    vault: Vault,
    plan: PrunePlan,
    *,
    progress: Progress,
    threads: int,
    wait_s: float = 0,
    grace_s: float = GRACE_S,
) -> PruneResult:
    """Condemn what the plan names and nothing needs, then delete all that is condemned.

    Args:
        vault: where.
        plan: what a person agreed to; nothing else is deleted.
        progress: is told how far it is.
        threads: that delete.
        wait_s: seconds to wait for snapshots that are at work.
        grace_s: seconds; what is younger stays.

    Raises:
        LeaseHeldError: a snapshot, or another prune, is at work.
        LeaseLostError: another party took the lock, since this run slept.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: what is needed cannot be known.
    """
    check_clock(vault.store)
    result = PruneResult(plan)
    final = Keys()
    try:
        if plan.candidates.count:
            run = new_run_id()
            progress.phase("Condemning")
            with PruneLock(vault.store, vault.id, run, wait_s=wait_s, say=progress.note) as lock:
                needs = read_needs(vault, claims=True)
                condemned = read_condemned(vault.store, vault.id)
                before_ns = settled_before(vault, needs, grace_s)
                for seen in still_unneeded(plan, needs, condemned, before_ns):
                    final.add(seen)
                if final.count:
                    # A stub whose sync failed shows, and the disk may still have the root.
                    vault.store.barrier()
                    keys = [seen.key for seen in final]
                    result.slot = commit_condemned(
                        vault.store, vault.id, lock, run, keys, condemned
                    )
            result.condemned = final.count, final.nbytes
        _delete(vault, plan, final, result, progress, threads)
        vault.store.barrier()
    finally:
        final.close()
    return result


def _delete(
    vault: Vault,
    plan: PrunePlan,
    final: Keys,
    result: PruneResult,
    progress: Progress,
    threads: int,
) -> None:
    """Delete what is condemned by lists that are there now, that LIST showed, and nothing needs.

    Nothing can come to need what is condemned; unless a snapshot did not see the lock.
    """
    if not plan.leftovers.count and not final.count:
        return
    store = vault.store
    condemned = read_condemned(store, vault.id)
    needs = read_needs(vault, claims=False)
    # What a purge or a repair replaced, a reader may read that began before.
    claims = list(claimed_lists(vault)) if needs.amendments else []

    def chosen() -> Iterator[Seen]:
        for seen, needed in with_needs(heapq.merge(plan.leftovers, final), needs.keys()):
            if needed:
                plan.needed.append(seen.key)
            elif seen.key in needs.amendments and any(c.named(seen.key) for c in claims):
                result.claimed.append(seen.key)
            elif seen.key in condemned:
                yield seen

    progress.phase("Deleting", total_items=plan.leftovers.count + final.count)
    deleted = delete_all(store, chosen(), threads=threads, progress=progress)
    result.deleted = deleted.count, deleted.nbytes
    result.locked, result.locked_until_ns = deleted.locked, deleted.locked_until_ns
