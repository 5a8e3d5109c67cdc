"""What `diff` compares: a snapshot, or a live registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import VaultDamagedError
from regvault.model.registry import Kind
from regvault.model.state import Line, parse_line
from regvault.ops.bounded import in_order
from regvault.vault.keys import blob_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regvault.model.registry import RegistrySource, Survey
    from regvault.ops.opened import Opened

__all__ = ["LiveSide", "OneRepository", "Side", "SnapshotSide"]

_THREADS = 8


class OneRepository(NamedTuple):
    """One repository of a side, with what tells cheaply that it is the same on the other side."""

    name: str
    state: str
    fingerprint: str
    lines: Callable[[], Iterator[Line] | None]


class SnapshotSide:
    """A snapshot as one side of a comparison."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.label = str(opened.root.name)

    def repositories(self, matches: Callable[[str], bool] | None) -> Iterator[OneRepository]:
        """Yield the repositories that match; None: all."""
        for entry in self.opened.entries():
            if matches is None or matches(entry.name):
                yield OneRepository(
                    entry.name,
                    entry.state,
                    entry.fingerprint,
                    lambda state=entry.state: self._lines(state),  # type: ignore[misc]
                )

    def _lines(self, state: str) -> Iterator[Line]:
        return map(self.parse, self.opened.state_lines(state))

    def names(self) -> Iterator[str]:
        """Yield the names of all repositories."""
        return (entry.name for entry in self.opened.entries())

    def parse(self, line: bytes) -> Line:
        """Parse one line of a state. Raises VaultDamagedError."""
        try:
            return parse_line(line.decode("ascii"))
        except ValueError:
            raise VaultDamagedError(
                f"a state of {self.label} has a line that is none: {line[:200]!r}"
            ) from None

    def sizes(self, digests: Sequence[str]) -> Iterator[int | None]:
        """Yield the size of each blob that this snapshot's objects hold, else None."""
        self.opened.catalog.prepare(len(digests))
        objects, sealed = self.opened.objects, self.opened.vault.seal.sealed
        for digest in digests:
            places = self.opened.catalog.find(digest)
            place = next((p for p in places if objects.has(p.key)), None)
            if place is not None:
                yield place.size
            else:
                raw = None if sealed else objects.get(blob_key(digest))
                yield raw.size if raw is not None else None


class LiveSide:
    """A live registry as one side of a comparison.

    Attributes:
        unreadable: repositories that could not be read so far.
    """

    def __init__(self, source: RegistrySource) -> None:
        source.check()
        self.source = source
        self.label = source.location
        self.unreadable: list[str] = []

    def repositories(self, matches: Callable[[str], bool] | None) -> Iterator[OneRepository]:
        """Yield the repositories that match; None: all."""
        names = None
        if matches is not None:
            names = [name for name in self.source.repositories() if matches(name)]
        for survey in self.source.surveys(names):
            yield OneRepository(
                survey.repository,
                "",
                survey.fingerprint,
                lambda survey=survey: self._lines(survey),  # type: ignore[misc]
            )

    def names(self) -> Iterator[str]:
        """Yield the names of all repositories."""
        return self.source.repositories()

    def _lines(self, survey: Survey) -> Iterator[Line] | None:
        links = survey.links()
        if any(finding.kind is Kind.UNREADABLE for finding in links.findings):
            self.unreadable.append(survey.repository)
            return None
        lost = {f.subject[1:] for f in links.findings if f.kind is Kind.TAG_UNREADABLE}
        found = [Line("layer", digest, "", 0) for digest in links.layers]
        found += [Line("rev", digest, "", 0) for digest in links.revisions]
        for tag in links.tags:
            if tag.current is not None or tag.name in lost:
                found.append(Line("tag", tag.name, tag.current or "", None))
            found += [Line("was", tag.name, digest, None) for digest in tag.history]
        return iter(found)

    def sizes(self, digests: Sequence[str]) -> Iterator[int | None]:
        """Yield the size of each blob that the registry has, else None."""
        return in_order(digests, self.source.stat_blob, threads=_THREADS, name="look")


Side = SnapshotSide | LiveSide
