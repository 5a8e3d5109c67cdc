"""Executes a plan: holds off snapshots, makes sure that nobody pushes, collects, and proves."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    LeaseHeldError,
    NotFoundError,
    RefusedError,
    RegvaultError,
    StoreError,
    UsageError,
)
from regvault.ops.tier.garbage.collect import Ended, run_command
from regvault.ops.tier.garbage.proof import Proof, prove
from regvault.ops.writing import writing
from regvault.vault.lease import living_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.tier.garbage.backing import Backing
    from regvault.ops.tier.garbage.plan import GarbagePlan
    from regvault.vault.lease import Lease
    from regvault.vault.vault import Vault

__all__ = ["GarbageResult", "collect_garbage"]

_CHANGES_NAMED = 3


@dataclass(slots=True)
class GarbageResult:
    """What came of it.

    Attributes:
        plan: that was executed.
        command: that was run.
        ended: how it ended.
        proof: what the registry showed afterwards.
        mended: the proof after what was lost was brought back; None where that was not asked for,
            or there was nothing.
        commands: what brings back what was lost.
        alone: no snapshot of the registry began meanwhile; None where there is no vault, or it
            could not be asked.
    """

    plan: GarbagePlan
    command: list[str]
    ended: Ended
    proof: Proof
    mended: Proof | None = None
    commands: list[str] = field(default_factory=list)
    alone: bool | None = None

    def exit_code(self) -> int:
        """Return 0; 3 where something was lost, changed or left; 1 where the command failed."""
        proof = self.proof
        if proof.loss_count or proof.changes:
            return 3
        if not self.ended.good:
            return 1
        return 3 if proof.left else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document of `tier gc`.

        `plan`: the document of a dry run. `command`: its words. `status`: its exit code, negative:
        the signal that ended it; `timed_out`; `seconds`. `freed`: `blobs`, `bytes` that nobody
        needed and that are gone; `left`: those that are still there. `revisions_gone`,
        `revisions_left`: of the untagged ones that were to go. `proven`: `blobs`, `bytes` that
        images need, each of them asked for, and there with its size. `loss_count`, `losses`: what
        images needed and is gone, the first 10,000: `repository` ("" for a blob), `what`: `blob`,
        `blob-size`, `revision`, `layer`, `tag`, `unreadable`, or `pushed` (of an image pushed
        meanwhile); `subject`. `hurt`: by `repository`: `images` that cannot be pulled, `digests`
        whose restore brings back all, `tags` that are gone with where they pointed,
        `retagged`: those of them that the snapshot has elsewhere or not at all.
        `restore_commands`: what brings it back. `change_count`, `changed`: what somebody else
        changed meanwhile: `repository`, `what`. `repaired`: null, or after `--repair` `loss_count`
        of a second proof, and its `losses`. `alone`: whether no snapshot began meanwhile; null
        where that is not known.
        """
        repaired = None
        if self.mended is not None:
            repaired = {
                "loss_count": self.mended.loss_count,
                "losses": [loss._asdict() for loss in self.mended.losses],
            }
        return {
            "plan": self.plan.to_json(),
            "command": self.command,
            "status": self.ended.status,
            "timed_out": self.ended.timed_out,
            "seconds": round(self.ended.seconds, 3),
            **self.proof.to_json(),
            "restore_commands": self.commands,
            "repaired": repaired,
            "alone": self.alone,
        }


