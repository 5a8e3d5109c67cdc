"""Reads a topic with kafka-python, as a member of a consumer group."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from regvault.audit.kafka.reasons import explain, is_absent, no_topic, overheard, unreachable
from regvault.model.stream import Arrived, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from regvault.audit.kafka.settings import KafkaSettings

__all__ = ["KafkaConsumerSource"]

_CONNECT_MS = 10_000
_ASSIGNED_S = 30.0
_RECORDS = 2000


class KafkaConsumerSource:
    """One topic, read by a group: each partition by one of its members."""

    def __init__(
        self, settings: KafkaSettings, topic: str, *, group: str | None, shared: bool = True
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: how the cluster is reached.
            topic: that is read.
            group: of consumers, where it is noted how far they are; None: nowhere.
            shared: be a member, with some of the partitions; else read all of them at once, and
                wait for nobody.
        """
        self._settings = settings
        self._topic = topic
        self._group = group
        self._shared = shared and group is not None
        self._deadline = 0.0
        self._where = f"Kafka at {','.join(settings.servers)}, topic {topic}"
        self._consumer: Any = None
        self._positions: Callable[[], Mapping[str, int]] = dict
        self._yielding: Callable[[], None] = lambda: None
        self._gone: list[dict[str, object]] = []
        self._ends: dict[Any, int] = {}
        self._fresh: set[Any] = set()
        self._rebalancing = False
        self._stream: dict[str, str] | None = None

    @property
    def stream(self) -> dict[str, str]:
        """What names the topic for ever: the cluster's id, and its name there."""
        if self._stream is None:
            import kafka
            from kafka.errors import KafkaError

            with overheard() as heard:
                try:
                    admin = kafka.KafkaAdminClient(
                        **self._settings.for_kafka_python(), bootstrap_timeout_ms=_CONNECT_MS
                    )
                except (KafkaError, OSError) as error:
                    raise unreachable(self._settings, [*heard, str(error)]) from error
            try:
                cluster = str(admin.describe_cluster().get("cluster_id", ""))
                known = self._topic in admin.list_topics()
            except KafkaError as error:
                raise self._explained(error) from error
            finally:
                admin.close()
            if not known:
                raise no_topic(self._where)
            self._stream = {"kind": "kafka", "cluster": cluster, "topic": self._topic}
        return self._stream

    def _explained(self, error: BaseException) -> Exception:
        return explain(error, self._where)

    def start(
        self, positions: Callable[[], Mapping[str, int]], yielding: Callable[[], None]
    ) -> None:
        """Join the group. See `EventSource`."""
        import kafka
        from kafka.errors import KafkaError

        self.close()
        self._positions = positions
        self._yielding = yielding
        self._gone = []
        self._ends = {}
        self._fresh = set()
        self._deadline = time.monotonic() + _ASSIGNED_S
        logging.getLogger("kafka").addHandler(logging.NullHandler())
        with overheard() as heard:
            try:
                self._consumer = kafka.KafkaConsumer(
                    **self._settings.for_kafka_python(),
                    group_id=self._group,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    bootstrap_timeout_ms=_CONNECT_MS,
                    reconnect_backoff_max_ms=500,
                    session_timeout_ms=10_000,
                    heartbeat_interval_ms=2_000,
                    max_poll_interval_ms=600_000,
                    max_poll_records=_RECORDS,
                    fetch_max_bytes=16 << 20,
                    max_partition_fetch_bytes=4 << 20,
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
                if not self._shared:
                    numbers = self._consumer.partitions_for_topic(self._topic) or ()
                    parts = [kafka.TopicPartition(self._topic, number) for number in numbers]
                    self._consumer.assign(parts)
                    self.assigned(parts)
                    self._seek()
                else:
                    self._consumer.subscribe([self._topic], listener=_listener(self))
            except (KafkaError, OSError) as error:
                raise unreachable(self._settings, [*heard, str(error)]) from error

    def assigned(self, partitions: Iterable[Any]) -> None:
        """Note what is to be read from now on: within the callback no broker can be asked."""
        self._fresh.update(partitions)

    def _seek(self) -> None:
        """Go where the archive ends: of what it has, Kafka's own note may know less, or more."""
        parts = sorted(self._fresh & self._consumer.assignment())
        self._fresh.clear()
        if not parts:
            return
        beginnings = self._consumer.beginning_offsets(parts)
        self._ends |= self._consumer.end_offsets(parts)
        positions = self._positions()
        for part in parts:
            wanted = positions.get(str(part.partition), 0)
            first = beginnings[part]
            if wanted < first:
                if str(part.partition) in positions:
                    self._gone.append(
                        {"partition": str(part.partition), "first": wanted, "next": first}
                    )
                wanted = first
            self._consumer.seek(part, wanted)

    def revoked(self) -> None:
        """Let what was read be settled before another member reads on."""
        self._rebalancing = True
        try:
            self._yielding()
        finally:
            self._rebalancing = False

    def read(self, timeout_s: float) -> list[Arrived]:
        """Return what came. See `EventSource`."""
        from kafka.errors import KafkaError

        try:
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
            if self._fresh:
                self._seek()
                return []
        except KafkaError as error:
            raise self._explained(error) from error
        arrived = []
        for part, records in found.items():
            name = str(part.partition)
            arrived += [
                Arrived(
                    name,
                    record.offset,
                    Message(
                        record.key,
                        b"" if record.value is None else record.value,
                        record.timestamp,
                        tuple(record.headers),
                    ),
                )
                for record in records
            ]
        return arrived

    def gone(self) -> list[dict[str, object]]:
        """Return what retention has taken. See `EventSource`."""
        return self._gone

    def caught_up(self) -> bool:
        """Return whether all that was there has been read. See `EventSource`.

        Raises:
            NotFoundError: the topic is not there any more.
        """
        from kafka.errors import KafkaError

        try:
            assigned = self._consumer.assignment()
            if not assigned and time.monotonic() > self._deadline:
                if is_absent(self._settings, self._topic):
                    raise no_topic(self._where)
                return True  # other members have all partitions
            if not assigned or self._fresh:
                return False
            return all(
                self._consumer.position(part) >= self._ends.get(part, 0) for part in assigned
            )
        except KafkaError as error:
            raise self._explained(error) from error

    def settle(self, positions: Mapping[str, int]) -> None:
        """Commit offsets, for those who watch the group's lag: the archive's own are what counts.

        See `EventSource`.
        """
        from kafka import TopicPartition
        from kafka.errors import KafkaError
        from kafka.structs import OffsetAndMetadata

        if self._rebalancing:
            return
        mine = {part.partition for part in self._consumer.assignment()}
        offsets = {
            TopicPartition(self._topic, int(name)): OffsetAndMetadata(offset, "", -1)
            for name, offset in positions.items()
            if int(name) in mine
        }
        with contextlib.suppress(KafkaError):
            if offsets:
                self._consumer.commit(offsets)

    def close(self) -> None:
        """Leave the group."""
        from kafka.errors import KafkaError

        if self._consumer is not None:
            with contextlib.suppress(KafkaError):
                self._consumer.close(autocommit=False)
            self._consumer = None


def _listener(source: KafkaConsumerSource) -> Any:
    from kafka import ConsumerRebalanceListener

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            source.assigned(assigned)

        def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            if list(revoked):
                source.revoked()

    return Listener()
