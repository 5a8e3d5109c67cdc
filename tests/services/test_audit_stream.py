"""From a real registry to Kafka, into the vault, and back: every event, each once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import receiving
from images import layer
from receiving import Receiver, event, wait_for
from servers import Registry
from streams import records

from regvault.audit.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kafka_broker import KafkaBroker
    from regvault_cli import Cli


@pytest.fixture
def vault(cli: Cli, tmp_path: Path) -> str:
    cli("init", str(tmp_path / "vault"))
    return str(tmp_path / "vault")


@pytest.fixture
def receiver(kafka_broker: KafkaBroker, topic: str, tmp_path: Path) -> Iterator[Receiver]:
    (tmp_path / "token").write_text("sesame")
    options = ("--token", f"file:{tmp_path / 'token'}", "--topic", topic)
    found = Receiver(tmp_path / "spool", *options, "--kafka", kafka_broker.address())
    yield found
    found.stop()


KILLS = int(os.environ.get("KILLS", "20"))


@pytest.fixture(autouse=True, params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that speaks to Kafka, in all commands of a test."""
    monkeypatch.setenv("REGVAULT_KAFKA_CLIENT", request.param)
    return str(request.param)


def notifying(version: str, receiver: Receiver, tmp_path: Path) -> Registry:
    """A registry that tells the receiver of everything."""
    endpoint = {
        "name": "regvault",
        "url": f"http://127.0.0.1:{receiver.port}/events",
        "headers": {"Authorization": ["Bearer sesame"]},
        "timeout": "1s",
        "threshold": 3,
        "backoff": "1s",
    }
    return Registry(
        version,
        storage=tmp_path / f"registry-{version}",
        state=tmp_path,
        settings={
            "notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]}
        },
    )


@pytest.mark.parametrize("version", ["3", "2.8"])
def test_who_pulled_an_image_of_a_real_registry(
    version: str,
    receiver: Receiver,
    kafka_broker: KafkaBroker,
    topic: str,
    cli: Cli,
    run: Callable[..., str],
    vault: str,
    tmp_path: Path,
) -> None:
    with notifying(version, receiver, tmp_path) as registry:
        base = f"127.0.0.1:{registry.port}"
        tar = layer(tmp_path, "one")
        run("crane", "append", "--insecure", "-f", tar, "-t", f"{base}/team/app:v1")
        run("crane", "append", "--insecure", "-f", layer(tmp_path, "two"), "-t", f"{base}/x:v1")
        digest = run("crane", "digest", "--insecure", f"{base}/team/app:v1").strip()
        manifest = json.loads(run("crane", "manifest", "--insecure", f"{base}/team/app:v1"))
        for number in range(3):
            run("crane", "pull", "--insecure", f"{base}/team/app:v1", tmp_path / f"out-{number}")
        run(
            "crane",
            "delete",
            "--insecure",
            f"{base}/x@" + run("crane", "digest", "--insecure", f"{base}/x:v1").strip(),
        )
        wait_for(
            lambda: any(
                json.loads(r.value)["data"]["action"] == "delete"
                for r in records(kafka_broker, topic)
            )
        )
    found = [json.loads(record.value)["data"] for record in records(kafka_broker, topic)]
    assert {each["action"] for each in found} >= {"push", "pull", "delete"}
    arguments = ("--kafka", kafka_broker.address(), "--topic", topic)
    done = cli("audit", "archive", *arguments, "--vault", vault).document
    assert done["events"] == len({each["id"] for each in found})
    assert cli("audit", "archive", *arguments, "--vault", vault).document["events"] == 0
    assert cli("audit", "verify", "--vault", vault).document["problems"] == []
    archived = cli("audit", "query", "--vault", vault).lines
    assert {json.dumps(each, sort_keys=True) for each in archived} == {
        json.dumps(each, sort_keys=True) for each in found
    }
    (blob,) = [each["digest"] for each in manifest["layers"]]
    for asked in (digest, blob):
        said = cli("audit", "query", "--vault", vault, "--who-pulled", asked).document
        assert digest in said["digests"]
        (who,) = said["pullers"]
        assert who["address"] == "127.0.0.1"
        # crane asks for the manifest by its tag, and for each blob.
        assert who["pulls"] >= 3
    what = ("--repo", "team/app", "--tag", "v1", "--action", "push")
    (pushed,) = cli("audit", "query", "--vault", vault, *what).lines
    assert pushed["digest"] == digest
    # Into another topic, exactly what was there.
    other = kafka_broker.create_topic(f"{topic}-again")
    options = ("--since", "2020-01-01", "--yes", "--vault", vault)
    again = ("--kafka", kafka_broker.address(), "--topic", other)
    assert cli("audit", "replay", *options, *again).document["sent"] == len(archived)
    before = {(r.key, r.value, r.timestamp, tuple(r.headers)) for r in records(kafka_broker, topic)}
    after = {(r.key, r.value, r.timestamp, tuple(r.headers)) for r in records(kafka_broker, other)}
    assert after == before


