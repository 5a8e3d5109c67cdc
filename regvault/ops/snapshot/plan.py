"""The plan of a snapshot: which repositories are to be read, which keep their state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import NotFoundError, VaultDamagedError
from regvault.model.registry import Kind
from regvault.oci.grammar import glob_matcher, unmatched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource, Survey
    from regvault.ops.snapshot.session import Damage, RepositoryEntry, Session
    from regvault.vault.objectlist import ObjectRef

__all__ = ["Plan", "make_plan", "work"]

#: So many surveys are kept from planning; beyond that a changed repository is surveyed again.
_SURVEYS_KEPT = 1000


@dataclass(slots=True)
class Plan:
    """What a run is going to do.

    Attributes:
        globs: repositories that are read; () means all. The others keep their state.
        everything: all of them are read, whatever their fingerprints say (a first snapshot, or
            objects were lost).
        changed: names to read, ascending, where not everything is.
        removed: names that the source no longer has, ascending.
        unchanged: how many keep their state.
        trees_lost: states of the newest root cannot be relied on: nothing is inherited.
        lost: objects of the newest root that the vault no longer has: they are stored again.
        amended: objects that the newest root names were replaced or purged since: its states are
            counted anew, and all repositories are read, whatever the globs say.
        damage: that the newest root carries.
        cold: whether the newest root needs something that lies in an archive and that nothing
            promises to bring back in time: what the source has of it is stored again.
        hidden: of the names that the source does not show, those below a directory that cannot be
            read: they keep their state.
    """

    globs: tuple[str, ...]
    everything: bool = False
    trees_lost: bool = False
    amended: bool = False
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    lost: dict[str, ObjectRef] = field(default_factory=dict)
    damage: Damage = field(default_factory=dict)
    surveys: dict[str, Survey] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    cold: bool = False

    @property
    def nothing_to_do(self) -> bool:
        """Whether the newest root says all that a new one would."""
        return not (self.everything or self.changed or self.removed or self.cold)


def make_plan(
    session: Session, source: RegistrySource, globs: tuple[str, ...], progress: Progress
) -> Plan:
    """Compare the source with the newest root, and the vault's LIST with what that root needs."""
    plan = Plan(globs)
    _check_globs(session, source, globs, progress)
    if session.previous is None:
        plan.everything = True
    else:
        progress.phase("Comparing repositories", total_items=session.previous.counts.repositories)
        try:
            plan.damage = session.known_damage()
            # What is damaged is read again each time: someone may have mended it.
            again = {repository for repository, *_ in plan.damage}
            _compare(plan, session, source, again, progress)
        except VaultDamagedError as error:
            progress.warn(f"{error.message}; reading every repository again")
            session.distrust(error)
            plan.everything = plan.trees_lost = True
    progress.phase("Comparing the vault's objects")
    session.wait_for_listing(progress)
    plan.lost = dict(session.presence.missing)
    plan.cold = not globs and any(map(session.presence.is_cold, session.presence.cold))
    if session.objects is None or any(key.startswith("trees/") for key in plan.lost):
        plan.trees_lost = session.previous is not None
    else:
        plan.amended = bool(session.objects.changes())
    if plan.lost or plan.trees_lost or plan.amended:
        plan.everything = True
        plan.changed, plan.removed, plan.surveys = [], [], {}
    return plan


def _check_globs(
    session: Session, source: RegistrySource, globs: tuple[str, ...], progress: Progress
) -> None:
    """Refuse to inherit everything because of a slip: some repository must match.

    Raises:
        NotFoundError: none does, neither at the source nor in the newest snapshot.
    """
    missing = unmatched(globs, source.repositories() if globs else ())
    try:
        missing = unmatched(missing, (entry.name for entry in session.entries()))
    except VaultDamagedError:
        missing = []  # cannot be told; what is damaged is said in its place
    if not missing:
        return
    message = f"no repository of {source.location} matches {', '.join(missing)}"
    if len(missing) == len(globs):
        raise NotFoundError(
            message, hint="Give names or globs such as 'team/*'; what the vault has: regvault ls"
        )
    progress.warn(message)  # it may be one of the configuration, which is there for later


