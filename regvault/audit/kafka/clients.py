"""Which of the two libraries speaks to Kafka."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, get_args

from regvault.audit.kafka.producer import DELIVERY_TIMEOUT_S, KafkaProducerSink
from regvault.errors import UsageError
from regvault.model.stream import KafkaClient

if TYPE_CHECKING:
    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.model.stream import EventSink, EventSource

__all__ = ["CLIENTS", "open_sink", "open_source"]

CLIENTS: Final = get_args(KafkaClient)
"""`auto`: librdkafka where the extra `fast-kafka` is installed."""


def _is_fast(client: str) -> bool:
    there = find_spec("confluent_kafka") is not None
    if client == "librdkafka" and not there:
        raise UsageError(
            "librdkafka is not installed",
            hint="Install regvault with its extra: pip install 'regvault[audit,fast-kafka]'",
        )
    return there and client != "kafka-python"


def open_sink(settings: KafkaSettings, *, delivery_s: int = DELIVERY_TIMEOUT_S) -> EventSink:
    """Connect to a cluster, to write.

    Args:
        settings: how it is reached.
        delivery_s: seconds that a record may take.

    Raises:
        CredentialError: a certificate, the user or its secret is wrong.
        TemporaryError: no broker answers.
        UsageError: the library that is asked for is not installed.
    """
    if _is_fast(settings.client):
        from regvault.audit.kafka.fast_producer import FastProducerSink

        return FastProducerSink(settings, delivery_s=delivery_s)
    return KafkaProducerSink(settings, delivery_s=delivery_s)


def open_source(
    settings: KafkaSettings, topic: str, *, group: str | None, shared: bool = True
) -> EventSource:
    """Return a topic to read; connects to nothing yet.

    Args:
        settings: how the cluster is reached.
        topic: that is read.
        group: of consumers, where it is noted how far they are; None: nowhere.
        shared: be a member, with some of the partitions; else read all of them at once, and wait
            for nobody.

    Raises:
        UsageError: the library that is asked for is not installed.
    """
    if _is_fast(settings.client):
        from regvault.audit.kafka.fast_consumer import FastConsumerSource

        return FastConsumerSource(settings, topic, group=group, shared=shared)
    from regvault.audit.kafka.consumer import KafkaConsumerSource

    return KafkaConsumerSource(settings, topic, group=group, shared=shared)
