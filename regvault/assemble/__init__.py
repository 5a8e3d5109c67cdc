"""Puts concrete adapters together: the only place that names them.

Everything below works on ports; everything above asks here for a vault, a source or a target.
Adapters are imported when they are asked for, so that a run on disks never loads an S3 client.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regvault.assemble.cold import with_cold_mounts
from regvault.assemble.keys import keys_of
from regvault.assemble.roots import attributes_of, make_root, refuse_inside
from regvault.config.places import endpoint_of, refuse_overlap
from regvault.errors import (
    NotFoundError,
    ObjectNotFoundError,
    RefusedError,
    StoreMissingError,
    UsageError,
)
from regvault.model.location import Kind
from regvault.vault.keys import VAULT_JSON
from regvault.vault.signing import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.config.places import RegistryPlace, S3Settings, VaultPlace
    from regvault.model.location import Location
    from regvault.model.registry import RegistrySource, RegistryTarget
    from regvault.model.store import ObjectStore
    from regvault.storage.s3 import S3Store
    from regvault.vault.create import Sealing
    from regvault.vault.locks import LockPolicy
    from regvault.vault.signing import Keys
    from regvault.vault.vault import Vault

__all__ = [
    "DEFAULT_THREADS",
    "create_vault",
    "open_bucket",
    "open_directory",
    "open_registry_store",
    "open_source",
    "open_source_store",
    "open_target",
    "open_vault",
    "threads_for",
    "vault_store",
]

#: On disks, more than a few threads only wait for each other; on S3 they wait for the network.
DEFAULT_THREADS = {Kind.FS: 4, Kind.FILE: 4, Kind.OCI: 4, Kind.S3: 16}


def threads_for(*places: RegistryPlace | VaultPlace, asked: int | None = None) -> int:
    """Return how many threads work at once: as asked, as configured, or what the places bear."""
    configured = [place.threads for place in places if place.threads is not None]
    return (
        asked
        or (max(configured) if configured else 0)
        or max(DEFAULT_THREADS[place.location.kind] for place in places)
    )


def open_bucket(location: Location, settings: S3Settings, storage_class: str | None) -> S3Store:
    """Return the store of a bucket, or of a prefix in one."""
    from regvault.storage.s3 import S3Store

    return S3Store(
        location.bucket,
        location.prefix,
        endpoint_url=settings.endpoint_url,
        region=settings.region,
        profile=settings.profile,
        addressing_style=settings.addressing_style,
        credentials=settings.credentials(),
        max_connections=64,
        storage_class=storage_class,
    )


def _limited(store: ObjectStore, upload: float | None, download: float | None) -> ObjectStore:
    if upload is None and download is None:
        return store
    from regvault.storage.wrappers import LimitedStore

    return LimitedStore(store, upload=upload, download=download)


def vault_store(
    place: VaultPlace,
    *,
    create: bool = False,
    limit_upload: float | None = None,
    limit_download: float | None = None,
) -> ObjectStore:
    """Return the store of a vault, whatever is in it."""
    store: ObjectStore
    if place.location.kind is Kind.S3:
        store = open_bucket(place.location, place.s3, place.storage_class)
    else:
        from regvault.storage.local import LocalStore

        # Whoever reads the directory reads every image: nobody else, until its owner lets them.
        store = LocalStore(place.location.path, create=create, root_mode=0o700)
    if place.as_of_ns is not None:
        store = _as_of(store, place.as_of_ns)
    upload = place.limit_upload if limit_upload is None else limit_upload
    download = place.limit_download if limit_download is None else limit_download
    return _limited(store, upload, download)


def _as_of(store: ObjectStore, moment_ns: int) -> ObjectStore:
    """Return a store as it was.

    Raises:
        UsageError: it keeps no versions, so nobody knows.
    """
    from regvault.model.store import VersionedStore

    if not isinstance(store, VersionedStore) or not store.versioned():
        raise UsageError(
            f"--vault-at: {store.location} keeps no versions of what is overwritten or deleted",
            hint="Only a bucket with versioning has a past. Is there a copy of the vault?",
        )
    return store.as_of(moment_ns)


def open_vault(
    place: VaultPlace,
    *,
    beside: RegistryPlace | None = None,
    limit_upload: float | None = None,
    limit_download: float | None = None,
) -> Vault:
    """Open a vault that exists, and has snapshots of its own if it has any.

    Args:
        place: where it is.
        beside: the registry that is read or written, which must not overlap with it.
        limit_upload: bytes per second, instead of the configured ones.
        limit_download: likewise.

    Raises:
        NotFoundError: there is none.
        UsageError: the places overlap, or there is a registry at this one.
        VaultDamagedError: `vault.json` is gone, damaged, or that of another vault.
    """
    from regvault.vault.identity import require_own
    from regvault.vault.vault import Vault

    if beside is not None:
        refuse_overlap(place, beside)
    try:
        store = vault_store(place, limit_upload=limit_upload, limit_download=limit_download)
    except StoreMissingError as error:
        error.hint = f"{error.hint}; a new vault is made with: regvault init {place.location.path}"
        raise
    try:
        vault = Vault(store, keys_of(place))
    except NotFoundError:
        if _holds_registry(store):
            raise UsageError(
                f"{place.location} is a registry, not a vault",
                hint="The order is: regvault snapshot REGISTRY --vault VAULT",
            ) from None
        raise
    require_own(vault)
    return vault


def _holds_registry(store: ObjectStore) -> bool:
    return next(iter(store.list_prefixes("docker/registry/")), None) is not None


def create_vault(
    place: VaultPlace,
    keys: Keys = NO_KEYS,
    *,
    lock: LockPolicy | None = None,
    sealing: Sealing | None = None,
) -> str:
    """Make a vault; return its id. Its directory is made, closed to others; a bucket is not.

    Args:
        place: where.
        keys: see `keys_of`. With a key to sign with it is one whose documents are signed.
        lock: how its objects are locked; None: not at all.
        sealing: to whom it is sealed; None: to nobody, everything can be read.

    Raises:
        CredentialError: it is to be sealed, and no identity is given.
        RefusedError: there is one, or the store cannot hold one safely.
        UsageError: there is a registry at this place.
    """
    from regvault.vault import create

    if place.location.kind is Kind.FILE:
        refuse_inside(place.location.path, "a vault")
        if lock is not None:
            raise RefusedError(
                f"{place.location} is a directory, and a file system cannot lock",
                hint="Object Lock is of S3: regvault init s3://BUCKET/PREFIX --lock ...",
            )
    store = vault_store(place, create=True)
    if _holds_registry(store):
        raise UsageError(
            f"there is a registry at {place.location}",
            hint="A vault needs a place of its own, beside the registry.",
        )
    return create.create_vault(store, keys, lock=lock, sealing=sealing)


def open_registry_store(
    place: RegistryPlace,
    *,
    follow: bool,
    owner: tuple[int, int] | None = None,
    modes: tuple[int, int] | None = None,
) -> ObjectStore:
    """Return the storage of a registry, with its cold mounts if it has any.

    Raises:
        SourceError: it is read, and which cold mounts it has cannot be.
        StoreError: likewise, of one that is restored into.
    """
    if place.location.kind is Kind.S3:
        return open_bucket(place.location, place.s3, None)
    from regvault.storage.local import LocalStore

    if follow and not os.path.isdir(place.location.path):
        return _absent(place.location.path)
    mounted = with_cold_mounts(place, follow=follow, owner=owner, modes=modes)
    if mounted is not None:
        return mounted
    return LocalStore(
        place.location.path,
        create=not follow,
        follow_symlinks=follow,
        writable=not follow,
        owner=owner,
        file_mode=modes[0] if modes else None,
        dir_mode=modes[1] if modes else None,
    )


def _absent(path: str) -> ObjectStore:
    """Return an empty store in place of a directory that does not exist.

    What that means is said by who knows whether the vault knows the registry: a mount may be gone.
    """
    from regvault.storage.memory import MemoryStore

    class Absent(MemoryStore):
        location = f"file://{path}"

    return Absent()


def open_source(place: RegistryPlace, *, threads: int) -> RegistrySource:
    """Open a registry to read.

    That it holds a registry is checked by who knows whether the vault knows it.

    Raises:
        UsageError: it is a vault.
    """
    return open_source_store(place, threads=threads)[1]


def open_source_store(place: RegistryPlace, *, threads: int) -> tuple[ObjectStore, RegistrySource]:
    """Return a registry's storage, and the registry that is read from it."""
    from regvault.registry.reader import DistributionSource

    store = open_registry_store(place, follow=True)
    _refuse_vault(store)
    kind = "distribution-s3" if place.location.kind is Kind.S3 else "distribution-fs"
    endpoint = endpoint_of(place.s3) if place.location.kind is Kind.S3 else ""
    return store, DistributionSource(store, kind=kind, endpoint=endpoint, threads=threads)


