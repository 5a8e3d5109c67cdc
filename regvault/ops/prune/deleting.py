"""Deletes what is condemned, and looks whether it is gone (rule 16)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, StoreAccessError
from regvault.model.store import HierarchicalStore
from regvault.ops.bounded import in_order

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
    """

    count: int = 0
    nbytes: int = 0
    locked: list[str] = field(default_factory=list)


def delete_all(
    store: ObjectStore, doomed: Iterable[Seen], *, threads: int, progress: Progress
) -> Deleted:
    """Delete objects, which must be condemned; a HEAD of each tells whether it is gone."""

    def one(seen: Seen) -> tuple[Seen, bool]:
        try:
            store.delete(seen.key)
            store.head(seen.key)
        except ObjectNotFoundError:
            return seen, True
        except StoreAccessError:
            pass
        return seen, False

    result = Deleted()
    parallel = 1 if isinstance(store, HierarchicalStore) else threads
    for seen, gone in in_order(doomed, one, threads=parallel, name="delete"):
        progress.advance(1)
        if gone:
            result.count += 1
            result.nbytes += seen.size
        else:
            result.locked.append(seen.key)
    return result
