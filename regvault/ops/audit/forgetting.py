"""Deletes archived events whose time is over, and what no chain needs; the chains stay whole.

Links stay for ever: they are small, and prove what is left. Before segments go, a document says so,
which is signed where links are. What no link names goes too, once it is old: the segments of runs
that were struck down or outrun, and indexes that were merged into others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import UsageError
from regvault.model.event import time_text
from regvault.ops.audit.seen import DAYS
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired, expiry_keys, write_expiry
from regvault.vault.audit.keys import chain_prefix, is_derived
from regvault.vault.keys import new_run_id

if TYPE_CHECKING:
    from regvault.model.progress import Progress
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
    """

    key: str
    size: int


@dataclass
class Forgetting:
    """What is to go of one chain.

    Attributes:
        chain: its id.
        through: the last link whose segment goes now, or None where none does.
        events: in those segments.
        segments: of links.
        garbage: what no link names.
    """

    chain: str
    through: Link | None = None
    events: int = 0
    segments: list[Doomed] = field(default_factory=list)
    garbage: list[Doomed] = field(default_factory=list)


@dataclass
class Plan:
    """What is to go.

    Attributes:
        keep_s: seconds for which events are kept, from when they came in.
        before: what came in before it goes, as events have times.
        chains: those of which something is to go.
        deleted: how many objects were, and their bytes.
    """

    keep_s: float
    before: str
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
        VaultDamagedError: a link cannot be read, so it is not known what is needed.
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
        found = _of_chain(vault, Chain(vault, name), plan.before, now_ns)
        progress.advance(1)
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
        is_over = is_over and number != numbers[-1] and link.received[1] < before
        if number > since and not is_over:
            needed.add(link.key)
            continue
        if number > since:
            found.through = link
            found.events += link.events
        if link.key in entries:
            found.segments.append(Doomed(link.key, entries[link.key].size))
    if numbers:
        newest = chain.read(numbers[-1])
        needed |= {newest.key, *(index.key for index in newest.indexes)}
    doomed = {each.key for each in found.segments}
    for key, entry in entries.items():
        is_old = now_ns - entry.modified_ns > _YOUNG_S * 1e9
        if is_old and is_derived(key) and key not in needed and key not in doomed:
            found.garbage.append(Doomed(key, entry.size))
    return found


def forget_events(vault: Vault, plan: Plan, *, progress: Progress) -> None:
    """Delete what was planned.

    Raises:
        StoreAccessError: these credentials may not delete.
    """
    run = new_run_id()
    for chain in plan.chains:
        if chain.through is not None:
            before = expiry_keys(vault, chain.chain)
            write_expiry(vault, chain.through, run, plan.keep_s)
            for key in before:
                vault.store.delete(key)
    progress.phase("Deleting")
    for each in plan.doomed:
        vault.store.delete(each.key)
        progress.advance(1)
        plan.deleted = plan.deleted[0] + 1, plan.deleted[1] + each.size
