"""Puts the records of one request together: a registry's notification, its log, a proxy's log.

By their request id; else by client, user, method, target and status within two seconds of when the
answer ended. Each source has one record of a request at most, so two pulls of the same image at the
same moment stay two, and a client that sends one `X-Request-Id` with all its requests hides none.

An event that was `reconstructed` from a record of a log is put together with that record. Where the
notification came after all, nothing is marked.

The log of a bucket or a CDN, where a registry redirects downloads to, knows neither the repository
nor the client as the registry sees it: its record joins one of the same digest.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.event import Event

__all__ = ["NOTIFIED", "WINDOW_S", "Group", "Waiting", "ended_ms", "joined", "source_of"]

WINDOW_S = 2.0
"""Seconds that records of one request may lie apart."""

NOTIFIED = frozenset({"distribution", "harbor", "zot", "cloudevents"})
"""Sources of events that a registry sends by itself; what else there is was read in a log."""

#: Whose record stays what it is, and is completed by the others; the first of these that is there.
_FIRST = ("distribution", "harbor", "zot", "cloudevents", "distribution-log", "harbor-log")
_FILLED = (
    "method",
    "repository",
    "tag",
    "digest",
    "status",
    "duration_ms",
    "actor",
    "address",
    "useragent",
)
#: As Go's servers write a request without a referrer, distribution too; nginx and Apache have `-`.
_OF_GO = re.compile(r'" \d{3} \d+ "" "', re.ASCII)
_OF_REGISTRY = "the access log of a registry"
#: These tell when a request began, all others when its answer ended.
_OF_BEGINNING = ("haproxy", "traefik")
#: Their ids are of one process, a UUID for each request: those that differ are of two requests.
_ONE_REGISTRY = ("distribution", "distribution-log")
#: Of a request whose end is waited for: what a log pretends is not held for years.
_LONGEST_MS = 6 * 3_600_000
#: Who sees the download that a registry redirected.
_REDIRECTED = frozenset({"s3", "cloudtrail", "cloudfront"})
#: A request that failed in several ways has as many lines; no client chooses their id.
_SEVERAL = ("distribution-log",)
_KEPT = ("source", "id", "spool", "seq", "time", "raw", "raw_base64")


class Group:
    """Records that are taken for one request."""

    def __init__(self, event: Event, moment: float, number: int) -> None:
        self.events = [event]
        self.moment = moment
        self.number = number
        self.sources = frozenset({source_of(event)})
        self.places: list[tuple[_Index, tuple[str | None, ...]]] = []

    def is_named(self, event: Event) -> bool:
        """Return whether a record that has the id of this request may be of it."""
        return not any(_differ(each, event, "tag", "digest") for each in self.events)

    def is_about(self, event: Event) -> bool:
        """Return whether one of the records is of the same tag or digest."""
        return any(_share(each, event, "tag", "digest") for each in self.events)

    def is_like(self, event: Event) -> bool:
        """Return whether a record is of this request, as far as one can tell without ids."""
        return all(_alike(each, event) for each in self.events)

    def is_of(self, event: Event) -> bool:
        """Return whether nothing tells another user or user agent."""
        return not any(_differ(each, event, "actor", "useragent") for each in self.events)

    @property
    def is_redirected(self) -> bool:
        """Whether somebody saw the download that the registry redirected."""
        return not self.sources.isdisjoint(_REDIRECTED)

    def add(self, event: Event, source: str) -> None:
        """Take a record."""
        self.events.append(event)
        before, self.sources = self.sources, self.sources | {source}
        for index, key in self.places:
            index.move(key, self, before)

    def by_rank(self) -> list[Event]:
        """Return the records, that of who knows most of the request first."""
        return self.events if len(self.events) == 1 else sorted(self.events, key=_rank)

    def event(self) -> Event:
        """Return the one event of the request."""
        if len(self.events) == 1:
            return self.events[0]
        first, *others = self.by_rank()
        found = dict(first)
        marked = any(each.get("reconstructed") for each in others)
        if marked and not any(each["source"] in NOTIFIED for each in self.events):
            found["reconstructed"] = True
        for name in _FILLED:
            if found[name] is None:
                found[name] = next((o[name] for o in others if o[name] is not None), None)
        kept = [{name: other[name] for name in _KEPT if name in other} for other in others]
        personal = {name: found.pop(name) for name in ("actor", "address", "useragent", "raw")}
        rest = {"raw_base64": found.pop("raw_base64")} if "raw_base64" in found else {}
        return {**found, "joined": kept, **personal, **rest}


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events with those of one request put together into one, that keeps each `raw`.

    Args:
        events: in the order of their times.

    Returns:
        In the order of when the answers ended.
    """
    waiting = Waiting()
    for moment, event in _by_end(events):
        for group in waiting.until(moment - WINDOW_S):
            yield group.event()
        waiting.take(event, moment)
    for group in waiting.until(float("inf")):
        yield group.event()


