"""What is wrong with a vault, and what can be done about it. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectArchivedError, ObjectNotFoundError, VaultDamagedError
from regvault.oci.grammar import is_digest
from regvault.ops.repair.homeless import find_carriers
from regvault.ops.repair.members import names_in
from regvault.ops.repair.needs import what_is_needed
from regvault.ops.repair.past import Recovered
from regvault.ops.repair.remedies import Action, Judge
from regvault.ops.repair.roots import LostRoot, find_roots, give_up, suspects
from regvault.ops.repair.spares import OwnSpare, VaultSpare
from regvault.ops.repair.strangers import is_stranger
from regvault.ops.verify.run import VerifyOptions, examine
from regvault.vault import recover
from regvault.vault.catalog import Catalog, current_catalog
from regvault.vault.condemned import read_condemned
from regvault.vault.identity import all_own
from regvault.vault.keys import CATALOG, SNAPSHOTS, is_object_key, name_of_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.repair.needs import Needed
    from regvault.ops.repair.spares import Spare
    from regvault.ops.verify.report import Problem, Report
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Action", "RepairPlan", "plan_repair"]

_SLOT_PROBLEMS = ("damaged", "gap", "untrusted", "chain")
_UNCONFIRMED = "its snapshot was forgotten since then, and no record says by whom"
_CATALOG_PROBLEMS = ("uncatalogued", "untrue")


@dataclass(slots=True)
class RepairPlan:
    """What is to be done.

    Attributes:
        actions: for each object with a problem.
        catalog: segments that are damaged or say what is not so, or objects of which none tells:
            lines are written anew.
        bad_segments: the keys of those segments.
        others: (key, what, detail) of problems that `repair` has no remedy for.
        roots: of snapshots, or their stubs, that are damaged or gone here, and can be put back.
        given_up: stubs for the slots of roots that nobody has; written where `lost_allowed`.
        untold: objects of which the catalog tells too little.
        homeless: blobs that snapshots need and no object has, as far as the catalog tells.
        hidden: those of them that a damaged object itself tells of.
        hopeless: those that no place has either.
        unknown: keys of the objects of which nothing tells what lay in them.
        problems: how many the verification found.
        following: those of them that nothing here names: they follow from others.
        lost_allowed: `drop` is carried out.
        digests: of a sealed vault, what the names in damaged objects stand for.
        documents: roots, records and what else is no object, that come back from the vault's past.
        strangers: keys of leases and records of another vault: they are removed.
    """

    actions: list[Action] = field(default_factory=list)
    catalog: bool = False
    bad_segments: list[str] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)
    roots: list[LostRoot] = field(default_factory=list)
    given_up: list[LostRoot] = field(default_factory=list)
    untold: set[str] = field(default_factory=set)
    homeless: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    hopeless: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    problems: int = 0
    following: int = 0
    lost_allowed: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def doing(self) -> list[Action]:
        """Return the actions that are carried out."""
        hows = {"fetch", "store", "rebuild", "gather", "add"} | (
            {"drop"} if self.lost_allowed else set()
        )
        return [action for action in self.actions if action.how in hows]

    def filling(self) -> list[LostRoot]:
        """Return what slots of chains are filled with."""
        return [*self.roots, *(self.given_up if self.lost_allowed else ())]

    @property
    def nothing_to_do(self) -> bool:
        """Whether nothing is carried out."""
        others = self.filling() or self.documents or self.strangers
        return not (self.doing() or self.catalog or others)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints.

        `problem_count`: of the verification. `actions`: one for each object: `object`, `problem`,
        `action` (`fetch`, `store`, `rebuild`, `gather`, `add`, `drop`, `none`), `sources`, `lost`
        (digests that nobody has), `why` (there is no remedy). `catalog`: it is written anew.
        `roots`: of snapshots, that are put back: `snapshot`, `source`, `stub` (the snapshot was
        forgotten: its stub is). `roots_lost`: of snapshots, that nobody has; with `--drop-lost`
        they are given up. `documents`: keys of what comes back from the vault's past beside objects
        (roots, records, lists, segments). `strangers`: leases and records of another vault, that
        are removed.
        `no_remedy`: problems of another kind: `key`, `what`, `detail`.
        """
        return {
            "problem_count": self.problems,
            "actions": [action.to_json() for action in self.actions],
            "catalog": self.catalog,
            "documents": self.documents,
            "roots": [
                {"snapshot": str(r.name), "source": r.source, "stub": r.stub} for r in self.roots
            ],
            "roots_lost": [str(r.name) for r in self.given_up],
            "strangers": self.strangers,
            "no_remedy": [
                dict(zip(("key", "what", "detail"), o, strict=True)) for o in self.others
            ],
        }


