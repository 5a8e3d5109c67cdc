"""The verb `forget`: drop snapshots by retention, or by name. Their objects go with `prune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from regvault.errors import RefusedError, UsageError
from regvault.ops.confirm import who
from regvault.ops.pin import active_pins, is_pinned
from regvault.ops.selector import registry_named
from regvault.policy.retention import Decision, Point, retain
from regvault.vault.certain import check_clock, read_chain
from regvault.vault.keys import new_run_id
from regvault.vault.records import is_held, write_record
from regvault.vault.signing import require_key
from regvault.vault.stub import forget_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import tzinfo

    from regvault.model.progress import Progress
    from regvault.policy.retention import Retention
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = [
    "ForgetPlan",
    "ForgetResult",
    "Verdict",
    "forget",
    "plan_forget",
    "plan_forget_named",
    "points_of",
    "rules_of",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one snapshot.

    Attributes:
        root: of the snapshot.
        committed: when, by the store's clock; aware.
        reasons: why it stays; () means that it is forgotten.
    """

    root: Root
    committed: datetime
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """Return the part of a plan that tells of it."""
        return {
            "snapshot": str(self.root.name),
            "started": self.root.started,
            "committed": self.committed.isoformat(timespec="seconds"),
            "keep": self.keep,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """What is to be forgotten.

    Attributes:
        verdicts: of all snapshots that were judged: by registry, oldest first.
        policy: what they were judged by, for the record.
    """

    verdicts: list[Verdict]
    policy: dict[str, Any]

    @property
    def doomed(self) -> list[Verdict]:
        """Those that are forgotten."""
        return [verdict for verdict in self.verdicts if not verdict.keep]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints.

        `snapshots`: each with `snapshot` (`registry@sequence`), `started`, `committed` (by the
        store's clock), `keep` and `reasons`. `policy`: the rules, by registry.
        """
        return {
            "snapshots": [verdict.to_json() for verdict in self.verdicts],
            "policy": self.policy,
        }


@dataclass(slots=True)
class ForgetResult:
    """What was done.

    Attributes:
        plan: that was executed.
        forgotten: the snapshots, `registry@sequence`.
        record: key of the record that names them; None where there are none.
    """

    plan: ForgetPlan
    forgotten: list[str] = field(default_factory=list)
    record: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: the plan's, with `forgotten` and `record`."""
        return {**self.plan.to_json(), "forgotten": self.forgotten, "record": self.record}


def points_of(vault: Vault, registry: str) -> list[tuple[Point, Root]]:
    """Return all snapshots of a registry with what decides about them."""
    pins = active_pins(vault)
    found: list[tuple[Point, Root]] = []
    for slot in read_chain(vault, registry):
        if slot.root is not None:
            point = Point(
                slot.name.sequence,
                datetime.fromtimestamp(slot.modified_ns / 1e9, UTC),
                slot.root.complete,
                is_held(slot.root, vault.confirmations),
                is_pinned(slot.root, pins),
            )
            found.append((point, slot.root))
    return found


def plan_forget(
    vault: Vault,
    policies: Mapping[str, Retention],
    *,
    timezone: tzinfo,
) -> ForgetPlan:
    """Judge all snapshots of some registries.

    Args:
        vault: where.
        policies: the rules by registry.
        timezone: whose days, weeks, months and years.

    Raises:
        NotFoundError: the vault has no such registry.
        UsageError: a policy has no rule.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: a chain cannot be read.
    """
    check_clock(vault.store)
    there = vault.registries()
    verdicts: list[Verdict] = []
    rules: dict[str, Any] = {}
    for registry, retention in sorted(policies.items()):
        if retention.empty:
            raise UsageError(
                f"the policy of {registry} has no rule: it would forget nearly everything",
                hint="Give one, such as --keep-daily 14 --keep-monthly 12.",
            )
        name = registry_named(vault, registry, there)
        rules[name] = rules_of(retention)
        points = points_of(vault, name)
        roots = {point.sequence: root for point, root in points}
        decisions = retain((point for point, _ in points), retention, timezone=timezone)
        verdicts += [_verdict(decision, roots) for decision in decisions]
    return ForgetPlan(verdicts, rules)


def _verdict(decision: Decision, roots: Mapping[int, Root]) -> Verdict:
    return Verdict(roots[decision.point.sequence], decision.point.time, decision.reasons)


def rules_of(retention: Retention) -> dict[str, Any]:
    """Return rules as a record has them."""
    rules: dict[str, Any] = {
        name: count
        for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
        if (count := getattr(retention, name))
    }
    if retention.within is not None:
        rules["within_seconds"] = int(retention.within.total_seconds())
    return rules


def plan_forget_named(vault: Vault, roots: Iterable[Root]) -> ForgetPlan:
    """Judge the snapshots that a person named: they go, unless they must stay.

    Raises:
        RefusedError: one is the newest good one of its registry, or pinned.
        VaultDamagedError: a chain cannot be read.
    """
    check_clock(vault.store)
    named = {root.name: root for root in roots}
    verdicts: list[Verdict] = []
    for registry in sorted({name.registry for name in named}):
        points = points_of(vault, registry)
        newest = max((point for point, _ in points if point.good), default=None)
        for point, root in points:
            if root.name not in named:
                continue
            if point.pinned:
                raise RefusedError(
                    f"{root.name} is pinned",
                    hint=f"Take the pin away: regvault pin --remove {root.name}",
                )
            if newest is not None and point.sequence == newest.sequence:
                raise RefusedError(
                    f"{root.name} is the newest complete snapshot of {root.name.title}: it always "
                    "stays",
                    hint="Take a newer one first.",
                )
            verdicts.append(Verdict(root, point.time, ()))
    # It is recorded: in a sealed vault by the id.
    return ForgetPlan(
        verdicts, {"named": sorted(f"{name.registry}@{name.sequence}" for name in named)}
    )


def forget(
    vault: Vault, plan: ForgetPlan, *, progress: Progress, by: Callable[[], str] = who
) -> ForgetResult:
    """Put stubs in the places of the roots that the plan dooms.

    A record tells first which these are, and why. An interrupted run is finished by the next one.

    Raises:
        ReadOnlyStoreError, StoreAccessError: the vault cannot be written.
    """
    require_key(vault.id)
    result = ForgetResult(plan)
    doomed = plan.doomed
    if not doomed:
        vault.store.barrier()  # an interrupted run may have left stubs that are not on the disk
        return result
    run = new_run_id()
    result.record = write_record(
        vault.store,
        vault.id,
        "forgets",
        run,
        {
            "snapshots": [
                {
                    "registry": verdict.root.name.registry,
                    "sequence": verdict.root.name.sequence,
                    "root": verdict.root.sha256,
                }
                for verdict in doomed
            ],
            "policy": plan.policy,
            "by": by(),
        },
    )
    vault.store.barrier()
    progress.phase("Forgetting", total_items=len(doomed))
    for verdict in doomed:
        if forget_root(vault.store, vault.id, verdict.root, run):
            result.forgotten.append(str(verdict.root.name))
        progress.advance(1)
    vault.store.barrier()
    return result
