"""Writes to Kafka with kafka-python."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from regvault.audit.kafka.reasons import (
    HINT_SENDING,
    explain,
    is_absent,
    no_topic,
    overheard,
    unreachable,
)
from regvault.model.stream import RejectedError

if TYPE_CHECKING:
    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.model.stream import Delivery, Message

__all__ = ["DELIVERY_TIMEOUT_S", "LARGEST", "KafkaProducerSink"]

DELIVERY_TIMEOUT_S = 120
"""Seconds that one record may take. kafka-python (3.0.12) gets stuck for good when one expires
while the broker stands still; so it is long, and a producer in which one expired is thrown away."""

_BATCH = 256 << 10
_LINGER_MS = 5
_CONNECT_MS = 10_000
_METADATA_MS = 5_000
LARGEST = 1 << 20
"""Bytes of the largest record, as brokers take it where nobody configured another size."""


class KafkaProducerSink:
    """Topics of one cluster, written to idempotently, with all in-sync replicas."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        largest: int = LARGEST,
        delivery_s: int = DELIVERY_TIMEOUT_S,
        hint: str = HINT_SENDING,
    ) -> None:
        """Connect.

        Args:
            settings: how the cluster is reached.
            largest: bytes that a record may have.
            delivery_s: seconds that one may take.
            hint: what to do where it is worth trying again.

        Raises:
            CredentialError: a certificate, the user or its secret is wrong.
            TemporaryError: no broker answers.
        """
        import kafka
        from kafka.errors import KafkaError

        self._where = f"Kafka at {','.join(settings.servers)}"
        self._largest = largest
        self._settings = settings
        self._hint = hint
        logging.getLogger("kafka").addHandler(logging.NullHandler())
        with overheard() as heard:
            try:
                self._producer: Any = kafka.KafkaProducer(
                    **settings.for_kafka_python(),
                    acks="all",
                    enable_idempotence=True,
                    max_in_flight_requests_per_connection=5,
                    delivery_timeout_ms=delivery_s * 1000,
                    request_timeout_ms=min(30_000, delivery_s * 500),
                    max_block_ms=_METADATA_MS,
                    bootstrap_timeout_ms=_CONNECT_MS,
                    reconnect_backoff_max_ms=500,
                    allow_auto_create_topics=False,
                    compression_type="zstd",
                    batch_size=_BATCH,
                    linger_ms=_LINGER_MS,
                    max_request_size=largest + (64 << 10),
                    metrics_enabled=False,
                )
            except (KafkaError, OSError) as error:
                reason = explain(error, self._where)
                found = unreachable(settings, [*heard, str(error)], hint)
                raise found from (None if isinstance(reason, RejectedError) else error)

    def send(self, topic: str, message: Message) -> Delivery:
        """Begin to send a record. See `EventSink`."""
        from kafka.errors import KafkaError, KafkaTimeoutError

        size = len(message.value) + len(message.key or b"")
        if size > self._largest - 1024:
            raise RejectedError(f"a record of {size} bytes is too large for Kafka")
        try:
            sent: Delivery = self._producer.send(
                topic,
                value=message.value,
                key=message.key,
                headers=list(message.headers),
                timestamp_ms=message.timestamp_ms,
            )
        except KafkaError as error:
            if isinstance(error, KafkaTimeoutError) and is_absent(self._settings, topic):
                raise no_topic(f"{self._where}, topic {topic}") from error
            raise explain(error, f"{self._where}, topic {topic}", self._hint) from error
        return sent

    def explain(self, error: BaseException) -> Exception:
        """Return what the exception of a delivery means. See `EventSink`."""
        return explain(error, self._where, self._hint)

    def close(self) -> None:
        """Give up what is under way, at once."""
        from kafka.errors import KafkaError

        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=0)