def plan_repair(
    vault: Vault,
    spares: Sequence[Spare],
    *,
    options: VerifyOptions,
    drop_lost: bool = False,
    progress: Progress,
) -> RepairPlan:
    """Verify a vault, and find out for each problem where good bytes may be.

    Args:
        vault: that is damaged.
        spares: where to look, the best first.
        options: how deep to look for damage.
        drop_lost: what is beyond repair may be dropped from the snapshots that need it.
        progress: is told how far it is.

    Raises:
        VaultDamagedError: amendments or condemned lists cannot be read: then nothing is mended.
    """
    vault.require_amendments()
    condemned = read_condemned(vault.store, vault.id)
    roots, report = examine(vault, options, progress=progress)
    plan = RepairPlan(problems=report.count, lost_allowed=drop_lost)
    if isinstance(vault.store, Recovered):
        plan.documents = sorted(vault.store.lost)
        plan.others += [(key, "unconfirmed", _UNCONFIRMED) for key in vault.store.unconfirmed]
    catalog = current_catalog(vault)
    try:
        if vault.seal.opens_names:
            catalog.prepare(1 << 30)
        damaged, slots = _sorted_out(vault, plan, report, condemned)
        vaults = [spare for spare in spares if isinstance(spare, VaultSpare)]
        slots = suspects(vault, slots)
        plan.roots, lost = find_roots(vault, slots, vaults, condemned)
        plan.given_up = give_up(vault, lost)
        without = {each.name.key for each in plan.given_up}
        plan.others += [slots[key] for key in lost if key not in without]
        plan.bad_segments += _untrue_segments(catalog, report)
        progress.phase("Looking for good bytes", total_items=len(damaged))
        known = _refs(vault, roots, damaged)
        needed = _needed(vault, roots, report, catalog, damaged, plan)
        _look_for_homeless(vault, roots, plan)
        judge = Judge(vault, catalog, OwnSpare(vault, catalog, damaged), spares, needed)
        judge.despair_of(plan.homeless - plan.hidden)
        for key, what in damaged.items():
            ref = known.get(key)
            if ref is not None:
                plan.actions.append(judge.action(ref, what))
            else:
                plan.others.append((key, what, "no list of objects that can be read names it"))
            progress.advance(1)
        plan.unknown = [a.ref.key for a in plan.actions if a.how == "unknown"]
        plan.actions = judge.gather(plan.actions, plan.homeless - plan.hidden)
        plan.hopeless = judge.hopeless
        _find_room(vault, roots, catalog, plan, judge)
        named = {a.ref.key for a in plan.actions} | {key for key, _, _ in plan.others}
        named |= {lost.name.key for lost in plan.roots} | {*plan.bad_segments} | plan.untold
        plan.following = report.count - sum(p.key in named for p in report.problems)
    finally:
        catalog.close()
    return plan


def _sorted_out(
    vault: Vault, plan: RepairPlan, report: Report, condemned: set[str]
) -> tuple[dict[str, str], dict[str, tuple[str, str, str]]]:
    """Sort problems by what may help; return damaged objects, and slots of snapshots."""
    damaged: dict[str, str] = {}
    slots: dict[str, tuple[str, str, str]] = {}
    strangers: list[Problem] = []
    for problem in report.problems:
        if problem.key.startswith(CATALOG):
            plan.bad_segments.append(problem.key)
            plan.catalog = True
        elif problem.what in _CATALOG_PROBLEMS:
            plan.catalog = True
            plan.untold.add(problem.key)
        elif is_object_key(problem.key) and problem.key not in condemned:
            damaged.setdefault(problem.key, problem.what)
        elif problem.key.startswith(SNAPSHOTS) and problem.what in _SLOT_PROBLEMS:
            slots[problem.key] = problem[:3]
        elif problem.what == "closure" and is_digest(problem.key):
            plan.homeless.add(problem.key)
        elif is_stranger(vault, problem.key):
            strangers.append(problem)
        elif problem.what != "closure":  # that follows from damage of trees
            plan.others.append((problem.key, problem.what, problem.detail))
    if strangers and all_own(vault):
        plan.strangers = [problem.key for problem in strangers]
    else:
        plan.others += [problem[:3] for problem in strangers]
    return damaged, slots


