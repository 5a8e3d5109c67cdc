"""Requests that a log has, and notifications that came: what is left over on either side.

By request id, as distribution gives it to both; of a proxy's log, else by method, target and client
within two seconds, as records are joined. A record that has its notification is forgotten.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.joining import NOTIFIED, WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.audit.signals.memory import Memory
    from regvault.model.event import Event

    Target = tuple[str, str, str]

__all__ = ["Ledger", "is_log", "is_notification"]

_ACTIONS: Final = frozenset({"pull", "push", "mount", "delete"})
_KEPT: Final = (
    "id",
    "time",
    "action",
    "method",
    "repository",
    "tag",
    "digest",
    "status",
    "duration_ms",
    "source",
    "kind",
    "size",
    "from_repository",
    "request_id",
    "registry",
    "instance",
    "actor",
    "address",
    "useragent",
)
_MOST: Final = 200_000
_RECENT: Final = 20_000
_REDIRECT: Final = 307


def is_notification(event: Event) -> bool:
    """Return whether a registry sent an event by itself; a line of a log has a `file`."""
    return event["source"] in NOTIFIED and "file" not in event and event["action"] != "log"


def is_log(event: Event) -> bool:
    """Return whether an event is a record of a log."""
    return not is_notification(event) and event["source"] not in {"regvault", "unknown"}


class Ledger:
    """Keeps records of logs until their notification comes, and the other way round.

    Attributes:
        dropped: records that were too many to keep.
        changed: records came since somebody set this to False.
    """

    def __init__(self, memory: Memory) -> None:
        self.dropped = 0
        self.changed = True
        self._memory = memory
        self._open: dict[str, Event] = {}
        self._by_request: dict[str, list[str]] = {}
        self._by_target: dict[Target, list[str]] = {}
        self._recent: OrderedDict[Target, list[tuple[float, str | None, set[str]]]] = OrderedDict()
        for value in memory.values("record"):
            self._index(json.loads(value))

    def __len__(self) -> int:
        """How many records have no notification yet."""
        return len(self._open)

    def notification(self, event: Event, moment: float, received: float) -> None:
        """Take a notification."""
        request = event.get("request_id")
        if request is not None:
            self._memory.put("heard", request, value="", at=received)
            for name in list(self._by_request.get(request, ())):
                self._close(name)
        taken: set[str] = set()
        for target in _targets(event):
            for name in list(self._by_target.get(target, ())):
                record = self._open[name]
                if record["source"] not in taken and _alike(record, event, moment):
                    taken.add(record["source"])
                    self._close(name)
        note = (moment, event["address"], taken)
        for target in _targets(event):
            self._recent.setdefault(target, []).append(note)
            self._recent.move_to_end(target)
            del self._recent[target][:-100]
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def record(self, event: Event, moment: float, received: float) -> None:
        """Take a record of a log; what is none of a request that succeeded is left out."""
        status = event["status"]
        good = status is not None and (200 <= status < 300 or status == _REDIRECT)
        if not good or event["action"] not in _ACTIONS or event["repository"] is None:
            return
        request = event.get("request_id")
        if request is not None and self._memory.get("heard", request) is not None:
            return
        if not _is_told_by_id(event) and self._was_heard(event, moment):
            return
        if len(self._open) >= _MOST:
            self.dropped += 1
            return
        kept: Event = {name: event[name] for name in _KEPT if name in event}
        value = json.dumps(kept, separators=(",", ":"))
        self._memory.put("record", event["id"], value=value, at=received)
        self._index(kept)
        self.changed = True

    def _was_heard(self, event: Event, moment: float) -> bool:
        for target in _targets(event):
            for at, address, taken in self._recent.get(target, ()):
                near = abs(at - moment) <= WINDOW_S and event["source"] not in taken
                if near and (None in {address, event["address"]} or address == event["address"]):
                    taken.add(event["source"])
                    return True
        return False

    def _index(self, record: Event) -> None:
        name = record["id"]
        if name in self._open:
            return
        self._open[name] = record
        if record.get("request_id") is not None:
            self._by_request.setdefault(record["request_id"], []).append(name)
        if not _is_told_by_id(record):
            for target in _targets(record):
                self._by_target.setdefault(target, []).append(name)

    def _close(self, name: str) -> None:
        record = self._open.pop(name, None)
        if record is None:
            return
        self._memory.drop("record", name)
        if record.get("request_id") is not None:
            _without(self._by_request, record["request_id"], name)
        if not _is_told_by_id(record):
            for target in _targets(record):
                _without(self._by_target, target, name)

    def take_out(self, wanted: Callable[[Event], bool]) -> list[Event]:
        """Return the records that are wanted, by their times, and keep them no more."""
        found = sorted(self._matching(wanted), key=lambda record: record["time"])
        for record in found:
            self._close(record["id"])
        return found

    def _matching(self, wanted: Callable[[Event], bool]) -> Iterator[Event]:
        return (record for record in self._open.values() if wanted(record))


def _is_told_by_id(event: Event) -> bool:
    """Return whether its id is the one that the notification has, too."""
    return event["source"] == "distribution-log" and event.get("request_id") is not None


def _targets(event: Event) -> list[Target]:
    start = event["method"] or "", event["repository"] or ""
    return [(*start, event[name]) for name in ("tag", "digest") if event[name] is not None]


def _alike(record: Event, event: Event, moment: float) -> bool:
    at = datetime.fromisoformat(record["time"]).timestamp()
    addresses = {record["address"], event["address"]}
    return abs(at - moment) <= WINDOW_S and (None in addresses or len(addresses) == 1)


def _without(index: dict[Any, list[str]], key: str | Target, name: str) -> None:
    index[key].remove(name)
    if not index[key]:
        del index[key]
