"""Deletes archived events whose time is over, and what no chain needs; the chains stay whole.

Links stay for ever: they are small, and prove what is left. Before segments go, a document says so,
which is signed where links are. What no link names goes too, once it is old: the segments of runs
that were struck down or outrun, and indexes that were merged into others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, UsageError, VaultDamagedError
from regvault.model.event import time_text
from regvault.ops.audit.seen import DAYS
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired, superseded, write_expiry
from regvault.vault.audit.keys import chain_prefix, is_derived
from regvault.vault.keys import new_run_id

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.model.store import Entry
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["LEAST_S", "Forgetting", "Plan", "forget_events", "plan_forgetting"]

DAY_S = 86_400
LEAST_S = 30 * DAY_S
"""Seconds for which events are kept at least: repeats are told by them."""
assert LEAST_S > DAYS * DAY_S

_YOUNG_S = 7 * DAY_S


class Doomed(NamedTuple):
    """An object that is to go.

    Attributes:
        key: of it.
        size: bytes.
        modified_ns: when it was written: one that is another by now stays.
    """

    key: str
    size: int
    modified_ns: int


@dataclass
class Forgetting:
    """What is to go of one chain.

    Attributes:
        chain: its id.
        through: the last link whose segment goes now, or None where none does.
        events: in those segments.
        segments: of links.
        garbage: what no link names.
        links: how many the chain had.
    """

    chain: str
    through: Link | None = None
    events: int = 0
    segments: list[Doomed] = field(default_factory=list)
    garbage: list[Doomed] = field(default_factory=list)
    links: int = 0


@dataclass
class Plan:
    """What is to go.

    Attributes:
        keep_s: seconds for which events are kept, from when they came in.
        before: what came in before it goes, as events have times.
        problems: chains that cannot be read, of which nothing goes: id -> why.
        chains: those of which something is to go.
        deleted: how many objects were, and their bytes.
    """

    keep_s: float
    before: str
    problems: dict[str, str] = field(default_factory=dict)
    chains: list[Forgetting] = field(default_factory=list)
    deleted: tuple[int, int] = (0, 0)

    @property
    def doomed(self) -> list[Doomed]:
        """All that is to go."""
        return [each for chain in self.chains for each in (*chain.segments, *chain.garbage)]

    @property
    def events(self) -> int:
        """How many events are to go."""
        return sum(chain.events for chain in self.chains)

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "before": self.before,
            "events": self.events,
            "objects": len(self.doomed),
            "bytes": sum(each.size for each in self.doomed),
            "chains": [
                {
                    "chain": chain.chain,
                    "through": None if chain.through is None else chain.through.number,
                    "events": chain.events,
                    "segments": len(chain.segments),
                    "garbage": len(chain.garbage),
                }
                for chain in self.chains
            ],
            "problems": self.problems,
            "deleted": {"objects": self.deleted[0], "bytes": self.deleted[1]},
        }


def plan_forgetting(vault: Vault, keep_s: float, *, progress: Progress) -> Plan:
    """Return what is to go: segments whose last event is too old, and garbage.

    Args:
        vault: whose archive.
        keep_s: seconds for which events are kept, from when they came in.
        progress: is told.

    Raises:
        UsageError: that is too short.
    """
    if keep_s < LEAST_S:
        raise UsageError(
            f"events are kept for {LEAST_S // DAY_S} days at least: repeats are told by them",
            hint="One is --keep-for 400d.",
        )
    now_ns = vault.store.now_ns()
    plan = Plan(keep_s, time_text(max(0, now_ns - int(keep_s * 1e9))))
    progress.phase("Reading chains")
    for name in chains(vault):
        progress.advance(1)
        try:
            found = _of_chain(vault, Chain(vault, name), plan.before, now_ns)
        except (VaultDamagedError, ObjectNotFoundError) as error:
            plan.problems[name] = error.message  # so it is not known what is needed
            continue
        if found.segments or found.garbage:
            plan.chains.append(found)
    return plan


def _of_chain(vault: Vault, chain: Chain, before: str, now_ns: int) -> Forgetting:
    found = Forgetting(chain.id)
    numbers = chain.numbers()
    entries = {entry.key: entry for entry in vault.store.list(chain_prefix(chain.id))}
    since = expired(vault, chain.id).through
    needed: set[str] = set()
    is_over = True
    for number in numbers:
        link = chain.read(number)
        # The newest link keeps its segment: how far the chain is should be more than a number.
        # What claims to have come in after it was archived has not.
        came = min(link.received[1], link.closed)
        is_over = is_over and number != numbers[-1] and came < before
        if number > since and not is_over:
            needed.add(link.key)
            continue
        if number > since:
            found.through = link
            found.events += link.events
        if link.key in entries:
            found.segments.append(_doomed(entries[link.key]))
    if numbers:  # the newest link is the last that was read
        needed |= {link.key, *(index.key for index in link.indexes)}
    doomed = {each.key for each in found.segments}
    for key, entry in entries.items():
        is_old = now_ns - entry.modified_ns > _YOUNG_S * 1e9
        if is_old and is_derived(key) and key not in needed and key not in doomed:
            found.garbage.append(_doomed(entry))
    found.links = numbers[-1] if numbers else 0
    return found


def _doomed(entry: Entry) -> Doomed:
    return Doomed(entry.key, entry.size, entry.modified_ns)


def forget_events(vault: Vault, plan: Plan, *, progress: Progress) -> None:
    """Delete what was planned.

    Raises:
        StoreAccessError: these credentials may not delete.
    """
    run = new_run_id()
    for chain in plan.chains:
        through = chain.through
        if through is not None:
            write_expiry(vault, through, run, plan.keep_s)
            for key in superseded(vault, chain.chain, through.number):
                vault.store.delete(key)
    progress.phase("Deleting")
    for chain in plan.chains:
        named = _named_since(vault, chain)
        for each in (*chain.segments, *(one for one in chain.garbage if one.key not in named)):
            progress.advance(1)
            if _is_as_planned(vault, each):
                vault.store.delete(each.key)
                plan.deleted = plan.deleted[0] + 1, plan.deleted[1] + each.size


def _named_since(vault: Vault, chain: Forgetting) -> set[str]:
    """Return what the links name that came after the plan was made."""
    found: set[str] = set()
    following = Chain(vault, chain.chain)
    for number in following.numbers():
        if number > chain.links:
            link = following.read(number)
            found |= {link.key, *(index.key for index in link.indexes)}
    return found


def _is_as_planned(vault: Vault, each: Doomed) -> bool:
    try:
        return vault.store.head(each.key).modified_ns == each.modified_ns
    except ObjectNotFoundError:
        return False
