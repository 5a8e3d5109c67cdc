"""Vaults to look into: real snapshots of a small sample registry, all in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from regvault.model.progress import NO_PROGRESS
from regvault.ops.sample import build_sample
from regvault.ops.selector import resolve
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.registry.reader import DistributionSource
from regvault.storage.memory import MemoryStore
from regvault.vault.create import create_vault
from regvault.vault.vault import Vault


class Lab:
    """A registry and a vault."""

    def __init__(self, *, registry: str = "prod", images: int = 8) -> None:
        self.name = registry
        self.registry = MemoryStore(registry)
        self.summary = build_sample(self.registry, images=images, large=40_000)
        self.store = MemoryStore("vault")
        create_vault(self.store)

    @property
    def vault(self) -> Vault:
        """Opened anew, as each command does."""
        return Vault(self.store)

    @property
    def source(self) -> DistributionSource:
        return DistributionSource(self.registry, kind="distribution-s3", threads=1)

    def snapshot(self, registry: str | None = None):
        """Take one, and return its root."""
        options = SnapshotOptions(registry=registry or self.name, threads=2)
        result = snapshot(self.vault, self.source, options, progress=NO_PROGRESS, cache_base=None)
        return result.root

    def resolve(self, text: str, **more):
        more = {"now": datetime.now(UTC), "timezone": UTC} | more
        return resolve(self.vault, text, **more)

    # -- what happens to a registry -----------------------------------------------------------

    def delete(self, part: str) -> int:
        """Delete every key of the registry that has `part` in it."""
        keys = [entry.key for entry in self.registry.list() if part in entry.key]
        for key in keys:
            self.registry.delete(key)
        return len(keys)

    def lose_blob(self, digest: str) -> None:
        assert self.delete(f"/{digest.partition(':')[2]}/data") == 1

    def tag(self, name: str) -> str:
        return self.summary.tags[name]


def read_only(store: MemoryStore) -> SimpleNamespace:
    """The store without any method that writes."""
    names = ("get", "open", "head", "list", "list_prefixes", "location", "now_ns", "space")
    return SimpleNamespace(**{name: getattr(store, name) for name in names})
