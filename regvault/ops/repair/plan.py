"""What is wrong with a vault, and what can be done about it. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.oci.grammar import is_digest
from regvault.ops.repair.members import (
    Member,
    digests_of,
    members_of,
    needed_digests,
    salvage,
)
from regvault.ops.repair.past import Recovered
from regvault.ops.repair.roots import LostRoot, find_roots, give_up, suspects
from regvault.ops.repair.spares import OwnSpare, VaultSpare
from regvault.ops.repair.strangers import is_stranger
from regvault.ops.verify.run import VerifyOptions, examine
from regvault.vault.catalog import Catalog
from regvault.vault.condemned import read_condemned
from regvault.vault.identity import all_own
from regvault.vault.keys import (
    CATALOG,
    SNAPSHOTS,
    digest_of_key,
    is_keyed,
    is_object_key,
    name_of_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.repair.spares import Spare
    from regvault.ops.verify.report import Problem, Report
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Action", "RepairPlan", "plan_repair"]

_SLOT_PROBLEMS = ("damaged", "gap", "untrusted", "chain")
_UNCONFIRMED = "its snapshot was forgotten since then, and no record says by whom"
_CATALOG_PROBLEMS = ("uncatalogued", "untrue")


class Action(NamedTuple):
    """What can be done about one damaged or missing object.

    Attributes:
        ref: the object, as the snapshots that need it name it.
        problem: `missing`, `size` or `damaged`.
        how: `fetch` (the same bytes, from another vault), `store` (a raw blob, from a registry or
            another vault), `rebuild` (a pack or meta object, from its members), `gather` (one of
            which nothing tells what lay in it: from all that snapshots need and no object has),
            `drop` (what is left of it, without what is beyond repair), `none`.
        sources: where from, for people.
        lost: digests in it that snapshots need and nobody has.
        gone: digests in it that nobody has, needed or not.
    """

    ref: ObjectRef
    problem: str
    how: str
    sources: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Return the document of one action."""
        return {
            "object": self.ref.key,
            "problem": self.problem,
            "action": self.how,
            "sources": list(self.sources),
            "lost": list(self.lost),
        }


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
        homeless: blobs that snapshots need and no object has.
        unknown: keys of the objects that they must have lain in.
        problems: how many the verification found.
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
    homeless: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    problems: int = 0
    lost_allowed: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    documents: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def doing(self) -> list[Action]:
        """Return the actions that are carried out."""
        hows = {"fetch", "store", "rebuild", "gather"} | ({"drop"} if self.lost_allowed else set())
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
        `action` (`fetch`, `store`, `rebuild`, `gather`, `drop`, `none`), `sources`, `lost` (digests
        that nobody has). `catalog`: it is written anew. `roots`: of snapshots, that are put back:
        `snapshot`, `source`, `stub` (the snapshot was forgotten: its stub is). `roots_lost`: of
        snapshots, that nobody has; with `--drop-lost` they are given up. `documents`: keys of what
        comes back from the vault's past beside objects (roots, records, lists, segments).
        `strangers`: leases and records of another vault, that are removed.
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
    catalog = Catalog(vault.store, None, vault.seal)
    try:
        catalog.prepare(1 << 30)
        damaged: dict[str, str] = {}
        slots: dict[str, tuple[str, str, str]] = {}
        strangers: list[Problem] = []
        for problem in report.problems:
            if problem.key.startswith(CATALOG):
                plan.bad_segments.append(problem.key)
                plan.catalog = True
            elif problem.what in _CATALOG_PROBLEMS:
                plan.catalog = True
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
        vaults = [spare for spare in spares if isinstance(spare, VaultSpare)]
        slots = suspects(vault, slots)
        plan.roots, lost = find_roots(vault, slots, vaults, condemned)
        plan.given_up = give_up(vault, lost)
        without = {each.name.key for each in plan.given_up}
        plan.others += [slots[key] for key in lost if key not in without]
        plan.bad_segments += _untrue_segments(catalog, report)
        progress.phase("Looking for good bytes", total_items=len(damaged))
        known = _refs(vault, roots, damaged)
        own = OwnSpare(vault, catalog, damaged)
        if vault.seal.sealed:
            names = {place.digest for key in damaged for place in catalog.members(key)}
            names |= {name for key in damaged if (name := name_of_key(key)) is not None}
            plan.digests = digests_of(vault, roots, names)
        for key, what in damaged.items():
            ref = known.get(key)
            if ref is not None:
                action = _action(vault, ref, what, catalog, own, spares, roots, plan.digests)
                plan.actions.append(action)
            progress.advance(1)
        _gather(vault, plan, spares)
    finally:
        catalog.close()
    return plan


