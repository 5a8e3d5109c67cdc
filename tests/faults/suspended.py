"""Vaults that processes are suspended in, and what must be true of them afterwards."""

from __future__ import annotations

import json
import shutil
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from asleep import Process, Sleep, Timeline
from vault_places import OnDisk, Place
from world import World, noise, tree

from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.storage.local import LocalStore
from regvault.vault.envelope import read_document

HOUR = 3600
DAY = 24 * HOUR
NAME = "prod"
#: Two hosts: each has its own name and boot id, so that only the store's times tell of the other.
HOSTS = {"alpha": "11111111-aaaa", "beta": "22222222-bbbb"}
ALONE = ("--threads", "1")
#: How a command may end that slept: done, refused (its lease is lost), temporary, another at work.
CODES = {0, 5, 6, 11}


class Template(NamedTuple):
    """Vaults to be copied for each trial; nothing writes into these.

    Attributes:
        root: directory of `registry`; of `vault` and `copy`, in which the first snapshot is
            forgotten; of `unforgotten`, in which it is not; and of `taken`, with a third one.
        held: sequence -> what a restore of it gives, in either vault.
    """

    root: Path
    held: dict[int, dict[str, bytes]]


def layers(name: str) -> tuple[bytes, ...]:
    return noise(20_000, name), noise((1 << 20) + len(name), "raw", name)


def world(root: Path, vault: str) -> World:
    """Open, or make, a vault and the registry beside it."""
    registry = LocalStore(str(root / "registry"), create=True)
    return World(registry, LocalStore(str(root / vault), create=True), name=NAME)


@lru_cache
def template() -> Template:
    """An image has come back that only forgotten snapshots had.

    So the next snapshot, and the next copy, reuse what a prune beside them would delete.
    """
    root = Path(mkdtemp(prefix="suspended-"))
    made, copied = world(root, "vault"), world(root, "copy")
    held: dict[int, dict[str, bytes]] = {}
    made.push.image("app", "1", layers=layers("app"))
    made.push.image("old", "1", layers=layers("old"))
    made.snapshot(threads=1)
    made.remove("old")
    made.push.image("new", "1", layers=layers("new"))
    made.snapshot(threads=1)
    copy(made.vault(), [copied.vault()], CopyOptions(threads=1), progress=NO_PROGRESS)
    held |= {number: made.restored(number) for number in (1, 2)}
    shutil.copytree(root / "vault", root / "unforgotten")
    for each in (made, copied):
        vault = each.vault()
        forget(vault, plan_forget_named(vault, [each.root(1)]), progress=NO_PROGRESS)
    made.push.image("old", "1", layers=layers("old"))
    made.push.image("next", "1", layers=layers("next"))
    shutil.copytree(root / "vault", root / "taken")
    taken = world(root, "taken")
    taken.snapshot(threads=1)
    held[3] = taken.restored(3)
    _is_what_the_registry_holds(held[3], tree(taken.registry))
    return Template(root, held)


def _is_what_the_registry_holds(found: dict[str, bytes], live: dict[str, bytes]) -> None:
    assert all(live[key] == data for key, data in found.items())
    assert {key for key in live if "/repositories/" in key} <= found.keys()


