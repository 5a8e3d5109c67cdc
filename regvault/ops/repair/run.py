"""Carries a repair out: same bytes in place first, then what takes the place of what is lost.

What lies under a damaged key is only replaced by bytes that its name proves. What could not be
brought back byte for byte moves to a new object, and an amendment says so; only then is the old one
condemned. So an interruption leaves whatever could be recovered before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    RegvaultError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.ops.claim import claim
from regvault.ops.confirm import who
from regvault.ops.prune.deleting import delete_all
from regvault.ops.prune.plan import Seen
from regvault.ops.repair.catalog import rebuild_catalog
from regvault.ops.repair.mending import Mender, Moved
from regvault.ops.repair.needs import read_roots, what_is_needed
from regvault.ops.repair.past import Recovered
from regvault.ops.repair.plan import RepairPlan, plan_repair
from regvault.ops.repair.roots import put_back
from regvault.ops.repair.strangers import remove_strangers
from regvault.ops.verify.run import VerifyOptions, verify
from regvault.vault.catalog import Catalog, current_catalog
from regvault.vault.certain import check_clock, claimed_lists
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import KEYED, new_run_id
from regvault.vault.presence import Presence
from regvault.vault.prune_lock import PruneLock
from regvault.vault.replace import commit_replacements
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.repair.remedies import Action
    from regvault.ops.repair.spares import Spare
    from regvault.ops.verify.run import VerifyResult
    from regvault.vault.objectlist import Amendments
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = ["RepairResult", "repair"]


@dataclass(slots=True)
class RepairResult:
    """What was done.

    Attributes:
        plan: that was executed.
        documents: keys of what came back from the vault's past beside objects.
        mended: objects that have their own bytes again.
        roots: slots of snapshots that were put back.
        given_up: snapshots whose roots nobody has: a stub is in the place of each.
        removed: keys of leases and records of another vault.
        replaced: old key -> the object that took its place; None where nothing was left.
        dropped: digests that are gone from all snapshots, since nobody has them.
        claimed: objects that were replaced, and stay until whoever reads them is done.
        failed: (key, why) of what could not be mended after all.
        segment: key of the segment that was written for the catalog, or None.
        amendment: key of the amendment, or None.
        after: the verification at the end.
    """

    plan: RepairPlan
    documents: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    replaced: Amendments = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    segment: str | None = None
    amendment: str | None = None
    after: VerifyResult | None = None

    def exit_code(self) -> int:
        """Return 0 where the vault is whole now, 4 where it is not."""
        return 0 if self.after is not None and not self.after.report.count else 4

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: the plan's, and what was done.

        `documents_put_back`: keys. `mended`: objects that have their own bytes again.
        `roots_put_back`: slots. `given_up`: snapshots whose roots nobody has. `removed`: leases and
        records of another vault. `replaced`: `object`, and `by`, the new one's key or null.
        `dropped`: digests that are gone from all snapshots. `claimed`: keys of replaced objects
        that somebody reads still; a later prune deletes them. `failed`: `object`, `why`.
        `segment`, `amendment`: keys, or null. `after`: the document of the verification at the end.
        """
        return {
            **self.plan.to_json(),
            "documents_put_back": self.documents,
            "mended": self.mended,
            "roots_put_back": self.roots,
            "given_up": self.given_up,
            "removed": self.removed,
            "replaced": [
                {"object": key, "by": ref.key if ref else None}
                for key, ref in sorted(self.replaced.items())
            ],
            "dropped": self.dropped,
            "claimed": self.claimed,
            "failed": [{"object": key, "why": why} for key, why in self.failed],
            "segment": self.segment,
            "amendment": self.amendment,
            "after": self.after.to_json() if self.after else None,
        }


def repair(
    vault: Vault,
    plan: RepairPlan,
    spares: Sequence[Spare],
    *,
    options: VerifyOptions,
    progress: Progress,
    wait_s: float = 0,
    by: Callable[[], str] = who,
) -> RepairResult:
    """Do what a plan says, then verify the vault.

    Args:
        vault: that is damaged.
        plan: what a person agreed to.
        spares: where good bytes may be, the best first.
        options: of the verification at the end.
        progress: is told how far it is.
        wait_s: seconds to wait for snapshots that are at work, where objects are replaced.
        by: tells who does it.

    Raises:
        LeaseHeldError: a snapshot or a prune is at work.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: amendments or condemned lists cannot be read.
    """
    check_clock(vault.store)
    vault.require_amendments()
    result = RepairResult(plan)
    if isinstance(vault.store, Recovered):
        result.documents = vault.store.put_back()
    each: RepairPlan | None = plan
    while each is not None:
        before = len(result.mended)
        result.removed += remove_strangers(vault, each.strangers)
        put = [lost for lost in each.filling() if put_back(vault, lost)]
        result.roots += [lost.name.key for lost in put if lost.source]
        result.given_up += [str(lost.name) for lost in put if not lost.source]
        _round(vault, each, spares, result, progress, wait_s, by)
        each = None
        if put or any(key.startswith("trees/") for key in result.mended[before:]):
            # Under what could not be read there may be more. (Nothing more is dropped.)
            more = plan_repair(vault, spares, options=options, progress=progress)
            each = None if more.nothing_to_do else more
    # Readers of this process have read amendments before there was another one.
    vault.require_amendments()
    result.after = verify(vault, options, progress=progress)
    return result


