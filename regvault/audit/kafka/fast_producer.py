"""Writes to Kafka with librdkafka, by confluent-kafka: the extra `fast-kafka`."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from regvault.audit.kafka.fast_connect import metadata, quiet
from regvault.audit.kafka.producer import DELIVERY_TIMEOUT_S, LARGEST
from regvault.audit.kafka.reasons import HINT_SENDING, explain
from regvault.errors import RegvaultError
from regvault.model.stream import RejectedError

if TYPE_CHECKING:
    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.model.stream import Delivery, Message

__all__ = ["FastProducerSink"]

_HEARD = 50
_QUEUE_RECORDS = 100_000
_QUEUE_KIB = 64 << 10
_ABSENT_MS = 5_000


class _Delivery:
    """What becomes of a record. librdkafka tells when it is polled."""

    __slots__ = ("_done", "_poll", "exception")

    def __init__(self, poll: Any) -> None:
        self._done = False
        self._poll = poll
        self.exception: BaseException | None = None

    @property
    def is_done(self) -> bool:
        if not self._done:
            self._poll(0)
        return self._done

    def __call__(self, error: Any, _: Any) -> None:
        if error is not None:
            from confluent_kafka import KafkaException

            self.exception = KafkaException(error)
        self._done = True


class FastProducerSink:
    """Topics of one cluster, written to idempotently, with all in-sync replicas."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        largest: int = LARGEST,
        delivery_s: int = DELIVERY_TIMEOUT_S,
    ) -> None:
        """Connect. See `KafkaProducerSink`.

        Raises:
            CredentialError: a certificate, the user or its secret is wrong.
            TemporaryError: no broker answers.
        """
        import confluent_kafka

        self._where = f"Kafka at {','.join(settings.servers)}"
        self._largest = largest
        self._errors = (confluent_kafka.KafkaException, BufferError)
        heard: deque[str] = deque(maxlen=_HEARD)
        self._producer: Any = confluent_kafka.Producer(
            {
                **settings.for_librdkafka(),
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": delivery_s * 1000,
                "topic.metadata.propagation.max.ms": _ABSENT_MS,
                "compression.type": "zstd",
                "partitioner": "murmur2_random",  # that of kafka-python and of Java
                "batch.size": 256 << 10,
                "linger.ms": 5,
                "message.max.bytes": largest + (64 << 10),
                "queue.buffering.max.messages": _QUEUE_RECORDS,
                "queue.buffering.max.kbytes": _QUEUE_KIB,
                "error_cb": lambda error: heard.append(error.str()),
            },
            logger=quiet(),
        )
        try:
            metadata(self._producer, settings, heard, HINT_SENDING)
        except RegvaultError:
            self.close()
            raise

    def send(self, topic: str, message: Message) -> Delivery:
        """Begin to send a record. See `EventSink`."""
        key, value, timestamp_ms, headers = message
        if len(value) + len(key or b"") > self._largest - 1024:
            raise RejectedError(f"a record of {len(value)} bytes is too large for Kafka")
        delivery = _Delivery(self._producer.poll)
        try:
            self._producer.produce(
                topic,
                value,
                key,
                on_delivery=delivery,
                timestamp=max(0, timestamp_ms),
                headers=list(headers),
            )
        except self._errors as error:
            raise self.explain(error) from error
        return delivery

    def explain(self, error: BaseException) -> Exception:
        """Return what the exception of a delivery means. See `EventSink`."""
        return explain(error, self._where, HINT_SENDING)

    def close(self) -> None:
        """Give up what is under way, at once."""
        from confluent_kafka import KafkaException

        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.poll(0)
            self._producer.close(0)