def _needed(
    vault: Vault,
    roots: Sequence[Root],
    report: Report,
    catalog: Catalog,
    damaged: Iterable[str],
    plan: RepairPlan,
) -> Needed:
    """Return what snapshots need of all that lies in damaged objects, and what is not known of it.

    A root that is damaged or gone, and a chunk of a tree, may name anything.
    """
    names: set[str] = set()
    for key in damaged:
        if key.startswith(recover.PREFIXES):
            inside = names_in(vault, key, catalog)
            names |= inside.keys()
            if not all(inside.values()):
                plan.untold.add(key)
                plan.hidden |= {name for name, told in inside.items() if not told}
        elif key.startswith("blobs/"):
            names.add(name_of_key(key) or "")
    needed = what_is_needed(vault, roots, names)
    plan.digests = needed.digests if vault.seal.sealed else {}
    plan.hidden = {needed.digests[name] for name in plan.hidden & needed.digests.keys()}
    unread = [
        f"{p.key}: {p.detail}"
        for p in report.problems
        if p.key.startswith((SNAPSHOTS, "trees/")) and p.what != "closure"
    ]
    known = report.bad_keys()
    unread += [why for key, why in catalog.damaged.items() if key not in known]  # sealed to others
    if len(report.problems) < report.count:
        unread.append(f"only {len(report.problems)} of {report.count} problems are listed")
    return needed._replace(unknown=(*unread, *needed.unknown))


def _look_for_homeless(vault: Vault, roots: Iterable[Root], plan: RepairPlan) -> None:
    """Look into the packs of all snapshots for what no line of the catalog tells of.

    What a line says falsely hides what lies there. (Meta objects `verify` has read.)
    """
    names = {vault.seal.name(digest): digest for digest in plan.homeless - plan.hidden}
    if not names:
        return
    seen: set[str] = set()
    for root in roots:
        with suppress(VaultDamagedError):
            for ref in vault.object_list(root).with_prefix("packs/"):
                if ref.key in seen:
                    continue
                seen.add(ref.key)
                with suppress(VaultDamagedError, ObjectNotFoundError, ObjectArchivedError):
                    places = recover.members_of(vault.store, ref, vault.seal)
                    found = {place.digest for place in places} & names.keys()
                    if found:
                        plan.catalog = True
                        plan.untold.add(ref.key)
                        plan.homeless -= {names[name] for name in found}


def _find_room(
    vault: Vault, roots: Iterable[Root], catalog: Catalog, plan: RepairPlan, judge: Judge
) -> None:
    """Find an object for each blob that snapshots need, no object has, and some place does."""
    wanted = {digest for digest, asked in judge.homeless.items() if asked.having}
    rewritten = {a.ref.key for a in plan.doing() if a.how in ("rebuild", "gather", "drop")}
    damaged = {action.ref.key for action in plan.actions}
    left: set[str] = set()
    if wanted:
        found = find_carriers(vault, roots, catalog, wanted, rewritten, damaged)
        left = found.left
        plan.actions = [
            action._replace(added=frozenset(found.added.pop(action.ref.key, ())))
            for action in plan.actions
        ]
        for key, digests in sorted(found.added.items()):
            places = dict.fromkeys(p for d in sorted(digests) for p in judge.homeless[d].having)
            added = frozenset(digests)
            action = Action(found.refs[key], "lacking", "add", tuple(places), added=added)
            plan.actions.append(action)
    lost = {digest for action in plan.actions for digest in action.lost}
    for digest, asked in sorted(judge.homeless.items()):
        if digest in left:
            why = "no object has it, and it is too large to come beside others"
        elif asked.unsure:
            why = f"no object has it; it may be in {asked.unsure[0]}"
        else:
            why = "no object has it, and no other place"
        if digest in left or not (asked.having or digest in lost):
            plan.others.append((digest, "closure", why))


def _untrue_segments(catalog: Catalog, report: Report) -> list[str]:
    """Return the segments that say of an object what does not lie in it."""
    untrue = {p.key for p in report.problems if p.what == "untrue"}
    if not untrue:
        return []
    pairs = {
        (digest.encode(), key.encode())
        for key in untrue
        for digest in report.wrong_members.get(key, ())
    }
    found = []
    for segment in list(catalog.segments()):
        with suppress(VaultDamagedError, ObjectNotFoundError):
            if any(tuple(line.split(b" ", 2)[:2]) in pairs for line in segment.read()):
                found.append(segment.name.key)
    return found


def _refs(vault: Vault, roots: Iterable[Root], keys: Iterable[str]) -> dict[str, ObjectRef]:
    """Return what the snapshots say of objects: their size and SHA-256."""
    found: dict[str, ObjectRef] = {}
    wanted = set(keys)
    for root in roots:
        if not wanted:
            break
        objects = vault.object_list(root)
        with suppress(VaultDamagedError):
            for ref in objects.own_objects():  # what comes before a damaged one counts
                if ref.key in wanted:
                    found[ref.key] = ref
        with suppress(VaultDamagedError):
            for key in wanted - found.keys():
                listed = objects.get(key)
                if listed is not None and listed.key == key:
                    found[key] = listed
        wanted -= found.keys()
    return found
