"""Puts the records of one request together: a registry's notification, its log, a proxy's log.

By their request id; else by client, user, method, target and status within two seconds of when the
answer ended. Each source has one record of a request at most, so two pulls of the same image at the
same moment stay two, and a client that sends one `X-Request-Id` with all its requests hides none.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.event import Event

__all__ = ["WINDOW_S", "joined"]

WINDOW_S = 2.0
"""Seconds that records of one request may lie apart."""

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
#: These tell when a request began, all others when its answer ended.
_OF_BEGINNING = ("haproxy", "traefik")
#: Their ids are of one process, a UUID for each request: those that differ are of two requests.
_ONE_REGISTRY = ("distribution", "distribution-log")
#: A request that failed in several ways has as many lines; no client chooses their id.
_SEVERAL = ("distribution-log",)
_KEPT = ("source", "id", "spool", "seq", "time", "raw", "raw_base64")


class _Group:
    """Records that are taken for one request."""

    def __init__(self, event: Event, moment: float) -> None:
        self.events = [event]
        self.moment = moment

    def is_named_by(self, event: Event) -> bool:
        """Return whether a record has the id of this request, and nothing else says no."""
        if event.get("request_id") is None:
            return False
        if self._has(event["source"]) and event["source"] not in _SEVERAL:
            return False
        return any(
            each.get("request_id") == event["request_id"] for each in self.events
        ) and not any(_differ(each, event, "tag", "digest") for each in self.events)

    def is_like(self, event: Event, moment: float) -> bool:
        """Return whether a record is of this request, as far as one can tell without ids."""
        return (
            moment - self.moment <= WINDOW_S
            and not self._has(event["source"])
            and all(_alike(each, event) for each in self.events)
        )

    def _has(self, source: str) -> bool:
        return any(each["source"] == source for each in self.events)

    def event(self) -> Event:
        """Return the one event of the request."""
        if len(self.events) == 1:
            return self.events[0]
        first, *others = sorted(self.events, key=_rank)
        found = dict(first)
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
    waiting: deque[_Group] = deque()
    alike: defaultdict[tuple[str | None, ...], deque[_Group]] = defaultdict(deque)
    for moment, event in _by_end(events):
        while waiting and moment - waiting[0].moment > WINDOW_S:
            group = waiting.popleft()
            about = _about(group.events[0])
            if about is not None:
                alike[about].popleft()
                if not alike[about]:
                    del alike[about]
            yield group.event()
        about = _about(event)
        if about is not None:
            found = _group_of(event, moment, alike[about])
            if found is not None:
                found.events.append(event)
                continue
        waiting.append(_Group(event, moment))
        if about is not None:
            alike[about].append(waiting[-1])
    for each in waiting:
        yield each.event()


def _group_of(event: Event, moment: float, groups: Iterable[_Group]) -> _Group | None:
    """Return the request that a record is of: by its id, else by who asked, else any."""
    like = []
    for each in groups:
        if each.is_named_by(event):
            return each
        if each.is_like(event, moment):
            like.append(each)
    for each in like:
        if not any(_differ(other, event, "actor", "useragent") for other in each.events):
            return each
    # A proxy may log in at the registry as somebody else, or call itself something else.
    return like[0] if like else None


def _by_end(events: Iterable[Event]) -> Iterator[tuple[float, Event]]:
    """Yield events by when the answer ended, in seconds since 1970, which comes with each."""
    under_way: list[tuple[float, int, Event]] = []
    numbers = itertools.count()
    for event in events:
        moment = _moment(event)
        while under_way and under_way[0][0] <= moment:
            ended, _, other = heapq.heappop(under_way)
            yield ended, other
        if event["source"] in _OF_BEGINNING and event["duration_ms"]:
            ended = moment + event["duration_ms"] / 1000
            heapq.heappush(under_way, (ended, next(numbers), event))
        else:
            yield moment, event
    while under_way:
        ended, _, other = heapq.heappop(under_way)
        yield ended, other


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


def _alike(one: Event, other: Event) -> bool:
    """Return whether two records of one method and repository may be of one request."""
    if _differ(one, other, "tag", "digest", "address"):
        return False
    if one["source"] in _ONE_REGISTRY and other["source"] in _ONE_REGISTRY:
        ids = one.get("request_id"), other.get("request_id")
        if None not in ids and ids[0] != ids[1]:
            return False
    targets = [{name for name in ("tag", "digest") if each[name]} for each in (one, other)]
    if not targets[0] & targets[1] and (targets[0] or targets[1] or not _same_client(one, other)):
        return False
    # A notification has no status: it is of what succeeded.
    a, b = one["status"], other["status"]
    if a is None or b is None:
        return (a or b or 200) < 400
    return bool(a == b)


def _same_client(one: Event, other: Event) -> bool:
    """Return whether two records that have no target are of one step by one client."""
    known = one["address"] is not None and one["address"] == other["address"]
    return known and one["action"] == other["action"]


def _rank(event: Event) -> tuple[int, str]:
    source = event["source"]
    return (_FIRST.index(source) if source in _FIRST else len(_FIRST)), source


def _moment(event: Event) -> float:
    text: Any = event["time"]
    return datetime.fromisoformat(text).timestamp()
