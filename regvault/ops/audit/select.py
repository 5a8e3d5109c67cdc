"""Which events are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.oci.grammar import glob_matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.event import Event

__all__ = ["BARE", "MOVED", "Wanted"]

#: Kinds of terms: a record that has a tag and no digest; a tag that was pushed, or deleted.
BARE, MOVED = "bare", "moved"


@dataclass(frozen=True)
class Wanted:
    """What an event must have to be one that is asked for. Empty: anything.

    Attributes:
        repos: globs, of which its repository matches one.
        digests: of which it is about one; with `referring`, or to which it refers.
        tags, actors, addresses, actions: of which it has one.
        statuses: ranges of which its status is in one.
        since, until: the first time, and the one before which it happened, as events have it.
        succeeded: its status, if it has one, is below 400.
        read: it is a pull that brought content: no HEAD.
        referring: see `digests`.
        tagged: (repository, tag), of which it has one: with `bare`, and no digest; else of an event
            that moves or deletes a tag.
        bare: see `tagged`.
    """

    repos: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    statuses: tuple[range, ...] = ()
    since: str = ""
    until: str = "9999"
    succeeded: bool = False
    read: bool = False
    referring: bool = False
    tagged: frozenset[tuple[str, str]] = frozenset()
    bare: bool = False
    _matches: Callable[[str], bool] | None = field(default=None, compare=False, repr=False)

    def has(self, event: Event) -> bool:
        """Return whether an event is asked for."""
        if not self.since <= event["time"] < self.until:
            return False
        if self.actions and event["action"] not in self.actions:
            return False
        if self.digests and not self._is_about(event):
            return False
        if self.tagged and not self._is_tagged(event):
            return False
        if self.repos and not self._in_repos(event["repository"]):
            return False
        if self.tags and event["tag"] not in self.tags:
            return False
        if self.actors and event["actor"] not in self.actors:
            return False
        if self.addresses and event["address"] not in self.addresses:
            return False
        status = event["status"]
        if self.statuses and not any(status in each for each in self.statuses):
            return False
        if self.succeeded and isinstance(status, int) and status >= 400:
            return False
        return not (self.read and (event["method"] not in {"GET", None}))

    def _is_about(self, event: Event) -> bool:
        if event["digest"] in self.digests:
            return True
        return self.referring and not self.digests.isdisjoint(event.get("references") or ())

    def _is_tagged(self, event: Event) -> bool:
        if self.bare and event["digest"] is not None:
            return False
        return (event["repository"], event["tag"]) in self.tagged

    def _in_repos(self, repository: str | None) -> bool:
        if repository is None:
            return False
        matches = self._matches
        if matches is None:
            matches = glob_matcher(self.repos)
            object.__setattr__(self, "_matches", matches)
        return matches(repository)

    def terms(self) -> list[list[tuple[str, str]]]:
        """Return what an index is asked for: of each inner list, an event has at least one.

        Each is (kind, value), as `term_of` takes it.
        """
        found: list[list[tuple[str, str]]] = []
        if self.digests:
            found.append([("digest", digest) for digest in sorted(self.digests)])
        if self.tagged:
            kind = BARE if self.bare else MOVED
            found.append([(kind, f"{repo}:{tag}") for repo, tag in sorted(self.tagged)])
        plain = [repo for repo in self.repos if not any(sign in repo for sign in "*?[")]
        if self.repos and len(plain) == len(self.repos):
            found.append([("repository", repo) for repo in plain])
            if self.tags:
                found.append([("tag", f"{repo}:{tag}") for repo in plain for tag in self.tags])
        return found
