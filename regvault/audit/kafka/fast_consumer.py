"""Reads a topic with librdkafka, by confluent-kafka: the extra `fast-kafka`."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from regvault.audit.kafka.fast_connect import metadata, quiet
from regvault.audit.kafka.reasons import explain, no_topic, unreachable
from regvault.model.stream import Arrived, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regvault.audit.kafka.settings import KafkaSettings

__all__ = ["FastConsumerSource"]

_CONNECT_S = 10.0
_ASSIGNED_S = 30.0
_STALL_S = 60.0
_RECORDS = 2000
_HEARD = 50
_QUEUED_KIB = 32 << 10
_NO_GROUP = "regvault-reader"


class FastConsumerSource:
    """One topic, read by a group: each partition by one of its members."""

    def __init__(
        self, settings: KafkaSettings, topic: str, *, group: str | None, shared: bool = True
    ) -> None:
        """Connect to nothing yet. See `KafkaConsumerSource`."""
        self._settings = settings
        self._topic = topic
        self._group = group
        self._shared = shared and group is not None
        self._deadline = 0.0
        self._progressed = 0.0
        self._where = f"Kafka at {','.join(settings.servers)}, topic {topic}"
        self._consumer: Any = None
        self._positions: Callable[[], Mapping[str, int]] = dict
        self._yielding: Callable[[], None] = lambda: None
        self._gone: list[dict[str, object]] = []
        self._ends: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._rebalancing = False
        self._heard: deque[str] = deque(maxlen=_HEARD)
        self._stream: dict[str, str] | None = None

    @property
    def stream(self) -> dict[str, str]:
        """What names the topic for ever: the cluster's id, and its name there."""
        if self._stream is None:
            consumer = self._connected()
            try:
                self._stream = self._named(self._topics(consumer))
            finally:
                consumer.close()
        return self._stream

    def _topics(self, consumer: Any) -> Any:
        known = metadata(consumer, self._settings, self._heard)
        if self._topic not in known.topics:
            raise no_topic(self._where)
        return known

    def _named(self, known: Any) -> dict[str, str]:
        return {"kind": "kafka", "cluster": str(known.cluster_id), "topic": self._topic}

    def _connected(self) -> Any:
        import confluent_kafka

        self._heard.clear()
        return confluent_kafka.Consumer(
            {
                **self._settings.for_librdkafka(),
                "group.id": self._group or _NO_GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "max.poll.interval.ms": 600_000,
                "queued.max.messages.kbytes": _QUEUED_KIB,
                "fetch.message.max.bytes": 4 << 20,
                "fetch.max.bytes": 16 << 20,
                "error_cb": lambda error: self._heard.append(error.str()),
            },
            logger=quiet(),
        )

    def start(
        self, positions: Callable[[], Mapping[str, int]], yielding: Callable[[], None]
    ) -> None:
        """Join the group. See `EventSource`."""
        from confluent_kafka import KafkaException, TopicPartition

        self.close()
        self._positions = positions
        self._yielding = yielding
        self._gone = []
        self._ends = {}
        self._next = {}
        self._deadline = time.monotonic() + _ASSIGNED_S
        self._progressed = time.monotonic()
        self._consumer = self._connected()
        known = self._topics(self._consumer)
        self._stream = self._named(known)
        try:
            if self._shared:
                self._consumer.subscribe(
                    [self._topic],
                    on_assign=self._assigned,
                    on_revoke=self._revoked,
                    on_lost=self._revoked,
                )
                return
            numbers = known.topics[self._topic].partitions
            parts = [TopicPartition(self._topic, number) for number in sorted(numbers)]
            self._assigned(self._consumer, parts)
        except KafkaException as error:
            raise explain(error, self._where) from error

    def _assigned(self, consumer: Any, parts: list[Any]) -> None:
        """Go where the archive ends: of what it has, Kafka's own note may know less, or more."""
        positions = self._positions()
        for part in parts:
            name = str(part.partition)
            first, end = consumer.get_watermark_offsets(part, timeout=_CONNECT_S)
            wanted = positions.get(name, 0)
            if wanted < first:
                if name in positions:
                    self._gone.append({"partition": name, "first": wanted, "next": first})
                wanted = first
            part.offset = wanted
            self._ends[part.partition] = end
            self._next[part.partition] = wanted
        consumer.assign(parts)

    def _revoked(self, _: Any, parts: list[Any]) -> None:
        """Let what was read be settled before another member reads on."""
        self._rebalancing = True
        try:
            if parts:
                self._yielding()
        finally:
            self._rebalancing = False
        for part in parts:
            self._next.pop(part.partition, None)

    def read(self, timeout_s: float) -> list[Arrived]:
        """Return what came. See `EventSource`."""
        from confluent_kafka import KafkaException

        try:
            found = self._consumer.consume(_RECORDS, timeout_s)
        except KafkaException as error:
            raise explain(error, self._where) from error
        arrived = []
        following = self._next
        for record in found:
            if (problem := record.error()) is not None:
                self._failed(problem)
                continue
            partition, offset = record.partition(), record.offset()
            # What was read ahead of a rebalance is not of this member any more.
            if following.get(partition, offset + 1) > offset:
                continue
            following[partition] = offset + 1
            headers, (_, stamp) = record.headers(), record.timestamp()
            message = Message(
                record.key(), record.value() or b"", stamp, tuple(headers) if headers else ()
            )
            arrived.append(Arrived(str(partition), offset, message))
        if arrived:
            self._progressed = time.monotonic()
        return arrived

    def _failed(self, error: Any) -> None:
        """Raise what ends the reading; librdkafka itself tries all else again."""
        from confluent_kafka import KafkaException

        if not self._shared and error.name().startswith("GROUP"):
            return
        if error.retriable() or error.name() in {"_ALL_BROKERS_DOWN", "_TRANSPORT", "_TIMED_OUT"}:
            return
        raise explain(KafkaException(error), self._where)

    def gone(self) -> list[dict[str, object]]:
        """Return what retention has taken. See `EventSource`."""
        return self._gone

    def caught_up(self) -> bool:
        """Return whether all that was there has been read. See `EventSource`.

        Raises:
            TemporaryError: nothing comes any more.
        """
        if not self._next:
            # Without partitions for long, other members have them all.
            return bool(time.monotonic() > self._deadline)
        if all(offset >= self._ends.get(partition, 0) for partition, offset in self._next.items()):
            return True
        if not self._shared and time.monotonic() - self._progressed > _STALL_S:
            # librdkafka would wait for a broker for ever.
            raise unreachable(self._settings, list(self._heard))
        return False

    def settle(self, positions: Mapping[str, int]) -> None:
        """Commit offsets, for those who watch the group's lag: the archive's own are what counts.

        See `EventSource`.
        """
        from confluent_kafka import KafkaException, TopicPartition

        if self._rebalancing or self._group is None:
            return
        offsets = [
            TopicPartition(self._topic, int(name), offset)
            for name, offset in positions.items()
            if int(name) in self._next
        ]
        with contextlib.suppress(KafkaException):
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            consumer.close()
