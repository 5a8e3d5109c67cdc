"""How long planning takes, and how much memory: a registry of a million blobs, made up.

    python scripts/bench/tier_plan.py [BLOBS]

The registry is prepared in a process of its own and lies in a file, so that what is measured is
regvault's own work: the listing, links and manifests parsed, accesses joined, the weighing, and the
lines of the plan. Images have a config, six layers of their own, and twelve of a base that three
images share; a third of all blobs was pulled, five times each in two years.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from apart import run

from regvault.config.price_files import load_prices
from regvault.model.progress import NO_PROGRESS
from regvault.model.registry import RepositoryLinks, TagLinks
from regvault.model.store import Entry
from regvault.ops.tier.accesses import Accesses, Target
from regvault.ops.tier.plan import PlanOptions, plan_registry
from regvault.ops.tier.planned import lines_of
from regvault.policy.coverage import Coverage
from regvault.registry.layout import BLOBS
from regvault.storage.memory_classes import ClassedMemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400 * 10**6
NOW = 1_790_000_000 * 10**6
OWN, BASE, SHARING = 6, 12, 3
PER_REPOSITORY = 50
OCI = "application/vnd.oci.image."


def prepare(directory: Path, blobs: int) -> None:
    """Write manifests one after the other, where each begins, and all digests with their sizes."""
    dice = np.random.default_rng(1)
    images = max(SHARING, round(blobs / (2 + OWN + BASE / SHARING)))
    sizes: dict[bytes, int] = {}
    ends = [0]
    digests = bytearray()
    base: list[tuple[bytes, int]] = []
    with open(directory / "manifests", "wb") as file:
        for image in range(images):
            if image % SHARING == 0:
                base = [(dice.bytes(32), 20 << 20) for _ in range(BASE)]
            own = [(dice.bytes(32), int(np.exp(dice.normal(13.5, 2.2))) + 32) for _ in range(OWN)]
            config = dice.bytes(32), 7_000
            described = [
                {"mediaType": f"{OCI}layer.v1.tar", "digest": f"sha256:{each.hex()}", "size": n}
                for each, n in (*base, *own)
            ]
            body = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": f"{OCI}manifest.v1+json",
                    "config": {
                        "mediaType": f"{OCI}config.v1+json",
                        "digest": f"sha256:{config[0].hex()}",
                        "size": config[1],
                    },
                    "layers": described,
                }
            ).encode()
            name = hashlib.sha256(body).digest()
            file.write(body)
            ends.append(ends[-1] + len(body))
            digests += name
            sizes.update([*base, *own, config, (name, len(body))])
    order = sorted(sizes)
    np.save(directory / "ends.npy", np.array(ends))
    np.save(directory / "images.npy", np.frombuffer(digests, dtype="V32"))
    np.save(directory / "digests.npy", np.frombuffer(b"".join(order), dtype="V32"))
    np.save(directory / "sizes.npy", np.array([sizes[each] for each in order]))


class MadeUp(ClassedMemoryStore):
    """A registry, and its storage."""

    endpoint = ""
    at_hand = True

    def __init__(self, directory: Path) -> None:
        super().__init__("made-up")
        self.ends = np.load(directory / "ends.npy")
        self.images = np.load(directory / "images.npy")
        self.digests = np.load(directory / "digests.npy")
        self.sizes = np.load(directory / "sizes.npy")
        self.manifests = os.open(directory / "manifests", os.O_RDONLY)
        self.here: dict[str, int] = {}

    def check(self) -> None:
        """It is there."""

    def digest(self, number: int) -> str:
        return bytes(self.digests[number]).hex()

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        del prefix, after
        for number, size in enumerate(self.sizes):
            digest = self.digest(number)
            key = f"{BLOBS}sha256/{digest[:2]}/{digest}/data"
            born = NOW - (100 + number % 300) * DAY
            yield Entry(key, int(size), digest[:32], born * 1000), "STANDARD"

    def surveys(self, repositories: Any = None) -> Iterator[Repository]:
        del repositories
        for number in range(-(-len(self.images) // PER_REPOSITORY)):
            yield Repository(self, number)

    def read_blob(self, digest: str, *, limit: int) -> bytes:
        del limit
        image = self.here[digest]
        begin, end = int(self.ends[image]), int(self.ends[image + 1])
        return os.pread(self.manifests, end - begin, begin)


class Repository:
    """One repository of it."""

    def __init__(self, made: MadeUp, number: int) -> None:
        self.repository = f"team-{number % 40}/app-{number}"
        begin = number * PER_REPOSITORY
        made.here = {
            f"sha256:{bytes(name).hex()}": image
            for image, name in enumerate(made.images[begin : begin + PER_REPOSITORY], begin)
        }
        self.digests = sorted(made.here)

    def links(self) -> RepositoryLinks:
        tags = tuple(TagLinks(f"v{n}", digest, ()) for n, digest in enumerate(self.digests))
        return RepositoryLinks(tags, tuple(self.digests), (), ())


class Told:
    """What is known of accesses."""

    coverage = Coverage(NOW - 730 * DAY, NOW)
    notes: ClassVar[list[str]] = []

    def __init__(self, made: MadeUp) -> None:
        self.made = made

    def tags(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def targets(self) -> Iterator[list[Target]]:
        found = []
        for number in range(0, len(self.made.sizes), 3):
            digest = f"sha256:{self.made.digest(number)}"
            found.append(Target(number, digest, "", "", NOW - (number % 399) * DAY, 0))
            if len(found) == 20_000:
                yield found
                found = []
        yield found

    def reads(self) -> Iterator[tuple[Any, Any, Any]]:
        count = len(self.made.sizes)
        for begin in range(0, count, 60_000):
            ids = np.arange(begin, min(begin + 60_000, count), 3)
            for turn in range(5):
                days = (ids % 399) * (turn + 1) % 700
                yield ids, NOW - days * DAY, np.ones(len(ids), dtype=np.int64)


def measure(directory: Path, _: int) -> dict[str, Any]:
    """Plan, and write the plan."""
    made = MadeUp(directory)
    began = time.perf_counter()
    source: Any = made
    told: Accesses = Told(made)
    plan = plan_registry(
        source,
        made,
        told,
        PlanOptions(load_prices("aws-us-east-1"), threads=1),
        now_us=NOW,
        progress=NO_PROGRESS,
    )
    planned = time.perf_counter() - began
    with open(directory / "plan.jsonl", "wb") as file:
        file.writelines(lines_of(plan))
    return {
        "blobs": len(made.sizes),
        "manifests": len(made.images),
        "moves": plan.header.moves,
        "planned_s": round(planned, 2),
        "written_s": round(time.perf_counter() - began, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


run(__file__, prepare, measure)
