"""Puts the records of one request together: a registry's notification, its log, a proxy's log.

By their request id; else by client, method, target and status within two seconds. Each source has
one record of a request at most, so two pulls of the same image at the same moment stay two.
"""

from __future__ import annotations

from collections import deque
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
_KEPT = ("source", "id", "spool", "seq", "time", "raw", "raw_base64")


class _Group:
    """Records that are taken for one request."""

    def __init__(self, event: Event, moment: float) -> None:
        self.events = [event]
        self.moment = moment
        self.request_ids = {event.get("request_id")} - {None}

    def takes(self, event: Event, moment: float) -> bool:
        """Return whether a record is of this request, as far as one can tell."""
        if any(each["source"] == event["source"] for each in self.events):
            return False
        if event.get("request_id") in self.request_ids:
            return True
        return moment - self.moment <= WINDOW_S and all(_alike(each, event) for each in self.events)

    def add(self, event: Event) -> None:
        """Take a record."""
        self.events.append(event)
        if event.get("request_id") is not None:
            self.request_ids.add(event["request_id"])

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
    """
    waiting: deque[_Group] = deque()
    for event in events:
        moment = _moment(event)
        while waiting and moment - waiting[0].moment > WINDOW_S:
            yield waiting.popleft().event()
        group = None
        if event["method"] is not None and event["repository"] is not None:
            group = next((each for each in waiting if each.takes(event, moment)), None)
        if group is None:
            waiting.append(_Group(event, moment))
        else:
            group.add(event)
    for each in waiting:
        yield each.event()


def _alike(one: Event, other: Event) -> bool:
    """Return whether two records may be of one request."""
    if (one["method"], one["repository"]) != (other["method"], other["repository"]):
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
