"""A crash at any point: what was committed restores, and the next run converges."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest
from world import World, fill, noise, tree

import regvault.vault.lease as lease_module
from regvault.errors import StoreUnavailableError
from regvault.storage.delegate import Wrapper
from regvault.storage.local import LocalStore
from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore
from regvault.vault.keys import plain_key
from regvault.vault.parties import process_identity


class Volatile(Wrapper):
    """A store that forgets at a power cut what no barrier has made durable.

    `put` is durable when it returns; streams and stages are after a barrier. A key that was new may
    be gone, or it stays with its size and zeros, as a file system may have it that kept the name;
    except for a stage that was written before a barrier, and named after it.
    """

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.before: dict[str, bytes | None] = {}
        self.whole: set[str] = set()
        self.unsynced = False

    def _goes(self, count) -> None:
        self.unsynced = True

    def _run(self, verb, key, call):
        if verb in ("put_stream", "commit", "copy_in"):
            if key not in self.before:
                self.before[key] = tree(self.inner, key).get(key)
            if verb == "commit" and not self.unsynced:
                self.whole.add(key)
            return call()
        result = call()
        if verb == "barrier":
            self.before.clear()
            self.unsynced = False
        elif verb == "put":
            self.before.pop(key, None)
        return result

    def power_cut(self, *, names_stay: bool) -> None:
        for key, before in self.before.items():
            data = before
            if data is None and names_stay:
                there = tree(self.inner, key).get(key)
                if key in self.whole or there is None:
                    continue
                data = bytes(len(there))
            if data is None:
                self.inner.delete(key)
            else:
                self.inner.put_stream(key, io.BytesIO(data), size=len(data))
        self.before.clear()


@pytest.fixture
def dying(monkeypatch):
    """Leases that are taken from now on belong to a process of this host that is no more."""
    real = process_identity()
    dead = {**real, "pid": 2**22 + 1, "started": "1"}

    class Dying:
        def __enter__(self):
            monkeypatch.setattr(lease_module, "process_identity", lambda: dead)

        def __exit__(self, *_):
            monkeypatch.setattr(lease_module, "process_identity", lambda: real)

    return Dying()


def tiny() -> World:
    made = World()
    made.push.image("app", "1", layers=(noise(300, 1), noise(1 << 20, "raw")))
    made.push.image("web", "1", layers=(noise(300, 2),))
    return made


def change(made: World) -> None:
    made.push.image("app", "2", layers=(noise(300, 3), noise(1 << 20, "new")))
    made.remove("web")


def operations(day: int) -> int:
    made = tiny()
    if day:
        made.snapshot()
        change(made)
    faulty = FaultyStore(made.store)
    made.snapshot(store=faulty)
    return faulty.operations


def _is_renamed(key: str) -> bool:
    return plain_key(key) != key


DAYS = [operations(0), operations(1)]
POINTS = [
    (day, n, when)
    for day in (0, 1)
    for n in range(1, DAYS[day] + 1)
    for when in ("before", "after")
]


@pytest.mark.parametrize("power", ["kill", "power cut", "power cut, names stay"])
@pytest.mark.parametrize("day", [0, 1])
def test_a_crash_at_any_write_loses_no_committed_snapshot(day, power, dying):
    """Invariants 1 and 2: every committed snapshot restores, and the next run converges."""
    for _, at, when in (p for p in POINTS if p[0] == day):
        made = tiny()
        days = []
        if day:
            made.snapshot()
            days.append(tree(made.registry))
            change(made)
        volatile = Volatile(made.store)
        faulty = FaultyStore(volatile)
        faulty.crash_at(at, when=when)
        with dying:
            try:
                made.snapshot(store=faulty)
            except CrashError:
                pass
            else:
                assert faulty.operations < at or when == "after"
        if power != "kill":
            volatile.power_cut(names_stay=power != "power cut")
        committed = made.roots()
        assert len(committed) in (day, day + 1)
        if len(committed) > len(days):
            days.append(tree(made.registry))
        where = (at, when)
        for sequence, then in enumerate(days, start=1):
            got = made.restored(sequence)
            assert all(then[k] == v for k, v in got.items()), where
            assert {k for k in then if "/repositories/" in k} <= got.keys(), where
        problems = [p for p in made.verify().report.problems if p.what != "uncatalogued"]
        assert problems == [], where
        # The same command again, at once, without unlocking anything.
        result = made.snapshot()
        assert result.exit_code() == (3 if day else 0), where  # day 1 shrinks: it is held
        got = made.restored(result.root.name.sequence)
        here = tree(made.registry)
        assert all(here[k] == v for k, v in got.items()), where
        assert {k for k in here if "/repositories/" in k} <= got.keys(), where
        made.verified()
        # What a first try stored is not stored beside itself.
        assert list(filter(_is_renamed, made.keys(""))) == [], where


def test_what_a_root_needs_is_durable_though_no_blob_is_new():
    """Invariant 1: without blobs there is no segment, whose barrier would have been enough."""
    made = tiny()
    made.snapshot()
    made.remove("web")
    volatile = Volatile(made.store)
    made.snapshot(store=volatile)
    volatile.power_cut(names_stay=False)
    assert [root.name.sequence for root in made.roots()] == [1, 2]
    links = {key for key in tree(made.registry) if "/repositories/" in key}
    assert links <= made.restored(2).keys()
    made.verified()


def test_a_root_that_was_found_after_a_lost_answer_is_synced_before_it_counts(small):
    """Invariant 2: what can be read back may not be on the disk."""
    faulty = FaultyStore(small.store)
    faulty.plan(StoreUnavailableError("timed out"), when="after", match=lambda k: "snapshots/" in k)
    counting = CountingStore(faulty, record=True)
    small.snapshot(store=counting)
    calls = [call for call in counting.calls if call[0] in {"put", "barrier"}]
    rest = calls[calls.index(("put", "snapshots/prod/00000001.json")) + 1 :]
    assert rest[0] == ("barrier", "")


def test_an_answer_that_got_lost_is_no_second_snapshot(small):
    """Design, commit: own bytes in the slot after an unknown outcome mean success."""
    faulty = FaultyStore(small.store)
    faulty.plan(StoreUnavailableError("timed out"), when="after", match=lambda k: "snapshots/" in k)
    result = small.snapshot(store=faulty)
    assert result.root.name.sequence == 1
    assert [r.name.sequence for r in small.roots()] == [1]
    assert small.restored() == tree(small.registry)


def test_whoever_got_no_answer_fills_his_slot_before_he_lets_go(small):
    """Design, commit: a late PUT must find the slot filled, whoever sent it."""
    faulty = FaultyStore(small.store)
    faulty.plan(
        StoreUnavailableError("timed out"), when="before", match=lambda k: "snapshots/" in k
    )
    with pytest.raises(StoreUnavailableError):
        small.snapshot(store=faulty)
    assert small.vault().slots("prod") == [1]
    assert small.roots() == []  # a void
    result = small.snapshot()
    assert result.root.name.sequence == 2
    assert result.root.previous is None
    small.verified()


def test_without_any_answer_the_lease_stays(small):
    """Design, commit: the lease is kept until the slot is seen filled; then others may end it."""
    faulty = FaultyStore(small.store)
    faulty.plan(StoreUnavailableError("away"), match=lambda k: "snapshots/" in k, times=1000)
    with pytest.raises(StoreUnavailableError):
        small.snapshot(store=faulty)
    import json

    states = [
        json.loads(small.store.get(k).split(b"\n")[0])["state"] for k in small.keys("leases/")
    ]
    assert states == ["live"]


def test_an_interrupted_first_full_goes_on_from_its_segments(monkeypatch, dying):
    """Design, checkpoints: blobs that are stored and catalogued are not read again."""
    from regvault.ops.snapshot import storer

    monkeypatch.setattr(storer, "CHECKPOINT_LINES", 1)
    made = World()
    for number in range(12):
        made.push.image(f"app-{number:02}", "1", layers=(noise(1 << 20, number),))
    # A pack or meta object is full at once, so that its lines can be written.
    monkeypatch.setattr("regvault.vault.pack.META_BYTES", 1)
    faulty = FaultyStore(made.store)
    faulty.plan(CrashError, verbs={"put_stream"}, match=lambda k: k.startswith("blobs/"), at=8)
    with dying, pytest.raises(CrashError):
        made.snapshot(store=faulty, threads=1)
    assert made.keys("catalog/")
    stored = {k.rpartition("/")[2] for k in made.keys("blobs/")}
    counting = CountingStore(made.registry, record=True)
    result = made.snapshot(source=made.source(counting))
    read = {k.split("/")[-2] for verb, k in counting.calls if verb == "open" and "/data" in k}
    again = read & stored
    # At most what was under way since the last checkpoint.
    assert len(again) <= 4, (len(stored), len(again))
    assert result.exit_code() == 0
    assert made.restored() == tree(made.registry)
    made.verified()


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
from world import World
from regvault.storage.local import LocalStore
import regvault.ops.snapshot.commit as commit
made = World(LocalStore({registry!r}), LocalStore({store!r}), cache={cache!r})
where = {where!r}
if where == "blobs":
    import regvault.vault.writer as writer
    real = writer.ObjectWriter.put_raw
    def slow(*args):
        found = real(*args)
        print("here", flush=True)
        time.sleep(60)
        return found
    writer.ObjectWriter.put_raw = slow
else:
    import regvault.vault.lease as lease
    real = lease.Lease.renew
    def slow(self, *, slot=None):
        real(self, slot=slot)
        if slot:
            print("here", flush=True)
            time.sleep(60)
    lease.Lease.renew = slow
made.snapshot()
"""


