"""Foresees what a registry's garbage collection would free, and whether it may begin."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.registry import Kind
from regvault.ops.bounded import in_order
from regvault.ops.tier.garbage.backing import look_into
from regvault.ops.tier.garbage.census import Census
from regvault.policy.prices import monthly_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.tier.garbage.backing import Backing
    from regvault.policy.prices import PriceTable
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["GarbageOptions", "GarbagePlan", "Refusal", "plan_garbage"]

#: What was written less than this ago may belong to a push whose manifest is still to come.
FRESH_S = 3600.0
#: So many blobs and revisions are listed.
LISTED = 10_000


@dataclass(frozen=True, slots=True)
class GarbageOptions:
    """What was asked for.

    Attributes:
        prices: of storage.
        untagged: the command deletes manifests without a tag, too (`garbage-collect -m`).
        allow_fresh: go on beside uploads in flight, and where blobs are fresh.
        without_vault: go on without a vault, or where it lacks something.
        threads: at work at once.
        quiet_s: seconds in which nothing may change before the command begins.
        wait_s: seconds to wait for another writer of the vault.
        timeout_s: seconds that the command may take; None: as long as it takes.
    """

    prices: PriceTable
    untagged: bool = False
    allow_fresh: bool = False
    without_vault: bool = False
    threads: int = 4
    quiet_s: float = 10.0
    wait_s: float = 0.0
    timeout_s: float | None = None


class Refusal(NamedTuple):
    """Why the command may not begin.

    Attributes:
        message: what is wrong.
        hint: what to do, or which flag goes on all the same.
    """

    message: str
    hint: str


@dataclass(slots=True)
class GarbagePlan:
    """What would be freed, and what is in the way.

    Attributes:
        source: location of the registry.
        options: what was asked for.
        census: what the registry held.
        seen_s: when it was looked at, by the monotonic clock.
        fresh, fresh_bytes: blobs that nobody needs and that were written within the last hour.
        in_flight, stale: uploads that were written to within the last hour, and others.
        backing: what the vault has; None without one.
    """

    source: str
    options: GarbageOptions
    census: Census
    seen_s: float = 0.0
    fresh: int = 0
    fresh_bytes: int = 0
    in_flight: list[str] = field(default_factory=list)
    stale: int = 0
    backing: Backing | None = None

    @property
    def unneeded(self) -> tuple[int, int]:
        """How many blobs nobody needs, and their bytes."""
        return self.census.totals(kept=False)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to free."""
        return not self.unneeded[0] and not self.census.go

    @property
    def saved(self) -> float:
        """What storing the candidates costs a month, in the hot class."""
        count, nbytes = self.unneeded
        prices = self.options.prices
        return monthly_cost(prices, nbytes=nbytes, objects=count)[prices.hot].month

    def going(self) -> Iterator[tuple[str, str]]:
        """Yield (repository, digest) of the revisions that are to go."""
        for name, looked in self.census.looked():
            for digest in looked.go:
                yield name, digest

    def refusals(self) -> list[Refusal]:
        """Return why the command may not begin; [] where it may."""
        return list(_refusals(self))

    def to_json(self) -> dict[str, Any]:
        """Return the document of a dry run.

        `source`: its location. `repositories`, `tags`: numbers. `revisions`: manifests that stay,
        one in several repositories counted for each. `needed`: `blobs`, `bytes` that those need and
        that are there; `missing_blobs`: that are not there, whatever is collected. `unneeded`:
        `blobs`, `bytes` of what no such manifest reaches; `largest`: of those the 10,000 largest,
        each `digest`, `bytes`. `untagged`: null, or with `--untagged` `revisions` (how many are to
        go) and `listed`: of those the first 10,000, each `repository`, `digest`. `fresh`: `blobs`,
        `bytes` among the unneeded that were written within the last hour. `uploads`: `in_flight`:
        paths of those written to within the last hour; `stale`: how many others. `unreadable`:
        what keeps from knowing what images need: `count`, and the first of them in `listed`:
        `repository`, `kind`, `subject`. `saved`: `prices`, `as_of`, `currency`, `class`, `month`:
        what storing the unneeded costs there. `vault`: null, or `location`, `snapshot`,
        `lacking_blobs`, `lacking_bytes`, `lacking_revisions`: what images need now and that
        snapshot has not; `kept_blobs`, `kept_bytes`: of the unneeded, what a snapshot keeps;
        `nowhere_blobs`, `nowhere_bytes`: the rest of them; null where it is not known. `refusals`:
        why it would not begin: `message`, `hint`.
        """
        census, prices = self.census, self.options.prices
        needed, unneeded = census.totals(kept=True), self.unneeded
        untagged = None
        if self.options.untagged:
            pairs = [
                {"repository": name, "digest": digest}
                for (name, digest), _ in zip(self.going(), range(LISTED), strict=False)
            ]
            untagged = {"revisions": census.go, "listed": pairs}
        return {
            "source": self.source,
            "repositories": census.repositories,
            "tags": census.tags,
            "revisions": census.stay,
            "needed": {"blobs": needed[0], "bytes": needed[1]},
            "missing_blobs": census.absent(),
            "unneeded": {
                "blobs": unneeded[0],
                "bytes": unneeded[1],
                "largest": [{"digest": d, "bytes": size} for d, size in census.largest(LISTED)],
            },
            "untagged": untagged,
            "fresh": {"blobs": self.fresh, "bytes": self.fresh_bytes},
            "uploads": {"in_flight": self.in_flight, "stale": self.stale},
            "unreadable": {
                "count": census.problem_count,
                "listed": [
                    {"repository": f.repository, "kind": str(f.kind), "subject": f.subject}
                    for f in census.problems
                ],
            },
            "saved": {
                "prices": prices.name,
                "as_of": prices.as_of,
                "currency": prices.currency,
                "class": prices.hot,
                "month": self.saved,
            },
            "vault": None if self.backing is None else self.backing.to_json(unneeded),
            "refusals": [each._asdict() for each in self.refusals()],
        }

    def close(self) -> None:
        """Free what the plan holds."""
        self.census.close()