class _Index:
    """Requests by a key, and by the sources that have told of them.

    So a stream of one source is not searched for what cannot be there.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str | None, ...], dict[frozenset[str], dict[int, Group]]] = {}

    def put(self, key: tuple[str | None, ...], group: Group) -> None:
        """Add a request, unless it is there."""
        if (self, key) not in group.places:
            group.places.append((self, key))
            self._of.setdefault(key, {}).setdefault(group.sources, {})[group.number] = group

    def move(self, key: tuple[str | None, ...], group: Group, before: frozenset[str]) -> None:
        """Note that more sources have told of a request."""
        self._take(key, group, before)
        self._of.setdefault(key, {}).setdefault(group.sources, {})[group.number] = group

    def drop(self, key: tuple[str | None, ...], group: Group) -> None:
        """Forget a request."""
        self._take(key, group, group.sources)

    def _take(self, key: tuple[str | None, ...], group: Group, sources: frozenset[str]) -> None:
        buckets = self._of[key]
        del buckets[sources][group.number]
        if not buckets[sources]:
            del buckets[sources]
            if not buckets:
                del self._of[key]

    def without(self, key: tuple[str | None, ...], source: str | None) -> Iterator[Group]:
        """Yield the requests of a key of which a source has not told; None: all."""
        for sources, groups in self._of.get(key, {}).items():
            if source not in sources:
                yield from groups.values()


class Waiting:
    """Requests of which more records may come, by what their records have in common."""

    def __init__(self) -> None:
        self._groups: deque[Group] = deque()
        self._count = itertools.count()
        self._alike = _Index()
        self._named = _Index()
        self._downloads = _Index()

    def until(self, moment: float) -> Iterator[Group]:
        """Yield the requests before a moment: nothing more comes of them."""
        while self._groups and self._groups[0].moment < moment:
            group = self._groups.popleft()
            for index, key in group.places:
                index.drop(key, group)
            yield group

    def take(self, event: Event, moment: float) -> None:
        """Put a record to those of its request."""
        about, name, source = _about(event), _name(event), source_of(event)
        download = _download(event)
        group = None if about is None else self._group_of(event, about, name, source)
        if group is None and download is not None:
            group = self._download_of(event, download, source)
        if group is not None:
            group.add(event, source)
        else:
            group = Group(event, moment, next(self._count))
            self._groups.append(group)
            if about is not None:
                self._alike.put(about, group)
        if name is not None:
            self._named.put(name, group)
        if download is not None:
            self._downloads.put(download, group)

    def _download_of(
        self, event: Event, download: tuple[str | None, ...], source: str
    ) -> Group | None:
        """Return the request whose download this is, or the download of this request."""
        for each in self._downloads.without(download, source):
            if (source in _REDIRECTED or each.is_redirected) and each.is_like(event):
                return each
        return None

    def _group_of(
        self,
        event: Event,
        about: tuple[str | None, ...],
        name: tuple[str | None, ...] | None,
        source: str,
    ) -> Group | None:
        """Return the request of a record: by its id, else by who asked, else any like it."""
        if name is not None:
            other = None if source in _SEVERAL else source
            named = None
            for each in self._named.without(name, other):
                if each.is_named(event):
                    if each.is_about(event):
                        return each
                    # The deletion of a manifest is told of once more for each tag that it had.
                    named = named or each
            if named is not None:
                return named
        first = None
        for each in self._alike.without(about, source):
            if each.is_like(event):
                if each.is_of(event):
                    return each
                # A proxy may log in at the registry as somebody else, or call itself so.
                first = first or each
        return first


def _name(event: Event) -> tuple[str | None, ...] | None:
    """Return what is the same of all records with one request id, or None where there is none."""
    about = _about(event)
    if about is None or event.get("request_id") is None:
        return None
    return (*about, event["request_id"])


def _download(event: Event) -> tuple[str | None, ...] | None:
    """Return what is the same of a download and of the request that was redirected to it."""
    if event["action"] != "pull" or event["method"] is None or event["digest"] is None:
        return None
    return event["method"], event["digest"]


def _by_end(events: Iterable[Event]) -> Iterator[tuple[float, Event]]:
    """Yield events by when the answer ended, in seconds since 1970, which comes with each."""
    under_way: list[tuple[float, int, Event]] = []
    numbers = itertools.count()
    for event in events:
        moment = _moment(event)
        while under_way and under_way[0][0] <= moment:
            ended, _, other = heapq.heappop(under_way)
            yield ended, other
        if (after := ended_ms(event)) > 0:
            ended = moment + after / 1000
            heapq.heappush(under_way, (ended, next(numbers), event))
        else:
            yield moment, event
    while under_way:
        ended, _, other = heapq.heappop(under_way)
        yield ended, other


def ended_ms(event: Event) -> float:
    """Return how long after the time that a record tells its answer ended, milliseconds."""
    duration: float = event["duration_ms"] or 0
    return duration if event["source"] in _OF_BEGINNING and 0 < duration <= _LONGEST_MS else 0


def _about(event: Event) -> tuple[str | None, ...] | None:
    """Return what records of one request have in common always; None of what is no request."""
    if event["method"] is None:
        return None
    if event["repository"] is None:
        # The base of the API, which clients log in at.
        return (event["method"],) if event["action"] == "login" else None
    return event["method"], event["repository"]


def _differ(one: Event, other: Event, *names: str) -> bool:
    return any(
        one[name] is not None and other[name] is not None and one[name] != other[name]
        for name in names
    )


def _share(one: Event, other: Event, *names: str) -> bool:
    return any(one[name] is not None and one[name] == other[name] for name in names)


def _alike(one: Event, other: Event) -> bool:
    """Return whether two records of one method may be of one request.

    They are of one repository too, unless one is of a download.
    """
    if one["source"] in _REDIRECTED or other["source"] in _REDIRECTED:
        # The one is answered with a redirect, the other with content; each sees another client.
        same = one["digest"] is not None and one["digest"] == other["digest"]
        return same and (one["status"] or 200) < 400 and (other["status"] or 200) < 400
    # The access log of a registry behind a proxy has the proxy's address.
    behind = _OF_REGISTRY in (source_of(one), source_of(other))
    if _differ(one, other, "tag", "digest", *(() if behind else ("address",))):
        return False
    if one["source"] in _ONE_REGISTRY and other["source"] in _ONE_REGISTRY:
        ids = one.get("request_id"), other.get("request_id")
        if None not in ids and ids[0] != ids[1]:
            return False
    targets = [{name for name in ("tag", "digest") if each[name]} for each in (one, other)]
    if targets[0] or targets[1]:
        if not targets[0] & targets[1]:
            return False
    elif one["action"] != other["action"] or not (behind or _same_address(one, other)):
        return False
    # A notification has no status: it is of what succeeded.
    a, b = one["status"], other["status"]
    if a is None or b is None:
        return (a or b or 200) < 400
    return bool(a == b)


def _same_address(one: Event, other: Event) -> bool:
    return one["address"] is not None and one["address"] == other["address"]


def source_of(event: Event) -> str:
    """Return whose record this is: the combined format is that of proxies, and of registries."""
    source: str = event["source"]
    if source == "combined" and event["raw"] and _OF_GO.search(event["raw"]):
        return _OF_REGISTRY
    return f"{source}, reconstructed" if event.get("reconstructed") else source


def _rank(event: Event) -> tuple[bool, int, str]:
    source = event["source"]
    rank = _FIRST.index(source) if source in _FIRST else len(_FIRST)
    return bool(event.get("reconstructed")), rank, source


def _moment(event: Event) -> float:
    text: Any = event["time"]
    return datetime.fromisoformat(text).timestamp()
