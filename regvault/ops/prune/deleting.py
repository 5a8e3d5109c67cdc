"""Deletes what is condemned, and looks whether it is gone (rule 16)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, StoreAccessError
from regvault.model.store import HierarchicalStore, LockingStore
from regvault.ops.bounded import again_when_broken, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.progress import Progress
    from regvault.model.store import ObjectStore
    from regvault.ops.prune.plan import Seen

__all__ = ["Deleted", "delete_all"]


@dataclass(slots=True)
class Deleted:
    """What became of it.

    Attributes:
        count, nbytes: objects that are gone now.
        locked: keys of those that the store does not let go (Object Lock, a missing right), or
            still shows though it said that they are gone.
        locked_until_ns: when the last of their locks lapses, nanoseconds since the epoch by the
            store's clock; None where it is no lock that keeps them.
    """

    count: int = 0
    nbytes: int = 0
    locked: list[str] = field(default_factory=list)
    locked_until_ns: int | None = None


def delete_all(
    store: ObjectStore, doomed: Iterable[Seen], *, threads: int, progress: Progress
) -> Deleted:
    """Delete objects, which must be condemned; a HEAD of each tells whether it is gone.

    What is locked is left alone. S3 would take the DELETE, and hide a version that stays: nothing
    would say any more that it is there, and to be paid for.
    """
    locker = _locker(store)

    def one(seen: Seen) -> tuple[Seen, bool, int | None]:
        key = seen.key
        try:
            # boto repeats requests on credit, which a HEAD that finds nothing never gives back.
            lock = again_when_broken(lambda: locker.retention(key)) if locker is not None else None
            if lock is not None and lock.until_ns > store.now_ns():
                return seen, False, lock.until_ns
            again_when_broken(lambda: store.delete(key))
            again_when_broken(lambda: store.head(key))
        except ObjectNotFoundError:
            return seen, True, None
        except StoreAccessError:
            pass
        return seen, False, None

    result = Deleted()
    parallel = 1 if isinstance(store, HierarchicalStore) else threads
    for seen, gone, until_ns in in_order(doomed, one, threads=parallel, name="delete"):
        progress.advance(1)
        if gone:
            result.count += 1
            result.nbytes += seen.size
        else:
            result.locked.append(seen.key)
            if until_ns is not None:
                result.locked_until_ns = max(result.locked_until_ns or 0, until_ns)
    return result


def _locker(store: ObjectStore) -> LockingStore | None:
    """Return the store where it may have locked something: also by a default of the bucket."""
    if not isinstance(store, LockingStore):
        return None
    try:
        return store if store.locks() else None
    except StoreAccessError:
        return store  # it may not be said; then each object is asked
