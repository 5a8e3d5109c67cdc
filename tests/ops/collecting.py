"""Registries with garbage, collections that take what they are told to, and what should be needed.

What is needed is worked out here by hand, with nothing of regvault's own.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from world import BASE, World, blob_key, layer_key, noise

import regvault.ops.tier.garbage.run as run_module
from regvault.config.price_files import load_prices
from regvault.model.store import HierarchicalStore
from regvault.ops.tier.garbage import GarbageOptions, collect_garbage, plan_garbage
from regvault.ops.tier.garbage.collect import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.model.store import ObjectStore

PRICES = load_prices("aws-us-east-1")


def fill_with_garbage(made: World) -> dict[str, str]:
    """Push one of everything, and leave garbage; return what it is -> digest."""
    push = made.push
    first = push.image("app", "1", layers=(noise(3000, 1), noise(2500, "shared")))
    second = push.image("app", layers=(noise(3000, 2), noise(2500, "shared")))
    inner = push.index("app", children=(first, second))
    push.index("app", "all", children=(inner,))
    push.image("tools/cli", "1", layers=(noise(2500, "shared"), noise(900, 3)))
    # What no tag reaches: pushed by digest, one that refers to another, and a former value.
    untagged = push.image("tools/cli", layers=(noise(700, 4),))
    refers = push.image(
        "app", layers=(noise(60, "sbom"),), subject={"digest": first.digest, "size": 1}
    )
    former = push.image("app", "moved", layers=(noise(800, "old"),))
    push.image("app", "moved", layers=(noise(800, "new"),))
    # Garbage: of a push that broke off, of a deleted manifest, of a deleted repository.
    orphan = push.blob(noise(5000, "orphan"))
    layer = push.blob(noise(4000, "layer without manifest"))
    push.link(layer_key("app", layer), layer)
    gone = push.image("gone", "1", layers=(noise(6000, "gone"),))
    made.remove("gone")
    return {
        "orphan": orphan,
        "layer": layer,
        "gone manifest": gone.digest,
        "gone config": gone.blobs[0],
        "gone layer": gone.blobs[1],
        "untagged": untagged.digest,
        "referrer": refers.digest,
        "former": former.digest,
        "child": second.digest,
        "child layer": second.blobs[1],
        "inner": inner.digest,
        "first": first.digest,
    }


def needed(store: ObjectStore, *, untagged: bool) -> tuple[set[str], set[str]]:
    """Return the blobs, and `repository@digest` of the revisions, that are to stay."""
    keys = [entry.key for entry in store.list(f"{BASE}/repositories/")]
    linked: dict[str, set[str]] = {}
    tagged: dict[str, set[str]] = {}
    for key in keys:
        name, _, rest = key.removeprefix(f"{BASE}/repositories/").partition("/_")
        parts = rest.split("/")
        if parts[:2] == ["manifests", "revisions"]:
            linked.setdefault(name, set()).add(f"{parts[2]}:{parts[3]}")
        elif parts[:2] == ["manifests", "tags"] and parts[3] == "current":
            tagged.setdefault(name, set()).add(store.get(key).decode())
    blobs: set[str] = set()
    revisions: set[str] = set()
    for name, digests in linked.items():
        todo = list(digests & tagged.get(name, set()) if untagged else digests)
        seen: set[str] = set()
        while todo:
            digest = todo.pop()
            if digest in seen:
                continue
            seen.add(digest)
            body = json.loads(store.get(blob_key(digest)))
            children = [each["digest"] for each in body.get("manifests", ())]
            todo += [child for child in children if child in digests]
            blobs |= {digest, *children}
            blobs |= {each["digest"] for each in body.get("layers", ())}
            blobs |= {body["config"]["digest"]} if "config" in body else set()
        revisions |= {f"{name}@{digest}" for digest in seen}
    return blobs, revisions


def all_blobs(store: ObjectStore) -> set[str]:
    keys = [entry.key.split("/") for entry in store.list(f"{BASE}/blobs/")]
    return {f"{parts[4]}:{parts[6]}" for parts in keys if parts[-1] == "data"}


def delete(store: ObjectStore, key: str) -> None:
    """Delete as a registry does: with the directory that held it."""
    if isinstance(store, HierarchicalStore):
        path = store.path_of(key) if hasattr(store, "path_of") else f"{store.root}/{key}"
        shutil.rmtree(path.rpartition("/")[0])
    else:
        store.delete(key)


class Collector:
    """Instead of a process: does to the registry what a test wants, and says how it ended."""

    def __init__(self, monkeypatch: Any) -> None:
        self.runs = 0
        self.status = 0
        self.do: Callable[[], None] = lambda: None
        monkeypatch.setattr(run_module, "run_command", self)

    def __call__(self, words: list[str], *, say: Any, timeout_s: float | None = None) -> Ended:
        del words, say, timeout_s
        self.runs += 1
        self.do()
        return Ended(self.status, 0.0, timed_out=False)

    def takes(self, store: ObjectStore, digests: Iterable[str]) -> None:
        """Let it delete these blobs."""
        keys = [blob_key(digest) for digest in digests]
        self.do = lambda: [delete(store, key) for key in keys]  # type: ignore[assignment]


class Trial:
    """One `tier gc` on a world."""

    def __init__(self, made: World, **options: Any) -> None:
        self.made = made
        options.setdefault("threads", 1)
        options.setdefault("quiet_s", 0.0)
        self.options = GarbageOptions(PRICES, **options)
        self.backed = not self.options.without_vault
        self.plan: Any = None

    def look(self, registry: ObjectStore | None = None, vault: ObjectStore | None = None) -> Any:
        """Make the plan."""
        self.source = self.made.source(registry)
        self.vault = self.made.vault(vault) if self.backed else None
        backed = None
        if self.vault is not None:
            roots = [r for r in self.made.roots() if r.complete and r.held is None]
            backed = self.vault, roots[-1]
        self.plan = plan_garbage(
            self.source,
            self.options,
            progress=self.made.progress,
            backed=backed,
            cache_base=self.made.cache,
        )
        return self.plan

    def run(self, *, mend: Any = None) -> Any:
        """Execute it."""
        return collect_garbage(
            self.plan or self.look(),
            self.source,
            ["collect"],
            progress=self.made.progress,
            vault=self.vault,
            mend=mend,
        )

    def restore(self, proof: Any) -> None:
        """Bring back what a proof says was lost, as the commands that it names do."""
        for hurt in proof.hurt:
            result, _ = self.made.restore(
                target=self.made.registry,
                globs=(hurt.repository,),
                digests=tuple(hurt.digests),
                tags=tuple(hurt.tags),
                referrers=False,
            )
            assert result.exit_code() == 0, result.to_json()
