"""Executes a plan: under the lock it decides once more and commits; then it deletes.

What is condemned is condemned for ever, so the deletion needs no lock, may be interrupted, and is
done again by the next prune.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    PreconditionError,
    StoreAccessError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.model.store import HierarchicalStore
from regvault.ops.bounded import in_order
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
from regvault.vault.certain import check_clock
from regvault.vault.condemned import (
    REPEAT_EVERY,
    condemned_document,
    newest_slot,
    read_condemned,
    read_list,
)
from regvault.vault.keys import condemned_key, new_run_id
from regvault.vault.prune_lock import PruneLock
from regvault.vault.slots import holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.vault.vault import Vault

__all__ = ["PruneResult", "prune"]

_MAX_SLOTS = 100


@dataclass
class PruneResult:
    """What was done.

    Attributes:
        plan: that was executed.
        slot: key of the condemned list that was written; None where nothing was to condemn.
        condemned: objects that were condemned now; and their bytes.
        deleted: objects that are gone now; and their bytes.
        locked: condemned objects that the store does not let go yet (Object Lock, a missing right).
    """

    plan: PrunePlan
    slot: str | None = None
    condemned: tuple[int, int] = (0, 0)
    deleted: tuple[int, int] = (0, 0)
    locked: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints.

        `list`: the key of the condemned list, or null. `condemned`, `deleted`: `objects` and
        `bytes`. `locked`: keys that could not be deleted yet. `needed`: as in the plan.
        """
        return {
            "list": self.slot,
            "condemned": {"objects": self.condemned[0], "bytes": self.condemned[1]},
            "deleted": {"objects": self.deleted[0], "bytes": self.deleted[1]},
            "young": self.plan.to_json()["young"],
            "locked": self.locked,
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
                    result.slot = _commit(vault, lock, run, final, condemned)
            result.condemned = final.count, final.nbytes
        _delete(vault, plan, final, result, progress, threads)
        vault.store.barrier()
    finally:
        final.close()
    return result


def _commit(vault: Vault, lock: PruneLock, run: str, final: Keys, condemned: set[str]) -> str:
    """Fill the next free slot with a condemned list; return its key."""
    store = vault.store
    first = newest_slot(store) + 1
    for number in range(first, first + _MAX_SLOTS):
        key = condemned_key(number)
        keys = [seen.key for seen in final]
        if number % REPEAT_EVERY == 0:
            keys = sorted({*keys, *condemned})
        data = condemned_document(vault.id, number, run, keys)
        lock.renew(slot=key)
        try:
            store.put(key, data, if_none_match=True)
        except StoreUnavailableError:
            # Its outcome is not known. (The lock fills the slot before it is given back.)
            if not holds(store, key, data):
                raise
        except PreconditionError:
            if not holds(store, key, data):
                # A void: this key was named by a pruner that was declared dead.
                condemned |= set(read_list(store, key, number, vault.id) or ())
                continue
        store.barrier()
        return key
    raise VaultDamagedError(f"{_MAX_SLOTS} slots of condemned lists in a row were filled by others")


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

    def chosen() -> Iterator[Seen]:
        for seen, needed in with_needs(heapq.merge(plan.leftovers, final), needs.keys()):
            if needed:
                plan.needed.append(seen.key)
            elif seen.key in condemned:
                yield seen

    doomed = chosen()
    progress.phase("Deleting", total_items=plan.leftovers.count + final.count)

    def one(seen: Seen) -> tuple[Seen, bool]:
        try:
            store.delete(seen.key)
        except StoreAccessError:
            return seen, False
        return seen, True

    parallel = 1 if isinstance(store, HierarchicalStore) else threads
    count = nbytes = 0
    for seen, gone in in_order(doomed, one, threads=parallel, name="delete"):
        progress.advance(1)
        if gone:
            count, nbytes = count + 1, nbytes + seen.size
        else:
            result.locked.append(seen.key)
    result.deleted = count, nbytes
