"""Archived events stay locked, also where nothing takes snapshots."""

from __future__ import annotations

import time

import pytest
from events import archive, new_vault, spooled

from regvault.model.progress import NO_PROGRESS
from regvault.ops.audit.forgetting import forget_events, plan_forgetting
from regvault.ops.audit.verify import verify_audit
from regvault.ops.locking import extend_locks
from regvault.storage.memory_versions import VersionedMemoryStore
from regvault.vault.create import create_vault
from regvault.vault.keys import is_locked_kind
from regvault.vault.locks import LockPolicy
from regvault.vault.vault import Vault

DAY = 86_400 * 10**9
POLICY = LockPolicy("governance", 30 * 86_400)


@pytest.fixture
def vault():
    store = VersionedMemoryStore("vault", clock_ns=time.time_ns())
    create_vault(store, lock=POLICY)
    return Vault(store)


def extended(vault):
    return extend_locks(Vault(vault.store), progress=NO_PROGRESS, threads=1)


def test_no_lock_of_an_archive_lapses_where_there_are_no_snapshots(vault, tmp_path):
    store = vault.store
    for number in range(120):
        archive(spooled(tmp_path / "spool", number), vault)
        if number % 3 == 0:  # as `audit archive` does once a day
            extended(vault)
        store.clock_ns += DAY
        for entry in store.list():
            locked = store.retention(entry.key)
            if is_locked_kind(entry.key):
                assert locked.until_ns > store.clock_ns, (number, entry.key)
            else:
                assert locked is None, entry.key
    assert extended(vault).looked == 0


def test_what_was_forgotten_is_not_locked_anew(vault, tmp_path):
    archive(spooled(tmp_path / "spool", 1), vault)
    archive(spooled(tmp_path / "spool", 2), vault)
    vault.store.clock_ns += 40 * DAY
    forget_events(
        vault, plan_forgetting(vault, 31 * 86_400, progress=NO_PROGRESS), progress=NO_PROGRESS
    )
    found = extended(vault)
    assert found.extended
    assert not found.gone
    assert not verify_audit(vault, progress=NO_PROGRESS).problems


def test_without_locks_nothing_is_asked():
    assert extended(new_vault()) is None
