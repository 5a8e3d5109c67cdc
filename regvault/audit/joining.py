"""Puts the records of one request together: a registry's notification, its log, a proxy's log.

By their request id; else by client, method, target and status within two seconds. Each source has
one record of a request at most, so two pulls of the same image at the same moment stay two.

The log of a bucket or a CDN, where a registry redirects downloads to, knows neither the repository
nor the client as the registry sees it: its record of a GET joins one of the same digest.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.event import Event

__all__ = ["WINDOW_S", "Group", "Joiner", "joined"]

WINDOW_S = 2.0
"""Seconds that records of one request may lie apart."""

#: Whose record stays what it is, and is completed by the others; the first of these that is there.
_FIRST = ("distribution", "harbor", "zot", "cloudevents", "distribution-log", "harbor-log")
#: Who sees the download that a registry redirected.
_REDIRECTED = frozenset({"s3", "cloudtrail", "cloudfront"})
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
_KEPT = ("source", "id", "spool", "seq", "time", "raw", "raw_base64")

_ANY = object()


class Group:
    """Records that are taken for one request.

    Attributes:
        events: the records, in the order in which they came.
        number: groups count by one.
        moment: of the first record, seconds since the epoch.
        open: more may be of it.
    """

    __slots__ = ("events", "moment", "number", "open", "request_ids")

    def __init__(self, event: Event, moment: float, number: int) -> None:
        self.events = [event]
        self.moment = moment
        self.number = number
        self.open = True
        self.request_ids = {event.get("request_id")} - {None}

    def takes(self, event: Event, moment: float) -> bool:
        """Return whether a record is of this request, as far as one can tell."""
        if any(each["source"] == event["source"] for each in self.events):
            return False
        if event.get("request_id") in self.request_ids:
            return True
        return moment - self.moment <= WINDOW_S and all(_alike(each, event) for each in self.events)

    def by_rank(self) -> list[Event]:
        """Return the records, that of who knows most of the request first."""
        return self.events if len(self.events) == 1 else sorted(self.events, key=_rank)

    def event(self) -> Event:
        """Return the one event of the request."""
        if len(self.events) == 1:
            return self.events[0]
        first, *others = self.by_rank()
        found = dict(first)
        for name in _FILLED:
            if found[name] is None:
                found[name] = next((o[name] for o in others if o[name] is not None), None)
        kept = [{name: other[name] for name in _KEPT if name in other} for other in others]
        personal = {name: found.pop(name) for name in ("actor", "address", "useragent", "raw")}
        rest = {"raw_base64": found.pop("raw_base64")} if "raw_base64" in found else {}
        return {**found, "joined": kept, **personal, **rest}


class Joiner:
    """Takes records in the order of their times, and gives back those of one request together.

    Of a record `method`, `repository`, `tag`, `digest`, `address`, `status`, `source` and, where
    there is one, `request_id` are looked at.
    """

    def __init__(self) -> None:
        self._waiting: deque[Group] = deque()
        self._by_key: dict[Any, deque[Group]] = {}
        self._count = 0

    def take(self, event: Event, moment: float) -> Iterator[Group]:
        """Take a record; yield the requests of which no more can come.

        Args:
            event: the record.
            moment: when it happened, seconds since the epoch.
        """
        yield from self.until(moment - WINDOW_S)
        group = None
        if event["method"] is not None and _is_known(event):
            group = self._group_of(event, moment)
        if group is None:
            self._count += 1
            group = Group(event, moment, self._count)
            self._waiting.append(group)
        else:
            group.events.append(event)
            if event.get("request_id") is not None:
                group.request_ids.add(event["request_id"])
        for key in _keys(event):
            found = self._by_key.get(key)
            if found is None:
                found = self._by_key[key] = deque()
            found.append(group)

    def until(self, moment: float) -> Iterator[Group]:
        """Yield the requests that began before a moment, seconds since the epoch."""
        while self._waiting and self._waiting[0].moment < moment:
            yield self._ended()

    def rest(self) -> Iterator[Group]:
        """Yield the requests of which more might have come, in the order of their times."""
        while self._waiting:
            yield self._ended()

    def _ended(self) -> Group:
        group = self._waiting.popleft()
        group.open = False
        # All of a key's groups in front of this one have ended before.
        for event in group.events:
            for key in _keys(event):
                found = self._by_key.get(key)
                while found and not found[0].open:
                    found.popleft()
                if found is not None and not found:
                    del self._by_key[key]
        return group

    def _group_of(self, event: Event, moment: float) -> Group | None:
        """Return the oldest group that takes a record."""
        best: Group | None = None
        for key in _sought(event):
            for group in self._by_key.get(key, ()):
                if best is not None and group.number >= best.number:
                    continue
                if group.open and group.takes(event, moment):
                    best = group
        return best


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events with those of one request put together into one, that keeps each `raw`.

    Args:
        events: in the order of their times.
    """
    joiner = Joiner()
    for event in events:
        for group in joiner.take(event, _moment(event)):
            yield group.event()
    for group in joiner.rest():
        yield group.event()


def _is_known(event: Event) -> bool:
    """Return whether a record says enough to be one of several."""
    return event["repository"] is not None or (
        event["source"] in _REDIRECTED and event["digest"] is not None
    )


def _keys(event: Event) -> list[Any]:
    """Return what a record is found by."""
    found: list[Any] = []
    if event.get("request_id") is not None:
        found.append(event["request_id"])
    method, repository, address = event["method"], event["repository"], event["address"]
    if method is None:
        return found
    for name in ("tag", "digest"):
        if event[name] is not None:
            found.append((method, repository, name, event[name], address))
            found.append((method, repository, name, event[name], _ANY))
    if event["digest"] is not None:
        found.append((method, event["digest"], event["source"] in _REDIRECTED))
    return found


def _sought(event: Event) -> list[Any]:
    """Return by what the records are found that may be of the same request."""
    found: list[Any] = []
    if event.get("request_id") is not None:
        found.append(event["request_id"])
    method, repository, address = event["method"], event["repository"], event["address"]
    if event["source"] in _REDIRECTED:
        return [*found, (method, event["digest"], False), (method, event["digest"], True)]
    for name in ("tag", "digest"):
        if event[name] is None:
            continue
        if address is None:
            found.append((method, repository, name, event[name], _ANY))
        else:
            found.append((method, repository, name, event[name], address))
            found.append((method, repository, name, event[name], None))
    if event["digest"] is not None:
        found.append((method, event["digest"], True))
    return found


def _alike(one: Event, other: Event) -> bool:
    """Return whether two records may be of one request."""
    if one["method"] != other["method"]:
        return False
    if one["source"] in _REDIRECTED or other["source"] in _REDIRECTED:
        # The one is answered with a redirect, the other with content; each sees another client.
        same = one["digest"] is not None and one["digest"] == other["digest"]
        return same and (one["status"] or 200) < 400 and (other["status"] or 200) < 400
    if one["repository"] != other["repository"]:
        return False
    same = False
    for name in ("tag", "digest", "address"):
        if one[name] is not None and other[name] is not None:
            if one[name] != other[name]:
                return False
            same = same or name != "address"
    if not same:
        return False
    # A notification has no status: it is of what succeeded.
    a, b = one["status"], other["status"]
    if a is None or b is None:
        return (a or b or 200) < 400
    return bool(a == b)


def _rank(event: Event) -> tuple[int, str]:
    source = event["source"]
    return (_FIRST.index(source) if source in _FIRST else len(_FIRST)), source


def _moment(event: Event) -> float:
    text: Any = event["time"]
    return datetime.fromisoformat(text).timestamp()
