"""Registries on file systems with cold mounts."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from regvault.assemble.roots import refuse_inside
from regvault.errors import StoreAccessError, UsageError
from regvault.model.location import Kind

if TYPE_CHECKING:
    from regvault.config.places import RegistryPlace
    from regvault.model.location import Location
    from regvault.model.store import ObjectStore
    from regvault.storage.cold_binding import Bound
    from regvault.storage.cold_reap import Reaped
    from regvault.storage.local_cold import ColdStore

__all__ = [
    "ColdMount",
    "bind_cold_mount",
    "cold_classes",
    "cold_mounts",
    "has_cold_mounts",
    "open_cold_store",
    "reap_cold_mounts",
    "unbind_cold_mount",
    "with_cold_mounts",
]


def with_cold_mounts(
    place: RegistryPlace,
    *,
    follow: bool,
    owner: tuple[int, int] | None = None,
    modes: tuple[int, int] | None = None,
) -> ColdStore | None:
    """Return the storage of a registry that has cold mounts; None of one that has none.

    Args:
        place: of the registry.
        follow: it is read, and its blobs can be moved; else it is restored into, and what lies in a
            mount that is away is written anew.
        owner: of what is written.
        modes: of files and directories that are written.

    Raises:
        SourceError: it is read, and which mounts it has cannot be.
        StoreError: likewise, of one that is restored into.
    """
    from regvault.registry.failures import source_errors
    from regvault.storage.cold_binding import bindings_of

    if place.location.kind is not Kind.FS:
        return None
    but = (StoreAccessError,)
    if not follow:
        bound = bindings_of(place.location.path, place.cold)
    else:
        with source_errors(but=but):
            bound = bindings_of(place.location.path, place.cold)
    if not bound:
        return None
    from regvault.registry.layout import BLOBS
    from regvault.storage.local_cold import ColdStore

    return ColdStore(
        place.location.path,
        bound,
        blobs=BLOBS,
        away_is_missing=not follow,
        follow_symlinks=follow,
        writable=not follow,
        owner=owner,
        file_mode=modes[0] if modes else None,
        dir_mode=modes[1] if modes else None,
    )


def has_cold_mounts(store: ObjectStore) -> bool:
    """Return whether a store is that of a registry with cold mounts."""
    from regvault.storage.delegate import unwrap
    from regvault.storage.local_cold import ColdStore

    return isinstance(unwrap(store), ColdStore)


def cold_classes(store: ObjectStore, location: Location) -> set[str] | None:
    """Return the classes of a registry on disks: `hot`, and its cold mounts; None of any other one.

    Raises:
        UsageError: it is on disks, and has no cold mount.
    """
    from regvault.storage.cold_binding import HOT
    from regvault.storage.delegate import unwrap
    from regvault.storage.local_cold import ColdStore

    found = unwrap(store)
    if isinstance(found, ColdStore):
        return {HOT, *found.roots}
    if location.kind is Kind.FS:
        raise UsageError(f"{location} has no cold mount", hint="Give it one: regvault tier mount")
    return None


def reap_cold_mounts(store: ObjectStore) -> Reaped | None:
    """Remove from its cold mounts what a registry has no link to any more.

    Args:
        store: of the registry.

    Returns:
        What became of them; None where it has none.

    Raises:
        StoreError: a mount is away, or cannot be written.
    """
    from regvault.storage.delegate import unwrap
    from regvault.storage.local_cold import ColdStore

    found = unwrap(store)
    return found.reap() if isinstance(found, ColdStore) else None


def open_cold_store(place: RegistryPlace) -> ColdStore:
    """Open a registry on a file system that has cold mounts.

    Raises:
        UsageError: it has none.
        SourceError: which ones it has cannot be read.
        StoreError: it cannot be opened.
    """
    store = with_cold_mounts(place, follow=True)
    if store is None:
        raise UsageError(
            f"{place.location} has no cold mount", hint="Give it one: regvault tier mount"
        )
    return store


def bind_cold_mount(
    place: RegistryPlace, name: str, path: str, seen: str | None = None, *, same_disk: bool = False
) -> Bound:
    """Give a registry on a file system a cold mount; see `regvault.storage.cold_bind.bind`.

    Raises:
        UsageError: it is no registry on a file system, or the directory is inside another one or
            inside a vault.
        RefusedError: the directory cannot be its cold mount.
        StoreError: something cannot be read or written.
    """
    from regvault.registry.layout import BASE
    from regvault.storage.cold_bind import bind

    root = place.location.path
    if place.location.kind is not Kind.FS:
        raise UsageError(f"{place.location} is no registry on a file system")
    if not os.path.isdir(os.path.join(root, BASE)):
        raise UsageError(
            f"{place.location} is no registry: there is no {BASE}/",
            hint="Name the root directory of its storage, the one that holds docker/.",
        )
    path = os.path.abspath(path)
    refuse_inside(path, "a cold mount")
    return bind(root, name, path, seen, same_disk=same_disk)


def unbind_cold_mount(place: RegistryPlace, name: str, *, lost: bool = False) -> Bound:
    """Take a cold mount away from a registry, once nothing lies there.

    Args:
        place: of the registry.
        name: of the mount.
        lost: it is gone for ever: see `regvault.storage.cold_bind.unbind`.

    Raises:
        UsageError: it is no registry on a file system.
        ObjectNotFoundError: it has no such mount.
        RefusedError: blobs lie there.
        StoreError: something cannot be read or written.
    """
    from regvault.storage.cold_bind import unbind

    if place.location.kind is not Kind.FS:
        raise UsageError(f"{place.location} is no registry on a file system")
    if not lost:
        # What was moved back a while ago is not there for anybody any more.
        store = with_cold_mounts(place, follow=True)
        if store is not None:
            with closing(store):
                store.reap(names=(name,))
    return unbind(place.location.path, name, path=place.cold.get(name), lost=lost)


class ColdMount(NamedTuple):
    """A cold mount as it is now.

    Attributes:
        name: of it, and of the storage class.
        path: where it is on this host.
        seen: where the registry sees it.
        problem: why it cannot be read, or "".
        blobs: how many were put there, and are not known to be gone.
        nbytes: of these.
    """

    name: str
    path: str
    seen: str
    problem: str
    blobs: int
    nbytes: int


def cold_mounts(place: RegistryPlace) -> list[ColdMount]:
    """Return the cold mounts of a registry, as they are now.

    Raises:
        SourceError: which ones it has cannot be read.
        StoreError: it cannot be opened, or a journal cannot be read.
    """
    store = with_cold_mounts(place, follow=True)
    if store is None:
        return []
    with closing(store):
        return [
            ColdMount(
                root.name, root.bound.path, root.bound.seen, root.problem(), *store.used(name)
            )
            for name, root in store.roots.items()
        ]
