"""What the signals tell Prometheus. Names are those of `docs/signals.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from regvault.audit.signals.counts import PULL_BOUNDS_S
from regvault.audit.signals.signal import SIGNALS
from regvault.errors import RegvaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.gaps.watch import GapWatch
    from regvault.audit.signals.follower import Follower
    from regvault.audit.signals.watching import Watching
    from regvault.audit.spool import Spool

__all__ = ["SignalMetrics"]

_P = "regvault_audit_"


class SignalMetrics(Collector):
    """Shows what was counted when it is asked for."""

    def __init__(self, watching: Watching, spool: Spool | None = None) -> None:
        """Show what is watched.

        Args:
            watching: what was noticed.
            spool: whose fullness is shown too, where nothing else shows it.
        """
        self._watching = watching
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. See `Collector`."""
        yield from self._signals()
        yield from self._requests()
        followers = [("signals", self._watching.signals)]
        if self._watching.gaps is not None:
            followers.append(("gaps", self._watching.gaps.follower))
            yield from _registries(self._watching.gaps)
        yield from _followers(followers)
        if self._spool is not None:
            usage = self._spool.usage()
            for name, text, value in (
                ("spool_bytes", "Bytes in the spool.", usage.nbytes),
                ("spool_limit_bytes", "Bytes that the spool may have.", usage.limit),
            ):
                yield GaugeMetricFamily(_P + name, text, value=value)

    def _signals(self) -> Iterator[Metric]:
        counts = self._watching.counts
        raised = CounterMetricFamily(f"{_P}signals", "Signals raised.", labels=["signal"])
        for name in SIGNALS:
            raised.add_metric([name], counts.signals[name])
        yield raised
        active = GaugeMetricFamily(
            f"{_P}signal_active", "Signals that have begun and not ended.", labels=["signal"]
        )
        for name, number in self._watching.active().items():
            active.add_metric([name], number)
        yield active
        for name, text, value in (
            ("gaps", "Events that say that events are missing.", counts.gaps),
            ("missing_events", "Events that are missing, as far as is known.", counts.missing),
            (
                "reconstructed_events",
                "Events that stand in for missing ones.",
                counts.reconstructed,
            ),
        ):
            yield CounterMetricFamily(_P + name, text, value=value)

    def _requests(self) -> Iterator[Metric]:
        counts = self._watching.counts
        for name, text, numbers in (
            ("log_requests", "Requests in logs, by the format of the log.", counts.requests),
            ("auth_failures", "Of those, failures to authenticate.", counts.auth_failures),
        ):
            family = CounterMetricFamily(_P + name, text, labels=["source"])
            for source, number in sorted(numbers.items()):
                family.add_metric([source], number)
            yield family
        pulls = HistogramMetricFamily(
            f"{_P}pull_seconds", "Seconds that pulls took, by the log's format.", labels=["source"]
        )
        for source, buckets in sorted(counts.pulls.items()):
            total, shown = 0, []
            bounds = [*(str(bound) for bound in PULL_BOUNDS_S), "+Inf"]
            for bound, number in zip(bounds, buckets, strict=True):
                total += number
                shown.append((bound, float(total)))
            pulls.add_metric([source], shown, counts.pull_seconds[source])
        yield pulls


def _followers(followers: list[tuple[str, Follower]]) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{_P}watch_up", "1 where all is well, 0 where not.", labels=["of"])
    lag = GaugeMetricFamily(f"{_P}watch_lag_events", "Events not looked at yet.", labels=["of"])
    skipped = CounterMetricFamily(
        f"{_P}watch_skipped_events", "Events that were never looked at.", labels=["of"]
    )
    failures = CounterMetricFamily(f"{_P}watch_failures", "What went wrong.", labels=["of"])
    for name, each in followers:
        up.add_metric([name], each.problem is None)
        lag.add_metric([name], each.lag)
        skipped.add_metric([name], each.skipped)
        failures.add_metric([name], each.failures)
    yield from (up, lag, skipped, failures)


def _registries(gaps: GapWatch) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        f"{_P}registry_up", "1 where the registry's counters could be read.", labels=["registry"]
    )
    pending = GaugeMetricFamily(
        f"{_P}registry_pending_events",
        "Notifications that wait in the registry's memory.",
        labels=["registry"],
    )
    for url, found in sorted(gaps.readings.items()):
        good = not isinstance(found, RegvaultError)
        up.add_metric([url], good)
        if not isinstance(found, RegvaultError):
            pending.add_metric([url], found.pending)
    yield from (up, pending)
