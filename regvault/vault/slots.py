"""Numbered slots, filled one after the other: a LIST that stops early does not hide the last ones.

Roots, condemned lists and amendments lie in slots without gaps. A gap in a LIST shows by itself;
whether the highest number that it shows is the last one, a HEAD of the next slot tells.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.vault.keys import sequence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.store import Entry, ObjectStore
    from regvault.vault.parties import Holding

__all__ = ["fill_next", "filled", "filled_after", "gaps", "holds", "numbers"]

_MAX_SLOTS = 100


def filled_after(store: ObjectStore, key_of: Callable[[int], str], number: int) -> Iterator[Entry]:
    """Yield the slots that are filled after one, by HEAD.

    Args:
        store: the vault's store.
        key_of: number -> key.
        number: the highest that LIST showed; 0 where it showed none.
    """
    for following in count(number + 1):
        try:
            yield store.head(key_of(following))
        except ObjectNotFoundError:
            return


def filled(store: ObjectStore, prefix: str, key_of: Callable[[int], str]) -> Iterator[Entry]:
    """Yield all filled slots: what LIST shows below `prefix`, then those after it that it hides.

    Other keys are passed over.
    """
    last = 0
    for entry in store.list(prefix):
        number = sequence_of(entry.key)
        # `sub/00000001.json` and `000000001.json` are no slots: nobody could read them by number.
        if number is not None and entry.key == key_of(number):
            last = max(last, number)
            yield entry
    yield from filled_after(store, key_of, last)


def numbers(store: ObjectStore, prefix: str, key_of: Callable[[int], str]) -> list[int]:
    """Return the numbers of all filled slots, ascending."""
    found = (sequence_of(entry.key) for entry in filled(store, prefix, key_of))
    return sorted(number for number in found if number is not None)


def gaps(numbers: Iterable[int]) -> Iterator[range]:
    """Yield the runs of numbers, from 1, that are missing among ascending ones.

    Not number by number: one hostile key may be a billion away.
    """
    last = 0
    for number in numbers:
        if number > last + 1:
            yield range(last + 1, number)
        last = number


def holds(store: ObjectStore, key: str, data: bytes) -> bool:
    """Return whether these very bytes are under `key`: what came of a PUT without an answer."""
    try:
        return store.get(key, length=len(data) + 1) == data
    except ObjectNotFoundError:
        return False


def fill_next(
    store: ObjectStore,
    key_of: Callable[[int], str],
    number: int,
    document: Callable[[int], bytes],
    holding: Holding,
    taken: Callable[[int], None],
) -> str:
    """Fill the first slot from `number` on that is free; return its key.

    Args:
        store: the vault's store.
        key_of: number -> key.
        number: the slot after the highest that is filled, as far as is known.
        document: number -> what goes into that slot.
        holding: the lock or lease, which names each slot before the PUT.
        taken: is told the number of a slot that another party filled: with a void for one that was
            declared dead, or with what that one committed after all.

    Raises:
        LeaseLostError: this run was declared dead.
        StoreUnavailableError: it is not known what came of the PUT. (The slot is filled before the
            lock is given back.)
    """
    for each in range(number, number + _MAX_SLOTS):
        key, data = key_of(each), document(each)
        holding.renew(slot=key)
        try:
            store.put(key, data, if_none_match=True)
        except StoreUnavailableError:
            if not holds(store, key, data):
                raise
        except PreconditionError:
            if not holds(store, key, data):
                taken(each)
                continue
        store.barrier()
        return key
    raise VaultDamagedError(f"{_MAX_SLOTS} slots in a row from {key_of(number)} on were filled")
