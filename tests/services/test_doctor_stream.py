"""What `doctor` says of a real topic: as it should be, badly kept, forbidden, away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kafka_broker import MTLS, SASL_PLAIN, TLS, KafkaBroker
from receiving import event

from regvault.audit.intake import bodies_of
from regvault.audit.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regvault_cli import Cli

NOW = "2026-11-20T03:00:00.000000Z"


def checks(cli: Cli, *arguments: object, expect: int | None = 3) -> dict[str, dict[str, Any]]:
    done = cli("doctor", *map(str, arguments), expect=expect)
    return {check["id"]: check for check in done.document["checks"]}


def states(cli: Cli, *arguments: object, expect: int | None = 3) -> dict[str, str]:
    return {name: check["state"] for name, check in checks(cli, *arguments, expect=expect).items()}


def test_a_topic_of_one_broker_is_told_what_it_lacks(
    kafka_broker: KafkaBroker, topic: str, cli: Cli
) -> None:
    where = ("--kafka", kafka_broker.address(), "--topic", topic)
    found = states(cli, *where)
    assert found == {
        "brokers": "ok",
        "topic": "ok",
        "topic-rights": "ok",
        "topic-replication": "warning",
        "topic-in-sync": "warning",
        "topic-unclean-election": "ok",
        "topic-cleanup": "ok",
        "topic-retention": "ok",
        "topic-record-size": "ok",
        "dead-letter-topic": "warning",
        "archive-lag": "skipped",
    }
    kafka_broker.create_topic(f"{topic}.dead")
    assert states(cli, *where, "--fail-on", "error", expect=0)["dead-letter-topic"] == "ok"
    assert states(cli, *where, "--archive-every", "30d")["topic-retention"] == "error"


def test_a_topic_that_loses_events_is_an_error_with_each_reason(
    kafka_broker: KafkaBroker, topic: str, cli: Cli
) -> None:
    bad = kafka_broker.create_topic(
        f"{topic}-bad",
        cleanup_policy="compact",
        retention_ms=3_600_000,
        max_message_bytes=500_000,
        unclean_leader_election_enable=True,
        min_insync_replicas=2,
    )
    found = states(cli, "--kafka", kafka_broker.address(), "--topic", bad)
    assert found["topic-cleanup"] == "error"
    assert found["topic-retention"] == "error"
    assert found["topic-record-size"] == "warning"
    assert found["topic-unclean-election"] == "error"
    assert found["topic-in-sync"] == "error"
    gone = checks(cli, "--kafka", kafka_broker.address(), "--topic", "nowhere", expect=10)
    assert gone["topic"]["state"] == "error"
    assert gone["topic-retention"]["state"] == "skipped"


def test_what_is_not_archived_yet_is_held_against_how_long_it_is_kept(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    vault = tmp_path / "vault"
    cli("init", vault)
    where = ("--kafka", kafka_broker.address(), "--topic", topic)
    spool = Spool(str(tmp_path / "spool"))
    for number in range(10):
        spool.append(bodies_of(json.dumps(event(number)).encode(), {}, NOW))
    cli("audit", "ship", "--spool", tmp_path / "spool", *where)

    def lag() -> dict[str, Any]:
        return checks(cli, *where, "--vault", vault, expect=None)["archive-lag"]

    assert lag()["state"] == "warning"
    assert "10 records are not archived: nothing" in lag()["found"]
    cli("audit", "archive", *where, "--vault", vault)
    assert lag()["state"] == "ok"
    admin = kafka_broker.admin()
    from kafka import TopicPartition

    for number in range(10, 20):
        spool.append(bodies_of(json.dumps(event(number)).encode(), {}, NOW))
    cli("audit", "ship", "--spool", tmp_path / "spool", *where)
    assert "10 records are not archived, the newest" in lag()["found"]
    # They are gone before anybody archived them.
    try:
        admin.delete_records({TopicPartition(topic, number): -1 for number in range(3)})
    finally:
        admin.close()
    assert lag()["state"] == "error"
    assert "10 records are gone" in lag()["found"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[KafkaBroker]:
    users = {"ann": "secret", "bob": "secret"}
    state = tmp_path / "kafka"
    broker = KafkaBroker(
        state / "data", state=state, listeners=[SASL_PLAIN, TLS, MTLS], users=users, acls=True
    )
    with broker:
        yield broker


def test_rights_and_the_way_to_the_cluster(guarded: KafkaBroker, cli: Cli, tmp_path: Path) -> None:
    guarded.create_topic("events")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "wrong").write_text("nonsense")

    def as_user(user: str, *more: str, password: str = "password") -> tuple[str, ...]:
        given = ("--kafka-user", user, "--kafka-password", f"file:{tmp_path / password}")
        where = ("--kafka", guarded.address(SASL_PLAIN), "--topic", "events")
        return (*where, "--kafka-mechanism", "PLAIN", *given, *more)

    found = checks(cli, *as_user("ann"), expect=12)
    assert found["topic"]["state"] == "error"
    assert "may not see" in found["topic"]["found"]
    guarded.allow("ann", "READ", topic="events")
    found = checks(cli, *as_user("ann", "--stream-role", "archive"), expect=3)
    assert found["topic-rights"]["state"] == "ok"
    assert found["topic-retention"]["state"] == "skipped"
    assert "DESCRIBE_CONFIGS" in found["topic-retention"]["found"]
    found = checks(cli, *as_user("ann", "--stream-role", "ship"), expect=12)
    assert "no right to WRITE" in found["topic-rights"]["found"]
    guarded.allow("bob", "WRITE", "DESCRIBE_CONFIGS", topic="events")
    found = checks(cli, *as_user("bob", "--stream-role", "ship"), expect=3)
    assert found["topic-rights"]["state"] == "ok"
    assert found["topic-retention"]["state"] == "ok"
    # Who this is, and whom it believes.
    refused = checks(cli, *as_user("ann", password="wrong"), expect=12)
    assert refused["brokers"]["state"] == "error"
    assert "password" in refused["brokers"]["found"]
    assert "nonsense" not in json.dumps(refused)
    assert refused["topic"]["state"] == "skipped"
    where = ("--kafka", guarded.address(TLS), "--topic", "events", "--kafka-security", "SSL")
    unknown = checks(cli, *where, expect=12)
    assert "not signed by who is trusted" in unknown["brokers"]["found"]
    guarded.stop()
    away = checks(cli, "--kafka", guarded.address(), "--topic", "events", expect=6)
    assert "no broker listens there" in away["brokers"]["found"]
    guarded.start()


def test_what_the_configuration_has_is_looked_at_without_options(
    kafka_broker: KafkaBroker, topic: str, cli: Cli, tmp_path: Path
) -> None:
    cli("init", tmp_path / "vault")
    Spool(str(tmp_path / "spool"))
    config = {
        "vaults": {"disk": {"location": str(tmp_path / "vault")}},
        "audit": {
            "spool": str(tmp_path / "spool"),
            "kafka": {"servers": [kafka_broker.address()], "topic": topic},
        },
    }
    (tmp_path / "regvault.yaml").write_text(json.dumps(config))
    done = cli.at(REGVAULT_CONFIG=str(tmp_path / "regvault.yaml"))("doctor", expect=3).document
    subjects = {check["subject"] for check in done["checks"]}
    assert subjects == {"vault", "topic", "spool"}
    lag = next(check for check in done["checks"] if check["id"] == "archive-lag")
    assert lag["state"] == "ok"
