"""Writing to a vault on trial: what its store must do, tried on keys that mean nothing."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from regvault.errors import PreconditionError, StoreError
from regvault.model.doctor import Asked, Trials, ask, unasked
from regvault.vault.create import parallel_creates
from regvault.vault.keys import probe_key

if TYPE_CHECKING:
    from regvault.model.doctor import StoreProbe
    from regvault.model.store import ObjectStore

__all__ = ["WRITERS", "nothing_written", "try_store"]

WRITERS = 32
_NO_LIST = "keys cannot be listed"
_SIZE = 1024


def try_store(store: ObjectStore, probe: StoreProbe, *, lists: bool) -> Trials:
    """Write, read, list, overwrite and delete probes; delete all of them that may be deleted.

    Args:
        store: of a vault, or of a place for one.
        probe: of the same.
        lists: keys can be listed.
    """
    keys: list[str] = []

    def key() -> str:
        keys.append(probe_key())
        return keys[-1]

    first = key()
    data = secrets.token_bytes(_SIZE)
    created = ask(lambda: store.put(first, data, if_none_match=True).etag)
    if created.value is None:
        return nothing_written(Asked(None, *created[1:]))
    found = Trials(
        written=Asked(True),
        read_back=ask(lambda: store.get(first) == data),
        listed=ask(lambda: _keys(store, first) == [first]) if lists else unasked(_NO_LIST),
        ranged=ask(lambda: store.get(first, start=100, length=17) == data[100:117]),
        swapped=ask(lambda: _swaps(store, first, str(created.value))),
        winners=ask(lambda: parallel_creates(store, key(), WRITERS)),
        writers=WRITERS,
        durable=ask(lambda: _barrier(store)),
        bucket=probe.try_writes(key),
        deleted=ask(lambda: _delete(store, keys, lists=lists)),
    )
    if found.deleted.value:
        probe.sweep(keys)
    return found


def nothing_written(written: Asked[bool]) -> Trials:
    """Return what there is to say where nothing was written, for the reason that is given."""
    why = "nothing can be written" if written.tried else written.why
    return Trials(
        written=written,
        read_back=unasked(why),
        listed=unasked(why),
        ranged=unasked(why),
        swapped=unasked(why),
        winners=unasked(why),
        writers=WRITERS,
        durable=unasked(why),
        deleted=unasked(why),
    )


def _swaps(store: ObjectStore, key: str, etag: str) -> bool:
    """Overwrite by compare-and-swap: it must succeed once, and fail with the etag of before."""
    current = store.put(key, secrets.token_bytes(_SIZE), if_match=etag).etag
    try:
        store.put(key, secrets.token_bytes(_SIZE), if_match=etag)
    except PreconditionError:
        return current != etag and store.head(key).etag == current
    return False


def _barrier(store: ObjectStore) -> float:
    began = time.perf_counter()
    store.barrier()
    return time.perf_counter() - began


def _keys(store: ObjectStore, prefix: str) -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def _delete(store: ObjectStore, keys: list[str], *, lists: bool) -> bool:
    """Delete every probe; return whether they are gone, as far as that can be seen.

    Raises:
        StoreError: one of them could not be deleted; the others were tried all the same.
    """
    failed: StoreError | None = None
    for key in keys:
        try:
            store.delete(key)
        except StoreError as error:
            failed = error
    if failed is not None:
        raise failed
    return not (lists and any(_keys(store, key) for key in keys))