def collect_garbage(
    plan: GarbagePlan,
    source: RegistrySource,
    command: list[str],
    *,
    progress: Progress,
    vault: Vault | None = None,
    mend: Callable[[Proof], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    renew_every_s: float = 240.0,
) -> GarbageResult:
    """Run the registry's own collection, and prove that no image lost anything.

    Args:
        plan: made from this source.
        source: the registry.
        command: program and arguments.
        progress: is told how far it is, and what the command says.
        vault: that the plan looked into; its writers wait meanwhile.
        mend: brings back what a proof says was lost; None: nothing is brought back.
        clock: seconds, the one that the plan was made by.
        sleep: waits, in seconds.
        renew_every_s: seconds between renewals of the lease.

    Raises:
        RefusedError: it is not safe to begin; the command was not run.
        LeaseHeldError: a snapshot is at work; likewise.
        NotFoundError: the snapshot that is to bring things back is gone; likewise.
        UsageError: the command cannot be run.
        SourceError, SourceUnavailableError: the registry cannot be read.
    """
    for refusal in plan.refusals():
        raise RefusedError(refusal.message, hint=refusal.hint)
    with _held(vault, plan, progress, renew_every_s) as held:
        _require_quiet(plan, source, progress, clock, sleep)
        if held is not None:
            held.require_alone()
        progress.phase("Collecting")
        try:
            ended = run_command(command, say=progress.note, timeout_s=plan.options.timeout_s)
            if not ended.good:
                hint = "What it did is looked at now."
                progress.warn(f"the collection failed: {ended}", hint=hint)
            result = GarbageResult(plan, command, ended, prove(plan, source, progress=progress))
        except UsageError:
            raise  # it did not begin
        except BaseException:
            progress.warn(
                "the collection was begun, and nothing is proven",
                hint=f"See whether an image lost anything: regvault scan {plan.source}",
            )
            raise
        if held is not None:
            result.alone = held.was_alone(progress)
        if result.proof.hurt and mend is not None:
            try:
                mend(result.proof)
            except RegvaultError as error:
                progress.warn(f"what was lost did not all come back: {error.message}")
            result.mended = prove(plan, source, progress=progress)
        return result


@contextlib.contextmanager
def _held(
    vault: Vault | None, plan: GarbagePlan, progress: Progress, renew_every_s: float
) -> Iterator[_Hold | None]:
    """Hold off snapshots of the registry, and prunes, while the block runs."""
    backing = plan.backing
    if vault is None or backing is None:
        yield None
        return
    with writing(
        vault,
        backing.registry,
        wait_s=plan.options.wait_s,
        say=progress.note,
        renew_every_s=renew_every_s,
    ) as (_, lease):
        found = vault.read_slot(backing.root.name, unopened=True)
        if found is None or found.sha256 != backing.root.sha256:
            raise NotFoundError(
                f"snapshot {backing.root.name} was forgotten just now",
                hint="Run it again: another one may do.",
            )
        yield _Hold(vault, backing, lease, max(vault.slots(backing.registry)))


class _Hold(NamedTuple):
    """A lease on a registry of a vault, and the newest slot of its chain when it was taken."""

    vault: Vault
    backing: Backing
    lease: Lease
    newest: int

    def require_alone(self) -> None:
        """Look once more whether the lease is ours, and the only one.

        Raises:
            LeaseHeldError: a snapshot began in the same moment.
            LeaseLostError: the lease was ended meanwhile.
        """
        self.lease.renew()
        other = self._other()
        if other is not None:
            raise LeaseHeldError(
                f"a snapshot of {self.backing.root.name.title} is at work: run {other}",
                hint="Wait for it with --retry-lock 1h.",
            )

    def was_alone(self, progress: Progress) -> bool | None:
        """Return whether no snapshot began meanwhile; None where the vault cannot be asked."""
        try:
            slots = self.vault.slots(self.backing.registry)
            alone = not self.lease.lost and self._other() is None and max(slots) == self.newest
        except StoreError as error:
            progress.warn(f"whether a snapshot ran meanwhile is not known: {error.message}")
            return None
        if not alone:
            progress.warn(
                "a snapshot of this registry ran while garbage was collected",
                hint="Take another one: regvault snapshot",
            )
        return alone

    def _other(self) -> str | None:
        """Return the run of another writer of the registry that lives, or None."""
        writers = living_writers(self.vault.store, self.vault.id, but=self.lease.key)
        for _, body in writers:
            if body.get("registry") == self.backing.registry:
                return str(body.get("run"))
        return None


def _require_quiet(
    plan: GarbagePlan,
    source: RegistrySource,
    progress: Progress,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Refuse where anything changed since the plan looked.

    Raises:
        RefusedError: it did.
    """
    left = plan.seen_s + plan.options.quiet_s - clock()
    if left > 0:
        progress.phase("Making sure that nobody pushes")
        sleep(left)
    found = list(islice(plan.census.changes(source), _CHANGES_NAMED + 1))
    if found:
        more = " and more" if len(found) > _CHANGES_NAMED else ""
        raise RefusedError(
            "the registry is in use: since it was looked at, "
            f"{', '.join(found[:_CHANGES_NAMED])}{more}",
            hint="Garbage collection takes what is being pushed. Make the registry read-only, or "
            "stop it, and run this again.",
        )
