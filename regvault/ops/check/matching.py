"""Which snapshots are of which registry: by its permanent id, never by a name alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import CredentialError, VaultDamagedError
from regvault.ops.check.vaults import flaw_of, may_be_of
from regvault.ops.snapshot.scope import place_text
from regvault.policy.rule321 import Flaw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regvault.ops.check.live import SeenRegistry
    from regvault.ops.check.places import RegistryAt
    from regvault.ops.check.vaults import SeenChain, SeenVault

__all__ = ["Subject", "subjects"]


@dataclass(slots=True)
class Subject:
    """One registry, with all that is known of it.

    Attributes:
        name: for people.
        live: the registry itself, where it was named.
        chains: its snapshots, with the vault that they are in.
        foreign: id of a chain -> why its snapshots are not of this registry after all.
        notes: what people should know.
    """

    name: str
    live: SeenRegistry | None = None
    chains: list[tuple[SeenVault, SeenChain]] = field(default_factory=list)
    foreign: dict[str, Flaw] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The permanent ids, one for each vault that was fed by snapshots."""
        return sorted({chain.id for _, chain in self.chains if chain.id})


def subjects(vaults: Sequence[SeenVault], registries: Sequence[SeenRegistry]) -> list[Subject]:
    """Return the registries that were named; where none was, those that the vaults have."""
    chains = [(vault, chain) for vault in vaults for chain in vault.chains]
    if not registries:
        return list(_by_id(chains))
    found = [_of_registry(registry, chains) for registry in registries]
    for subject in found:
        _compare_names(subject)
        _note_absence(subject, vaults)
    return found


def _by_id(chains: list[tuple[SeenVault, SeenChain]]) -> Iterator[Subject]:
    found: dict[str, Subject] = {}
    for vault, chain in sorted(chains, key=lambda pair: not pair[1].id):
        same_name = (s for s in found.values() if s.name == chain.chain.title)
        if chain.id or (subject := next(same_name, None)) is None:
            name = chain.chain.title
            subject = found.setdefault(chain.id or f"{name}?", Subject(name))
        subject.chains.append((vault, chain))
    yield from sorted(found.values(), key=lambda subject: subject.name)


def _of_registry(registry: SeenRegistry, chains: list[tuple[SeenVault, SeenChain]]) -> Subject:
    """Match by where the newest snapshot was read from; else by name, as the registry has moved."""
    at = registry.at
    subject = Subject(at.permanent or at.name, registry)
    here = {chain.id for _, chain in chains if _is_from(chain, at)}
    named = {chain.id for _, chain in chains if chain.id and chain.chain.title == at.permanent}
    ids = here or named
    names = {chain.chain.title for _, chain in chains if chain.id in ids} | {at.permanent}
    for vault, chain in chains:
        if chain.id in ids or (not chain.id and chain.chain.title in names):
            subject.chains.append((vault, chain))
        elif chain.chain.title == at.permanent and chain.newest is not None:
            subject.notes.append(
                f"{vault.at.name} has a {at.permanent} too, but another registry: it was read from "
                f"{place_text(chain.newest.source)}, and has another id"
            )
    if at.permanent is None and subject.chains:
        subject.name = subject.chains[0][1].chain.title
    if named and not here:
        subject.notes.append(
            f"no vault has a snapshot that was read from {at.location}: matched by the name "
            f"{at.permanent} alone"
        )
    return subject


def _is_from(chain: SeenChain, at: RegistryAt) -> bool:
    if chain.newest is None:
        return False
    before = chain.newest.source
    return before.get("location") == at.location and (
        not before.get("endpoint") or before["endpoint"] == at.endpoint
    )


def _compare_names(subject: Subject) -> None:
    """Find snapshots that cannot be of this registry: they have none of its repositories.

    Two hosts may each have a registry at `/var/lib/registry`.
    """
    live = subject.live
    if live is None or live.flaw is not None:
        return
    for vault, chain in subject.chains:
        root = chain.latest
        if root is None or vault.vault is None or chain.id in subject.foreign:
            continue
        try:
            if may_be_of(vault.vault, root, live):
                continue
        except CredentialError:
            continue  # it is sealed, and was opened without an identity
        except VaultDamagedError as error:
            chain.flaws.append(flaw_of(error))
            continue
        message = f"{root.name} and {live.at.name} share none of their first repositories"
        hint = f"Is it the same registry? See: regvault ls {root.name} --vault {vault.at.name}"
        subject.foreign[chain.id] = Flaw("another-registry", message, hint)


def _note_absence(subject: Subject, vaults: Sequence[SeenVault]) -> None:
    there = {id(vault) for vault, _ in subject.chains}
    without = [v.at.name for v in vaults if v.flaw is None and not v.closed and id(v) not in there]
    if without:
        subject.notes.append(f"no snapshot of it is in: {', '.join(without)}")
