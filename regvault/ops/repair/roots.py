"""Roots that are damaged or gone, from a copy of the vault: their bytes are the same there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, PreconditionError, RegvaultError
from regvault.vault.keys import SNAPSHOTS, sequence_of
from regvault.vault.root import RootName, parse_root
from regvault.vault.stub import parse_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regvault.ops.repair.spares import VaultSpare
    from regvault.vault.vault import Vault

__all__ = ["LostRoot", "find_roots", "put_back"]


class LostRoot(NamedTuple):
    """A slot of a chain whose content another vault has.

    Attributes:
        name: the slot.
        data: its two lines, as this vault committed them.
        source: where they were found, for people.
    """

    name: RootName
    data: bytes
    source: str


def find_roots(
    vault: Vault, keys: Iterable[str], spares: Sequence[VaultSpare]
) -> tuple[list[LostRoot], list[str]]:
    """Return what can be put back of some slots, and the keys of those that cannot.

    A root or stub of a copy is taken only where it is of this vault, of this slot, and a neighbour
    in the chain says by its digest that it belongs there.
    """
    found: list[LostRoot] = []
    lost: list[str] = []
    for key in sorted(set(keys)):
        name = _name(key)
        candidates = (_of(vault, name, spare) for spare in spares) if name is not None else ()
        good = next((each for each in candidates if each is not None), None)
        if good is None:
            lost.append(key)
        else:
            found.append(good)
    return found, lost


def _name(key: str) -> RootName | None:
    parts = key.removeprefix(SNAPSHOTS).split("/")
    sequence = sequence_of(key)
    if len(parts) != 2 or sequence is None:
        return None
    name = RootName(parts[0], sequence)
    return name if name.key == key else None


def _of(vault: Vault, name: RootName, spare: VaultSpare) -> LostRoot | None:
    try:
        lines = spare.vault.store.get(name.key).split(b"\n")[:2]
        data = b"%s\n%s\n" % (lines[0], lines[1])
        links = _links(vault, name, data)
    except (RegvaultError, IndexError):
        return None
    if links is None:
        return None
    digest, before = links
    after = _linked(vault, RootName(name.registry, name.sequence + 1))[1]
    if after is not None:
        return LostRoot(name, data, spare.name) if after == digest else None
    if (
        name.sequence == 1
        or before == _linked(vault, RootName(name.registry, name.sequence - 1))[0]
    ):
        return LostRoot(name, data, spare.name)
    return None


def _links(vault: Vault, name: RootName, data: bytes) -> tuple[str, str | None] | None:
    """Return the digests of the root that is, or was, in a slot, and of the one before it."""
    root, stub = parse_slot(data, name, vault.id)
    if root is not None:
        return root.sha256, root.previous
    return None if stub is None else (stub.root, stub.previous)


def _linked(vault: Vault, name: RootName) -> tuple[str | None, str | None]:
    """Return the same of what is in a slot now; None for what cannot be told."""
    with suppress(RegvaultError):
        return _links(vault, name, vault.store.get(name.key)) or (None, None)
    return None, None


def put_back(vault: Vault, lost: LostRoot) -> bool:
    """Put a root into its slot; False where the slot is good, or was filled, meanwhile."""
    store, key = vault.store, lost.name.key
    try:
        entry = store.head(key)
    except ObjectNotFoundError:
        etag = None
    else:
        with suppress(RegvaultError):
            parse_root(store.get(key), lost.name, vault.id)
            return False  # it can be read after all
        etag = entry.etag
    try:
        if etag is None:
            store.put(key, lost.data, if_none_match=True)
        else:
            store.put(key, lost.data, if_match=etag)
    except PreconditionError:
        return False
    return True