def plan_garbage(
    source: RegistrySource,
    options: GarbageOptions,
    *,
    progress: Progress,
    backed: tuple[Vault, Root] | None = None,
    cache_base: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> GarbagePlan:
    """Look at everything, and change nothing.

    Args:
        source: the registry.
        options: what was asked for.
        progress: is told how far it is.
        backed: a vault, and its snapshot of the registry that is to bring back what is lost.
        cache_base: directory of the local caches; None keeps nothing.
        clock: seconds, going on while the machine runs.

    Raises:
        NotFoundError: there is no registry.
        SourceError, SourceUnavailableError: it cannot be read.
        VaultDamagedError: what the snapshot needs is not all there.
    """
    source.check()
    plan = GarbagePlan(source.location, options, Census(untagged=options.untagged))
    try:
        plan.census.look(source, threads=options.threads, progress=progress)
        plan.seen_s = clock()
        _find_fresh(plan, source, progress)
        if backed is not None:
            plan.backing = look_into(
                *backed,
                plan.census,
                progress=progress,
                threads=options.threads,
                cache_base=cache_base,
            )
    except BaseException:
        plan.close()
        raise
    return plan


def _find_fresh(plan: GarbagePlan, source: RegistrySource, progress: Progress) -> None:
    """Find what a push that is under way may have written."""
    since_ns = source.now_ns() - int(FRESH_S * 1e9)
    for upload in plan.census.uploads:
        if upload.modified_ns > since_ns:
            plan.in_flight.append(upload.path)
        else:
            plan.stale += 1
    count, _ = plan.unneeded
    progress.phase("Looking how old what nobody needs is", total_items=count)
    rows = plan.census.blobs(kept=False)

    def written(row: tuple[str, int]) -> tuple[int | None, int]:
        return source.written_ns(row[0]), row[1]

    threads = 1 if source.at_hand else plan.options.threads
    for written_ns, size in in_order(rows, written, threads=threads, name="age"):
        if written_ns is not None and written_ns > since_ns:
            plan.fresh += 1
            plan.fresh_bytes += size
        progress.advance(1)


def _refusals(plan: GarbagePlan) -> Iterator[Refusal]:
    census, options = plan.census, plan.options
    if census.problem_count:
        first = census.problems[0]
        where = f"{first.repository} " if first.repository else ""
        yield Refusal(
            f"what images need cannot be told: {where}{first.subject} is {first.kind}"
            + (f", and {census.problem_count - 1} more" if census.problem_count > 1 else ""),
            f"See all: regvault scan SOURCE. {_REMEDY.get(first.kind, _RESTORE)}",
        )
    if (plan.in_flight or plan.fresh) and not options.allow_fresh:
        parts = []
        if plan.in_flight:
            parts.append(f"uploads are in flight ({len(plan.in_flight)})")
        if plan.fresh:
            parts.append(
                f"there are blobs that no manifest names, younger than an hour ({plan.fresh})"
            )
        yield Refusal(
            f"somebody may be pushing: {' and '.join(parts)}",
            "Garbage collection takes what is being pushed. Make the registry read-only, or stop "
            "it, and wait an hour; where it is certain that nobody pushes: --allow-fresh",
        )
    if options.without_vault:
        return
    if plan.backing is None:
        yield Refusal("no vault stands behind this registry", "Name one by --vault.")
    elif not plan.backing.whole:
        lacking = plan.backing
        yield Refusal(
            f"snapshot {lacking.root.name} lacks {lacking.lacking} blobs "
            f"({lacking.lacking_bytes} bytes) and {lacking.revisions} manifests that images of "
            "the registry need: what was taken wrongly could not come back",
            "Take a snapshot first: regvault snapshot SOURCE --vault VAULT. To go on without: "
            "--without-vault",
        )


_RESTORE = "Mend it: regvault restore latest --to SOURCE"
_REMEDY = {
    Kind.UNREADABLE: "Run it as the registry's own user.",
}
