from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count

import pytest
from vault_build import VAULT

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    PreconditionError,
    RegvaultError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import PRUNE_LOCK, condemned_key, lease_key, new_run_id, root_key
from regvault.vault.lease import Lease, end_dead_writers, living_writers
from regvault.vault.parties import DEAD_AFTER_S, process_identity, seen_dead, void_document
from regvault.vault.prune_lock import wait_for_prune

SLOT = root_key("r", 1)
ELSEWHERE = {"host": "another", "boot": "b", "namespace": "n", "pid": 1, "started": "1"}


EARLIER = (f"{n:024x}" for n in count())


def writer(store, run=None, registry="r"):
    """Return a lease whose run began before any that is asked for now."""
    return Lease(store, VAULT, run or next(EARLIER), role="writer", registry=registry)


def body_of(store, key):
    return json.loads(store.get(key).split(b"\n")[0])


def elsewhere(store, lease):
    """Make a lease look as if another host held it."""
    body = {**body_of(store, lease.key), "holder": ELSEWHERE}
    store.put(lease.key, write_document(body)[0])


def later(store, seconds):
    store.clock_ns += int(seconds * 1e9)


@pytest.fixture
def store():
    return MemoryStore()


def test_a_lease_lives_then_names_its_slot_then_is_released(store):
    with writer(store, "0" * 24) as lease:
        assert body_of(store, lease_key("0" * 24))["state"] == "live"
        lease.renew()
        lease.renew(slot=SLOT)
        body = body_of(store, lease.key)
        assert (body["renewals"], body["slot"]) == (2, SLOT)
        assert body["holder"] == process_identity()
    assert body_of(store, lease.key)["state"] == "released"
    # It came to its end, so the slot was filled: nothing is put there.
    assert [entry.key for entry in store.list("snapshots/")] == []


def test_a_store_that_overwrites_what_it_should_create_only_is_refused():
    class Careless(MemoryStore):
        def put(self, key, data, *, if_none_match=False, if_match=None):
            return super().put(key, data, if_match=if_match)

    with pytest.raises(RegvaultError, match="create only"):
        writer(Careless())


def test_a_lease_that_another_party_ended_cannot_be_renewed_nor_committed_with(store):
    with writer(store) as lease:
        store.put(lease.key, write_document({**body_of(store, lease.key), "state": "ended"})[0])
        for _ in range(2):
            with pytest.raises(LeaseLostError):
                lease.renew(slot=SLOT)
        with pytest.raises(LeaseLostError):
            lease.check()
    assert body_of(store, lease.key)["state"] == "ended"


def test_a_dead_writer_is_ended_and_the_slot_that_it_named_is_filled(store):
    lease = writer(store)
    lease.renew(slot=SLOT)
    elsewhere(store, lease)
    with pytest.raises(LeaseHeldError):
        end_dead_writers(store, VAULT, new_run_id(), registry="r")
    later(store, DEAD_AFTER_S + 1)
    end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert body_of(store, lease.key)["state"] == "ended"
    assert body_of(store, SLOT)["type"] == "void"
    # The sleeper wakes up: neither its commit nor its lease comes through.
    with pytest.raises(PreconditionError):
        store.put(SLOT, b"late root", if_none_match=True)
    with pytest.raises(LeaseLostError):
        lease.renew()
    lease.release()


def test_a_root_that_the_dead_committed_counts(store):
    lease = writer(store)
    lease.renew(slot=SLOT)
    elsewhere(store, lease)
    store.put(SLOT, b"its root", if_none_match=True)
    later(store, DEAD_AFTER_S + 1)
    end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert store.get(SLOT) == b"its root"
    assert body_of(store, lease.key)["state"] == "ended"
    lease.release()


def test_one_that_renews_while_it_is_being_ended_lives(store):
    lease = writer(store)
    elsewhere(store, lease)
    later(store, DEAD_AFTER_S + 1)
    real_put = store.put

    def put(key, data, *, if_none_match=False, if_match=None):
        if key == lease.key and if_match is not None:
            store.put = real_put
            real_put(key, write_document({**body_of(store, key), "renewals": 9})[0])
        return real_put(key, data, if_none_match=if_none_match, if_match=if_match)

    store.put = put
    with pytest.raises(LeaseHeldError):
        end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert body_of(store, lease.key)["state"] == "live"


