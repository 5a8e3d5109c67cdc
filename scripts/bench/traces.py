"""Makes histories of a registry's accesses that look like production, for `regvault tier simulate`.

What is known of real registries decides the shapes (Anwar et al., "Improving Docker Registry Design
Based on Production Workload Analysis", FAST 2018; Zhao et al., "Large-Scale Analysis of Docker
Images and Performance Implications for Container Storage Systems", IEEE TPDS 2020):

- 65 % of layers are below 1 MB and 80 % below 10 MB; a few are of gigabytes.
- 81 % of blobs are fetched once; 89 % of those that were seen in the first half of the time are
  never fetched again; the tenth that is fetched most takes 59 % of the GETs.
- two thirds of a public hub are idle for half a year.
- people work by day and on weekdays; what is in use changes all the time.

A history is made of repositories of five kinds, each of which pushes images that share layers with
those before:

- `ci`: builds, several a day, each pulled once or twice within hours and never again;
- `release`: versions, every week or two, rolled out to many nodes; pulled less and less until, and
  for a while after, the next one comes; now and then someone goes back to an old one;
- `base`: few, pulled by every build, a new one each month;
- `batch`: jobs that pull one large image every few weeks, whatever its age;
- `attic`: pushed long ago, pulled by accident.

A scanner reads all current images once a week, and a rebuilt cluster pulls all that runs at once.
How much there is of each differs from seed to seed, within `RANGES`.

Usage: traces.py SEED OUT.csv [--months 24] [--scale 1.0] [--stats]
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DAY = 86_400.0
MONTH = 365.25 / 12 * DAY
BEGAN = 1_735_689_600.0  # 1 January 2025, a Wednesday
SCANNER = "10.250.0.9"
SCANNER_AGENT = "trivy/0.58.1"

#: What is drawn for each seed, uniformly between two values.
RANGES: dict[str, tuple[float, float]] = {
    "ci_repositories": (20, 60),
    "ci_builds_a_day": (0.3, 2.0),  # of each
    "release_repositories": (30, 80),
    "release_days": (5, 20),  # from one version to the next
    "release_nodes": (1, 8),  # that pull it when it comes
    "release_tail": (0.02, 0.25),  # pulls a day after the roll-out, of each version that is current
    "rollback": (0.02, 0.15),  # of versions, once, one to twelve months later
    "base_repositories": (2, 6),
    "base_pulls_a_day": (0.5, 4),
    "batch_repositories": (2, 15),
    "batch_days": (7, 60),  # from one run to the next
    "attic_images": (200, 1500),
    "attic_pulls_a_year": (0.02, 0.4),  # of each image
    "small_share": (0.60, 0.70),  # of layers, below 1 MB
    "large_share": (0.15, 0.25),  # of layers, above 10 MB
    "large_median_mb": (25, 80),
    "end_of_life": (0.1, 0.5),  # of repositories, that nobody uses any more from some day on
    "rebuilds": (0, 3),  # of the whole cluster, in the whole time
    "weekend": (0.1, 0.5),  # of what a weekday has
    "scanned": (0, 1.99),  # 0: by no scanner; 1: by one
}

#: Relative number of accesses in each hour of a working day.
_HOURS = np.array([2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 10, 11, 12, 11, 10, 8, 6, 4, 3, 3, 2, 2])
_KINDS = ("ci", "release", "base", "batch", "attic")


class Blob(NamedTuple):
    """One blob; `pushed`: seconds since the beginning, below 0 for what was there before."""

    digest: str
    size: int
    repository: str
    pushed: float
    manifest: bool


class Image(NamedTuple):
    """One image: indices of its blobs, the manifest first."""

    repository: str
    tag: str
    pushed: float
    own: list[int]
    shared: list[int]


class Trace(NamedTuple):
    """A history.

    Attributes:
        blobs: all there are.
        images: likewise.
        times: of accesses, seconds since the beginning, ascending.
        objects: of each, an index of `blobs`.
        scanned: of each, whether the scanner made it.
        clients: of each, a number.
        parameters: what was drawn.
    """

    blobs: list[Blob]
    images: list[Image]
    times: np.ndarray
    objects: np.ndarray
    scanned: np.ndarray
    clients: np.ndarray
    parameters: dict[str, float]


class _Maker:
    def __init__(self, seed: int, months: float, scale: float) -> None:
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.seed = seed
        self.end = months * MONTH
        drawn = {name: float(self.random.uniform(*span)) for name, span in RANGES.items()}
        self.is_ = drawn
        self.scale = scale
        self.blobs: list[Blob] = []
        self.images: list[Image] = []
        self.pulls: list[tuple[np.ndarray, int, bool]] = []  # times, image, all of its layers
        self.current: dict[str, list[tuple[float, float, int]]] = {}  # repository: from, to, image

    # Sizes and images

    def size(self) -> int:
        """Return the bytes of a layer."""
        at = self.random.random()
        if at < self.is_["small_share"]:
            return int(np.exp(self.random.uniform(np.log(120), np.log(1e6))))
        if at < 1 - self.is_["large_share"]:
            return int(np.exp(self.random.uniform(np.log(1e6), np.log(1e7))))
        median = self.is_["large_median_mb"] * 1e6
        return int(np.clip(self.random.lognormal(np.log(median), 1.1), 1e7, 8e9))

    def blob(self, repository: str, size: int, pushed: float, *, manifest: bool = False) -> int:
        number = len(self.blobs)
        digest = f"sha256:{self.seed:08x}{number:056x}"
        self.blobs.append(Blob(digest, size, repository, pushed, manifest))
        return number

    def image(self, repository: str, tag: str, pushed: float, shared: list[int]) -> int:
        own = [self.blob(repository, 400 + int(self.random.integers(3000)), pushed, manifest=True)]
        own.append(self.blob(repository, 1500 + int(self.random.integers(12000)), pushed))
        layers = 1 + int(self.random.poisson(1.6))
        own.extend(self.blob(repository, self.size(), pushed) for _ in range(layers))
        self.images.append(Image(repository, tag, pushed, own, shared))
        return len(self.images) - 1

    def base_layers(self, repository: str, pushed: float) -> list[int]:
        count = 2 + int(self.random.poisson(2))
        return [self.blob(repository, self.size(), pushed) for _ in range(count)]

    # Times

    def by_day(self, times: np.ndarray) -> np.ndarray:
        """Move times to hours at which people work, and most of those of weekends to weekdays."""
        days = np.floor(times / DAY)
        weekday = (days + 2) % 7  # the first day is a Wednesday
        moved = (weekday >= 5) & (self.random.random(len(times)) > self.is_["weekend"])
        days = np.where(moved, days + 7 - weekday, days)
        hours = self.random.choice(24, size=len(times), p=_HOURS / _HOURS.sum())
        return days * DAY + (hours + self.random.random(len(times))) * 3600

    def poisson(self, rate: float, first: float, last: float) -> np.ndarray:
        """Return times between two, so many a day, by day."""
        first, last = max(first, 0.0), min(last, self.end)
        if last <= first:
            return np.empty(0)
        count = self.random.poisson(rate * (last - first) / DAY)
        times = self.by_day(first + self.random.random(count) * (last - first))
        return times[(times >= first) & (times < last)]

    def pull(self, image: int, times: np.ndarray, *, whole: bool) -> None:
        if len(times):
            self.pulls.append((times, image, whole))

    def dies(self, first: float) -> float:
        """Return when a repository is used no more."""
        if self.random.random() < self.is_["end_of_life"]:
            return first + self.random.random() * (self.end - first)
        return self.end

    # Kinds of repositories

    def many(self, name: str) -> int:
        return max(1, round(self.is_[name] * self.scale))

    def begin(self) -> float:
        """Return when a repository begins; two thirds are there before the history begins."""
        if self.random.random() < 0.66:
            return -self.random.random() * 400 * DAY
        return self.random.random() * self.end * 0.8

    def ci(self, number: int, bases: list[list[int]]) -> None:
        name = f"ci/app-{number}"
        at, last = self.begin(), 0.0
        last = self.dies(max(at, 0))
        rate = self.is_["ci_builds_a_day"] * self.random.lognormal(0, 0.7)
        shared = bases[int(self.random.integers(len(bases)))]
        own_base = self.base_layers(name, at)
        build = 0
        at = max(at, -90 * DAY)
        while at < last:
            if self.random.random() < 0.03:  # dependencies change
                own_base = self.base_layers(name, at)
            image = self.image(name, f"build-{build}", at, shared + own_base)
            if at >= 0:
                pulls = 1 + (self.random.random() < 0.12) + (self.random.random() < 0.04)
                delays = self.random.exponential(3 * 3600, pulls)
                self.pull(image, np.sort(at + 60 + delays), whole=False)
            self.current.setdefault(name, []).append((at, at + 3 * DAY, image))
            build += 1
            at += self.random.exponential(DAY / rate)

    def release(self, number: int, bases: list[list[int]]) -> None:
        name = f"prod/service-{number}"
        at = self.begin()
        last = self.dies(max(at, 0))
        every = self.is_["release_days"] * self.random.lognormal(0, 0.5)
        nodes = 1 + self.random.poisson(self.is_["release_nodes"] * self.random.lognormal(-0.5, 1))
        tail = self.is_["release_tail"] * self.random.lognormal(-0.5, 1)
        shared = bases[int(self.random.integers(len(bases)))]
        own_base = self.base_layers(name, at)
        version = 0
        at = max(at, -300 * DAY)
        while at < last:
            if self.random.random() < 0.15:
                own_base = self.base_layers(name, at)
            image = self.image(name, f"v1.{version}", at, shared + own_base)
            following = at + self.random.gamma(4, every / 4) * DAY
            if at >= 0:
                out = at + 600 + self.random.exponential(DAY / 2, nodes)
                self.pull(image, np.sort(out), whole=False)
            self.pull(image, self.poisson(tail, at, min(following, last)), whole=False)
            # Some nodes stay behind.
            fade = self.poisson(tail / 8, following, min(following + 30 * DAY, last))
            self.pull(image, fade, whole=False)
            if self.random.random() < self.is_["rollback"]:
                back = following + self.random.uniform(30, 365) * DAY
                self.pull(image, self.poisson(nodes / 3, back, back + 3 * DAY), whole=True)
            self.current.setdefault(name, []).append((at, following, image))
            version += 1
            at = following

    def base(self, number: int) -> list[list[int]]:
        """Make a base image that is built anew each month; return its layers as of each month."""
        name = f"base/os-{number}"
        rate = self.is_["base_pulls_a_day"] * self.random.lognormal(0, 0.5)
        found = []
        at = -300 * DAY
        month = 0
        while at < self.end:
            layers = self.base_layers(name, at)
            image = self.image(name, f"2024.{month}", at, layers)
            following = at + self.random.uniform(25, 35) * DAY
            self.pull(image, self.poisson(rate, at, following), whole=True)
            self.pull(image, self.poisson(rate / 10, following, following + 90 * DAY), whole=True)
            pinned = self.poisson(rate / 300, following + 90 * DAY, following + 500 * DAY)
            self.pull(image, pinned, whole=True)
            self.current.setdefault(name, []).append((at, following, image))
            found.append(layers)
            month += 1
            at = following
        return found

    def batch(self, number: int) -> None:
        name = f"batch/job-{number}"
        at = self.begin()
        last = self.dies(max(at, 0))
        every = self.is_["batch_days"] * self.random.lognormal(0, 0.4) * DAY
        image = self.image(name, "v1", at, self.base_layers(name, at))
        renewed = at + self.random.uniform(100, 500) * DAY
        self.current.setdefault(name, []).append((at, last, image))
        while at < last:
            if at > renewed:
                image = self.image(name, f"v{int(at / DAY)}", at, self.base_layers(name, at))
                renewed = at + self.random.uniform(100, 500) * DAY
            if at >= 0:
                nodes = 1 + self.random.poisson(2)
                out = at + self.random.exponential(1800, nodes)
                self.pull(image, np.sort(out[out < self.end]), whole=True)
            at += self.random.normal(every, every / 20)

    def attic(self, count: int) -> None:
        rate = self.is_["attic_pulls_a_year"] / 365
        for number in range(count):
            name = f"attic/old-{number // 20}"
            at = -self.random.uniform(30, 1500) * DAY
            layers = self.base_layers(name, at) if number % 20 == 0 else []
            image = self.image(name, f"r{number}", at, layers)
            each = rate * self.random.lognormal(-1, 1.5)
            self.pull(image, self.poisson(each, 0, self.end), whole=True)
            self.current.setdefault(name, []).append((at, self.end, image))

    # All of it

    def made(self) -> Trace:
        bases = [self.base(number) for number in range(self.many("base_repositories"))]
        flat = [layers for each in bases for layers in each[:8]]
        for number in range(self.many("ci_repositories")):
            self.ci(number, flat)
        for number in range(self.many("release_repositories")):
            self.release(number, flat)
        for number in range(self.many("batch_repositories")):
            self.batch(number)
        self.attic(self.many("attic_images"))
        for _ in range(round(self.is_["rebuilds"])):
            when = self.random.random() * self.end
            for there in self.current.values():
                for first, last, image in there:
                    if first <= when < last and not self.images[image].repository.startswith("at"):
                        delays = self.random.exponential(3600, 3)
                        self.pull(image, when + delays, whole=True)
        return self.put_together()

    def put_together(self) -> Trace:
        times, objects, scans, clients = [], [], [], []
        for whens, image, whole in self.pulls:
            of = self.images[image]
            fetched = of.own + of.shared if whole else of.own
            # A node that has layers of a base already does not fetch them; one in thirty has not.
            for number in fetched:
                times.append(whens)
                objects.append(np.full(len(whens), number))
            if not whole and of.shared:
                new = whens[self.random.random(len(whens)) < 0.03]
                for number in of.shared:
                    times.append(new)
                    objects.append(np.full(len(new), number))
        count = sum(map(len, times))
        scans.append(np.zeros(count, dtype=bool))
        clients.append(self.random.zipf(1.3, count) % 5000)
        if int(self.is_["scanned"]):
            week = 0.0
            while week < self.end:
                for there in self.current.values():
                    for first, last, image in there:
                        if first <= week < last:
                            of = self.images[image]
                            fetched = of.own + of.shared
                            when = week + self.random.random() * 6 * 3600
                            times.append(np.full(len(fetched), when))
                            objects.append(np.array(fetched))
                week += 7 * DAY
            more = sum(map(len, times)) - count
            scans.append(np.ones(more, dtype=bool))
            clients.append(np.full(more, -1))
        all_times, all_objects = np.concatenate(times), np.concatenate(objects)
        pushed = np.array([blob.pushed for blob in self.blobs])
        kept = (all_times >= 0) & (all_times < self.end) & (all_times >= pushed[all_objects])
        order = np.argsort(all_times[kept], kind="stable")
        return Trace(
            self.blobs,
            self.images,
            all_times[kept][order],
            all_objects[kept][order],
            np.concatenate(scans)[kept][order],
            np.concatenate(clients)[kept][order],
            self.is_,
        )


def make_trace(seed: int, *, months: float = 24, scale: float = 1.0) -> Trace:
    """Return the history of a seed: the same one each time, with the same numpy.

    Args:
        seed: 1 to 20 are for reports, 100 to 199 to tune on.
        months: how long it is.
        scale: of the number of repositories.
    """
    return _Maker(seed, months, scale).made()


def facts(trace: Trace) -> dict[str, Any]:
    """Return what is known of real registries, of this history. Scans do not count."""
    real = ~trace.scanned
    objects, times = trace.objects[real], trace.times[real]
    sizes = np.array([blob.size for blob in trace.blobs])
    layers = np.ones(len(sizes), dtype=bool)
    for image in trace.images:
        layers[image.own[:2]] = False  # the manifest and the config
    counts = np.bincount(objects, minlength=len(sizes))
    fetched = np.sort(counts[counts > 0])[::-1]
    half = times < times[-1] / 2
    early = np.unique(objects[half])
    again = np.isin(early, np.unique(objects[~half]))
    last = np.full(len(sizes), -np.inf)
    np.maximum.at(last, objects, times)
    pushed = np.array([blob.pushed for blob in trace.blobs])
    idle = times[-1] - np.maximum(last, pushed) > 6 * MONTH
    return {
        "blobs": len(sizes),
        "images": len(trace.images),
        "bytes": int(sizes.sum()),
        "accesses": len(objects),
        "scans": int(trace.scanned.sum()),
        "below_1_mb": round(float((sizes[layers] < 1e6).mean()), 3),
        "below_10_mb": round(float((sizes[layers] < 1e7).mean()), 3),
        "fetched_once": round(float((fetched == 1).mean()), 3),
        "of_early_never_again": round(float((~again).mean()), 3),
        "top_tenth_of_gets": round(float(fetched[: len(fetched) // 10].sum() / fetched.sum()), 3),
        "bytes_idle_6_months": round(float(sizes[idle].sum() / sizes.sum()), 3),
    }


def write(trace: Trace, path: Path) -> None:
    """Write it as CSV, as `regvault tier simulate --trace` reads it, pushes with it.

    Sizes of all blobs go beside it, into the file of the same name that ends in `.sizes`.
    """
    rows: list[tuple[float, str, str, str, int, int, str]] = []
    for blob in trace.blobs:
        kind = "manifests" if blob.manifest else "blobs"
        uri = f"/v2/{blob.repository}/{kind}/{blob.digest}"
        rows.append((max(blob.pushed, -1500 * DAY), "10.1.0.1", "PUT", uri, 201, 0, ""))
    for when, number, scan, client in zip(
        trace.times, trace.objects, trace.scanned, trace.clients, strict=True
    ):
        blob = trace.blobs[number]
        kind = "manifests" if blob.manifest else "blobs"
        uri = f"/v2/{blob.repository}/{kind}/{blob.digest}"
        who = SCANNER if scan else f"10.{2 + client // 250}.{client % 250}.7"
        agent = SCANNER_AGENT if scan else "containerd/1.7.20"
        rows.append((float(when), who, "GET", uri, 200, blob.size, agent))
    rows.sort(key=lambda row: row[0])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "client", "method", "uri", "status", "bytes", "useragent"])
        writer.writerows((f"{BEGAN + row[0]:.3f}", *row[1:]) for row in rows)

    with path.with_suffix(".sizes").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["digest", "size"])
        writer.writerows((blob.digest, blob.size) for blob in trace.blobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seed", type=int)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--months", type=float, default=24)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--stats", action="store_true", help="print what is known of real ones")
    given = parser.parse_args()
    trace = make_trace(given.seed, months=given.months, scale=given.scale)
    if given.stats:
        print(json.dumps({**facts(trace), "parameters": trace.parameters}, indent=1))
    if given.out is not None:
        write(trace, given.out)


if __name__ == "__main__":
    main()
