"""The verb `estimate`: what a first full of a registry will store, take and cost.

Only links and the listing of blobs are read, and a sample of blobs for about two seconds, to
measure how fast this machine reads and hashes them.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, SourceError
from regvault.policy.prices import monthly_cost
from regvault.vault.keys import RAW_BLOB_BYTES
from regvault.vault.pack import PACK_BYTES
from regvault.vault.presence import KeySizes
from regvault.vault.records import is_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.policy.prices import PriceTable
    from regvault.vault.vault import Vault

__all__ = ["Estimate", "EstimateOptions", "estimate"]

_SAMPLE_BLOBS = 400
_PART = 1 << 20
_DAY_S = 86400.0
#: Over less than this many days growth says nothing.
_MIN_DAYS = 1.0


@dataclass(frozen=True, slots=True)
class EstimateOptions:
    """What was asked for.

    Attributes:
        prices: of storage.
        sample_s: how long to read blobs at most, to measure the rate; 0 measures nothing.
        registry: permanent name in the vault, for the growth; None: the one last read from there.
        seed: of the choice of blobs.
    """

    prices: PriceTable
    sample_s: float = 2.0
    registry: str | None = None
    seed: int = 0


@dataclass(slots=True)
class Estimate:
    """What a first full of a registry comes to.

    Attributes:
        source: its location.
        prices: that costs are by.
        repositories, tags: numbers.
        links: revision links in all repositories.
        revisions: distinct manifests.
        blobs, nbytes: distinct ones that a repository links to, manifests included.
        raw, raw_bytes: of those, stored as an object each.
        orphans, orphan_bytes: that no repository links to; not stored.
        absent: links to blobs that are not there.
        sampled, sampled_bytes, sampled_s: read to measure the rate.
        growth: bytes a day, by the vault's snapshots; None where they do not say.
        growth_days, growth_registry: between which it was measured, and of which registry.
    """

    source: str
    prices: PriceTable
    repositories: int = 0
    tags: int = 0
    links: int = 0
    revisions: int = 0
    blobs: int = 0
    nbytes: int = 0
    raw: int = 0
    raw_bytes: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    absent: int = 0
    sampled: int = 0
    sampled_bytes: int = 0
    sampled_s: float = 0.0
    growth: float | None = None
    growth_days: float | None = None
    growth_registry: str | None = None
    findings: dict[str, int] = field(default_factory=dict)

    @property
    def packed(self) -> int:
        """How many blobs go into packs and meta objects."""
        return self.blobs - self.raw

    @property
    def packed_bytes(self) -> int:
        """Their bytes."""
        return self.nbytes - self.raw_bytes

    @property
    def objects(self) -> int:
        """About how many objects the vault gets."""
        packs = -(-self.packed_bytes // PACK_BYTES)
        return self.raw + packs + (2 + self.repositories if self.repositories else 0)

    @property
    def rate(self) -> float | None:
        """Bytes per second, read and hashed by one thread; None where nothing was measured."""
        if not self.sampled_bytes or self.sampled_s <= 0:
            return None
        return self.sampled_bytes / self.sampled_s

    @property
    def seconds(self) -> float | None:
        """How long a first full takes at that rate."""
        return None if self.rate is None else self.nbytes / self.rate

    def to_json(self) -> dict[str, Any]:
        """Return the document of `estimate`.

        `source`: its location. `repositories`, `tags`: numbers. `revisions`: distinct manifests;
        `revision_links`: in all repositories. `blobs`, `bytes`: distinct ones that a repository
        links to, manifests included, by the sizes that the store lists. `raw_blobs`, `raw_bytes`:
        of those, stored as an object each (1 MiB or more); `packed_blobs`, `packed_bytes`: the
        others. `objects`: about how many objects the vault gets. `orphan_blobs`, `orphan_bytes`:
        that no repository links to, and that are not stored. `missing_blobs`: that a link names and
        that are not there. `findings`: how many of each kind among the links. `sample`: `blobs`,
        `bytes`, `seconds`: read to measure the rate. `bytes_per_second`: read and hashed by one
        thread, null where nothing was measured; `first_full_seconds`: at that rate. `growth`:
        null, or `registry`, `days` and `bytes_per_day` by the vault's snapshots (net of what was
        deleted). `costs`: `prices` (name of the table), `as_of`, `currency`, `list_prices`: true,
        and `classes`: class -> `month` (storage), `first_full_requests` (once), and
        `month_in_a_year` where the growth is known.
        """
        return {
            "source": self.source,
            "repositories": self.repositories,
            "tags": self.tags,
            "revisions": self.revisions,
            "revision_links": self.links,
            "blobs": self.blobs,
            "bytes": self.nbytes,
            "raw_blobs": self.raw,
            "raw_bytes": self.raw_bytes,
            "packed_blobs": self.packed,
            "packed_bytes": self.packed_bytes,
            "objects": self.objects,
            "orphan_blobs": self.orphans,
            "orphan_bytes": self.orphan_bytes,
            "missing_blobs": self.absent,
            "findings": dict(sorted(self.findings.items())),
            "sample": {
                "blobs": self.sampled,
                "bytes": self.sampled_bytes,
                "seconds": round(self.sampled_s, 3),
            },
            "bytes_per_second": self.rate,
            "first_full_seconds": self.seconds,
            "growth": None
            if self.growth is None
            else {
                "registry": self.growth_registry,
                "days": self.growth_days,
                "bytes_per_day": self.growth,
            },
            "costs": {
                "prices": self.prices.name,
                "as_of": self.prices.as_of,
                "currency": self.prices.currency,
                "list_prices": True,
                "classes": self.costs(),
            },
        }

    def costs(self) -> dict[str, dict[str, float | None]]:
        """Return class -> what it costs; `month_in_a_year` is None where the growth is unknown."""
        now = monthly_cost(self.prices, nbytes=self.nbytes, objects=self.objects)
        later = self.nbytes + max(self.growth or 0.0, 0.0) * 365
        then = monthly_cost(self.prices, nbytes=round(later), objects=self.objects)
        return {
            name: {
                "month": cost.month,
                "first_full_requests": cost.first,
                "month_in_a_year": None if self.growth is None else then[name].month,
            }
            for name, cost in now.items()
        }


def estimate(
    source: RegistrySource,
    options: EstimateOptions,
    *,
    progress: Progress,
    vault: Vault | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Estimate a first full.

    Args:
        source: the registry.
        options: what was asked for.
        progress: is told how far it is.
        vault: one whose snapshots say how the registry grows, or None.
        clock: seconds.

    Raises:
        NotFoundError: there is no registry.
        SourceError, SourceUnavailableError: it cannot be read.
    """
    source.check()
    result = Estimate(source.location, options.prices)
    linked = KeySizes()
    try:
        named = _read_links(source, linked, result, progress)
        sample = _read_blobs(source, linked, result, progress, random.Random(options.seed))  # noqa: S311 (no secret)
        result.absent = named - result.blobs
    finally:
        linked.close()
    if options.sample_s > 0:
        _measure(source, sample, options.sample_s, result, progress, clock)
    if vault is not None:
        _growth(vault, options.registry, result)
    return result


