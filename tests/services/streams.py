"""What is in a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from kafka_broker import KafkaBroker


def records(broker: KafkaBroker, topic: str) -> list[Any]:
    """Everything that is in a topic, by its partitions."""
    consumer = KafkaConsumer(bootstrap_servers=broker.address(), enable_auto_commit=False)
    try:
        parts = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        found: list[Any] = []
        while any(consumer.position(part) < ends[part] for part in parts):
            for some in consumer.poll(1000).values():
                found += some
        return found
    finally:
        consumer.close()
