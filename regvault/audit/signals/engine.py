"""All signals together, over the events of one spool."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.signals.counts import Counts
from regvault.audit.signals.deletions import MassDeletion
from regvault.audit.signals.memory import as_saved
from regvault.audit.signals.newcomers import NewNetwork, TagActors
from regvault.audit.signals.shares import AuthFailures, PullLatency

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regvault.audit.signals.memory import Memory
    from regvault.audit.signals.settings import Thresholds
    from regvault.audit.signals.signal import Detector, Signal
    from regvault.model.event import Event

__all__ = ["Engine"]

_AHEAD_S: Final = 300.0
"""Seconds that a clock may be ahead of this host's. What says more is taken to have happened when
it came in: else one wrong time would make all that follows late."""


class Engine:
    """Takes events in order, and returns those that say what was noticed.

    Attributes:
        counts: what was counted since the process began.
    """

    def __init__(
        self, memory: Memory, thresholds: Thresholds, counts: Counts | None = None
    ) -> None:
        """Know what the memory knows.

        Args:
            memory: of this spool.
            thresholds: bounds.
            counts: that go on; None: new ones.
        """
        self.counts = Counts() if counts is None else counts
        self._memory = memory
        self._learning_s = thresholds.learning_s
        began = memory.document("began")
        self._began: float | None = None if began is None else as_saved(began, float)
        self._failures = AuthFailures(thresholds, self.counts)
        self._latency = PullLatency(thresholds, self.counts)
        self._deletions = MassDeletion(thresholds)
        self._newcomers = (TagActors(memory), NewNetwork(memory))
        self._detectors: dict[str, Detector] = {
            "auth-failures": self._failures,
            "pull-latency": self._latency,
            "mass-deletion": self._deletions,
            "tag-new-actor": self._newcomers[0],
            "new-network": self._newcomers[1],
        }
        for name, detector in self._detectors.items():
            saved = memory.document(name)
            if saved is not None:
                detector.load(saved)

    def take(self, event: Event) -> list[Event]:
        """Take the next event of the spool; return the events of what is noticed."""
        counts = self.counts
        counts.events += 1
        if event["action"] == "gap":
            counts.gaps += 1
            counts.missing += event.get("missing") or 0
            return []
        if event.get("reconstructed"):
            counts.reconstructed += 1
            return []
        if event["source"] == "regvault" or event["action"] in {"unparsed", "log"}:
            return []
        received = datetime.fromisoformat(event["received"]).timestamp()
        moment = datetime.fromisoformat(event["time"]).timestamp()
        if moment > received + _AHEAD_S:
            moment = received
        if self._began is None:
            self._began = received
        for each in self._newcomers:
            each.learning = received < self._began + self._learning_s
        found = [s for d in self._detectors.values() for s in d.take(event, moment, received)]
        return self._told(found)

    def tick(self, now: float) -> list[Event]:
        """Return the events of what ended because nothing more came; `now` since the epoch."""
        return self._told([s for d in self._detectors.values() for s in d.tick(now)])

    def _told(self, found: list[Signal]) -> list[Event]:
        for signal in found:
            if signal.state != "end":
                self.counts.signals[signal.name] += 1
        return [signal.event() for signal in found]

    def active(self) -> Mapping[str, int]:
        """Return how many of each signal that lasts go on now."""
        return {
            "auth-failures": self._failures.active(),
            "pull-latency": self._latency.active(),
            "mass-deletion": self._deletions.active(),
        }

    def saved(self) -> dict[str, Any]:
        """Return the documents that a memory has to commit."""
        return {
            "began": self._began,
            **{name: detector.save() for name, detector in self._detectors.items()},
        }