def _refuse_vault(store: ObjectStore) -> None:
    try:
        store.head(VAULT_JSON)
    except ObjectNotFoundError:
        return
    raise UsageError(
        f"{store.location} is a vault, not a registry",
        hint="The order is: regvault snapshot REGISTRY --vault VAULT",
    )


def open_target(
    place: RegistryPlace,
    *,
    threads: int,
    owner: tuple[int, int] | None = None,
    modes: tuple[int, int] | None = None,
    full_names: bool = True,
    dry_run: bool = False,
) -> tuple[RegistryTarget, Iterable[tuple[str, int]]]:
    """Open storage to restore into; with (digest, size) of the blobs that it has.

    Args:
        place: of a registry, or of an OCI image layout; a directory is made where there is none.
        threads: that list.
        owner: user and group id of what is written; None: those of the root directory.
        modes: of files and directories; None: those of the root directory.
        full_names: an image layout names images `repository:tag`, not `tag`.
        dry_run: nothing will be written, so nothing is made.
    """
    from regvault.registry.oci_layout import OciLayoutTarget
    from regvault.registry.reader import DistributionSource
    from regvault.registry.writer import DistributionTarget

    if place.location.kind is not Kind.S3:
        refuse_inside(place.location.path, "what is restored")
        if dry_run and not os.path.exists(place.location.path):
            from regvault.storage.memory import MemoryStore

            return DistributionTarget(MemoryStore()), ()
        make_root(place.location.path, owner, modes)
        owner, modes = attributes_of(place.location.path, owner, modes)
    store = open_registry_store(place, follow=False, owner=owner, modes=modes)
    _refuse_vault(store)
    if place.location.kind is Kind.OCI:
        if _holds_registry(store):
            raise UsageError(
                f"{place.location} is a registry, not an image layout",
                hint="Give a directory of its own, or fs: for the registry itself.",
            )
        layout = OciLayoutTarget(store, full_names=full_names)
        return layout, layout.existing()
    existing = DistributionSource(store, kind="target", threads=threads).blobs()
    return DistributionTarget(store), existing


def is_absent(place: RegistryPlace) -> bool:
    """Return whether the directory to restore into is not there yet."""
    return place.location.kind is not Kind.S3 and not os.path.lexists(place.location.path)


def open_directory(path: str) -> ObjectStore:
    """Open a directory, made where there is none, as a store: for the sample registry."""
    from regvault.storage.local import LocalStore

    return LocalStore(path, create=True)
