"""The signal of many deletions within a short time."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypedDict

from regvault.audit.signals.memory import as_saved
from regvault.audit.signals.signal import Signal

if TYPE_CHECKING:
    from regvault.audit.signals.settings import Thresholds
    from regvault.model.event import Event

__all__ = ["MassDeletion"]

_MOST: Final = 5000


class _Saved(TypedDict):
    """What is known again."""

    deleted: list[tuple[str, float, str | None, str | None]]
    requests: list[tuple[str, float]]
    newest: float
    begun: str | None
    last: float


class MassDeletion:
    """Counts what was deleted: each manifest, tag, blob and repository once.

    One request may have several records (notification, logs), and make several events (a manifest,
    and each tag of it): it counts once.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._bound = thresholds.deletions
        self._span = thresholds.deletions_s
        #: What was deleted -> when, and by whom.
        self._deleted: OrderedDict[str, tuple[float, str | None, str | None]] = OrderedDict()
        self._requests: OrderedDict[str, float] = OrderedDict()
        self._newest = 0.0
        self._begun: str | None = None
        self._last = 0.0

    def active(self) -> int:
        """Return 1 where it goes on now."""
        return int(self._begun is not None)

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event. See `Detector`."""
        if event["action"] != "delete" or (event["status"] or 200) >= 400:
            late = moment <= self._newest + self._span / 60
            return [] if late else self._calm(moment)
        self._newest = max(self._newest, moment)
        self._last = received
        self._forget()
        what = f"{event['repository']} {event['digest'] or event['tag'] or ''}"
        request = event.get("request_id")
        known = what in self._deleted or (request is not None and request in self._requests)
        if request is not None:
            self._requests[request] = moment
        if known or moment <= self._newest - self._span:
            return []
        self._deleted[what] = (moment, event["actor"], event["address"])
        for kept in (self._deleted, self._requests):
            if len(kept) > _MOST:
                kept.popitem(last=False)
        if self._begun is None and len(self._deleted) >= self._bound:
            since = min(at for at, _, _ in self._deleted.values())
            self._begun = f"{since:.3f}"
            return [self._signal("begin", moment, since)]
        return []

    def _calm(self, moment: float) -> list[Signal]:
        """Return the end, where less than half as much was deleted lately."""
        if self._begun is None:
            return []
        self._newest = moment
        self._forget()
        if len(self._deleted) * 2 >= self._bound:
            return []
        return [self._signal("end", moment, moment - self._span)]

    def _forget(self) -> None:
        oldest = self._newest - self._span
        while self._deleted and next(iter(self._deleted.values()))[0] <= oldest:
            self._deleted.popitem(last=False)
        while self._requests and next(iter(self._requests.values())) <= oldest:
            self._requests.popitem(last=False)

    def _signal(self, state: str, moment: float, since: float) -> Signal:
        count = len(self._deleted)
        key = (self._begun or "",)
        about: dict[str, Any] = {}
        if state == "end":
            self._begun = None
        else:
            about = self._mostly()
        words = f"{count} deletions within {self._span / 60:.0f} minutes"
        return Signal("mass-deletion", moment, key, words, state, count, self._bound, since, about)

    def _mostly(self) -> dict[str, Any]:
        """Return by whom, where half of it or more was by the same."""
        found: dict[str, Any] = {}
        for n, name in ((1, "actor"), (2, "address")):
            who, count = Counter(each[n] for each in self._deleted.values()).most_common(1)[0]
            if count * 2 >= len(self._deleted):
                found[name] = who
        repositories = {what.partition(" ")[0] for what in self._deleted}
        if len(repositories) == 1:
            (found["repository"],) = repositories
        return found

    def tick(self, now: float) -> list[Signal]:
        """Return the end, where nothing was deleted for a whole window. See `Detector`."""
        if now - self._last <= self._span:
            return []
        self._deleted.clear()
        self._requests.clear()
        return [] if self._begun is None else [self._signal("end", now, now - self._span)]

    def save(self) -> Any:
        """Return what has to be known again. See `Detector`."""
        return {
            "deleted": [[what, *each] for what, each in self._deleted.items()],
            "requests": list(self._requests.items()),
            "newest": self._newest,
            "begun": self._begun,
            "last": self._last,
        }

    def load(self, saved: Any) -> None:
        """Know again what was saved. See `Detector`."""
        known = as_saved(saved, _Saved)
        self._deleted = OrderedDict((w, (at, a, b)) for w, at, a, b in known["deleted"])
        self._requests = OrderedDict(known["requests"])
        self._newest, self._begun, self._last = known["newest"], known["begun"], known["last"]
