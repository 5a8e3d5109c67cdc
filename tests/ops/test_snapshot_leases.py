"""Who may write: leases, slots, the prune lock."""

from __future__ import annotations

import json
import threading
import time

import pytest
from world import Before, World, noise, tree

import regvault.ops.writing as writing_module
import regvault.vault.prune_lock as prune_lock_module
from regvault.errors import LeaseHeldError, LeaseLostError, TemporaryError
from regvault.storage.delegate import Wrapper
from regvault.vault.condemned import condemned_document
from regvault.vault.envelope import write_document
from regvault.vault.keys import PRUNE_LOCK, condemned_key, new_run_id
from regvault.vault.lease import Lease
from regvault.vault.parties import process_identity, void_document


def body_of(made: World, key: str) -> dict:
    return json.loads(made.store.get(key).split(b"\n")[0])


def write_lock(made: World, state: str, **more) -> None:
    body = {
        "type": "lock",
        "format": 1,
        "features": [],
        "vault": made.vault().id,
        "run": new_run_id(),
        "state": state,
        "slot": None,
        "holder": process_identity(),
    }
    made.store.put(PRUNE_LOCK, write_document({**body, **more})[0])


def test_a_second_snapshot_of_one_registry_is_turned_away(small):
    """Design, the others: exit 11, and nothing of the first is disturbed."""
    first = f"{1:024x}"  # of two that begin in one millisecond the lower id goes on
    with Lease(small.store, small.vault().id, first, role="writer", registry="prod"):
        with pytest.raises(LeaseHeldError) as caught:
            small.snapshot()
        assert caught.value.exit_code == 11
        assert "unlock" not in (caught.value.hint or "")
        # Another registry, or a reader, is nobody's business.
        other = World(small.registry, small.store, name="other")
        assert other.snapshot().exit_code() == 0
    assert small.snapshot().exit_code() == 0


def test_two_that_start_at_once_make_one_chain(small):
    """Invariant 2: of two at once at most one goes on, and no root is lost."""
    results = []

    def run() -> None:
        try:
            results.append(small.snapshot().root.name.sequence)
        except LeaseHeldError:
            results.append(None)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = sorted(r for r in results if r)
    assert done
    assert done == [r.name.sequence for r in small.roots()]
    small.verified()


def test_a_lease_that_another_ended_never_publishes(small):
    """Rule 1: whoever was declared dead commits nothing, however late."""

    def declare_dead() -> None:
        (key,) = small.keys("leases/")
        body = body_of(small, key)
        small.store.put(key, write_document({**body, "state": "ended"})[0])

    with pytest.raises(LeaseLostError) as caught:
        small.snapshot(store=Before(small.store, "list", "snapshots/", declare_dead))
    assert caught.value.exit_code == 5
    assert small.roots() == []
    assert small.snapshot().exit_code() == 0


def test_a_sleeper_whose_slot_was_filled_never_publishes(small):
    """Rule 1, design, the dead: a void in the slot, then the lease ended; his PUT fails."""

    def declare_dead() -> None:
        (key,) = small.keys("leases/")
        body = body_of(small, key)
        assert body["slot"] == "snapshots/prod/00000001.json"
        void = void_document(small.vault().id, body["slot"], body["run"])
        small.store.put(body["slot"], void, if_none_match=True)
        small.store.put(key, write_document({**body, "state": "ended"})[0])

    with pytest.raises(LeaseLostError):
        small.snapshot(store=Before(small.store, "put", "snapshots/", declare_dead))
    assert small.vault().slots("prod") == [1]
    assert small.roots() == []
    result = small.snapshot()
    assert (result.root.name.sequence, result.root.previous) == (2, None)
    small.verified()


def test_a_slot_that_someone_else_filled_is_left_to_him(small):
    """Design, commit: on 412 the next slot, and `previous` names the root that was found."""
    small.snapshot()
    small.push.image("app", "mine", layers=(noise(100, "mine"),))

    small.cache = None
    current = {}

    def other_host() -> None:
        # It believes this run dead, and commits into the slot that this one meant.
        mine = current["lease"]
        (key,) = [k for k in small.keys("leases/") if body_of(small, k)["state"] == "live"]
        held = small.store.get(key)
        small.store.delete(key)
        small.snapshot()
        small.store.put(key, held)
        mine._etag = small.store.head(key).etag

    real = Lease.renew

    def renew(self, *, slot=None):
        current["lease"] = self
        return real(self, slot=slot)

    Lease.renew = renew
    try:
        result = small.snapshot(store=Before(small.store, "put", "snapshots/prod/", other_host))
    finally:
        Lease.renew = real
    first, second, third = small.roots()
    assert result.root.name == third.name
    assert [second.previous, third.previous] == [first.sha256, second.sha256]
    assert small.restored() == tree(small.registry)
    small.verified()


def test_a_narrowed_run_does_not_publish_over_a_newer_root(small):
    """Design, commit: who inherits from an older root than he found must start again."""
    small.snapshot()
    small.push.image("app", "mine", layers=(noise(100, "mine"),))
    small.cache = None
    current = {}
    real = Lease.renew

    def other_host() -> None:
        mine = current["lease"]
        (key,) = [k for k in small.keys("leases/") if body_of(small, k)["state"] == "live"]
        held = small.store.get(key)
        small.store.delete(key)
        small.snapshot()
        small.store.put(key, held)
        mine._etag = small.store.head(key).etag

    def renew(self, *, slot=None):
        current["lease"] = self
        return real(self, slot=slot)

    Lease.renew = renew
    try:
        with pytest.raises(TemporaryError):
            small.snapshot(
                store=Before(small.store, "put", "snapshots/prod/", other_host), globs=("app",)
            )
    finally:
        Lease.renew = real
    assert [r.name.sequence for r in small.roots()] == [1, 2]
    assert small.snapshot(globs=("app",)).exit_code() == 0


