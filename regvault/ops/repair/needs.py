"""What snapshots need, and whether all of it is known: only then may anything be given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import CredentialError, VaultDamagedError
from regvault.model.state import checked_line
from regvault.ops.snapshot.session import parse_entry
from regvault.vault.keys import root_key
from regvault.vault.slots import gaps
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Needed", "read_roots", "what_is_needed"]


class Needed(NamedTuple):
    """What snapshots need of some blobs.

    Attributes:
        digests: those of the names that a state needs -> their digests.
        unknown: what could not be read or opened, in words, so that more may be needed; () where
            all is known.
    """

    digests: dict[str, str]
    unknown: tuple[str, ...] = ()


def what_is_needed(vault: Vault, roots: Iterable[Root], names: Collection[str]) -> Needed:
    """Return which of some blobs the states of snapshots need.

    Args:
        vault: where.
        roots: of all snapshots.
        names: of the blobs: their digests; in a sealed vault, keyed.
    """
    found: dict[str, str] = {}
    unread: dict[str, str] = {}
    for digest in _blobs(vault, roots, unread):
        name = vault.seal.name(digest)
        if name in names:
            found[name] = digest
    return Needed(found, tuple(unread.values()))


def _blobs(vault: Vault, roots: Iterable[Root], unread: dict[str, str]) -> Iterator[str]:
    """Yield what states need; note what cannot be read in `unread`, by root or state."""
    states: set[str] = set()
    for root in roots:
        if not root.opened:
            unread[root.name.key] = f"no identity that was given opens the root of {root.name}"
            continue
        try:
            objects = vault.object_list(root)
            for line in vault.tree("repositories", root.repositories, objects).lines():
                state = parse_entry(line).state
                if state not in states:
                    yield from _of_state(vault, state, objects, states, unread)
        except (VaultDamagedError, CredentialError) as error:
            unread[root.name.key] = f"{root.name}: {error.message}"


def _of_state(
    vault: Vault, state: str, objects: ObjectList, states: set[str], unread: dict[str, str]
) -> Iterator[str]:
    """Yield what one state needs; another snapshot may have it where this one has lost it."""
    try:
        for raw in vault.tree("state", ChunkRef(state), objects).lines():
            parsed = checked_line(raw)
            if parsed.size is not None:
                yield parsed.name
    except (VaultDamagedError, CredentialError) as error:
        unread[state] = error.message
    else:
        states.add(state)
        unread.pop(state, None)


def read_roots(vault: Vault) -> tuple[list[Root], list[str]]:
    """Return the roots of all chains that can be read, and in words which cannot, or are gone."""
    unread: list[str] = []

    def told(error: VaultDamagedError) -> None:
        unread.append(error.message)

    roots: list[Root] = []
    for registry in vault.registries():
        empty = gaps(vault.slots(registry))
        unread += [f"{root_key(registry, each[0])} is gone" for each in empty]
        roots += vault.roots(registry, damaged=told)
    return roots, unread