@pytest.mark.parametrize("where", ["blobs", "slot"])
def test_kill_9_and_the_same_command_again_works_at_once(where, tmp_path):
    """Design, the dead: on the host where it ran, a killed run is seen dead and ended."""
    cache = str(tmp_path / "cache")
    made = World(
        LocalStore(tmp_path / "registry", create=True),
        LocalStore(tmp_path / "store", create=True),
        cache=cache,
    )
    fill(made)
    script = SCRIPT.format(
        here=os.path.dirname(__file__),
        registry=str(tmp_path / "registry"),
        store=str(tmp_path / "store"),
        cache=cache,
        where=where,
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"here\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    started = time.monotonic()
    result = made.snapshot()
    assert time.monotonic() - started < 5
    assert result.exit_code() == 0
    # The slot that the dead run had named is filled by a void, and never a root again.
    assert result.root.name.sequence == (2 if where == "slot" else 1)
    assert [r.name.sequence for r in made.roots()] == [result.root.name.sequence]
    assert result.root.previous is None
    assert made.restored() == tree(made.registry)
    made.verified()


def test_an_error_in_the_middle_leaves_no_lease_behind(small):
    """Design, leases: whoever ends in an orderly way is not waited for."""
    faulty = FaultyStore(small.store)
    faulty.plan(StoreUnavailableError("away"), match=lambda k: k.startswith("packs/"))
    with pytest.raises(StoreUnavailableError):
        small.snapshot(store=faulty)
    assert small.roots() == []
    assert small.snapshot().exit_code() == 0
    small.verified()


def test_a_full_vault_commits_nothing(small):
    """Bad input: a full disk is exit 6, and no half-written root."""
    from regvault.errors import StoreFullError

    small.snapshot()
    before = tree(small.registry)
    small.push.image("app", "big", layers=(noise(2 << 20, "big"),))
    faulty = FaultyStore(small.store)
    faulty.plan(StoreFullError("no space left"), verbs={"put_stream", "commit"}, times=1000)
    with pytest.raises(StoreFullError) as caught:
        small.snapshot(store=faulty)
    assert caught.value.exit_code == 6
    assert small.restored() == before
    assert small.snapshot().exit_code() == 0
    assert small.restored() == tree(small.registry)
    small.verified()
