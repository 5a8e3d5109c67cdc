"""Reads one repository, as a whole, while the registry goes on living.

Order is the reverse of a registry's write order: tags, revisions, manifests, children, blobs
(`docs/architecture.md`, "Reading a registry that lives"). Where something that the links promise
is not there, the links are read again: a deletion or a garbage collection in between is normal,
and only what is missing while nothing changes is damage. Where it never holds still, what was
deleted since the last read is left out instead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.model.registry import Finding, Kind
from regvault.ops.snapshot.state import assemble, settle, wanted_blobs
from regvault.vault.envelope import to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from regvault.model.registry import RegistrySource, RepositoryLinks, Survey
    from regvault.ops.snapshot.state import Assembled, Parsed
    from regvault.ops.snapshot.storer import BlobStorer

__all__ = ["Captured", "Capturer"]

#: A busy repository is read so often at most, once and three times again (invariant 12); then its
#: read window is recorded.
MAX_READS = 4
#: How long a registry may take to write a link or a small blob in place.
IN_PLACE_S = 1.0


class Captured(NamedTuple):
    """One repository as it was read.

    Attributes:
        name: of the repository.
        lines: its state, sorted; empty where the repository is gone.
        findings: damage and notices.
        fingerprint: of the links that were read, "" where it must be read again next time.
        window: (started, finished) where it did not hold still, else None.
        unreadable: something could not be read, so what is there is not known.
    """

    name: str
    lines: list[bytes]
    findings: list[Finding]
    fingerprint: str
    window: tuple[str, str] | None
    unreadable: bool


class Capturer:
    """Captures repositories; one instance serves many threads."""

    def __init__(
        self,
        source: RegistrySource,
        storer: BlobStorer,
        known_damage: Container[tuple[str, str, str, str]],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wrap.

        Args:
            source: the live registry.
            storer: brings the blobs.
            known_damage: (repository, kind, subject, image) that the snapshot before has already:
                it is not waited for.
            sleep: waits some seconds.
        """
        self._source = source
        self._storer = storer
        self._known = known_damage
        self._sleep = sleep

    def capture(self, survey: Survey) -> Captured:
        """Read one repository and bring all that it needs. Raises what the vault raises."""
        name = survey.repository
        started = time.time_ns()
        before: set[Finding] = set()
        for attempt in range(1, MAX_READS + 1):
            links = survey.links()
            parsed = self._storer.manifests(list(links.revisions))
            sizes = self._bring(links, parsed)
            assembled = assemble(name, links, parsed, sizes, self._storer.bad.get)
            suspects = [f for f in assembled.findings if self._suspect(f)]
            if not suspects:
                return self._captured(survey, assembled, None)
            if not before.issuperset(suspects):
                # A link or manifest that is being written in place looks empty or cut off, a tag
                # whose image is being deleted points nowhere.
                self._sleep(IN_PLACE_S)
            before.update(suspects)
            newer = self._source.survey(name)
            if attempt > 1 and newer.fingerprint and newer.fingerprint == survey.fingerprint:
                return self._captured(newer, assembled, None)
            if attempt < MAX_READS:
                self._storer.forgive([f.subject for f in suspects])
                survey = newer
        # Each read may have met another deletion. Its links are gone by now, those of damage stay.
        links = settle(links, newer.links(), parsed, sizes)
        kept = {digest: parsed[digest] for digest in links.revisions if digest in parsed}
        held = {d: sizes[d] for d in wanted_blobs(links, kept) if d in sizes}
        assembled = assemble(name, links, kept, held, self._storer.bad.get)
        window = to_time(started), to_time(time.time_ns())
        return self._captured(survey, assembled, window)

    def _suspect(self, finding: Finding) -> bool:
        """Return whether a finding may be an instant of a living registry, worth a second look."""
        if finding.kind not in _MAY_PASS:
            return False
        key = (finding.repository, str(finding.kind), finding.subject, finding.image)
        return key not in self._known

    def _bring(self, links: RepositoryLinks, parsed: dict[str, Parsed]) -> dict[str, int]:
        storer = self._storer
        wanted = wanted_blobs(links, parsed)
        brought = [
            (digest, storer.ensure(digest, metadata=config, declared=declared))
            for digest, (config, declared) in wanted.items()
        ]
        sizes: dict[str, int] = {}
        for digest, size in brought:
            found = size if isinstance(size, int) else size.result()
            if found is not None:
                sizes[digest] = found
        return sizes

    @staticmethod
    def _captured(survey: Survey, assembled: Assembled, window: tuple[str, str] | None) -> Captured:
        findings = assembled.findings
        unreadable = any(finding.kind is Kind.UNREADABLE for finding in findings)
        fingerprint = "" if window or unreadable else survey.fingerprint
        return Captured(
            survey.repository, assembled.lines, findings, fingerprint, window, unreadable
        )


_MAY_PASS = frozenset(
    {
        Kind.MANIFEST_MISSING,
        Kind.MANIFEST_DAMAGED,
        Kind.BLOB_MISSING,
        Kind.BLOB_DAMAGED,
        Kind.CHILD_MISSING,
        Kind.TAG_DANGLING,
        Kind.TAG_UNREADABLE,
        Kind.LINK_EMPTY,
        Kind.UNREADABLE,
    }
)
