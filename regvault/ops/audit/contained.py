"""What contains a digest: the manifests of a layer or a config, the indexes of those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import NotFoundError
from regvault.ops.audit.select import Wanted
from regvault.ops.find import find_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.event import Event
    from regvault.vault.vault import Vault

__all__ = ["containers_in_events", "containers_in_snapshots", "with_containers"]


def containers_in_snapshots(vault: Vault, digest: str, cache_base: str | None) -> set[str]:
    """Return the manifests and indexes of all snapshots that name a digest.

    Args:
        vault: where.
        digest: of a blob or a manifest.
        cache_base: directory of the local caches; None keeps nothing.
    """
    try:
        found = find_digest(vault, digest, cache_base=cache_base, all_images=True)
    except NotFoundError:
        return set()
    return {each for _, what in found.occurrences for each in (*what.images, *what.indexes)}


def containers_in_events(
    digests: Iterable[str], find: Callable[[Wanted], Iterator[Event]]
) -> set[str]:
    """Return the manifests whose pushes say that they refer to one of these digests.

    Args:
        digests: of blobs or manifests.
        find: yields events.
    """
    names = set(digests)
    wanted = Wanted(digests=frozenset(names), referring=True)
    return {
        event["digest"]
        for event in find(wanted)
        if event["digest"] and names.intersection(event.get("references") or ())
    }


def with_containers(
    digests: Iterable[str],
    find: Callable[[Wanted], Iterator[Event]],
    vault: Vault | None,
    cache_base: str | None,
) -> frozenset[str]:
    """Return digests, and whatever contains one of them, and so on."""
    found: set[str] = set()
    todo = set(digests)
    while todo:
        found |= todo
        more = containers_in_events(todo, find)
        if vault is not None:
            for digest in todo:
                more |= containers_in_snapshots(vault, digest, cache_base)
        todo = more - found
    return frozenset(found)
