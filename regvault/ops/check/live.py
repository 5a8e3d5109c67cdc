"""Evidence of a live registry: that it is there, and that its links can be read."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from regvault.errors import RegvaultError, StoreError
from regvault.model.registry import Kind
from regvault.ops.check.vaults import UNKNOWN_PLACE, flaw_of
from regvault.policy.rule321 import Flaw

if TYPE_CHECKING:
    from regvault.model.registry import RegistrySource
    from regvault.model.whereabouts import Whereabouts
    from regvault.ops.check.places import RegistryAt

__all__ = ["SeenRegistry", "look_at_registry"]

#: So many repositories have their links read, and so many names are kept to compare.
_SURVEYED = 20
_NAMED = 200_000


@dataclass(slots=True)
class SeenRegistry:
    """A live registry as it was seen.

    Attributes:
        at: what was asked for.
        flaw: why it does not count; None where it does.
        where: its storage lies.
        repositories: how many it has.
        names: of the first of them, in byte order.
    """

    at: RegistryAt
    flaw: Flaw | None = None
    where: Whereabouts = UNKNOWN_PLACE
    repositories: int = 0
    names: list[str] = field(default_factory=list)

    def may_have(self, name: str) -> bool:
        """Return whether it has a repository, or may have, as not all names are kept."""
        if self.repositories > len(self.names) and name > self.names[-1]:
            return True
        at = bisect_left(self.names, name)
        return at < len(self.names) and self.names[at] == name


def look_at_registry(at: RegistryAt) -> SeenRegistry:
    """Look at a registry: list its repositories, and read the links of the first few.

    No manifest and no blob is read: `regvault scan` does that.
    """
    seen = SeenRegistry(at)
    try:
        source = at.open()
        try:
            source.check()
            _look(seen, source)
        finally:
            source.close()
    except RegvaultError as error:
        seen.flaw = flaw_of(error)
        return seen
    try:
        seen.where = at.whereabouts()
    except StoreError:
        seen.where = UNKNOWN_PLACE
    return seen


def _look(seen: SeenRegistry, source: RegistrySource) -> None:
    for name in source.repositories():
        seen.repositories += 1
        if len(seen.names) < _NAMED:
            seen.names.append(name)
    if not seen.repositories:
        message = f"{source.location} has no repository"
        hint = "Is the right storage mounted? If all of it is gone: regvault restore"
        seen.flaw = Flaw("empty", message, hint)
        return
    for survey in source.surveys(islice(seen.names, _SURVEYED)):
        for finding in survey.links().findings:
            if finding.kind is Kind.UNREADABLE:
                message = f"{finding.repository} of {source.location} cannot be read"
                message += f": {finding.detail}" if finding.detail else ""
                hint = f"See all that is wrong: regvault scan {seen.at.name}"
                seen.flaw = Flaw("unreadable", message, hint)
                return