def _gather(vault: Vault, plan: RepairPlan, spares: Sequence[Spare]) -> None:
    """Look for what must have lain in the objects of which nothing tells what lay in them."""
    refs = [action.ref for action in plan.actions if action.how == "unknown"]
    plan.unknown = [ref.key for ref in refs]
    if not refs:
        return
    whole = {digest for key in plan.unknown for digest in salvage(vault.store, key)}
    sources: dict[str, None] = {"what is whole of them": None} if whole & plan.homeless else {}
    lost = []
    for digest in sorted(plan.homeless - whole):
        having = [spare.name for spare in spares if spare.has_blob(digest)]
        sources.update(dict.fromkeys(having))
        if not having:
            lost.append(digest)
    how = "drop" if lost else "gather"
    plan.actions = [
        action._replace(how=how, sources=tuple(sources), lost=tuple(lost), gone=frozenset(lost))
        if action.how == "unknown"
        else action
        for action in plan.actions
    ]


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


def _action(
    vault: Vault,
    ref: ObjectRef,
    problem: str,
    catalog: Catalog,
    own: OwnSpare,
    spares: Sequence[Spare],
    roots: Sequence[Root],
    digests: Mapping[str, str],
) -> Action:
    """Find out what can be done about one object; everything is proven when it is done."""
    vaults = (spare for spare in spares if isinstance(spare, VaultSpare))
    same = tuple(spare.name for spare in vaults if spare.has_object(ref))
    if same:
        return Action(ref, problem, "fetch", same)
    if ref.key.startswith("blobs/"):
        digest = digest_of_key(ref.key) or digests.get(name_of_key(ref.key) or "", "")
        if not digest:  # no state needs it, and its name does not tell what it is
            return _lossy(ref, problem, (), set(), set())
        having = tuple(s.name for s in (own, *spares) if s.has_blob(digest))
        if having:
            # Sealed anew it has other bytes, and so another key.
            how = "rebuild" if is_keyed(ref.key) else "store"
            return Action(ref, problem, how, having)
        return _lossy(ref, problem, (), {digest}, _needed(vault, roots, {digest}))
    if ref.key.startswith(("packs/", "meta/")):
        return _members_action(vault, ref, problem, catalog, (own, *spares), roots, digests)
    return Action(ref, problem, "none")


def _members_action(
    vault: Vault,
    ref: ObjectRef,
    problem: str,
    catalog: Catalog,
    spares: Sequence[Spare],
    roots: Sequence[Root],
    digests: Mapping[str, str],
) -> Action:
    sources: dict[str, None] = {}
    gone: set[str] = set()
    members: list[Member] = list(members_of(vault, ref, catalog, digests))
    if not members:
        return Action(ref, problem, "unknown")
    for member in members:
        if member.data is not None:
            sources["its own whole members"] = None
            continue
        having = [spare.name for spare in spares if spare.has_blob(member.digest)]
        sources.update(dict.fromkeys(having))
        if not having:
            gone.add(member.digest)
    lost = _needed(vault, roots, gone) if gone else set()
    return _lossy(ref, problem, tuple(sources), gone, lost)


def _lossy(
    ref: ObjectRef, problem: str, sources: tuple[str, ...], gone: set[str], lost: set[str]
) -> Action:
    how = "drop" if lost else "rebuild"
    return Action(ref, problem, how, sources, tuple(sorted(lost)), frozenset(gone))


def _needed(vault: Vault, roots: Iterable[Root], digests: set[str]) -> set[str]:
    """Return those of some blobs that a state of any snapshot needs."""
    return digests.intersection(needed_digests(vault, roots))
