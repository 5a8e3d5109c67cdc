"""Signals of a share of requests that passes a bound, told for each log by itself.

A request that two logs have, the registry's and a proxy's, so counts once in each.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.signals.failures import Failures
from regvault.audit.signals.memory import as_saved
from regvault.audit.signals.signal import Signal
from regvault.audit.signals.windows import Window

if TYPE_CHECKING:
    from regvault.audit.signals.counts import Counts
    from regvault.audit.signals.settings import Thresholds
    from regvault.model.event import Event

__all__ = ["AuthFailures", "PullLatency"]

_BOUNDS_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
_SLOWEST: Final = 0.05
_CALM: Final = 0.5
"""It ends below this part of the bound: else it would begin and end all the time."""


class _Alarm:
    """Whether a share is over its bound now: one signal when it begins, one when it ends."""

    def __init__(self, name: str, bound: float, minimum: int, span_s: float) -> None:
        self._name = name
        self._bound = bound
        self._minimum = minimum
        self._span = span_s
        self.begun: str | None = None
        self.last = 0.0

    def judge(
        self,
        subject: str,
        moment: float,
        since: float,
        counts: tuple[int, int],
        shown: tuple[str, float, float],
    ) -> list[Signal]:
        """Return the signal of what has begun or ended.

        Args:
            subject: what it is the share of.
            moment: when, seconds since the epoch.
            since: when the window began.
            counts: how many there are, and of those, how many bad ones.
            shown: in words what they are; value and threshold for the event.
        """
        total, bad = counts
        over = total >= self._minimum and bad > self._bound * total
        if self.begun is None and over:
            self.begun = f"{since:.0f}"
            return [self._signal("begin", subject, moment, since, shown)]
        calm = total * 2 < self._minimum or bad <= self._bound * _CALM * total
        if self.begun is not None and calm:
            return [self._signal("end", subject, moment, since, shown)]
        return []

    def silent(self, subject: str, now: float) -> list[Signal]:
        """Return the end of it, where nothing came for a whole window."""
        if self.begun is None or now - self.last <= self._span:
            return []
        words = f"no request in {subject} any more"
        return [self._signal("end", subject, now, now - self._span, (words, 0.0, self._bound))]

    def _signal(
        self,
        state: str,
        subject: str,
        moment: float,
        since: float,
        shown: tuple[str, float, float],
    ) -> Signal:
        words, value, threshold = shown
        key = (subject, self.begun or "")
        if state == "end":
            self.begun = None
        return Signal(self._name, moment, key, words, state, value, threshold, since)


class _Shares:
    """What both have in common: a window and an alarm for each log."""

    name = ""

    def __init__(self, bound: float, minimum: int, span_s: float, width: int) -> None:
        self._settings = (self.name, bound, minimum, span_s)
        self._width = width
        self._subjects: dict[str, tuple[Window, _Alarm]] = {}

    def _of(self, subject: str) -> tuple[Window, _Alarm]:
        found = self._subjects.get(subject)
        if found is None:
            found = Window(self._settings[3], self._width), _Alarm(*self._settings)
            self._subjects[subject] = found
        return found

    def active(self) -> int:
        """Return of how many logs it is so now."""
        return sum(alarm.begun is not None for _, alarm in self._subjects.values())

    def tick(self, now: float) -> list[Signal]:
        """Return what ended since nothing came. See `Detector`."""
        return [
            signal
            for subject, (_, alarm) in self._subjects.items()
            for signal in alarm.silent(subject, now)
        ]

    def save(self) -> Any:
        """Return what has to be known again. See `Detector`."""
        return {
            subject: [window.save(), alarm.begun, alarm.last]
            for subject, (window, alarm) in self._subjects.items()
        }

    def load(self, saved: Any) -> None:
        """Know again what was saved. See `Detector`."""
        known = as_saved(saved, dict[str, tuple[Any, str | None, float]])
        for subject, (parts, begun, last) in known.items():
            window, alarm = self._of(subject)
            window.load(parts)
            alarm.begun, alarm.last = begun, last


class AuthFailures(_Shares):
    """Requests that fail to authenticate."""

    name = "auth-failures"

    def __init__(self, thresholds: Thresholds, counts: Counts) -> None:
        bound = thresholds.auth_failures
        super().__init__(bound, thresholds.auth_requests, thresholds.window_s, 2)
        self._bound = bound
        self._counts = counts
        self._failures = Failures()

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event. See `Detector`."""
        if event["status"] is None:
            return []
        source = event["source"]
        self._counts.requests[source] += 1
        failed = self._failures.failed(event, moment)
        self._counts.auth_failures[source] += failed
        window, alarm = self._of(source)
        alarm.last = received
        window.add(moment, [1, failed])
        total, bad = window.totals
        share = bad / total if total else 0.0
        words = f"{share:.1%} of {total} requests in {source} failed to authenticate"
        shown = (words, round(share, 4), self._bound)
        return alarm.judge(source, moment, window.since, (total, bad), shown)

    def save(self) -> Any:
        """Return what has to be known again. See `Detector`."""
        return {"shares": super().save(), "refused": self._failures.save()}

    def load(self, saved: Any) -> None:
        """Know again what was saved. See `Detector`."""
        super().load(saved["shares"])
        self._failures.load(saved["refused"])


class PullLatency(_Shares):
    """Pulls that take long: of every hundred, more than five longer than the bound."""

    name = "pull-latency"

    def __init__(self, thresholds: Thresholds, counts: Counts) -> None:
        width = 2 + len(_BOUNDS_MS) + 1
        super().__init__(_SLOWEST, thresholds.pulls, thresholds.window_s, width)
        self._bound_ms = thresholds.pull_ms
        self._counts = counts

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event. See `Detector`."""
        took = event["duration_ms"]
        if event["action"] != "pull" or took is None or event["method"] == "HEAD":
            return []
        if event["status"] is not None and event["status"] >= 400:
            return []
        source = event["source"]
        self._counts.pull(source, took / 1000)
        window, alarm = self._of(source)
        alarm.last = received
        counts = [0] * self._width
        counts[0], counts[1] = 1, int(took > self._bound_ms)
        counts[2 + bisect_left(_BOUNDS_MS, took)] = 1
        window.add(moment, counts)
        total, slow = window.totals[:2]
        p95 = _percentile(window.totals[2:], total)
        words = (
            f"{slow} of {total} pulls in {source} took longer than {self._bound_ms:.0f} ms "
            f"(95 % took about {p95:.0f} ms at most)"
        )
        shown = (words, p95, self._bound_ms)
        return alarm.judge(source, moment, window.since, (total, slow), shown)


def _percentile(counts: list[int], total: int) -> float:
    """Return about which time 95 of 100 do not pass, milliseconds; linear between bounds."""
    wanted = (1 - _SLOWEST) * total
    below = 0
    for n, count in enumerate(counts[:-1]):
        if below + count >= wanted and count:
            low = _BOUNDS_MS[n - 1] if n else 0
            return round(low + (_BOUNDS_MS[n] - low) * (wanted - below) / count, 1)
        below += count
    return float(_BOUNDS_MS[-1])
