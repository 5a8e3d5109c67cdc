"""Makes a vault where there is none: `vault.json`, its key records, its locks."""

from __future__ import annotations

import contextlib
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    PreconditionError,
    RefusedError,
    StoreAccessError,
    StoreError,
    UsageError,
)
from regvault.model.store import LockingStore
from regvault.vault.envelope import to_time
from regvault.vault.identity import vault_document
from regvault.vault.keyring import copy_key_records, new_naming_key, write_key_record
from regvault.vault.keys import (
    CATALOG,
    CONDEMNED,
    KEY_RECORDS,
    LEASES,
    LOCKS,
    OBJECT_PREFIXES,
    PROBES,
    RECORDS,
    SNAPSHOTS,
    VAULT_JSON,
    new_run_id,
    probe_key,
)
from regvault.vault.locks import LockPolicy, Locks, lock_vault, require_same_lock
from regvault.vault.signing import NO_KEYS, Keys, VaultId
from regvault.vault.vault import LOST_VAULT_JSON, Vault

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore

__all__ = [
    "Sealing",
    "create_vault",
    "parallel_creates",
    "probe_conditional_writes",
    "require_locks",
]

#: Where objects of a vault lie, besides `vault.json`.
_OF_A_VAULT = (*OBJECT_PREFIXES, SNAPSHOTS, CATALOG, LEASES, CONDEMNED, RECORDS, LOCKS)


class Sealing(NamedTuple):
    """To whom a vault that is made is sealed.

    Attributes:
        recipients: age recipients who can open everything; at least one.
        copy_of: another vault, whose key records are taken over: it can be copied to this one.
    """

    recipients: tuple[str, ...] = ()
    copy_of: Vault | None = None


def create_vault(
    store: ObjectStore,
    keys: Keys = NO_KEYS,
    *,
    lock: LockPolicy | None = None,
    sealing: Sealing | None = None,
) -> str:
    """Make a vault where there is none; return its id.

    With `sealing` it is a sealed one for ever: the first of the identities is its writer's.

    With a key to sign with, it is a signed one for ever: see `VaultId.signed`. With `lock` a vault
    that is there, and not locked, is locked from now on: so an `init` that was cut short is
    finished by the same command again.

    Raises:
        RefusedError: something else is there, or the store lacks atomic conditional writes, or
            cannot lock.
    """
    _refuse_what_is_there(store)
    if lock is not None:
        require_locks(store)
    if not probe_conditional_writes(store):
        raise RefusedError(
            f"{store.location} does not keep create-only writes apart: of 32 at once, not exactly"
            " one succeeded",
            hint="Use a store with atomic conditional writes (If-None-Match), such as AWS S3, "
            "MinIO or a local disk.",
        )
    identity = secrets.token_hex(16)
    owner, sealing_key = VaultId(identity, keys), None
    if lock is not None:
        Locks(store, identity, lock)
    if sealing is not None:
        # Without its keys no vault is whole: they come first.
        sealing_key = _write_keys(store, owner, keys, sealing)
    data = vault_document(owner, to_time(time.time_ns()), sealing_key)
    try:
        store.put(VAULT_JSON, data, if_none_match=True)
    except PreconditionError:
        identity = _without_a_lock(store, keys, lock)
    if lock is not None:
        lock_vault(store, identity, lock)
    store.barrier()
    return identity


def _without_a_lock(store: ObjectStore, keys: Keys, lock: LockPolicy | None) -> str:
    """Return the id of a vault that is there, and that is to be locked from now on.

    Raises:
        RefusedError: it is not to be locked, or is locked already.
    """
    said = ""
    if lock is not None:
        there = Vault(store, keys)
        if there.locks.policy is None:
            return there.id
        require_same_lock(store.location, there.locks.policy, lock)
        said = ", locked as asked for"
    raise RefusedError(
        f"there is a vault at {store.location} already{said}",
        hint="Use it as it is: regvault snapshot SOURCE --vault VAULT",
    )


def _write_keys(store: ObjectStore, vault: str, keys: Keys, sealing: Sealing) -> str:
    """Write the first key record of a vault, or those of another one; return the key's id."""
    if sealing.copy_of is not None:
        copy_key_records(sealing.copy_of.store, sealing.copy_of.id, store)
        return sealing.copy_of.sealing_key or ""
    if not keys.identities:
        raise UsageError(
            "a sealed vault needs the identity of the host that takes snapshots",
            hint="Make one with: regvault key generate --identity FILE; then: regvault init VAULT "
            "--recipient age1... --identity file:FILE",
        )
    record = write_key_record(
        store,
        vault,
        new_run_id(),
        naming_key=new_naming_key(),
        recipients=sealing.recipients,
        writer=keys.identities[0].public,
        generation=1,
    )
    return record.key


def require_locks(store: ObjectStore) -> None:
    """Refuse a store that cannot lock.

    Raises:
        RefusedError: it cannot.
    """
    able = False
    if isinstance(store, LockingStore):
        # Who may not look finds out when the first object is written.
        with contextlib.suppress(StoreAccessError):
            able = True
            able = store.locks()
    if not able:
        raise RefusedError(
            f"{store.location} cannot lock objects",
            hint="Object Lock is a property of a bucket, enabled when it is made, or later with "
            "its versioning: aws s3api create-bucket --object-lock-enabled-for-bucket ... "
            "(docs/immutability.md). Nothing was made.",
        )


def _refuse_what_is_there(store: ObjectStore) -> None:
    """Refuse a place that is not empty, but for what an `init` that was killed may have left.

    Raises:
        RefusedError: a vault, what is left of one, or something else.
    """
    keys = (entry.key for entry in store.list() if not entry.key.startswith((PROBES, KEY_RECORDS)))
    first = next(keys, None)
    if first is None or first == VAULT_JSON:
        return  # whether a vault is there shows the create-only write
    if first.startswith(_OF_A_VAULT):
        if next(iter(store.list(VAULT_JSON)), None) is not None:
            return
        raise RefusedError(
            f"there are objects of a vault at {store.location}, but no {VAULT_JSON}",
            hint=LOST_VAULT_JSON,
        )
    raise RefusedError(
        f"there is something else at {store.location}: {first}",
        hint="Give a vault a directory or a prefix of its own.",
    )


def probe_conditional_writes(store: ObjectStore, writers: int = 32) -> bool:
    """Return whether of many create-only writes of one key at once exactly one succeeds."""
    key = probe_key()
    winners = parallel_creates(store, key, writers)
    with contextlib.suppress(StoreError):  # a writer's role may lack the right to delete
        store.delete(key)
    return winners == 1


def parallel_creates(store: ObjectStore, key: str, writers: int) -> int:
    """Return how many of so many create-only writes of `key` at once succeed."""

    def create(number: int) -> bool:
        try:
            store.put(key, b"probe %d" % number, if_none_match=True)
        except PreconditionError:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(create, range(writers)))