def test_every_void_is_another(store):
    assert void_document(VAULT, SLOT, "r") != void_document(VAULT, SLOT, "r")


@pytest.mark.parametrize("by", ["another party", "itself"])
def test_a_void_that_a_copier_meant_to_replace_is_another_void_then(store, by):
    """Design, the dead: its late compare-and-swap on the old void fails."""
    store.put(SLOT, void_document(VAULT, SLOT, "0" * 24))
    etag = store.head(SLOT).etag
    lease = writer(store)
    lease.renew(slot=SLOT)
    if by == "itself":  # it came to no end: no answer to its PUT, say
        lease.release(failed=True)
        assert body_of(store, lease.key)["state"] == "released"
    else:
        elsewhere(store, lease)
        later(store, DEAD_AFTER_S + 1)
        end_dead_writers(store, VAULT, new_run_id(), registry="r")
        assert body_of(store, lease.key)["state"] == "ended"
        lease.release()
    with pytest.raises(PreconditionError):
        store.put(SLOT, b"late", if_match=etag)
    assert body_of(store, SLOT)["type"] == "void"
    assert body_of(store, SLOT)["run"] == lease.key[7:-5]


def test_a_hostile_lease_does_not_have_a_void_put_anywhere_else(store):
    for key in ("blobs/sha256/aa/" + "a" * 64, "vault.json", "snapshots/../x/00000001.json"):
        lease = writer(store)
        lease.renew(slot=key)
        elsewhere(store, lease)
        later(store, DEAD_AFTER_S + 1)
        end_dead_writers(store, VAULT, new_run_id(), registry="r")
        assert body_of(store, lease.key)["state"] == "ended"
        assert {e.key.partition("/")[0] for e in store.list()} == {"leases"}


def test_another_registry_a_reader_and_a_released_lease_hold_nobody_up(store):
    writer(store, registry="other")
    Lease(store, VAULT, new_run_id(), role="reader", roots=[{"key": SLOT, "objects": []}])
    writer(store).release()
    end_dead_writers(store, VAULT, new_run_id(), registry="r")


def test_of_two_that_begin_at_once_one_goes_on(store):
    first, second = f"{1:x}" * 24, f"{2:x}" * 24
    writer(store, first)
    writer(store, second)
    end_dead_writers(store, VAULT, first, registry="r")
    with pytest.raises(LeaseHeldError, match=first):
        end_dead_writers(store, VAULT, second, registry="r")


CHILD = """
import sys, time
from regvault.storage.local import LocalStore
from regvault.vault.lease import Lease
lease = Lease(LocalStore(sys.argv[1]), sys.argv[2], "0" * 24, role="writer", registry="r")
lease.renew(slot=sys.argv[3])
print("ready", flush=True)
time.sleep(60)
"""