@pytest.mark.parametrize("state", ["held", "requested"])
def test_a_prune_that_decides_is_waited_for(small, state, monkeypatch):
    """Design, condemn: a writer looks at the prune lock, and waits while it is held."""
    write_lock(small, state)
    monkeypatch.setattr(writing_module, "PRUNE_WAIT_S", 0.2)
    with pytest.raises(LeaseHeldError) as caught:
        small.snapshot()
    assert caught.value.exit_code == 11
    # Nothing was decided on before the lock was given back.
    assert not small.keys("packs/")
    monkeypatch.setattr(prune_lock_module, "PRUNE_REQUEST_S", 3600)
    threading.Timer(0.3, lambda: write_lock(small, "released")).start()
    started = time.monotonic()
    assert small.snapshot(wait_s=20).exit_code() == 0
    assert 0.2 < time.monotonic() - started < 10


def test_a_dead_pruner_is_ended_with_a_void_in_his_slot(small):
    """Design, the dead: `ended` always means that the slot is filled."""
    dead = {**process_identity(), "pid": 2**22 + 1, "started": "1"}
    write_lock(small, "held", holder=dead, slot="condemned/00000001.zst")
    assert small.snapshot().exit_code() == 0
    assert body_of(small, PRUNE_LOCK)["state"] == "ended"
    assert body_of(small, "condemned/00000001.zst")["type"] == "void"
    small.verified()


def test_a_writer_elsewhere_is_dead_after_15_minutes_only(small):
    """Design, the dead: by the store's own times, since no clock is to be trusted."""
    lease = Lease(small.store, small.vault().id, new_run_id(), role="writer", registry="prod")
    lease._stop.set()
    body = body_of(small, lease.key)
    body["holder"] = {**body["holder"], "host": "elsewhere"}
    body["slot"] = "snapshots/prod/00000001.json"
    small.store.put(lease.key, write_document(body)[0])
    small.store.clock_ns += 14 * 60 * 10**9
    with pytest.raises(LeaseHeldError):
        small.snapshot()
    small.store.clock_ns += 2 * 60 * 10**9
    result = small.snapshot()
    assert result.root.name.sequence == 2
    assert body_of(small, lease.key)["state"] == "ended"
    assert body_of(small, "snapshots/prod/00000001.json")["type"] == "void"
    with pytest.raises(LeaseLostError):
        lease.renew()


def test_a_writer_on_this_host_does_not_age_by_a_clock_that_is_set(small, monkeypatch):
    """On a disk the store's time is this host's; what counts is how long it really runs."""
    lease = Lease(small.store, small.vault().id, new_run_id(), role="writer", registry="prod")
    lease._stop.set()
    time.sleep(0.002)  # of two of one millisecond either may go on
    small.store.clock_ns += 25 * 3600 * 10**9
    with pytest.raises(LeaseHeldError):
        small.snapshot()
    now = body_of(small, lease.key)["uptime"]
    monkeypatch.setattr("regvault.vault.parties.uptime", lambda: now + 16 * 60)
    small.snapshot()
    assert body_of(small, lease.key)["state"] == "ended"


def test_the_lease_is_renewed_while_the_work_takes_long(small):
    """Design, lease: a living writer is never taken for dead."""
    from regvault.ops.snapshot import SnapshotOptions, snapshot

    seen = []

    class Slow(Wrapper):
        def _run(self, verb, key, call):
            if verb == "list" and key.startswith("condemned/"):
                time.sleep(0.3)
                seen.append(body_of(small, small.keys("leases/")[0])["renewals"])
            return call()

    snapshot(
        small.vault().__class__(Slow(small.store)),
        small.source(),
        SnapshotOptions(registry="prod"),
        progress=small.progress,
        cache_base=None,
        renew_every_s=0.05,
    )
    assert seen[0] >= 2
    (key,) = small.keys("leases/")
    assert body_of(small, key)["state"] == "released"


def test_a_store_that_overwrites_what_it_should_only_create_is_refused(small):
    """Design, lease: without create-only writes two runs would share a slot."""
    from regvault.errors import RegvaultError

    class Careless(Wrapper):
        def put(self, key, data, *, if_none_match=False, if_match=None):
            return self.inner.put(key, data, if_match=if_match)

    with pytest.raises(RegvaultError, match="create only"):
        small.snapshot(store=Careless(small.store))
    assert small.roots() == []


def test_a_prune_that_did_not_see_this_run_stops_it(small):
    """Invariant 4: what this run has reused may be condemned by now."""

    def condemn() -> None:
        data = condemned_document(small.vault().id, 1, new_run_id(), [])
        small.store.put(condemned_key(1), data)

    with pytest.raises(TemporaryError, match="did not see"):
        small.snapshot(store=Before(small.store, "list", "meta/", condemn))
    assert small.roots() == []


def test_a_lock_that_was_taken_just_before_the_lease_is_seen(small, monkeypatch):
    """Rule 3: a writer writes its lease, then looks at the lock; a pruner does it the other way."""
    monkeypatch.setattr(writing_module, "PRUNE_WAIT_S", 0)
    with pytest.raises(LeaseHeldError):
        small.snapshot(
            store=Before(small.store, "put", "leases/", lambda: write_lock(small, "held"))
        )
    assert small.roots() == []
