"""Leads a check: looks at every place at once, then judges registry by registry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from regvault.errors import NotFoundError
from regvault.ops.bounded import in_order
from regvault.ops.check.live import look_at_registry
from regvault.ops.check.matching import subjects
from regvault.ops.check.report import CheckedCopy, CheckedRegistry, CheckResult
from regvault.ops.check.vaults import CLOSED, SeenVault, look_at_vault
from regvault.policy.rule321 import Copy, Flaw, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from regvault.model.progress import Progress
    from regvault.ops.check.live import SeenRegistry
    from regvault.ops.check.matching import Subject
    from regvault.ops.check.places import RegistryAt, VaultAt
    from regvault.ops.check.vaults import SeenChain
    from regvault.policy.rule321 import Rule

__all__ = ["check"]

#: One endpoint that does not answer is waited for for half a minute; several together no longer.
_THREADS = 16


def check(
    vaults: Sequence[VaultAt],
    registries: Sequence[RegistryAt],
    rule: Rule,
    *,
    now: datetime,
    progress: Progress,
) -> CheckResult:
    """Hold all copies of each registry against the rule. Writes nothing.

    Args:
        vaults: to look at.
        registries: live ones; none: all that the vaults have snapshots of.
        rule: what is asked for.
        now: aware; what ages are counted to.
        progress: is told how many places have been looked at.

    Raises:
        NotFoundError: there is nothing to check.
        RegvaultError: no registry is named, and no vault could be opened; the error of the first.
    """
    seen, live = _look(vaults, registries, rule, now, progress)
    result = CheckResult(now, rule, vaults=seen)
    found = subjects(seen, live)
    if not found:
        _raise_nothing(seen)
    for subject in found:
        copies = _copies(subject, seen, now)
        verdicts = judge([copy.facts for copy in copies], rule)
        notes = [*subject.notes, *_unread(subject)]
        checked = CheckedRegistry(subject.name, subject.ids, copies, verdicts, notes)
        result.registries.append(checked)
    _note_others(result, found)
    return result


def _unread(subject: Subject) -> Iterator[str]:
    """Yield which copies were verified but for what lies in archives."""
    for vault, chain in subject.chains:
        if chain.verified.data_at is not None and chain.verified.archived_bytes:
            yield (
                f"{vault.at.name}: {chain.verified.archived_bytes / (1 << 20):.1f} MiB lie in "
                "archives and were not read: all data but that is proven"
            )


def _look(
    vaults: Sequence[VaultAt],
    registries: Sequence[RegistryAt],
    rule: Rule,
    now: datetime,
    progress: Progress,
) -> tuple[list[SeenVault], list[SeenRegistry]]:
    tasks: list[Callable[[], SeenVault | SeenRegistry]] = [
        *(partial(look_at_vault, at, rule, now) for at in vaults),
        *(partial(look_at_registry, at) for at in registries),
    ]
    progress.phase("Looking at registries and vaults", total_items=len(tasks))
    seen: list[SeenVault] = []
    live: list[SeenRegistry] = []
    for found in in_order(tasks, lambda task: task(), threads=_THREADS, name="check"):
        progress.advance(1)
        if isinstance(found, SeenVault):
            seen.append(found)
        else:
            live.append(found)
    _join_aliases(seen)
    return seen, live


def _join_aliases(vaults: Sequence[SeenVault]) -> None:
    """See one vault behind two endpoints as one: the same id, in a bucket of the same name.

    A replica of a bucket looks the same; that it is one, only its declared domain can say.
    """
    first: dict[tuple[str, str], SeenVault] = {}
    for vault in vaults:
        if vault.vault is not None and vault.at.declared.domain is None:
            other = first.setdefault((vault.vault.id, vault.at.location), vault)
            vault.where = other.where


def _raise_nothing(vaults: Sequence[SeenVault]) -> None:
    for vault in vaults:
        if vault.error is not None:
            raise vault.error
    raise NotFoundError(
        "there is nothing to check: no registry is named, and no vault has a snapshot",
        hint="Take one with: regvault snapshot SOURCE --vault VAULT",
    )


def _copies(subject: Subject, vaults: Sequence[SeenVault], now: datetime) -> list[CheckedCopy]:
    """Return the copies of a registry: itself, its vaults, and those that may be."""
    found: list[CheckedCopy] = []
    if subject.live is not None:
        found.append(_live(subject.live))
    newest = max((c.as_of for _, c in subject.chains if c.as_of is not None), default=None)
    other = _diverged(subject)
    for vault, chain in subject.chains:
        flaws = [*chain.flaws, *other.get(id(chain), ())]
        unusable = subject.foreign.get(chain.id)
        found.append(_vault(vault, chain, flaws, unusable, newest, now))
    # Whether it has a snapshot of this registry is not known: that is what is wrong with it.
    found += [_unreadable(vault, vault.flaw) for vault in vaults if vault.flaw is not None]
    there = {id(vault) for vault, _ in subject.chains}
    closed = [vault for vault in vaults if vault.closed and id(vault) not in there]
    found += [_unreadable(vault, CLOSED) for vault in closed]
    return found


def _live(seen: SeenRegistry) -> CheckedCopy:
    at, where = seen.at, seen.where
    facts = Copy(
        name=at.name,
        live=True,
        place=where.place,
        domain=where.domain,
        bound=where.bound,
        declared=at.declared,
        unusable=seen.flaw,
    )
    return CheckedCopy(facts, at.location, where, repositories=seen.repositories)


def _vault(
    vault: SeenVault,
    chain: SeenChain,
    flaws: list[Flaw],
    unusable: Flaw | None,
    newest: datetime | None,
    now: datetime,
) -> CheckedCopy:
    at, where, verified = vault.at, vault.where, chain.verified
    root, as_of = chain.latest, chain.as_of

    def since(moment: datetime | None) -> float | None:
        return None if moment is None else (now - moment).total_seconds()

    behind = (newest - as_of).total_seconds() if newest is not None and as_of is not None else 0.0
    facts = Copy(
        name=at.name,
        place=where.place,
        domain=where.domain,
        bound=where.bound,
        declared=at.declared,
        lock=chain.lock.detail if chain.lock.held else "",
        lock_detail="" if chain.lock.held else chain.lock.detail,
        unusable=unusable,
        newest=str(root.name) if root is not None else "",
        age_s=since(as_of),
        behind_s=behind,
        metadata_age_s=since(verified.metadata_at),
        data_age_s=since(verified.data_at),
        flaws=tuple(flaws),
    )
    return CheckedCopy(facts, at.location, where, chain.lock, vault, chain)


def _unreadable(vault: SeenVault, why: Flaw) -> CheckedCopy:
    at = vault.at
    facts = Copy(name=at.name, declared=at.declared, unusable=why)
    return CheckedCopy(facts, at.location, vault=vault)


def _diverged(subject: Subject) -> dict[int, list[Flaw]]:
    """Return what is wrong where two vaults have different snapshots in one slot of a chain."""
    found: dict[int, list[Flaw]] = {}
    first: dict[tuple[str, int], tuple[str, str]] = {}
    for vault, chain in subject.chains:
        for root in chain.chain.roots:
            slot = (root.registry_id, root.name.sequence)
            sha256, name = first.setdefault(slot, (root.sha256, vault.at.name))
            if sha256 != root.sha256:
                flaw = Flaw(
                    "diverged",
                    f"{root.name} is another snapshot than in {name}",
                    f"Compare them: regvault ls {root.name} --vault {vault.at.name}",
                )
                found[id(chain)] = [flaw]
                break
    return found


def _note_others(result: CheckResult, found: list[Subject]) -> None:
    """Say which registries the vaults have besides: nobody asked for them."""
    judged = {id(chain) for subject in found for _, chain in subject.chains}
    others = {
        chain.chain.name
        for vault in result.vaults
        for chain in vault.chains
        if id(chain) not in judged
    }
    if others:
        names = ", ".join(sorted(others))
        result.notes.append(f"not checked, as it was not named: {names}")