def test_a_query_finds_what_is_not_archived_yet_and_each_event_once(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, vault: str, tmp_path: Path
) -> None:
    place = tmp_path / "spool"
    kafka = ("--kafka", kafka_broker.address(), "--topic", topic)
    spool = Spool(str(place))

    def more(first: int) -> None:
        from regvault.audit.intake import bodies_of

        for number in range(first, first + 10):
            body = json.dumps(event(number)).encode()
            spool.append(bodies_of(body, {}, "2026-11-20T03:00:00.000000Z"))

    more(0)
    cli("audit", "ship", "--spool", place, *kafka)
    cli("audit", "archive", *kafka, "--vault", vault)
    more(10)
    cli("audit", "ship", "--spool", place, *kafka)
    more(20)
    for places, count in (
        ((), 10),
        (kafka, 20),
        (("--spool", place), 30),
        (("--spool", place, *kafka), 30),
    ):
        found = cli("audit", "query", "--vault", vault, *places).lines
        assert len(found) == len({each["id"] for each in found}) == count
    csv = cli.text("audit", "query", "--vault", vault, "--csv")
    assert len(csv.splitlines()) == 11


@pytest.mark.timeout(120 + 20 * KILLS)
def test_archivers_killed_under_load_neither_lose_nor_double_an_event(
    kafka_broker: KafkaBroker, topic: str, receiver: Receiver, cli: Cli, vault: str, tmp_path: Path
) -> None:
    load = subprocess.Popen(
        [sys.executable, receiving.__file__, str(receiver.port), "0", "sesame"],
        stdout=subprocess.PIPE,
        text=True,
    )
    arguments = ("--kafka", kafka_broker.address(), "--topic", topic, "--vault", vault)
    for kill in range(KILLS):
        process = cli.start("audit", "archive", *arguments)
        time.sleep(0.5 + (kill * 37 % 100) / 100)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    receiver.stop()  # which ends those who post, too
    answered = [int(line) for line in load.communicate(timeout=30)[0].split()]
    cli("audit", "archive", *arguments)
    found = [each["id"] for each in cli("audit", "query", "--vault", vault).lines]
    expected = {event(number)["events"][0]["id"] for number in answered}
    assert len(expected) > 100
    assert expected <= set(found)
    assert len(found) == len(set(found))
    assert cli("audit", "verify", "--vault", vault).document["problems"] == []


def test_two_archivers_share_a_topic(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, vault: str, tmp_path: Path
) -> None:
    spool = Spool(str(tmp_path / "spool"))
    arguments = ("--kafka", kafka_broker.address(), "--topic", topic)
    follow = ("audit", "archive", "--follow", "--segment", "1s", *arguments, "--vault", vault)
    both = [cli.start(*follow), cli.elsewhere(tmp_path / "cache-2").start(*follow)]
    try:
        for first in range(0, 300, 20):
            bodies = [_body(number) for number in range(first, first + 20)]
            spool.append(bodies)
            cli("audit", "ship", "--spool", tmp_path / "spool", *arguments)

        def archived() -> list[Any]:
            return cli("audit", "query", "--vault", vault).lines

        wait_for(lambda: len({each["id"] for each in archived()}) == 300, 60)
    finally:
        for process in both:
            process.send_signal(signal.SIGTERM)
            cli.finish(process)
    assert len(archived()) == 300
    assert cli("audit", "verify", "--vault", vault).document["problems"] == []


def _body(number: int) -> bytes:
    from test_audit_ship import body

    return body(number, f"team/app-{number % 9}")
