"""Archived events back into a topic that does not take all of them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from kafka import KafkaProducer
from streams import records

from regvault.audit.envelope import message_of
from regvault.model.event import new_event, time_text
from regvault.storage.local import LocalStore
from regvault.vault.audit.months import Months
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from kafka_broker import KafkaBroker
    from regvault_cli import Cli

FUTURE = "2031-02-03T04:05:06.000000Z"


def put(broker: KafkaBroker, topic: str, count: int, *, strange: int, stamp: int) -> None:
    """Send events; one says that it came in years from now, and its record has a time of its own.

    Args:
        broker: where.
        topic: there.
        count: events.
        strange: the number of that one.
        stamp: the time of its record, milliseconds.
    """
    now_ns = time.time_ns()
    producer = KafkaProducer(bootstrap_servers=broker.address())
    for number in range(count):
        now = time_text(now_ns)
        event = new_event(now, "pull", "test", f"line {number}", repository=f"team/{number % 20}")
        received = FUTURE if number == strange else now
        head = {"seq": number, "spool": "ab", "received": received}
        data = json.dumps({**head, **event, "id": f"event-{number}"}, separators=(",", ":"))
        _, value, at, headers = message_of(data.encode())
        producer.send(
            topic,
            value,
            event["repository"].encode(),
            headers=list(headers),
            timestamp_ms=stamp if number == strange else at,
        )
    producer.flush()
    producer.close()


@pytest.mark.parametrize("what", ["kept", "erased", "refused"])
def test_a_record_of_the_future_holds_up_no_other(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path, what: str
) -> None:
    vault = str(tmp_path / "vault")
    cli("init", vault)
    now_ms = time.time_ns() // 1_000_000
    later_ms = now_ms + 10**10
    if what == "refused":
        topic = kafka_broker.create_topic(f"{topic}-any", message_timestamp_after_max_ms=2**60)
    stamp = later_ms if what == "refused" else now_ms
    put(kafka_broker, topic, 1000, strange=700, stamp=stamp)
    kafka = ("--kafka", kafka_broker.address(), "--topic")
    assert cli("audit", "archive", *kafka, topic, "--vault", vault).document["events"] == 1000
    if what == "erased":
        assert Months(Vault(LocalStore(vault))).erase(time_text(time.time_ns())[:7])
    other = kafka_broker.create_topic(f"{topic}-again")
    options = ("--since", "2020-01-01", "--yes", "--vault", vault)
    lost = what == "refused"
    run = cli("audit", "replay", *options, *kafka, other, expect=3 if lost else 0)
    erased = 1000 if what == "erased" else 0
    assert run.document == {"sent": 1000 - lost, "rejected": int(lost), "erased": erased}
    assert ("Timestamp" in run.stderr) == lost
    found = [json.loads(record.value)["data"]["id"] for record in records(kafka_broker, other)]
    numbers = [number for number in range(1000) if not (lost and number == 700)]
    assert set(found) == {f"event-{number}" for number in numbers}
    assert lost or len(found) == 1000
