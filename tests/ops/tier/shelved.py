"""A registry and a vault whose objects lie in classes, for tests of tiering a vault."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from sealed_world import ALICE, AS_HOST
from world import World, noise

from regvault.config.price_files import load_prices
from regvault.errors import ObjectNotFoundError, RefusedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.tier import apply_vault
from regvault.ops.tier.apply import ApplyOptions, apply
from regvault.ops.tier.apply_vault import guarded
from regvault.ops.tier.journal import Journal
from regvault.ops.tier.plan_vault import VaultPlanOptions, plan_vault
from regvault.ops.tier.planned import PlanFile, lines_of
from regvault.storage.memory_classes import ClassedMemoryStore
from regvault.vault.create import Sealing

MIB = 1 << 20
DAY_NS = 86_400 * 10**9
# Nobody else is at work in these tests while somebody takes over.
apply_vault._STOPS_WITHIN_S = 0.0
CLASSES = ("STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
DATA = ("blobs/", "packs/")


class Ruled(ClassedMemoryStore):
    """A store that keeps versions: it moves by itself what is marked, a day later."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tags: dict[Any, str] = {}

    def moves_by_rules(self) -> bool:
        return True

    def change_class(self, key: str, storage_class: str, *, expected: Any) -> Any:
        raise RefusedError("a copy would leave the old bytes")

    def mark_class(self, key: str, storage_class: str, *, expected: Any) -> None:
        assert self.placement(key).entry == expected.entry
        self.tags[self.head(key)] = storage_class

    def missing_rules(self, prefix: str, classes: Any) -> list[dict[str, Any]]:
        return []

    def add_rules(self, prefix: str, classes: Any) -> None:
        raise AssertionError

    def follow_rules(self) -> None:
        """Move what is marked; what was written anew since is not."""
        for entry, name in self.tags.items():
            try:
                seen = self.placement(entry.key)
            except ObjectNotFoundError:
                continue
            if seen.entry == entry and seen.storage_class != name:
                super().change_class(entry.key, name, expected=seen)


class Shelved(World):
    """A `World` whose vault lies in a store with classes."""

    def __init__(self, *, sealed: bool = False, ruled: bool = False, **more: Any) -> None:
        if sealed:
            self.trust, self.sealing = AS_HOST, Sealing((ALICE.public,))
        kind = Ruled if ruled else ClassedMemoryStore
        store = kind("vault", classes=CLASSES, archives=("GLACIER", "DEEP_ARCHIVE"))
        super().__init__(store=store, **more)

    def image(self, repository: str, *tags: str, size: int = 2 * MIB, word: object = "") -> Any:
        """Push an image of a raw blob, and a small layer that goes into a pack."""
        layers = noise(size, repository, tags, word), noise(5000, "small", repository, tags, word)
        return self.push.image(repository, *tags, layers=layers)

    def shelf(self, *prefixes: str) -> dict[str, str]:
        """Every object of data with its class."""
        return {
            entry.key: name
            for prefix in prefixes or DATA
            for entry, name in self.store.list_classes(prefix)
        }

    def archive(self, *keys: str, name: str = "GLACIER") -> None:
        """Put objects into an archive behind everybody's back."""
        for key in keys:
            self.store.change_class(key, name, expected=self.store.placement(key))

    def needs(self, sequence: int | None = None) -> set[str]:
        """Keys of the data that a snapshot needs."""
        objects = self.vault().object_list(self.root(sequence))
        return {ref.key for ref in objects if ref.key.startswith(DATA)}

    def plan(self, **options: Any) -> Any:
        """Plan a tiering of the vault."""
        table = options.pop("table", None) or load_prices("aws-us-east-1")
        return plan_vault(self.vault(), VaultPlanOptions(table, **options), progress=NO_PROGRESS)

    def planned(self, **options: Any) -> dict[str, tuple[str, str]]:
        """What is planned: key -> from and to."""
        return {move.key: (move.source, move.target) for move in self.plan(**options).moves()}

    def write_plan(self, path: str, **options: Any) -> PlanFile:
        """Plan, into a file."""
        with open(path, "wb") as file:
            file.writelines(lines_of(self.plan(**options)))
        return PlanFile(path)

    def apply(self, made: PlanFile, *, store: Any = None, wait_s: float = 0, **options: Any) -> Any:
        """Do what a plan says."""
        options.setdefault("threads", 1)
        options.setdefault("by_rules", isinstance(self.store, Ruled))
        vault = self.vault(store)
        journal = Journal(f"{made.path}.journal", made.header.id)
        try:
            with guarded(
                vault,
                made.header,
                made.moves,
                timezone=UTC,
                wait_s=wait_s,
                threads=1,
                progress=NO_PROGRESS,
            ) as must_stay:
                return apply(
                    made.moves(),
                    vault.store,
                    journal,
                    ApplyOptions(**{"archives": True, **options}),
                    is_used=must_stay,
                    progress=NO_PROGRESS,
                )
        finally:
            journal.close()

    def age(self, count: int, *, size: int = 2 * MIB, gone: int = 0) -> None:
        """Take so many snapshots, a day apart, each with an image that the next one has not."""
        for number in range(gone, gone + count):
            if number:
                self.remove(f"team/app-{number - 1}")
            self.image(f"team/app-{number}", "1", size=size)
            self.snapshot()
            self.later(1)
        self.later(2)

    def later(self, days: float) -> None:
        """Let time pass."""
        self.store.clock_ns += int(days * DAY_NS)


__all__ = ["CLASSES", "DATA", "DAY_NS", "MIB", "Ruled", "Shelved"]
