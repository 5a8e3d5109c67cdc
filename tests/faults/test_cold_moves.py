"""A move to or from a cold mount may end anywhere: no blob is ever without its bytes.

Killed at each call of the kernel, before it and after it; with each call failing, once and for
ever; and with the power cut at any moment. After each the registry's `data` is the whole blob or
leads to it, the same move succeeds, and `reap` leaves in the mount what there are links to and
nothing else.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cold_registry import Mounted, move, temporary_files
from disk import SYMLINK, Disk
from figures import tried
from kernel import CHANGES, LOOKS, NAMES, Fault, Kernel
from scene import CHANCE
from test_power import states
from world import noise

from regvault.errors import RegvaultError, StoreError
from regvault.registry.layout import BLOBS
from regvault.storage import cold_reap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = noise(30_000, "a layer")
OTHER = noise(10_000, "another layer")
ONCE, FOR_EVER = 1, 1_000_000


class KilledError(BaseException):
    """The process is no more."""


class Killing(Kernel):
    """Ends a process at a call: no change is made after it, whatever it tries to."""

    def error(self) -> BaseException:
        return KilledError()


class Trial:
    """A registry with a blob that is moved, and one that is cold and stays so."""

    def __init__(self, directory: Path, *, cold: bool) -> None:
        self.directory = directory
        directory.mkdir()
        CHANCE.begin("before")
        self.mounted = Mounted(directory)
        self.key = self.mounted.push(DATA)
        self.other = self.mounted.push(OTHER)
        store = self.mounted.store()
        move(store, self.other, "hdd")
        if cold:
            move(store, self.key, "hdd")
        self.mounted.close()
        self.mounted._open.clear()
        CHANCE.begin("first")

    def run(self, act: Callable[[Any], object]) -> BaseException | None:
        """Do something with a store of its own; return what ended it."""
        try:
            with closing(self.mounted.store()) as store:
                act(store)
        except (KilledError, RegvaultError) as error:
            return error
        return None

    def check(self, where: object) -> None:
        """Everything can be pulled, and what is done next puts everything right."""
        mounted = self.mounted
        assert mounted.hot(self.key).read_bytes() == DATA, where
        assert mounted.hot(self.other).read_bytes() == OTHER, where
        CHANCE.begin("second")
        found: list[cold_reap.Reaped] = []
        assert self.run(lambda s: s.reap(left_for_s=0, orphaned_for_s=0)) is None, where
        linked = [key for key in (self.key, self.other) if mounted.hot(key).is_symlink()]
        assert set(self._files()) == {str(mounted.cold_file(key)) for key in linked}, where
        assert not temporary_files(mounted.root, mounted.cold), where
        for target in ("hdd", "hot", "hdd"):
            assert self.run(lambda s, to=target: move(s, self.key, to)) is None, where
            assert mounted.hot(self.key).read_bytes() == DATA, where
        assert self.run(lambda s: move(s, self.key, "hot")) is None, where
        assert self.run(lambda s: found.append(s.reap(left_for_s=0, orphaned_for_s=0))) is None
        assert (found[0].linked, found[0].waiting, found[0].kept) == (1, 0, 0), where
        assert self._files() == [str(mounted.cold_file(self.other))], where
        assert mounted.hot(self.key).read_bytes() == DATA, where

    def _files(self) -> list[str]:
        blobs = self.mounted.cold / "blobs"
        return [os.path.join(path, n) for path, _, names in os.walk(blobs) for n in names]


def to_cold(trial: Trial) -> Callable[[Any], object]:
    return lambda store: move(store, trial.key, "hdd")


def to_hot(trial: Trial) -> Callable[[Any], object]:
    return lambda store: move(store, trial.key, "hot")


def reaped(trial: Trial) -> Callable[[Any], object]:
    def act(store: Any) -> None:
        move(store, trial.key, "hot")
        store.reap(left_for_s=0)

    return act


VERBS = {"to cold": (to_cold, False), "to hot": (to_hot, True), "to hot and reap": (reaped, True)}


def trials(name: str, tmp_path: Path) -> Iterator[Trial]:
    """Yield fresh registries, as many as are asked for."""
    number = 0
    while True:
        number += 1
        yield Trial(tmp_path / str(number), cold=VERBS[name][1])
        shutil.rmtree(tmp_path / str(number))


def counted(name: str, tmp_path: Path, calls: frozenset[str]) -> int:
    trial = Trial(tmp_path / "counted", cold=VERBS[name][1])
    with Kernel(trial.directory) as kernel:
        assert trial.run(VERBS[name][0](trial)) is None
    return kernel.total(calls)


@pytest.fixture(autouse=True)
def temporary_files_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_reap, "_LEFT_AFTER_S", -10.0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", VERBS)
def test_a_move_that_is_killed_at_any_call(name, done, tmp_path):
    total = counted(name, tmp_path, CHANGES)
    assert total > 10
    fresh = trials(name, tmp_path)
    for at in range(1, total + 1):
        tried("kills of moves to and from a cold mount")
        trial = next(fresh)
        fault = Fault(0, CHANGES - {"close"}, at, 1, done)
        with Killing(trial.directory, fault) as kernel:
            # From then on nothing is changed any more.
            kernel.most = lambda size: size
            ended = trial.run(dead_after(kernel, VERBS[name][0](trial)))
        if not kernel.struck:
            break
        assert isinstance(ended, KilledError) or done, (name, at)
        trial.check((name, at, done))


def dead_after(kernel: Killing, act: Callable[[Any], object]) -> Callable[[Any], object]:
    """Let no change be made after the one at which a process is killed."""
    real = kernel._strikes

    def strikes(name: str) -> bool:
        if kernel.struck and name in CHANGES - {"close"}:
            kernel._fault = kernel._fault._replace(done=False)
            return True
        return real(name)

    kernel._strikes = strikes  # type: ignore[method-assign]
    return act


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [ONCE, FOR_EVER], ids=["once", "for ever"])
@pytest.mark.parametrize("kind", ["no room", "changes", "looks", "answer lost"])
@pytest.mark.parametrize("name", VERBS)
def test_an_error_of_any_call_of_a_move(name, kind, times, tmp_path):
    code, calls, done = {
        "no room": (28, CHANGES - {"unlink"}, False),
        "changes": (5, CHANGES, False),
        "looks": (5, LOOKS, False),
        "answer lost": (5, NAMES, True),
    }[kind]
    total = counted(name, tmp_path, calls)
    fresh = trials(name, tmp_path)
    failed = 0
    for at in range(1, total + 1, 1 if times == ONCE else 5):
        tried("errors of calls of moves to and from a cold mount")
        trial = next(fresh)
        with Kernel(trial.directory, Fault(code, calls, at, times, done)) as kernel:
            ended = trial.run(VERBS[name][0](trial))
        assert kernel.struck, (name, kind, at)
        assert ended is None or isinstance(ended, StoreError), (name, kind, at)
        failed += ended is not None
        trial.check((name, kind, at))
    assert failed, "an error that nobody notices is swallowed"


def put_on_disk(files: dict[str, bytes], directory: Path) -> None:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data.startswith(SYMLINK):
            path.symlink_to(os.fsdecode(data.removeprefix(SYMLINK)))
        else:
            path.write_bytes(data)


@pytest.mark.timeout(1200)
def test_the_power_is_cut_at_any_moment_of_moves(tmp_path):
    root = tmp_path / "disk"
    trial = Trial(root, cold=False)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(root, patch)
        for act in (to_cold(trial), to_hot(trial), to_cold(trial), reaped(trial)):
            assert trial.run(act) is None
    count = 0
    for where, files in states(disk.moments):
        tried("power cuts of moves to and from a cold mount")
        shutil.rmtree(root)
        for path in (trial.mounted.root, trial.mounted.cold):
            path.mkdir(parents=True)
        put_on_disk(files, root)
        trial.check(where)
        count += 1
    assert count > 12


@pytest.mark.timeout(600)
def test_what_a_killed_move_left_in_memory_is_durable_before_its_other_copy_goes(tmp_path):
    root = tmp_path / "disk"
    trial = Trial(root, cold=True)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(root, patch)
        synced = os.fsync

        def killed(fd: int) -> None:
            if os.readlink(f"/proc/self/fd/{fd}") == str(trial.mounted.hot(trial.key).parent):
                raise KilledError
            synced(fd)

        patch.setattr(os, "fsync", killed)
        assert isinstance(trial.run(to_hot(trial)), KilledError)
        patch.setattr(os, "fsync", synced)
        assert trial.run(lambda store: store.reap(left_for_s=0)) is None
    assert not trial.mounted.cold_file(trial.key).exists()
    for where, files in states(disk.moments):
        tried("power cuts of moves to and from a cold mount")
        shutil.rmtree(root)
        for path in (trial.mounted.root, trial.mounted.cold):
            path.mkdir(parents=True)
        put_on_disk(files, root)
        trial.check(where)


WORKER = """
import sys, itertools
from regvault.storage.local_cold import ColdStore
from regvault.storage.cold_binding import bindings_of
store = ColdStore(sys.argv[1], bindings_of(sys.argv[1]), blobs=sys.argv[2])
print("begun", flush=True)
for target in itertools.cycle(("hdd", "hot")):
    for key in sys.argv[3:]:
        store.change_class(key, target, expected=store.placement(key))
    store.reap(left_for_s=0)
"""


@pytest.mark.timeout(300)
def test_a_process_that_moves_is_killed_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.undo()
    mounted = Mounted(tmp_path)
    blobs = {mounted.push(data): data for data in (noise(200_000, "blob", n) for n in range(6))}
    chance = random.Random(7)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, mounted.root, BLOBS, *blobs], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"begun\n"
        ends = time.monotonic() + chance.uniform(0, 0.2)
        while time.monotonic() < ends:
            for key, data in blobs.items():
                assert mounted.hot(key).read_bytes() == data
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        store = mounted.store()
        for key, data in blobs.items():
            assert mounted.hot(key).read_bytes() == data
            assert store.get(key) == data
        store.reap(left_for_s=0)
        for key in blobs:
            move(store, key, "hdd")
        assert store.reap().linked == len(blobs)
        store.close()
    monkeypatch.setattr(cold_reap, "_LEFT_AFTER_S", -10.0)
    store = mounted.store()
    for key in blobs:
        store.journals["hdd"].write("leaving", store.digest(key), 200_000)
    store.reap()
    store.close()
    assert not temporary_files(mounted.root, mounted.cold)