class Trial:
    """One vault of its own, and the processes that work in it.

    Args:
        root: an empty directory.
        vault: which of the template's vaults is the vault.
        place: where it is.

    Attributes:
        time: that passes; three days before it begins, so that all that is there is old.
        vault: what commands call it.
    """

    def __init__(self, root: Path, vault: str = "vault", place: type[Place] = OnDisk) -> None:
        self.root = root
        self.made = template()
        self.held = self.made.held
        root.mkdir(parents=True)
        self.time = Timeline(root / "time.json")
        self.place = place(root, self.time)
        self.vault = self.place.fill("vault", self.made.root / vault)
        self.time.jump(3 * DAY)
        self._number = 0

    @property
    def snapshot(self) -> tuple[object, ...]:
        return self.snapshot_of(NAME)

    def snapshot_of(self, registry: str) -> tuple[object, ...]:
        """A snapshot of the same images under the name of a registry."""
        source = f"fs:{self.made.root / 'registry'}"
        return ("snapshot", source, "--vault", self.vault, "--registry", registry, *ALONE)

    @property
    def prune(self) -> tuple[object, ...]:
        return ("prune", "--vault", self.vault, "--yes", *ALONE)

    @cached_property
    def copy(self) -> tuple[object, ...]:
        origin = self.place.fill("origin", self.made.root / "taken")
        return ("copy", "--from", origin, "--to", self.vault, *ALONE)

    @property
    def forget(self) -> tuple[object, ...]:
        return ("forget", f"{NAME}@1", "--vault", self.vault, "--yes")

    @property
    def restore(self) -> tuple[object, ...]:
        target = f"fs:{self.root / 'target'}"
        return ("restore", f"{NAME}@1", "--vault", self.vault, "--to", target, *ALONE)

    @property
    def verify(self) -> tuple[object, ...]:
        return ("verify", "--vault", self.vault, "--read-data", *ALONE)

    def start(self, words: tuple[object, ...], host: str = "alpha", **more: Any) -> Process:
        """Begin a command on a host; see `Sleep` for what else may be done to it."""
        self._number += 1
        sleep = Sleep(
            self.root / "time.json",
            self.vault,
            self.root / f"{self._number}.json",
            host=host,
            boot=HOSTS[host],
            environment={
                **self.place.environment,
                "REGVAULT_CACHE": str(self.root / f"cache-{host}"),
            },
            **more,
        )
        return Process(words, sleep, self.root / f"{self._number}.txt")

    def run(self, words: tuple[object, ...], host: str = "alpha", **more: Any) -> int:
        """Run a command to its end; return its exit code."""
        return self.start(words, host, **more).ended()

    def must(self, words: tuple[object, ...], host: str = "alpha", **more: Any) -> None:
        process = self.start(words, host, **more)
        assert process.ended() == 0, (words, process.said.read_text())

    def operations(self, words: tuple[object, ...]) -> int:
        """Return how many operations a command makes that is not disturbed."""
        process = self.start(words)
        assert process.ended() == 0, process.said.read_text()
        return int((self.root / f"{self._number}.json").read_text())

    def sleeper(
        self, words: tuple[object, ...], at: int | tuple[str, str], **more: Any
    ) -> tuple[Process, str]:
        """Start a command that is stopped before an operation; return it and what that is."""
        process = self.start(words, at=at, **more)
        notes = self.root / f"{self._number}.json"
        if not process.stopped():
            return process, "not stopped"
        what = json.loads(notes.read_text())
        where = what["in"].removeprefix(self.vault)
        return process, f"{what['call']} {where} {what['name']}"

    def locked(self) -> bool:
        """Say whether someone holds the lock of the file system that swaps are made under."""
        return self.place.locked("vault")

    def live(self, role: str) -> int:
        """Return how many leases of writers, or of readers, are live."""
        with self.place.copied("vault") as store:
            made = World(store=store)
            id_ = made.vault().id
            bodies = [
                read_document(store.get(key), key, types=("lease",), vault=id_).body
                for key in made.keys("leases/")
            ]
        return sum((body["role"], body["state"]) == (role, "live") for body in bodies)

    def records(self, kind: str) -> list[str]:
        """Return the keys of the records of a kind."""
        with self.place.copied("vault") as store:
            return [entry.key for entry in store.list(f"records/{kind}/")]

    def check(self, where: object) -> dict[str, list[int]]:
        """Every committed snapshot restores byte for byte; return their numbers."""
        found: dict[str, list[int]] = {}
        # In a copy: a verification writes a lease, by a clock that is not that of the trial.
        with self.place.copied("vault") as store:
            made = World(store=store, name=NAME)
            for name in made.vault().registries():
                for root in made.roots(name):
                    number = root.name.sequence
                    # Whatever came after the second, or is of another registry, has the same.
                    wanted = self.held[min(number, 3) if name == NAME else 3]
                    assert made.restored(number, registry=name) == wanted, (where, root.name)
                    found.setdefault(name, []).append(number)
            made.verified()
        return found

    def remove(self) -> None:
        self.place.remove()
        shutil.rmtree(self.root)

    def converge(self, where: object) -> None:
        """A snapshot and a prune later nothing is left of what happened, and all is there."""
        self.must(self.snapshot, "beta")
        self.must(self.prune, "beta")
        self.check((where, "the next snapshot"))
        self.time.jump(9 * DAY)
        self.must(self.prune, "beta")
        process = self.start((*self.prune, "--dry-run", "--json"), "beta")
        assert process.ended() == 0, process.said.read_text()
        plan = json.loads(process.said.read_text().splitlines()[-1])
        nothing = {"objects": 0, "bytes": 0}
        assert plan["condemn"] == plan["delete"] == plan["young"] == nothing, (where, plan)
        assert plan["needed"] == []
        self.check((where, "the last prune"))