def test_after_kill_9_on_this_host_the_next_run_works_at_once(tmp_path):
    store = LocalStore(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path, VAULT, SLOT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(LeaseHeldError, match=str(child.pid)):
            end_dead_writers(store, VAULT, new_run_id(), registry="r")
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    started = time.monotonic()
    end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert time.monotonic() - started < 5
    assert body_of(store, lease_key("0" * 24))["state"] == "ended"
    assert body_of(store, SLOT)["type"] == "void"


def test_a_process_id_that_was_given_to_another_process_does_not_look_alive(store):
    lease = writer(store)
    holder = {**process_identity(), "started": "1"}
    store.put(lease.key, write_document({**body_of(store, lease.key), "holder": holder})[0])
    end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert body_of(store, lease.key)["state"] == "ended"


def test_a_failed_run_fills_the_slot_that_it_named_before_it_lets_go(store):
    # Its PUT may still be under way when its time-out was reported.
    lease = writer(store)
    lease.renew(slot=SLOT)
    with suppress(StoreUnavailableError), lease:
        raise StoreUnavailableError("no answer to the PUT")
    assert body_of(store, SLOT)["type"] == "void"
    assert body_of(store, lease.key)["state"] == "released"


def test_a_failed_run_that_cannot_fill_its_slot_keeps_its_lease(store):
    lease = writer(store)
    lease.renew(slot=SLOT)
    real_put = store.put

    def put(key, data, **conditions):
        if key == SLOT:
            raise StoreUnavailableError("away")
        return real_put(key, data, **conditions)

    store.put = put
    lease.release(failed=True)
    assert body_of(store, lease.key)["state"] == "live"


def test_a_failed_run_whose_root_is_there_keeps_it(store):
    lease = writer(store)
    lease.renew(slot=SLOT)
    store.put(SLOT, b"root")
    lease.release(failed=True)
    assert store.get(SLOT) == b"root"
    assert body_of(store, lease.key)["state"] == "released"


# The prune lock


def lock(store, state, holder=ELSEWHERE, slot=None):
    body = {"type": "lock", "format": 1, "features": [], "vault": VAULT, "run": "p", "slot": slot}
    store.put(PRUNE_LOCK, write_document({**body, "state": state, "holder": holder})[0])


def wait(store, seconds=0.0):
    said = []
    wait_for_prune(store, VAULT, wait_s=seconds, say=said.append, poll_s=0.01)
    return said


@pytest.mark.parametrize("state", ["released", "ended"])
def test_a_lock_that_nobody_holds_is_not_waited_for(store, state):
    assert wait(store) == []
    lock(store, state)
    assert wait(store) == []


@pytest.mark.parametrize("state", ["held", "requested"])
def test_a_prune_that_decides_is_waited_for(store, state):
    lock(store, state)
    with pytest.raises(LeaseHeldError):
        wait(store)
    with pytest.raises(LeaseHeldError):
        wait(store, 0.05)
    later(store, 3601)
    if state == "requested":  # an hour is enough
        assert wait(store) == []


def test_a_dead_pruners_lock_is_ended_and_its_slot_is_filled(store):
    slot = condemned_key(1)
    lock(store, "held", slot=slot)
    later(store, DEAD_AFTER_S + 1)
    assert wait(store) == []
    assert body_of(store, PRUNE_LOCK)["state"] == "ended"
    assert body_of(store, slot)["type"] == "void"


def test_a_lock_that_changes_hands_while_it_is_read_is_not_taken_for_the_dead_ones(store):
    dead = {**process_identity(), "started": "1"}
    lock(store, "held", holder=dead)
    real_get = store.get

    def get(key, **options):
        data = real_get(key, **options)
        store.get = real_get
        lock(store, "held")  # another pruner takes it
        return data

    store.get = get
    with pytest.raises(LeaseHeldError):
        wait(store)
    assert body_of(store, PRUNE_LOCK)["state"] == "held"


def test_a_lease_that_cannot_be_read_stops_who_must_be_certain(store):
    """Invariant 5: it may be that of a writer who lives."""
    store.put(lease_key(new_run_id()), b"rubbish")
    assert list(living_writers(store, VAULT)) == []
    with pytest.raises(VaultDamagedError):
        list(living_writers(store, VAULT, certain=True))


def test_whoever_cannot_fill_the_slot_of_the_dead_does_not_end_him(store):
    """Rule 1: `ended` always means that the slot is filled."""
    lease = writer(store)
    lease.renew(slot=SLOT)
    elsewhere(store, lease)
    later(store, DEAD_AFTER_S + 1)
    real_put = store.put

    def put(key, data, **words):
        if key == SLOT:
            raise StoreUnavailableError("away")
        return real_put(key, data, **words)

    store.put = put
    with pytest.raises(StoreUnavailableError):
        end_dead_writers(store, VAULT, new_run_id(), registry="r")
    assert body_of(store, lease.key)["state"] == "live"


@pytest.mark.parametrize("field", ["host", "namespace"])
def test_a_process_of_another_host_or_namespace_is_not_seen_dead(field):
    """Two containers of one host have one boot id, and process ids of their own."""
    dead = {**process_identity(), "pid": 2**22 + 1, "started": "1"}
    assert seen_dead(dead)
    assert not seen_dead({**dead, field: "another"})
