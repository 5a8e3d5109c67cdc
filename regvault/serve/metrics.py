"""What the receiver tells Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.registry import Collector

    from regvault.audit.ship import Shipped
    from regvault.audit.spool import Usage

__all__ = ["ReceiverMetrics"]

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_UNPARSED = b'"action":"unparsed"'


class ReceiverMetrics:
    """Counters of one receiver. Names are those of `docs/audit.md`."""

    def __init__(self, also: Iterable[Collector] = ()) -> None:
        """Begin to count.

        Args:
            also: what else is shown.
        """
        self._registry = registry = CollectorRegistry()
        for collector in also:
            registry.register(collector)
        self._events = Counter(
            "regvault_audit_events",
            "Events made durable, by whether they were understood.",
            ["understood"],
            registry=registry,
        )
        self._understood = self._events.labels("yes")
        self._not_understood = self._events.labels("no")
        self._requests = Counter(
            "regvault_audit_requests",
            "Requests to POST /events, by how they were answered.",
            ["answer"],
            registry=registry,
        )
        self._stored = self._requests.labels("stored")
        self._seconds = Histogram(
            "regvault_audit_store_seconds",
            "Seconds from a request to its events being durable.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self._spool_bytes = self._gauge("spool_bytes", "Bytes in the spool.")
        self._spool_limit = self._gauge("spool_limit_bytes", "Bytes that the spool may have.")
        self._next = self._gauge("spool_next_seq", "Number that the next event gets.")
        self._first = self._gauge("spool_first_seq", "Number of the oldest event in the spool.")
        self._sent = self._gauge("shipped_events", "Events that Kafka has acknowledged.")
        self._dead = self._gauge("dead_letters", "Of those, events in the dead-letter topic.")
        self._lag = self._gauge("ship_lag_events", "Events that Kafka has not acknowledged yet.")
        self._failures = self._gauge("ship_failures", "How often shipping began again.")
        self._up = self._gauge("ship_up", "1 where events are being shipped, 0 where not.")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"regvault_audit_{name}", text, registry=self._registry)

    def answered(self, answer: str) -> None:
        """Count a request whose events were not stored."""
        self._requests.labels(answer).inc()

    def stored(self, bodies: list[bytes], seconds: float) -> None:
        """Count a request whose events are durable."""
        self._stored.inc()
        self._seconds.observe(seconds)
        bad = sum(_UNPARSED in body[:200] for body in bodies)
        if bad:
            self._not_understood.inc(bad)
        self._understood.inc(len(bodies) - bad)

    def text(self, usage: Usage, shipped: Shipped | None) -> bytes:
        """Return all of it in Prometheus' text format."""
        self._spool_bytes.set(usage.nbytes)
        self._spool_limit.set(usage.limit)
        self._next.set(usage.next)
        self._first.set(usage.first)
        if shipped is not None:
            self._sent.set(shipped.sent)
            self._dead.set(shipped.dead)
            self._lag.set(shipped.lag)
            self._failures.set(shipped.failures)
            self._up.set(shipped.problem is None)
        return generate_latest(self._registry)
