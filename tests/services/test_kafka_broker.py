"""The Kafka that other service tests stand on does what those tests take for granted."""

from __future__ import annotations

import contextlib
import itertools
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Authority
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import AuthorizationError, KafkaError, KafkaTimeoutError
from kafka_broker import (
    MTLS,
    OAUTH,
    SASL_PLAIN,
    SCRAM,
    SCRAM_TLS,
    TLS,
    KafkaBroker,
    Listener,
)
from servers import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = [b"record %d" % number for number in range(30)]
ACKNOWLEDGED_WITHIN = 20.0
# Long enough for a first answer on a busy machine.
GIVES_UP_AFTER_MS = 1500
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One broker with every kind of listener, and ACLs."""
    state = tmp_path_factory.mktemp("secured")
    with KafkaBroker(
        state / "data",
        state=state,
        listeners=[TLS, MTLS, SASL_PLAIN, SCRAM, SCRAM_TLS, OAUTH],
        users={"ann": "ann's secret", "bob": "bob's secret"},
        acls=True,
    ) as broker:
        yield broker


@pytest.fixture
def guarded(secured: KafkaBroker) -> str:
    """A topic that ann alone may write and read."""
    name = secured.create_topic(f"guarded-{next(NUMBERS)}")
    secured.allow("ann", "READ", "WRITE", topic=name)
    return name


def produce(settings: dict[str, Any], topic: str, records: list[bytes] = RECORDS) -> None:
    producer = KafkaProducer(**settings)
    try:
        sent = [producer.send(topic, record) for record in records]
        for each in sent:
            each.get(ACKNOWLEDGED_WITHIN)
    finally:
        producer.close(timeout=5)


def consume(settings: dict[str, Any], topic: str) -> list[bytes]:
    """All that a topic has now, sorted."""
    consumer = KafkaConsumer(**settings, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        deadline = time.monotonic() + ACKNOWLEDGED_WITHIN
        # On a busy machine the first answer may not tell of it yet.
        while not (numbers := consumer.partitions_for_topic(topic)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        end = consumer.end_offsets(partitions)
        found: list[bytes] = []
        deadline = time.monotonic() + ACKNOWLEDGED_WITHIN
        while any(consumer.position(each) < end[each] for each in partitions):
            assert time.monotonic() < deadline
            for records in consumer.poll(timeout_ms=500).values():
                found += [record.value for record in records]
        return sorted(found)
    finally:
        consumer.close()


@contextlib.contextmanager
def refused(broker: KafkaBroker, listener: Listener) -> Iterator[None]:
    """A client fails in here, and not by itself: the broker says that it refused somebody."""
    before = broker.log.stat().st_size
    with pytest.raises(KafkaError):
        yield
    said = broker.log.read_bytes()[before:].decode().splitlines()
    assert any("Failed authentication" in line and f"-{listener.name}-" in line for line in said)


def test_acknowledged_records_are_read_back(kafka_broker: KafkaBroker, topic: str) -> None:
    settings = kafka_broker.client()

    produce({**settings, "compression_type": "zstd"}, topic)

    assert consume(settings, topic) == sorted(RECORDS)


def test_a_topic_is_empty_and_has_three_partitions(kafka_broker: KafkaBroker, topic: str) -> None:
    consumer = KafkaConsumer(**kafka_broker.client())
    try:
        assert consumer.partitions_for_topic(topic) == {0, 1, 2}
    finally:
        consumer.close()
    assert consume(kafka_broker.client(), topic) == []


def test_a_topic_has_the_settings_that_it_was_made_with(kafka_broker: KafkaBroker) -> None:
    name = kafka_broker.create_topic("small", 1, max_message_bytes=2000)

    produce(kafka_broker.client(), name, [b"x" * 1000])

    with pytest.raises(KafkaError, match=r"(?i)too ?large"):
        produce(kafka_broker.client(), name, [b"x" * 3000])
    assert consume(kafka_broker.client(), name) == [b"x" * 1000]


def test_over_tls_the_broker_proves_who_it_is(secured: KafkaBroker, guarded: str) -> None:
    produce(secured.client(TLS), guarded)

    assert consume(secured.client(TLS), guarded) == sorted(RECORDS)


@pytest.mark.parametrize(
    "listener", [MTLS, SASL_PLAIN, SCRAM, SCRAM_TLS, OAUTH], ids=attrgetter("name")
)
def test_the_broker_knows_who_logs_in(
    listener: Listener, secured: KafkaBroker, guarded: str
) -> None:
    settings = secured.client(listener, user="ann")

    produce(settings, guarded)

    assert consume(settings, guarded) == sorted(RECORDS)


def test_what_is_allowed_to_one_is_refused_to_another(secured: KafkaBroker, guarded: str) -> None:
    produce(secured.client(), guarded)
    secured.allow("bob", "DESCRIBE", topic=guarded)

    with pytest.raises(AuthorizationError):
        consume(secured.client(SCRAM, user="bob"), guarded)


@pytest.mark.parametrize(
    ("listener", "wrong"),
    [
        (SASL_PLAIN, {"sasl_plain_password": "guessed"}),
        (SCRAM, {"sasl_plain_password": "guessed"}),
        (SCRAM_TLS, {"security_protocol": "SASL_PLAINTEXT"}),
        (MTLS, {"ssl_certfile": None, "ssl_keyfile": None}),
    ],
    ids=["PLAIN password", "SCRAM password", "no TLS", "no certificate"],
)
def test_who_cannot_prove_himself_is_refused(
    listener: Listener, wrong: dict[str, Any], secured: KafkaBroker, guarded: str
) -> None:
    settings = secured.client(listener, user="ann", bootstrap_timeout_ms=GIVES_UP_AFTER_MS)

    with refused(secured, listener):
        produce({**settings, **wrong}, guarded)

    assert consume(secured.client(), guarded) == []


def test_a_broker_of_another_authority_is_not_trusted(
    secured: KafkaBroker, guarded: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path / "other")
    settings = secured.client(
        TLS, ssl_cafile=str(other.certificate), bootstrap_timeout_ms=GIVES_UP_AFTER_MS
    )

    with pytest.raises(KafkaError):
        produce(settings, guarded)

    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_a_certificate_of_another_authority_is_refused(
    secured: KafkaBroker, guarded: str, tmp_path: Path
) -> None:
    forged = str(Authority(tmp_path / "other").issue("ann"))
    settings = secured.client(MTLS, bootstrap_timeout_ms=GIVES_UP_AFTER_MS)

    with refused(secured, MTLS):
        produce({**settings, "ssl_certfile": forged, "ssl_keyfile": forged}, guarded)

    assert consume(secured.client(), guarded) == []


def test_an_expired_token_is_refused(secured: KafkaBroker, guarded: str) -> None:
    settings = secured.client(
        OAUTH, user="ann", token_lifetime=-60.0, bootstrap_timeout_ms=GIVES_UP_AFTER_MS
    )

    with refused(secured, OAUTH):
        produce(settings, guarded)


def test_what_was_revoked_is_refused_to_a_producer_that_is_connected(
    secured: KafkaBroker, guarded: str
) -> None:
    producer = KafkaProducer(**secured.client(SCRAM, user="ann"))
    try:
        producer.send(guarded, b"allowed").get(ACKNOWLEDGED_WITHIN)
        secured.revoke("ann", "WRITE", topic=guarded)

        with pytest.raises(AuthorizationError):
            producer.send(guarded, b"revoked").get(ACKNOWLEDGED_WITHIN)

        secured.allow("ann", "WRITE", topic=guarded)
    finally:
        producer.close(timeout=5)
    produce(secured.client(SCRAM, user="ann"), guarded, [b"allowed again"])
    assert consume(secured.client(), guarded) == [b"allowed", b"allowed again"]


def test_a_broker_that_hangs_acknowledges_nothing_until_it_goes_on(
    secured: KafkaBroker, guarded: str
) -> None:
    producer = KafkaProducer(**secured.client())
    try:
        producer.send(guarded, b"before").get(ACKNOWLEDGED_WITHIN)
        secured.pause()
        hanging = producer.send(guarded, b"meanwhile")
        with pytest.raises(KafkaTimeoutError):
            hanging.get(1)
        secured.resume()
        hanging.get(ACKNOWLEDGED_WITHIN)
    finally:
        secured.resume()
        producer.close(timeout=5)
    secured.wait_ready()

    assert consume(secured.client(), guarded) == [b"before", b"meanwhile"]


def test_a_killed_broker_comes_back_where_it_was_with_all_that_it_acknowledged(
    secured: KafkaBroker, guarded: str
) -> None:
    address, former = secured.address(SCRAM), secured.pid
    sent, acknowledged = [b"%06d" % number for number in range(2000)], []
    producer = KafkaProducer(**secured.client(SCRAM, user="ann"))
    try:
        for number, record in enumerate(sent):
            future = producer.send(guarded, record)
            future.add_callback(lambda _, record=record: acknowledged.append(record))
            if number == 1000:
                future.get(ACKNOWLEDGED_WITHIN)
                secured.kill()
        before = len(acknowledged)
        secured.start()
        producer.flush(timeout=ACKNOWLEDGED_WITHIN)
    finally:
        producer.close(timeout=5)

    assert secured.pid != former
    assert secured.address(SCRAM) == address
    assert 1000 < before < len(sent)
    assert sorted(acknowledged) == sent
    assert consume(secured.client(SCRAM, user="ann"), guarded) == sent


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = {"log.retention.hours": "soon"}

    with pytest.raises(ServerError, match="soon"):
        KafkaBroker(tmp_path / "data", state=tmp_path, settings=settings).start()
