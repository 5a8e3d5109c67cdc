"""What can be done about each damaged object. Changes nothing.

Whatever is given up must be surely beyond repair, and surely not needed, or given up on purpose: a
place that cannot be asked, a member that cannot be opened, and a snapshot that cannot be read are
reasons to leave an object as it is (invariants 5 and 9).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.ops.repair.members import members_of, salvage
from regvault.ops.repair.spares import VaultSpare, ask, ask_for_object
from regvault.vault import recover
from regvault.vault.keys import digest_of_key, is_keyed, name_of_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from regvault.ops.repair.members import Member
    from regvault.ops.repair.needs import Needed
    from regvault.ops.repair.spares import Asked, OwnSpare, Spare
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.vault import Vault

__all__ = ["MORE_PLACES", "Action", "Judge"]

#: What ends a meta object holds no blob, and is never longer.
_END_FRAME_BYTES = 32

MORE_PLACES = (
    "Name more places with --from: a copy of this vault, or the registry. What the registry still "
    "has, the next snapshot stores anew."
)
_READ_FIRST = (
    "Bring that back first: --from a copy of this vault, or the identity of another recipient. "
    "What the registry still has, the next snapshot stores anew; a snapshot whose lists nobody has "
    "goes with `regvault forget`."
)
_OTHER_IDENTITY = (
    "Name the identity of a recipient: --identity file:/PATH; or a copy of this vault: --from."
)
_ASK_AGAIN = "Nothing is given up while a place that was named may have it. Run it again then."


class Action(NamedTuple):
    """What can be done about one damaged or missing object.

    Attributes:
        ref: the object, as the snapshots that need it name it.
        problem: `missing`, `size` or `damaged`; `lacking`: blobs that snapshots need are in no
            object, and come into this one's place.
        how: `fetch` (the same bytes, from another vault), `store` (a raw blob, from a registry or
            another vault), `rebuild` (a pack or meta object, from its members), `gather` (one of
            which nothing tells what lay in it: from all that snapshots need and no object has),
            `add` (blobs that no object has, to what is whole), `drop` (what is left of it, without
            what is beyond repair), `none`.
        sources: where from, for people.
        lost: digests in it that snapshots need and nobody has.
        gone: digests in it that nobody has, needed or not; of a sealed blob that no snapshot
            needs, its name.
        why: there is no remedy; "" where there is one.
        hint: what would help.
        added: digests of blobs that come into it.
    """

    ref: ObjectRef
    problem: str
    how: str
    sources: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    why: str = ""
    hint: str = ""
    added: frozenset[str] = frozenset()

    def without_remedy(self, why: str, hint: str) -> Action:
        """Return that nothing is done about it."""
        return self._replace(how="none", lost=(), gone=frozenset(), why=why, hint=hint)

    def to_json(self) -> dict[str, Any]:
        """Return the document of one action."""
        return {
            "object": self.ref.key,
            "problem": self.problem,
            "action": self.how,
            "sources": list(self.sources),
            "lost": list(self.lost),
            "why": self.why or None,
        }


@dataclass(slots=True)
class _Found:
    """What places have of the members of an object.

    Attributes:
        sources: where from, for people.
        gone: labels of those that nobody has.
        closed: labels of those that nobody here can open.
        unsure: places that could not be asked for one that nobody else has, with why.
    """

    sources: dict[str, None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


class Judge:
    """Finds a remedy for each object.

    Attributes:
        homeless: blobs that snapshots need and no object has -> who has them.
        hopeless: those of them that no place has.
    """

    def __init__(
        self, vault: Vault, catalog: Catalog, own: OwnSpare, spares: Sequence[Spare], needed: Needed
    ) -> None:
        """Wrap.

        Args:
            vault: that is damaged.
            catalog: of it.
            own: other places in it.
            spares: where else to look, the best first.
            needed: what snapshots need of all that lies in damaged objects.
        """
        self.homeless: dict[str, Asked] = {}
        self.hopeless: set[str] = set()
        self._vault = vault
        self._catalog = catalog
        self._spares = (own, *spares)
        self._vaults = [spare for spare in spares if isinstance(spare, VaultSpare)]
        self._needed = needed

    def despair_of(self, homeless: Iterable[str]) -> None:
        """Find out which of the blobs that no object has are in no other place either."""
        self.homeless = {digest: ask(self._spares, digest) for digest in homeless}
        self.hopeless = {d for d, asked in self.homeless.items() if not asked.having}

    def action(self, ref: ObjectRef, problem: str) -> Action:
        """Find out what can be done about one object; everything is proven when it is done.

        `how` is `unknown` where nothing tells what lay in it: see `gather`.
        """
        same, unsure = ask_for_object(self._vaults, ref)
        if same:
            return Action(ref, problem, "fetch", same)
        if ref.key.startswith("blobs/"):
            action = self._raw(ref, problem)
        elif ref.key.startswith(("packs/", "meta/")):
            action = self._packed(ref, problem)
        else:
            action = Action(ref, problem, "none", why="no place has it", hint=MORE_PLACES)
        if unsure and (action.gone or action.how in ("none", "unknown")):
            return action.without_remedy(f"it may be in {unsure[0]}", _ASK_AGAIN)
        return action

    def _raw(self, ref: ObjectRef, problem: str) -> Action:
        name = name_of_key(ref.key) or ""
        digest = digest_of_key(ref.key) or self._needed.digests.get(name, "")
        found = _Found()
        if digest:
            self._look(digest, found)
        if digest and found.sources:
            # Sealed anew it has other bytes, and so another key.
            how = "rebuild" if is_keyed(ref.key) else "store"
            return Action(ref, problem, how, tuple(found.sources))
        if not found.unsure:
            found.gone.add(digest or name)
        return self._lossy(Action(ref, problem, "rebuild"), found)

    def _packed(self, ref: ObjectRef, problem: str) -> Action:
        members = members_of(self._vault, ref, self._catalog, self._needed.digests)
        if not members:
            return Action(ref, problem, "unknown")
        found = _Found()
        for member in members:
            if member.data is not None:
                found.sources["its own whole members"] = None
            elif member.digest and self._look(member.digest, found):
                continue
            elif member.closed is not None and not self._carried(ref, member):
                found.closed.append(member.label)
            elif member.closed is None:
                found.gone.add(member.label)
        if _may_hold_more(ref, members, sealed=self._vault.seal.sealed):
            if self._needed.unknown:
                return Action(ref, problem, "none").without_remedy(*self._unknown())
            found.gone |= {digest for digest in self.hopeless if not self._look(digest, found)}
        return self._lossy(Action(ref, problem, "rebuild"), found)

    def _carried(self, ref: ObjectRef, member: Member) -> bool:
        """Return whether a member goes along unopened: it is in a pack, and no snapshot needs it.

        One that is needed stays where its damage can be seen by whoever cannot open it either.
        """
        surely = not member.digest and not self._needed.unknown
        return surely and ref.key.startswith("packs/")

    def _look(self, digest: str, found: _Found) -> bool:
        """Ask all places for a blob; return whether one has it, or may have it."""
        asked = ask(self._spares, digest)
        found.sources.update(dict.fromkeys(asked.having))
        if not asked.having:
            found.unsure += asked.unsure
        return bool(asked.having or asked.unsure)

    def _lossy(self, action: Action, found: _Found) -> Action:
        """Return what is done about an object some of whose members nobody may have."""
        action = action._replace(sources=tuple(found.sources), gone=frozenset(found.gone))
        if found.unsure:
            return action.without_remedy(f"it may be in {found.unsure[0]}", _ASK_AGAIN)
        if found.closed:
            return action.without_remedy(
                f"{len(found.closed)} blobs in it cannot be opened with the identities that were "
                "given, so nobody can tell whether they are whole",
                _OTHER_IDENTITY,
            )
        if not found.gone:
            return action
        if self._needed.unknown:
            return action.without_remedy(*self._unknown())
        lost = found.gone & {*self._needed.digests.values(), *self.hopeless}
        return action._replace(how="drop" if lost else "rebuild", lost=tuple(sorted(lost)))

    def _unknown(self) -> tuple[str, str]:
        """Return why nothing may be given up, and what would help."""
        unknown = self._needed.unknown
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        why = "something of it would be lost, and it is not known whether snapshots need that"
        return f"{why}: {unknown[0]}{more}", _READ_FIRST

    def gather(self, actions: list[Action], homeless: Collection[str]) -> list[Action]:
        """Look for what must have lain in the objects of which nothing tells what lay in them.

        Args:
            actions: those of which `how` is `unknown` get a remedy, or a reason why there is none.
            homeless: blobs that snapshots need and no object has.
        """
        refs = [action.ref for action in actions if action.how == "unknown"]
        if not refs:
            return actions
        found = _Found()
        whole = {digest for ref in refs for digest in salvage(self._vault.store, ref.key)}
        if whole.intersection(homeless):
            found.sources["what is whole of them"] = None
        for digest in sorted(set(homeless) - whole):
            if not self._look(digest, found):
                found.gone.add(digest)

        def gathered(action: Action) -> Action:
            if self._needed.unknown:
                return action.without_remedy(*self._unknown())
            action = self._lossy(action, found)
            lost = tuple(sorted(found.gone))
            if action.how == "none":
                return action
            return action._replace(how="drop" if lost else "gather", lost=lost)

        return [gathered(each) if each.how == "unknown" else each for each in actions]


def _may_hold_more(ref: ObjectRef, members: Sequence[Member], *, sealed: bool) -> bool:
    """Return whether a damaged object may have held more than the catalog and itself tell of."""
    if ref.key.startswith("packs/"):
        return not recover.tells_all((member.place for member in members), ref)
    end = 0
    for offset, length in sorted({(each.place.offset, each.place.length) for each in members}):
        if offset != end:
            return True
        end = offset + length
    return sealed or ref.size - end > _END_FRAME_BYTES