_LAYER, _REVISION = 1, 2


def _read_links(
    source: RegistrySource, linked: KeySizes, result: Estimate, progress: Progress
) -> int:
    """Read all links; return how many distinct blobs they name."""
    progress.phase("Reading links")
    named = 0
    for survey in source.surveys():
        links = survey.links()
        result.repositories += 1
        result.tags += sum(tag.current is not None for tag in links.tags)
        result.links += len(links.revisions)
        for finding in links.findings:
            kind = str(finding.kind)
            result.findings[kind] = result.findings.get(kind, 0) + 1
        for digest in links.revisions:
            before = linked.get(digest)
            named += before is None
            result.revisions += before != _REVISION
            linked[digest] = _REVISION
        for digest in links.layers:
            if linked.get(digest) is None:
                named += 1
                linked[digest] = _LAYER
        progress.advance(1)
    return named


def _read_blobs(
    source: RegistrySource,
    linked: KeySizes,
    result: Estimate,
    progress: Progress,
    chance: random.Random,
) -> list[tuple[str, int]]:
    """List all blobs; return some of them, each with the same chance."""
    progress.phase("Listing blobs")
    sample: list[tuple[str, int]] = []
    for digest, size in source.blobs():
        progress.advance(1, size)
        if linked.get(digest) is None:
            result.orphans += 1
            result.orphan_bytes += size
            continue
        result.blobs += 1
        result.nbytes += size
        if size >= RAW_BLOB_BYTES:
            result.raw += 1
            result.raw_bytes += size
        if len(sample) < _SAMPLE_BLOBS:
            sample.append((digest, size))
        elif (place := chance.randrange(result.blobs)) < _SAMPLE_BLOBS:
            sample[place] = digest, size
    chance.shuffle(sample)
    return sample


def _measure(
    source: RegistrySource,
    sample: list[tuple[str, int]],
    seconds: float,
    result: Estimate,
    progress: Progress,
    clock: Callable[[], float],
) -> None:
    """Read and hash blobs until the time is over, small and large as they come."""
    progress.phase("Measuring how fast blobs are read")
    began = clock()
    for digest, _ in sample:
        if clock() - began >= seconds:
            break
        try:
            reader, _ = source.open_blob(digest)
            with reader:
                hasher = hashlib.new(digest.partition(":")[0])
                while data := reader.read(_PART):
                    hasher.update(data)
                    result.sampled_bytes += len(data)
                    progress.advance(0, len(data))
                    if clock() - began >= seconds:
                        break
        except (ObjectNotFoundError, SourceError):
            continue  # what cannot be read is for the snapshot to report
        result.sampled += 1
    result.sampled_s = clock() - began


def _growth(vault: Vault, registry: str | None, result: Estimate) -> None:
    """Measure the growth between the oldest and the newest snapshot that are complete."""
    for name in vault.registries():
        if registry not in (None, name, vault.title(name)):
            continue
        good = [
            root
            for root in vault.roots(name)
            if root.complete and not is_held(root, vault.confirmations)
        ]
        if not good or (registry is None and good[0].source.get("location") != result.source):
            continue
        newest, oldest = good[0], good[-1]
        days = (newest.started_at - oldest.started_at).total_seconds() / _DAY_S
        if days >= _MIN_DAYS:
            result.growth = (newest.counts.nbytes - oldest.counts.nbytes) / days
            result.growth_days, result.growth_registry = days, vault.title(name)
        return
