"""What `check` and `doctor` look at: places with the stores behind them, and what these are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from regvault.assemble import (
    open_bucket,
    open_registry_store,
    open_source,
    open_source_store,
    open_vault,
    threads_for,
)
from regvault.assemble.keys import identities_of, signing_keys
from regvault.config.places import endpoint_of, overlap
from regvault.errors import NotFoundError, StoreError
from regvault.model.doctor import Asked, unasked
from regvault.model.location import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.model.doctor import StoreProbe
    from regvault.model.registry import RegistrySource
    from regvault.model.store import ObjectStore
    from regvault.model.whereabouts import Lock, Whereabouts
    from regvault.ops.check import RegistryAt, VaultAt
    from regvault.ops.doctor import SourceSubject, SpoolSubject, TopicSubject, VaultSubject

__all__ = [
    "registry_to_check",
    "source_subject",
    "spool_subject",
    "topic_subject",
    "vault_subject",
    "vault_to_check",
]


def vault_to_check(place: VaultPlace) -> VaultAt:
    """Return how a vault is looked at for `regvault check`; it is not opened yet."""
    from regvault.ops.check import VaultAt

    return VaultAt(
        name=place.name or str(place.location),
        location=str(place.location),
        open=lambda: open_vault(place),
        whereabouts=_whereabouts,
        lock=_lock,
        declared=place.declared,
    )


def registry_to_check(place: RegistryPlace) -> RegistryAt:
    """Return how a live registry is looked at for `regvault check`; it is not opened yet."""
    from regvault.ops.check import RegistryAt

    on_s3 = place.location.kind is Kind.S3
    return RegistryAt(
        name=place.name or str(place.location),
        permanent=place.name,
        location=str(place.location) if on_s3 else f"file://{place.location.path}",
        endpoint=endpoint_of(place.s3) if on_s3 else "",
        open=lambda: open_source(place, threads=threads_for(place)),
        whereabouts=lambda: _whereabouts(open_registry_store(place, follow=True)),
        declared=place.declared,
    )


def _whereabouts(store: ObjectStore) -> Whereabouts:
    from regvault.storage import delegate, local_facts, s3_facts
    from regvault.storage.local import LocalStore
    from regvault.storage.s3 import S3Store

    store = delegate.unwrap(store)
    if isinstance(store, S3Store):
        return s3_facts.whereabouts(store)
    assert isinstance(store, LocalStore)
    return local_facts.whereabouts(store.root)


def _lock(store: ObjectStore, key: str | None, now: datetime) -> Lock:
    from regvault.model.whereabouts import NOT_LOCKED
    from regvault.storage import delegate, s3_facts
    from regvault.storage.s3 import S3Store

    store = delegate.unwrap(store)
    return s3_facts.object_lock(store, key, now) if isinstance(store, S3Store) else NOT_LOCKED


def vault_subject(place: VaultPlace) -> VaultSubject:
    """Return a place of a vault for doctor, which opens it."""
    from regvault.ops.doctor import VaultSubject
    from regvault.storage.local_probe import look_above

    def opened(writable: bool) -> tuple[ObjectStore, StoreProbe]:
        if place.location.kind is Kind.S3:
            from regvault.storage.s3_probe import BucketProbe

            bucket = open_bucket(place.location, place.s3, place.storage_class)
            return bucket, BucketProbe(bucket)
        from regvault.storage.local import LocalStore
        from regvault.storage.local_probe import DirectoryProbe

        directory = LocalStore(place.location.path, writable=writable)
        return directory, DirectoryProbe(directory)

    return VaultSubject(
        str(place.location),
        opened,
        threads_for(place),
        identities=lambda: identities_of(place),
        signing=lambda: signing_keys(place),
        above=lambda: look_above(place.location.path),
    )


def source_subject(
    place: RegistryPlace, vaults: Sequence[VaultPlace], *, new: bool = False
) -> SourceSubject:
    """Return a registry for doctor, which opens it.

    Args:
        place: of the registry.
        vaults: those that doctor looks at too.
        new: those that are not there are to be made.
    """
    from regvault.ops.doctor import SourceSubject

    def opened() -> tuple[ObjectStore, RegistrySource]:
        if place.location.is_local and not os.path.isdir(place.location.path):
            raise NotFoundError(
                f"{place.location} does not exist",
                hint="Check the path, and that its file system is mounted.",
            )
        return open_source_store(place, threads=threads_for(place))

    return SourceSubject(
        str(place.location),
        opened,
        tuple(str(vault.location) for vault in vaults),
        tuple(str(vault.location) for vault in vaults if overlap(vault, place)),
        tuple((str(vault.location), _shared(vault, place, new=new)) for vault in vaults),
    )


def topic_subject(
    settings: KafkaSettings, topic: str, dead_letters: str | None, vault: VaultPlace | None
) -> TopicSubject:
    """Return a topic of audit events for doctor, which connects.

    Args:
        settings: how the cluster is reached.
        topic: its name.
        dead_letters: name of the topic of what it does not take; None: TOPIC.dead.
        vault: of the archive; None: none is named.
    """
    from regvault.audit.kafka.topics import Topics
    from regvault.ops.doctor import TopicSubject

    return TopicSubject(
        f"{topic} at {','.join(settings.servers)}",
        topic,
        dead_letters or f"{topic}.dead",
        lambda: Topics(settings),
        None if vault is None else lambda: open_vault(vault),
    )


def spool_subject(directory: str, limit: int | None) -> SpoolSubject:
    """Return a spool of audit events for doctor; `limit` is how many bytes it may have."""
    from regvault.ops.doctor import SpoolSubject
    from regvault.storage.local_probe import look_above

    return SpoolSubject(directory, limit, lambda: look_above(directory))


def _shared(vault: VaultPlace, registry: RegistryPlace, *, new: bool) -> Asked[str]:
    """Return what a vault and a registry are lost with together, for people, or ""."""
    if vault.location.is_local != registry.location.is_local:
        return Asked("")
    if not vault.location.is_local:
        same = endpoint_of(vault.s3) == endpoint_of(registry.s3)
        same = same and vault.location.bucket == registry.location.bucket
        return Asked("bucket" if same else "")
    from regvault.storage.local_probe import nearest

    path = vault.location.path
    try:
        devices = {os.stat(nearest(path) if new else path).st_dev}
        devices.add(os.stat(registry.location.path).st_dev)
    except (OSError, StoreError):
        return unasked("the vault or the registry is not there to be looked at")
    return Asked("file system" if len(devices) == 1 else "")
