"""Numbered slots, filled one after the other: a LIST that stops early does not hide the last ones.

Roots, condemned lists and amendments lie in slots without gaps. A gap in a LIST shows by itself;
whether the highest number that it shows is the last one, a HEAD of the next slot tells.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.store import Entry, ObjectStore

__all__ = ["filled_after"]


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
