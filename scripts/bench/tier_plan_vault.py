"""How long planning the tiering of a vault takes, and how much memory: a million objects, made up.

    python scripts/bench/tier_plan_vault.py [OBJECTS]

The vault is a real one in memory, with roots and object lists, but none of the data that the lists
name: LIST shows that. One registry has thirty snapshots, a day apart; each day half a percent of
all objects goes, and as many come. What is measured is the listing, the object lists, the weighing,
and the lines of the plan. Run it beside nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
import resource
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from apart import run

from regvault.config.price_files import load_prices
from regvault.model.progress import NO_PROGRESS
from regvault.model.store import Entry
from regvault.ops.tier.plan_vault import VaultPlanOptions, plan_vault
from regvault.ops.tier.planned import lines_of
from regvault.storage.memory_classes import ClassedMemoryStore
from regvault.vault.create import create_vault
from regvault.vault.envelope import to_time
from regvault.vault.keys import tree_key
from regvault.vault.objectlist import REBASE_SHARE, ListRef, ObjectRef, build_base, build_delta
from regvault.vault.root import Counts, Root, RootName
from regvault.vault.tree import ChunkRef, TreeRef
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_NS = 86_400 * 10**9
SNAPSHOTS = 30
SHARE = 0.005
MIB = 1 << 20


class Large(ClassedMemoryStore):
    """A vault's store, in which LIST shows blobs that are not there."""

    def __init__(self, count: int) -> None:
        super().__init__("large")
        dice = np.random.default_rng(1)
        self.digests = np.sort(np.frombuffer(dice.bytes(32 * count), dtype="S32"))
        self.born = dice.permutation(count)
        self.sizes = (np.exp(dice.normal(15.5, 1.2, count)) + MIB).astype(np.int64)

    def key(self, number: int) -> str:
        digest = bytes(self.digests[number]).ljust(32, bytes(1)).hex()
        return f"blobs/sha256/{digest[:2]}/{digest}"

    def list_prefixes(self, prefix: str = "") -> list[str]:
        return ["sha256"] if prefix == "blobs/" else super().list_prefixes(prefix)

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        if not prefix.startswith("blobs/sha256/"):
            yield from super().list_classes(prefix, after=after)
            return
        begin = prefix.rpartition("/")[2]
        low = np.searchsorted(self.digests, bytes.fromhex(begin.ljust(64, "0")))
        high = len(self.digests)
        if begin:
            high = np.searchsorted(self.digests, bytes.fromhex(begin.ljust(64, "f")))
        for number in range(int(low), int(high)):
            key = self.key(number)
            if key > after:
                modified = self.clock_ns - 100 * DAY_NS
                yield Entry(key, int(self.sizes[number]), key[-32:], modified), "STANDARD"

    def put_chunk(self, data: bytes) -> ChunkRef:
        digest = hashlib.sha256(data).hexdigest()
        self.put(tree_key(digest), data)
        return ChunkRef(f"sha256:{digest}", tree_key(digest), len(data))

    def refs(self, numbers: Any) -> Iterator[ObjectRef]:
        for number in numbers.tolist():
            key = self.key(number)
            yield ObjectRef(key, int(self.sizes[number]), key[-64:])


def fill(store: Large, vault: str) -> None:
    """Write the snapshots."""
    count = len(store.digests)
    step = int(count * SHARE)
    kept = count - step * SNAPSHOTS
    previous, base, delta = None, None, None
    first = np.zeros(count, dtype=bool)
    for day in range(SNAPSHOTS):
        here = (store.born >= day * step) & (store.born < day * step + kept)
        if base is None or (here != first).sum() > kept * REBASE_SHARE:
            tree, entries, nbytes = build_base(store.refs(np.flatnonzero(here)), store.put_chunk)
            base, first, delta = tree, here, None
        else:
            changes: dict[str, ObjectRef | None] = {
                ref.key: ref for ref in store.refs(np.flatnonzero(here & ~first))
            }
            changes |= {store.key(n): None for n in np.flatnonzero(first & ~here).tolist()}
            delta = build_delta(changes, store.put_chunk)
        at = to_time(store.clock_ns)
        root = Root(
            RootName("prod", day + 1),
            "0" * 32,
            previous,
            f"run-{day:04}",
            at,
            at,
            {"kind": "s3", "location": "s3://made/up"},
            {},
            TreeRef(base.top, 1),
            ListRef(base, delta, entries, nbytes),
            None,
            Counts(),
            True,
            None,
        )
        data, previous = root.to_document(vault)
        store.put(root.name.key, data)
        store.clock_ns += DAY_NS


def prepare(directory: Path, count: int) -> None:
    """Write all that the store has into a file."""
    store = Large(count)
    fill(store, create_vault(store))
    found = [(entry.key, store.get(entry.key)) for entry in store.list("")]
    (directory / "vault").write_bytes(pickle.dumps(found))


def measure(directory: Path, count: int) -> dict[str, Any]:
    """Plan, and write the plan."""
    store = Large(count)
    for key, data in pickle.loads((directory / "vault").read_bytes()):
        store.put(key, data)
    store.clock_ns += (SNAPSHOTS + 10) * DAY_NS
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the store lies in memory
    began = time.perf_counter()
    options = VaultPlanOptions(load_prices("aws-us-east-1"), threads=1)
    plan = plan_vault(Vault(store), options, progress=NO_PROGRESS)
    planned = time.perf_counter() - began
    with open(directory / "plan.jsonl", "wb") as file:
        file.writelines(lines_of(plan))
    return {
        "objects": count,
        "snapshots": SNAPSHOTS,
        "moves": plan.header.moves,
        "planned_s": round(planned, 2),
        "written_s": round(time.perf_counter() - began, 2),
        "store_mib": round(before / 1024),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


run(__file__, prepare, measure)
