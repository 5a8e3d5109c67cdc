"""Where tags pointed over time, so that records that only know a tag are told by a digest too.

A proxy's log of `GET /v2/team/app/manifests/v1` says no digest. Pushes, and the vault's snapshots,
say what the tag was then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import NotFoundError
from regvault.ops.audit.select import Wanted
from regvault.ops.find import find_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.event import Event
    from regvault.vault.vault import Vault

    Find = Callable[[Wanted], Iterator[Event]]

__all__ = ["Span", "Tags", "spans_in_events", "spans_in_snapshots"]

_END = "9999"


class Span(NamedTuple):
    """A time in which a tag pointed to one of some digests.

    Attributes:
        repository, tag: of the registry.
        since, until: the first time, and the one before which it did, as events have it.
    """

    repository: str
    tag: str
    since: str
    until: str


class Tags:
    """When tags pointed to what is asked for.

    Attributes:
        pairs: (repository, tag) of all of them.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans: dict[tuple[str, str], list[Span]] = defaultdict(list)
        for span in spans:
            self._spans[span.repository, span.tag].append(span)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Return the tags, each with its repository."""
        return frozenset(self._spans)

    def has(self, event: Event) -> bool:
        """Return whether an event without a digest is about what is asked for."""
        spans = self._spans.get((event["repository"], event["tag"]), ())
        return event["digest"] is None and any(
            span.since <= event["time"] < span.until for span in spans
        )

    def wanted(self, like: Wanted) -> Wanted:
        """Return what asks for events that have such a tag and no digest."""
        return replace(like, digests=frozenset(), tagged=self.pairs, bare=True)


def spans_in_events(digests: frozenset[str], find: Find) -> list[Span]:
    """Return when tags pointed to one of some digests, as far as events say it.

    Args:
        digests: of manifests.
        find: yields events.
    """
    points: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
    for event in find(Wanted(digests=digests)):
        if event["tag"] and event["repository"] and event["action"] in {"push", "pull"}:
            points[event["repository"], event["tag"]].append((event["time"], True))
    if not points:
        return []
    moved = Wanted(tagged=frozenset(points), actions=frozenset({"push", "delete"}), succeeded=True)
    for event in find(moved):
        if event["digest"] not in digests:
            points[event["repository"], event["tag"]].append((event["time"], False))
    return [span for (name, tag), some in points.items() for span in _spans(name, tag, some)]


def _spans(repository: str, tag: str, points: list[tuple[str, bool]]) -> Iterator[Span]:
    since: str | None = None
    for moment, here in sorted(points):
        if here and since is None:
            since = moment
        elif not here and since is not None:
            yield Span(repository, tag, since, moment)
            since = None
    if since is not None:
        yield Span(repository, tag, since, _END)


def spans_in_snapshots(
    vault: Vault, digests: Iterable[str], cache_base: str | None
) -> Iterator[Span]:
    """Yield when tags pointed to one of some digests, from the first snapshot to the last.

    Args:
        vault: whose snapshots.
        digests: of manifests.
        cache_base: directory of the local caches; None keeps nothing.
    """
    for digest in digests:
        try:
            found = find_digest(vault, digest, cache_base=cache_base)
        except NotFoundError:
            continue
        for where, what in found.occurrences:
            for tag in what.tags:
                yield Span(what.repository, tag, where.since, where.until + "~")
