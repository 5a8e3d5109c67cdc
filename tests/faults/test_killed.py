"""A real process is killed with SIGKILL at any moment, many times, on a vault on a disk.

After each kill the same command works at once, nothing is wrong with the vault, and every snapshot
that was committed restores byte for byte. (On S3: `tests/services/test_killed.py`.)
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from world import World, noise, tree

from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = int(os.environ.get("SEED", "20261127"))
#: So many kills for each verb.
KILLS = int(os.environ.get("KILLS", "4"))


class Host:
    """A registry, a vault, a copy of it, and a cache, as one user has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = LocalStore(str(root / "registry"), create=True)
        self.pushed = 0
        self.held: dict[int, dict[str, bytes]] = {}
        for name in ("vault", "copy"):
            self.run("init", root / name)

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "REGVAULT_CACHE": str(self.root / "cache"),
            "HOME": str(self.root),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "regvault", *map(str, words)],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: object) -> float:
        """Run a command that must succeed; return how long it took."""
        began = time.monotonic()
        process = self.start(*words)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, (words, said.decode())
        return time.monotonic() - began

    def push(self) -> None:
        """Push an image of its own, and remove the one of before."""
        world = World(self.registry, self._opened("vault"))
        self.pushed += 1
        layers = tuple(noise(40_000, self.pushed, each) for each in range(6))
        raw = noise((1 << 20) + self.pushed, "raw", self.pushed)
        world.push.image("app", f"v{self.pushed}", "latest", layers=(*layers, raw))
        if self.pushed > 1:
            world.remove("gone")
        world.push.image("gone", "1", layers=(noise(50_000, "gone", self.pushed),))

    def _opened(self, name: str) -> LocalStore:
        return LocalStore(str(self.root / name))

    def check(self, name: str, where: object) -> None:
        """Nothing is wrong with a vault, and each of its snapshots restores."""
        world = World(self.registry, self._opened(name), name="registry")
        world.verified()
        for root in world.roots():
            sequence = root.name.sequence
            then = self.held.setdefault(sequence, world.restored(sequence))
            assert world.restored(sequence) == then, (where, sequence)
        world.store.close()

    def snapshot(self) -> tuple[object, ...]:
        source = f"fs:{self.root / 'registry'}"
        return ("snapshot", source, "--vault", self.root / "vault", "--registry", "registry")

    def age(self) -> None:
        """Let two days pass over what the vault holds: what is young is not pruned."""
        before = time.time() - 2 * 86_400
        for path in (self.root / "vault").rglob("*"):
            os.utime(path, (before, before))


def snapshot(host: Host) -> list[tuple[object, ...]]:
    host.push()
    return [host.snapshot()]


def snapshot_again(host: Host) -> list[tuple[object, ...]]:
    return [host.snapshot()]


def forget_and_prune(host: Host) -> list[tuple[object, ...]]:
    for _ in range(2):
        host.push()
        host.run(*host.snapshot())
    host.age()
    vault = host.root / "vault"
    return [("forget", "--vault", vault, "--keep-last", "1", "--yes"),
            ("prune", "--vault", vault, "--yes")]  # fmt: skip


def copied(host: Host) -> list[tuple[object, ...]]:
    host.push()
    host.run(*host.snapshot())
    return [("copy", "--from", host.root / "vault", "--to", host.root / "copy")]


def restored(host: Host) -> list[tuple[object, ...]]:
    host.push()
    host.run(*host.snapshot())
    shutil.rmtree(host.root / "target", ignore_errors=True)
    target = f"fs:{host.root / 'target'}"
    return [("restore", "latest", "--vault", host.root / "vault", "--to", target)]


VERBS = {
    "snapshot": snapshot,
    "snapshot again": snapshot_again,
    "forget and prune": forget_and_prune,
    "copy": copied,
    "restore": restored,
}


@pytest.fixture(autouse=True)
def small_parts() -> None:
    """Nothing is small, and nothing stands still: these are processes of their own."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VERBS)
def test_the_same_command_works_at_once_after_a_kill(name, tmp_path):
    chance = random.Random(f"{SEED} {name}")
    print("seed", SEED)
    host = Host(tmp_path)
    host.push()
    host.run(*host.snapshot())
    make: Callable[[Host], list[tuple[object, ...]]] = VERBS[name]
    took_s = [host.run(*words) for words in make(host)]
    killed = 0
    for number in range(KILLS):
        commands = make(host)
        at = number % len(commands)
        for words in commands[:at]:
            host.run(*words)
        process = host.start(*commands[at])
        moment = chance.uniform(0.1, took_s[at])
        time.sleep(moment)
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -9
        host.check("vault", (name, number, moment))
        for words in commands[at:]:
            host.run(*words)
        host.check("vault", (name, number, moment))
        if name == "copy":
            host.check("copy", (name, number, moment))
        if name == "restore":
            found = tree(LocalStore(str(tmp_path / "target")))
            assert found == host.held[max(host.held)], (number, moment)
    print(name, killed, "killed of", KILLS)
    # (On a busy machine a process may be done before its moment comes.)
    assert killed