def _compare(
    plan: Plan, session: Session, source: RegistrySource, again: set[str], progress: Progress
) -> None:
    surveys = _surveys(source, plan.globs, compare=True)
    entries = session.entries()
    survey, entry = next(surveys, None), next(entries, None)
    while survey is not None or entry is not None:
        if survey is None or (entry is not None and entry.name < survey.repository):
            assert entry is not None
            if _read(entry.name, plan.globs):
                plan.removed.append(entry.name)
            else:
                plan.unchanged += 1
            entry = next(entries, None)
            continue
        progress.advance(1)
        name = survey.repository
        if entry is None or name < entry.name:
            _change(plan, survey)
        else:
            if survey.fingerprint and survey.fingerprint == entry.fingerprint and name not in again:
                plan.unchanged += 1
            else:
                _change(plan, survey)
            entry = next(entries, None)
        survey = next(surveys, None)
    if plan.removed:
        _keep_unreadable(plan, source)


def _keep_unreadable(plan: Plan, source: RegistrySource) -> None:
    """Take names back from `removed` that lie below a directory which cannot be read.

    What cannot be read is not gone (invariant 9): such repositories keep their state, and the run
    is not complete, because the directory itself is found unreadable when it is captured.
    """
    hidden: list[str] = []
    for name in plan.changed:
        survey = plan.surveys.get(name) or source.survey(name)
        if not survey.fingerprint and any(
            finding.kind is Kind.UNREADABLE for finding in survey.links().findings
        ):
            hidden.append(f"{name}/")
    if hidden:
        kept = [name for name in plan.removed if name.startswith(tuple(hidden))]
        plan.hidden.update(kept)
        plan.removed = [name for name in plan.removed if name not in set(kept)]
        plan.unchanged += len(kept)


def _change(plan: Plan, survey: Survey) -> None:
    plan.changed.append(survey.repository)
    if len(plan.surveys) < _SURVEYS_KEPT:
        plan.surveys[survey.repository] = survey


def _read(name: str, globs: tuple[str, ...]) -> bool:
    return not globs or glob_matcher(globs)(name)


def _surveys(
    source: RegistrySource, globs: tuple[str, ...], *, compare: bool = False
) -> Iterator[Survey]:
    if not globs:
        return source.surveys(compare=compare)
    return source.surveys(name for name in source.repositories() if _read(name, globs))


def work(
    plan: Plan, session: Session, source: RegistrySource
) -> Iterator[tuple[RepositoryEntry | None, Survey | None]]:
    """Yield, in byte order of the names, what is to be done with each repository.

    (entry, None): keeps its state; (entry or None, survey): to be read; a removed one is left out
    here and named in `plan.removed`.
    """
    if plan.everything:
        yield from _all_work(plan, session, source)
        return
    changed = iter(plan.changed)
    removed = set(plan.removed)
    name = next(changed, None)
    for entry in session.entries():
        while name is not None and name < entry.name:
            yield None, _survey(plan, source, name)
            name = next(changed, None)
        if name == entry.name:
            yield entry, _survey(plan, source, entry.name)
            name = next(changed, None)
        elif entry.name not in removed:
            yield entry, None
    while name is not None:
        yield None, _survey(plan, source, name)
        name = next(changed, None)


def _survey(plan: Plan, source: RegistrySource, name: str) -> Survey:
    return plan.surveys.pop(name, None) or source.survey(name)


def _all_work(
    plan: Plan, session: Session, source: RegistrySource
) -> Iterator[tuple[RepositoryEntry | None, Survey | None]]:
    if plan.trees_lost:
        # States cannot be inherited when their own chunks are gone: all is read, globs or not.
        for survey in source.surveys():
            yield None, survey
        return
    # What an amendment purged may be in any repository, and cannot be inherited.
    globs = () if plan.amended else plan.globs
    entries = session.entries()
    entry = next(entries, None)
    for survey in _surveys(source, globs):
        while entry is not None and entry.name < survey.repository:
            if not _read(entry.name, globs) or entry.name in plan.hidden:
                yield entry, None
            entry = next(entries, None)
        if entry is not None and entry.name == survey.repository:
            yield entry, survey
            entry = next(entries, None)
        else:
            yield None, survey
    while entry is not None:
        if not _read(entry.name, globs) or entry.name in plan.hidden:
            yield entry, None
        entry = next(entries, None)
