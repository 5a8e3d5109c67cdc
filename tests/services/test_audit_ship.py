"""`audit ship` and `serve` against a real Kafka: nothing lost, in order, the same ids again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import receiving
from kafka_broker import MTLS, OAUTH, SASL_PLAIN, SCRAM_TLS, TLS, KafkaBroker
from receiving import Receiver, event, wait_for
from streams import records

from regvault.audit.intake import body_of
from regvault.audit.kafka.clients import open_sink
from regvault.audit.kafka.settings import KafkaSettings
from regvault.audit.ship import Shipper
from regvault.audit.spool import Spool
from regvault.model.event import new_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regvault_cli import Cli

NOW = "2026-11-20T03:00:00.000000Z"
KILLS = int(os.environ.get("KILLS", "20"))
WAYS = [TLS, MTLS, SASL_PLAIN, SCRAM_TLS, OAUTH]


@pytest.fixture(autouse=True, params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that speaks to Kafka, in all commands of a test."""
    monkeypatch.setenv("REGVAULT_KAFKA_CLIENT", request.param)
    return str(request.param)


def body(number: int, repository: str | None = "team/app", size: int = 0, **more: Any) -> bytes:
    raw = random.Random(number).randbytes(size // 2).hex()
    made = new_event(NOW, more.pop("action", "pull"), "test", raw, repository=repository, **more)
    return body_of({**made, "id": f"event-{number}"})


def numbers(found: list[Any]) -> list[int]:
    return [int(json.loads(record.value)["id"].removeprefix("event-")) for record in found]


def test_events_are_cloudevents_in_order_of_each_repository(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    spool = Spool(str(tmp_path / "spool"))
    names = ["team/app", "team/base", None, "library/nginx"]
    spool.append([body(n, names[n % 4]) for n in range(400)])
    arguments = ("--kafka", kafka_broker.address(), "--topic", topic)
    done = cli("audit", "ship", "--spool", tmp_path / "spool", *arguments)
    assert done.document["sent"] == 400
    found = records(kafka_broker, topic)
    assert sorted(numbers(found)) == list(range(400))
    by_key: dict[Any, list[int]] = defaultdict(list)
    for record in found:
        value = json.loads(record.value)
        flat = value["data"]
        assert value["specversion"] == "1.0"
        assert value["type"] == "regvault.audit.pull"
        assert value["id"] == flat["id"]
        assert value["source"] == f"/regvault/spools/{spool.id}"
        assert value["dataschema"] == "urn:regvault:audit-event:1"
        assert record.key == (flat["repository"].encode() if flat["repository"] else None)
        assert dict(record.headers)["content-type"].startswith(b"application/cloudevents+json")
        by_key[record.key].append(flat["seq"])
    for key, order in by_key.items():
        assert key is None or order == sorted(order)
    again = cli("audit", "ship", "--spool", tmp_path / "spool", *arguments)
    assert again.document["sent"] == 0
    assert len(records(kafka_broker, topic)) == 400


def test_too_large_and_unparsed_ones_go_to_the_dead_letters(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    spool = Spool(str(tmp_path / "spool"))
    agent = "<" * 5000  # of a client
    large = body(1, size=2 << 20, useragent=agent)
    spool.append([body(0), large, body(2, action="unparsed"), body(3)])
    arguments = ("audit", "ship", "--spool", tmp_path / "spool")
    arguments += ("--kafka", kafka_broker.address(), "--topic", topic)
    missing = cli(*arguments, expect=10)
    assert f"{topic}.dead" in missing.error["message"]
    kafka_broker.create_topic(f"{topic}.dead")
    done = cli(*arguments)
    assert done.document["dead_letters"] == 2
    # What had been sent before the topic was missed may be there twice, with the same id.
    found = records(kafka_broker, topic)
    assert sorted(set(numbers(found))) == [0, 1, 3]
    (short,) = [json.loads(r.value)["data"] for r in found if b"event-1" in r.value]
    assert (short["raw"], short["useragent"]) == ("", agent[:4096])
    dead = {
        json.loads(r.value)["id"]: json.loads(r.value)
        for r in records(kafka_broker, f"{topic}.dead")
    }
    assert sorted(dead) == ["event-1", "event-2"]
    assert "too large" in dead["event-1"]["data"]["reason"]
    assert dead["event-1"]["data"] == short
    assert dead["event-1"]["data"]["repository"] == "team/app"


def test_a_broker_that_takes_less_than_we_think_gets_it_as_a_dead_letter(
    kafka_broker: KafkaBroker, cli: Cli, client: str, tmp_path: Path
) -> None:
    kafka_broker.create_topic(narrow := f"narrow-{client}", max_message_bytes=20_000)
    kafka_broker.create_topic(f"{narrow}.dead")
    spool = Spool(str(tmp_path / "spool"))
    spool.append([body(n, size=400_000 if n == 5 else 10) for n in range(20)])
    arguments = ("--kafka", kafka_broker.address(), "--topic", narrow)
    done = cli("audit", "ship", "--spool", tmp_path / "spool", *arguments)
    assert done.document["dead_letters"] == 1
    found = records(kafka_broker, narrow)
    assert sorted(set(numbers(found))) == list(range(20))
    (short,) = [json.loads(r.value)["data"] for r in found if b"event-5" in r.value]
    assert short["raw"] == ""
    assert numbers(records(kafka_broker, f"{narrow}.dead")) == [5]


def test_a_damaged_spool_costs_its_record_and_tells_kafka_of_the_gap(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    place = tmp_path / "spool"
    Spool(str(place)).append([body(n) for n in range(10)])
    (segment,) = place.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b"event-4")] ^= 1
    segment.write_bytes(data)
    arguments = ("--kafka", kafka_broker.address(), "--topic", topic)
    done = cli("audit", "ship", "--spool", place, *arguments)
    assert done.document["gaps"] == 1
    values = [json.loads(record.value)["data"] for record in records(kafka_broker, topic)]
    gaps = [value for value in values if value["action"] == "gap"]
    assert len(gaps) == 1
    assert "after number 4" in gaps[0]["reason"]
    assert len(values) == 10


# Who may talk to the broker


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    state = tmp_path_factory.mktemp("secured-ship")
    with KafkaBroker(
        state / "data",
        state=state,
        listeners=WAYS,
        users={"ann": "ann's secret", "bob": "bob's secret"},
        acls=True,
    ) as broker:
        yield broker


def security(secured: KafkaBroker, listener: Any, tmp_path: Path, *, wrong: bool) -> list[str]:
    """The options that reach a listener as ann, or with a wrong secret or certificate."""
    secret = tmp_path / "secret"
    options = ["--kafka", secured.address(listener)]
    settings = secured.client(listener, user="ann")
    if listener.tls:
        ca = secured.authority.certificate
        if wrong and listener is TLS:
            from certificates import Authority

            ca = Authority(tmp_path / "stranger", "stranger").certificate
        options += ["--kafka-ca", str(ca)]
    if listener.client_certificate and not wrong:
        options += ["--kafka-cert", str(secured.authority.issue("ann"))]
    if listener.mechanism:
        options += ["--kafka-mechanism", listener.mechanism, "--kafka-password", f"file:{secret}"]
        if listener.mechanism == "OAUTHBEARER":
            token = settings["sasl_oauth_token_provider"].token()
            secret.write_text(token[:-20] if wrong else token)
        else:
            options += ["--kafka-user", "ann"]
            secret.write_text("wrong" if wrong else "ann's secret")
    return options


@pytest.mark.parametrize("listener", WAYS, ids=lambda way: way.name)
def test_every_way_to_prove_who_one_is(
    secured: KafkaBroker, listener: Any, cli: Cli, client: str, tmp_path: Path
) -> None:
    topic = secured.create_topic(f"way-{listener.name.lower().replace('_', '-')}-{client}")
    secured.allow("ann", "READ", "WRITE", topic=topic)
    Spool(str(tmp_path / "spool")).append([body(n) for n in range(10)])
    wrong = security(secured, listener, tmp_path, wrong=True)
    command = ("audit", "ship", "--spool", tmp_path / "spool", "--topic", topic)
    refused = cli(*command, *wrong, expect=12)
    assert "ann's secret" not in refused.stdout + refused.stderr
    right = security(secured, listener, tmp_path, wrong=False)
    assert cli(*command, *right).document["sent"] == 10
    assert len(records(secured, topic)) == 10


def test_rights_that_are_revoked_hold_it_up_and_lose_nothing(
    secured: KafkaBroker, cli: Cli, client: str, tmp_path: Path
) -> None:
    topic = secured.create_topic(f"revoked-{client}")
    secured.allow("ann", "READ", "WRITE", "DESCRIBE", topic=topic)
    options = security(secured, SASL_PLAIN, tmp_path, wrong=False)
    spool = Spool(str(tmp_path / "spool"))
    process = cli.start(
        "audit", "ship", "--follow", "--spool", tmp_path / "spool", "--topic", topic, *options
    )
    try:
        spool.append([body(n) for n in range(50)])
        wait_for(lambda: len(records(secured, topic)) == 50)
        secured.revoke("ann", "WRITE", topic=topic)
        time.sleep(1)
        spool.append([body(n) for n in range(50, 100)])
        time.sleep(4)
        assert process.poll() is None
        assert len(records(secured, topic)) == 50
        secured.allow("ann", "WRITE", topic=topic)
        wait_for(lambda: len(set(numbers(records(secured, topic)))) == 100, 60)
    finally:
        process.send_signal(signal.SIGTERM)
        done = cli.finish(process)
    assert done.code == 143
    assert "may not write to" in done.stderr


def test_what_is_wrong_is_said(kafka_broker: KafkaBroker, cli: Cli, tmp_path: Path) -> None:
    Spool(str(tmp_path / "spool")).append([body(1)])
    command = ("audit", "ship", "--spool", tmp_path / "spool", "--topic", "no-such-topic")
    missing = cli(*command, "--kafka", kafka_broker.address(), expect=10)
    assert "no such topic" in missing.error["message"]
    assert list((tmp_path / "spool" / "cursors").iterdir()) == []
    away = cli(*command, "--kafka", "127.0.0.1:1", expect=6)
    assert "no broker listens" in away.error["message"]
    file = tmp_path / "no.pem"
    file.write_text("nothing")
    bad = cli(*command, "--kafka", "127.0.0.1:1", "--kafka-ca", file, expect=12)
    assert "TLS files" in bad.error["message"]


# A broker that stands still


def test_memory_is_bounded_while_the_broker_stands_still_and_all_arrives(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    """kafka-python takes whatever it is given; so what is under way is bounded here."""
    count = 80_000
    spool = Spool(str(tmp_path / "spool"))
    spool.append([body(0)])
    process = cli.start(
        *("audit", "ship", "--follow", "--spool", tmp_path / "spool"),
        *("--kafka", kafka_broker.address(), "--topic", topic),
    )
    try:
        wait_for(lambda: len(records(kafka_broker, topic)) == 1, 60)
        kafka_broker.pause()
        for first in range(1, count, 1000):
            spool.append([body(n, size=2000) for n in range(first, min(count, first + 1000))])
        assert spool.usage().nbytes > 160 << 20
        time.sleep(5)
        kafka_broker.resume()
        wait_for(lambda: spool.cursor(f"ship-{topic}").next == count + 1, 120)
        with open(f"/proc/{process.pid}/status") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    finally:
        kafka_broker.resume()
        process.send_signal(signal.SIGTERM)
        cli.finish(process)
    assert peak < 200 << 10  # KiB
    assert len(set(numbers(records(kafka_broker, topic)))) == count


def test_deliveries_that_expire_while_the_broker_stands_still_are_sent_again(
    kafka_broker: KafkaBroker, topic: str, client: str, tmp_path: Path
) -> None:
    """kafka-python (3.0.12) gets stuck for good then: it is thrown away, and all is sent again."""
    spool = Spool(str(tmp_path / "spool"))
    settings = KafkaSettings((kafka_broker.address(),), client=client)
    shipper = Shipper(spool, lambda: open_sink(settings, delivery_s=4), topic)
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,), kwargs={"follow": True})
    thread.start()
    try:
        spool.append([body(n) for n in range(100)])
        wait_for(lambda: shipper.shipped.sent == 100, 60)
        kafka_broker.pause()
        spool.append([body(n) for n in range(100, 1000)])
        wait_for(lambda: shipper.shipped.failures > 0, 60)
        kafka_broker.resume()
        wait_for(lambda: set(numbers(records(kafka_broker, topic))) == set(range(1000)), 90)
    finally:
        kafka_broker.resume()
        stop.set()
        thread.join(60)
    assert spool.cursor(f"ship-{topic}").next == 1001


# Processes and brokers that are killed under load


def serving(tmp_path: Path, broker: KafkaBroker, topic: str) -> Receiver:
    return Receiver(tmp_path / "spool", "--kafka", broker.address(), "--topic", topic)


@pytest.mark.timeout(120 + 20 * KILLS)
def test_receiver_and_broker_killed_under_load_lose_nothing_that_was_answered(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Rule 24: every 2xx'd id reaches Kafka; extra deliveries carry the same id."""
    every = int(os.environ.get("BROKER_EVERY", "4"))  # so many kills of ours to one of the broker
    state = tmp_path_factory.mktemp("killed")
    answered: list[int] = []
    with KafkaBroker(state / "data", state=state) as broker:
        topic = broker.create_topic("killed")
        number = 0
        for kill in range(KILLS):
            receiver = serving(tmp_path, broker, topic)
            if kill % every == 0:
                broker.kill()
            load = subprocess.Popen(
                [sys.executable, receiving.__file__, str(receiver.port), str(number)],
                stdout=subprocess.PIPE,
                text=True,
            )
            time.sleep(0.2 + (kill * 37 % 100) / 100)
            receiver.stop(signal.SIGKILL)
            out = load.communicate(timeout=30)[0]
            mine = [int(line) for line in out.split()]
            answered += mine
            number += 100_000
            if kill % every == 0:
                broker.start()
                broker.wait_ready()
        receiver = serving(tmp_path, broker, topic)
        expected = {event(n)["events"][0]["id"] for n in answered}
        assert len(expected) > 10 * KILLS

        def ids() -> list[str]:
            return [json.loads(record.value)["id"] for record in records(broker, topic)]

        wait_for(lambda: expected <= set(ids()), 60)
        receiver.stop()
