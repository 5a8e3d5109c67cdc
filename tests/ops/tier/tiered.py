"""A registry in a store with classes, and a history of pulls, for tests of tiering."""

from __future__ import annotations

import json
from typing import Any

from world import Pusher, blob_key, noise

from regvault.config.price_files import load_prices
from regvault.model.progress import NO_PROGRESS
from regvault.ops.tier.accesses import NothingKnown, TraceAccesses
from regvault.ops.tier.plan import PlanOptions, plan_registry
from regvault.ops.tier.trace import read_accesses
from regvault.policy.access import AccessRules
from regvault.registry.reader import DistributionSource
from regvault.storage.memory_classes import ClassedMemoryStore

DAY = 86_400
MIB = 1 << 20
#: What is written in a `ClassedMemoryStore` is written then.
START = 1_767_225_600
LARGE = 4 * MIB


class Tiered:
    """A registry whose pushes are at `START`, and what was pulled of it since.

    Attributes:
        store: its storage.
        pulls: lines of a history.
    """

    def __init__(self, store: Any = None) -> None:
        self.store = ClassedMemoryStore("registry") if store is None else store
        self.push = Pusher(self.store)
        self.pulls: list[dict[str, Any]] = []
        self.table = load_prices("aws-us-east-1")

    def image(self, repository: str, *tags: str, size: int = LARGE, **more: Any) -> Any:
        """Push an image of one layer."""
        return self.push.image(repository, *tags, layers=(noise(size, repository, *tags),), **more)

    def pull(self, day: float, uri: str, **more: Any) -> None:
        """Pull something, so many days after `START`."""
        line = {"time": START + day * DAY, "client": "10.0.0.1", "method": "GET", "uri": uri}
        self.pulls.append({**line, "status": 200, "useragent": "containerd/2.0", **more})

    def pull_image(self, day: float, repository: str, image: Any, **more: Any) -> None:
        """Pull a manifest and all that it needs."""
        self.pull(day, f"/v2/{repository}/manifests/{image.digest}", **more)
        for digest in image.blobs:
            self.pull(day, f"/v2/{repository}/blobs/{digest}", **more)

    def accesses(self, day: float = 10_000) -> Any:
        """What is known of accesses, so many days after `START`."""
        if not self.pulls:
            return NothingKnown()
        lines = sorted(self.pulls, key=lambda line: line["time"])
        reads = read_accesses(map(json.dumps, lines), rules=AccessRules())
        return TraceAccesses(reads, int((START + day * DAY) * 1e6))

    def source(self) -> DistributionSource:
        """The registry."""
        return DistributionSource(
            self.store,
            kind="distribution-s3",
            threads=1,
            now=lambda: self.store.now_ns() + 3_600 * 10**9,
            sleep=lambda _: None,
        )

    def plan(self, day: float, **options: Any) -> Any:
        """Plan, so many days after `START`."""
        return plan_registry(
            self.source(),
            self.store,
            self.accesses(day),
            PlanOptions(options.pop("table", self.table), **options),
            now_us=int((START + day * DAY) * 1e6),
            progress=NO_PROGRESS,
        )

    def moved(self, day: float, **options: Any) -> dict[str, tuple[str, str]]:
        """What is planned: digest -> from and to."""
        plan = self.plan(day, **options)
        return {move.digest: (move.source, move.target) for move in plan.moves()}

    def class_of(self, digest: str) -> str:
        """Where a blob lies."""
        return str(self.store.placement(blob_key(digest)).storage_class)