def _round(
    vault: Vault,
    plan: RepairPlan,
    spares: Sequence[Spare],
    result: RepairResult,
    progress: Progress,
    wait_s: float,
    by: Callable[[], str],
) -> None:
    roots = list(vault.all_roots())
    catalog = current_catalog(vault)
    try:
        with claim(vault, roots, progress) as own:
            if vault.seal.opens_names:
                catalog.prepare(1 << 30)
            mender = Mender(vault, catalog, plan, spares)
            doing = plan.doing()
            progress.phase("Mending objects", total_items=len(doing))
            rest = _mend(mender, doing, result, progress)
            vault.store.barrier()
            if rest:
                _replace(vault, mender, rest, catalog, result, progress, wait_s, by, own.run)
            if plan.catalog or not plan.untold.isdisjoint(result.mended):
                progress.phase("Writing the catalog anew")
                result.segment = rebuild_catalog(vault, roots, plan.bad_segments, plan.untold)
    finally:
        catalog.close()


def _mend(
    mender: Mender, doing: Iterable[Action], result: RepairResult, progress: Progress
) -> list[Action]:
    """Give objects their own bytes again; return what has to move to new ones instead."""
    rest = []
    for action in doing:
        key = action.ref.key
        try:
            if mender.in_place(action):
                result.mended.append(key)
            elif action.how in ("fetch", "store"):
                result.failed.append((key, "no place had the right bytes after all"))
            else:
                rest.append(action)
        except StoreUnavailableError:
            raise
        except RegvaultError as error:
            result.failed.append((key, error.message))
        progress.advance(1)
    return rest


def _replace(
    vault: Vault,
    mender: Mender,
    actions: list[Action],
    catalog: Catalog,
    result: RepairResult,
    progress: Progress,
    wait_s: float,
    by: Callable[[], str],
    own: str,
) -> None:
    """Move what is left of objects into new ones, and say so."""
    store, run = vault.store, new_run_id()
    progress.phase("Replacing objects", total_items=len(actions))
    with PruneLock(store, vault.id, run, wait_s=wait_s, say=progress.note) as lock:
        vault.require_amendments()
        condemned = read_condemned(store, vault.id)
        actions = [a for a in actions if _is_as_planned(a, vault.amendments, condemned)]
        refused = _refused(vault, actions)
        goes = {action.ref.key for action in actions}
        writer = ObjectWriter(store, run, Presence(None), condemned | goes, vault.seal)
        lines: set[Location] = set()
        lost: set[str] = set()
        for action in actions:
            key, why = action.ref.key, refused.get(action.ref.key, "")
            moved = Moved(None, [], set())
            if not why:
                try:
                    moved = mender.moved(writer, action)
                except (VaultDamagedError, CredentialError, ObjectNotFoundError) as error:
                    why = error.message
            if moved.gone - action.gone:
                # Nobody has agreed to lose these.
                why = f"{min(moved.gone)} was to be had when it was planned, and is not now"
            if why:
                result.failed.append((key, why))
                goes.discard(key)
                continue
            result.replaced[key] = moved.new
            lines.update(moved.lines)
            lost |= moved.gone.intersection(action.lost)
            progress.advance(1)
        if goes:
            result.amendment = commit_replacements(
                vault,
                catalog,
                lock,
                run,
                changes={key: result.replaced[key] for key in goes},
                lines=lines,
                goes=goes,
                condemned=condemned,
                purged=map(vault.seal.name, lost),
                by=by(),
                reason="beyond repair" if lost else "mended",
            )
            result.dropped = sorted({*result.dropped, *lost})
        claimed = _claimed(vault, goes, own, progress)
    result.claimed += sorted(claimed)
    _delete(vault, goes - claimed, progress)


def _is_as_planned(action: Action, amendments: Amendments, condemned: Container[str]) -> bool:
    """Return whether nobody has replaced an object since it was planned."""
    key = action.ref.key
    if action.how == "add" and key in amendments:
        return amendments[key] is None
    return key not in amendments and key not in condemned


def _refused(vault: Vault, actions: Iterable[Action]) -> dict[str, str]:
    """Return which objects may not be replaced after all, and why: it is decided under the lock.

    A snapshot may have come to need meanwhile what would be dropped, or one may be unreadable now.
    """
    lossy = [action for action in actions if action.gone]
    if not lossy:
        return {}
    gone = {label for action in lossy for label in action.gone}
    names = {label: label if label.startswith(KEYED) else vault.seal.name(label) for label in gone}
    roots, unread = read_roots(vault)
    needed = what_is_needed(vault, roots, set(names.values()))
    unread += needed.unknown
    refused = {}
    for action in lossy:
        more = {needed.digests.get(names[label]) for label in action.gone} - {None, *action.lost}
        if unread:
            refused[action.ref.key] = f"snapshots may need what would be dropped: {unread[0]}"
        elif more:
            refused[action.ref.key] = f"a snapshot has come to need {more.pop()}"
    return refused


def _claimed(vault: Vault, goes: set[str], own: str, progress: Progress) -> set[str]:
    """Return which objects somebody else reads still (rule 11); a later prune deletes them.

    Args:
        vault: where.
        goes: keys of what was replaced.
        own: the run of this repair's own claim.
        progress: is told where it cannot be known.
    """
    if not goes:
        return set()
    try:
        claims = list(claimed_lists(vault, but=own))
        return {key for key in goes if any(each.named(key) for each in claims)}
    except VaultDamagedError as error:
        progress.warn(
            f"{error.message}, so it is not known what others read: nothing was deleted",
            hint="What took the place of damaged objects is there; prune deletes those later.",
        )
        return set(goes)


def _delete(vault: Vault, keys: set[str], progress: Progress) -> None:
    doomed = []
    for key in sorted(keys):
        try:
            entry = vault.store.head(key)
        except ObjectNotFoundError:
            continue
        doomed.append(Seen(key, entry.size, entry.modified_ns))
    delete_all(vault.store, doomed, threads=1, progress=progress)
    vault.store.barrier()
