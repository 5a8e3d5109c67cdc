"""The section `audit` of a configuration: each option has a key, and flags win."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("orjson", reason="of the extra `audit`")

from regvault.audit.spool import Spool
from regvault.cli.app import App
from regvault.cli.audit_options import AuditCommand
from regvault.cli.commands.audit import audit
from regvault.cli.main import run
from regvault.config.audit import Audit, key_of
from regvault.config.load import InvalidConfigurationError, parse_config

Captured = pytest.CaptureFixture[str]

#: Options that have their key elsewhere, or none, and why.
ELSEWHERE = {
    "quiet": "how one looks at a run",
    "verbose": "how one looks at a run",
    "json": "how one looks at a run",
    "help": "how one looks at a run",
    "yes": "what cannot be undone is never agreed to beforehand",
    "dry_run": "how one looks at a run",
    "month": "what cannot be undone is never agreed to beforehand",
    "drop_consumer": "what cannot be undone is never agreed to beforehand",
    "no_kafka": "query.kafka.servers: []",
    "endpoint_url": "vaults.NAME.endpoint_url",
    "identity": "vaults.NAME.identity",
}

EVERYTHING = """\
vaults:
  disk: {location: ./vault}
  other: {location: ./other}
audit:
  vault: disk
  spool: spool
  spool_size: 2GiB
  kafka:
    servers: [kafka1:9092, "[::1]:9092"]
    topic: registry
    dead_letter_topic: registry.lost
    security: SASL_SSL
    mechanism: SCRAM-SHA-512
    user: ann
    password: file:/run/secrets/kafka
    ca: ca.pem
    cert: cert.pem
    key: key.pem
    client: kafka-python
  serve: {listen: "0.0.0.0:8099", token: env:T, tls_cert: c.pem, tls_key: k.pem, client_ca: a.pem,
          body_cap: 4MiB, spool_size: 1GiB, kafka: {servers: []}, signals: true, auth_failures: 2,
          pull_p95: 900, min_requests: 20, mass_deletion: 9, learning: 3d, registry_interval: 30s,
          registry_metrics: ["http://127.0.0.1:5001"], registry_endpoint: regvault}
  tail: {paths: ["/var/log/*.log", "-"], format: nginx, follow: true, state: tail}
  ship: {follow: true}
  archive: {group: g, segment: 15m, follow: true, vault: other, kafka: {user: reader}}
  replay: {since: 2 days ago, until: "2026-11-20"}
  query: {spool: [spool], repo: ["team/*"], tag: [v1], digest: [sha256:HEX], exact: true,
          actor: [ci], address: [10.0.0.7], action: [pull], status: [4xx], since: 7 days ago,
          until: "2026-11-20", who_pulled: sha256:HEX, blast_radius: sha256:HEX, timeline: true,
          separate: true, csv: true, limit: 3, newest: 3}
  access: {repo: ["team/*"], digest: [sha256:HEX], idle_for: 90d, aside: [0123456789abcdef01234567],
           csv: true}
  ignore: [agent=mirror/*]
  verify: {vault_at: 3 days ago}
  status: {spool: [spool], registry_metrics: ["http://127.0.0.1:5001"], registry_endpoint: r}
  signals: {follow: true, listen: "127.0.0.1:9099", auth_failures: 0.5, pull_p95: 900,
            min_requests: 20, mass_deletion: 9, learning: 3d, registry_interval: 30s,
            registry_metrics: ["http://127.0.0.1:5001"], registry_endpoint: regvault}
  forget: {keep_for: 400d}
  erase: {vault: other}
""".replace("HEX", "ab" * 32)


def commands() -> dict[str, AuditCommand]:
    found = {name: audit.get_command(click.Context(audit), name) for name in audit.lazy}
    assert all(isinstance(each, AuditCommand) for each in found.values())
    return found  # type: ignore[return-value]


def flags() -> list[tuple[str, str]]:
    every = [(name, flag) for name, each in commands().items() for flag in each.flags().values()]
    return [(name, flag) for name, flag in every if flag not in ELSEWHERE]


def test_every_option_of_every_command_has_a_key() -> None:
    assert len(flags()) > 70
    assert [each for each in flags() if key_of(*each) is None] == []


def test_every_key_is_of_an_option() -> None:
    known: dict[str, set[tuple[str, ...] | None]] = {}
    for command, flag in flags():
        known.setdefault(command, set()).add(key_of(command, flag))
    for command in commands():
        section: Any = Audit.model_fields[command].annotation
        for name in section.__args__[0].model_fields:
            keys = known[command]
            assert (name,) in keys or (name == "kafka" and ("kafka", "servers") in keys), name


def test_a_configuration_with_everything_says_something_to_every_option() -> None:
    found = parse_config(EVERYTHING, "/etc/regvault/regvault.yaml").audit
    for command, flag in flags():
        value = found.value(command, flag)
        if (command, flag) == ("archive", "spool"):  # there is Kafka
            assert value is None
        else:
            assert value is not None, (command, flag)


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("serve", "spool", "/etc/regvault/spool"),
        ("serve", "spool_size", 1 << 30),
        ("ship", "spool_size", 2 << 30),
        ("serve", "kafka", []),
        ("serve", "token", "env:T"),
        ("serve", "tls_cert", "/etc/regvault/c.pem"),
        ("ship", "kafka", ["kafka1:9092", "[::1]:9092"]),
        ("ship", "kafka_password", "file:/run/secrets/kafka"),
        ("ship", "kafka_key", "/etc/regvault/key.pem"),
        ("ship", "kafka_user", "ann"),
        ("archive", "kafka_user", "reader"),
        ("archive", "topic", "registry"),
        ("archive", "segment", 900.0),
        ("archive", "kafka_client", "kafka-python"),
        ("forget", "keep_for", 400 * 86_400.0),
        ("archive", "vault", "other"),
        ("query", "vault", "disk"),
        ("tail", "paths", ["/var/log/*.log", "-"]),
    ],
)
def test_the_section_of_a_command_comes_before_what_is_shared(
    command: str, flag: str, value: object
) -> None:
    found = parse_config(EVERYTHING, "/etc/regvault/regvault.yaml").audit
    assert found.value(command, flag) == value


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("audit: {spol: x}", (1, 9, "audit.spol"), "Did you mean 'spool'?"),
        ("audit: {serve: {lisen: x}}", (1, 17, "audit.serve.lisen"), "'listen'"),
        ("audit: {kafka: {server: [x]}}", (1, 17, "audit.kafka.server"), "'servers'"),
        ("audit: {kafka: {servers: k:9092}}", (1, 26, "audit.kafka.servers"), "a list"),
        ("audit: {kafka: {servers: [k]}}", (1, 27, "audit.kafka.servers.0"), "HOST:PORT"),
        ("audit: {kafka: {mechanism: X}}", (1, 28, "audit.kafka.mechanism"), "'PLAIN'"),
        ("audit: {kafka: {key: k.pem}}", (1, 17, "audit.kafka.key"), "cert"),
        ("audit: {spool_size: 1}", (1, 21, "audit.spool_size"), "1048576"),
        ("audit: {serve: {token: sesame}}", (1, 24, "audit.serve.token"), "never written here"),
        ("audit: {serve: {tls_cert: c}}", (1, 9, "audit.serve"), "go together"),
        ("audit: {tail: {follow: 3}}", (1, 24, "audit.tail.follow"), "boolean"),
        ("audit: {tail: {format: x}}", (1, 24, "audit.tail.format"), "'nginx'"),
        ("audit: {archive: {segment: 2h}}", (1, 28, "audit.archive.segment"), "3600"),
        ("audit: {query: {digest: [x]}}", (1, 26, "audit.query.digest.0"), "no digest"),
        ("audit: {vault: nowhere}", (1, 9, "audit.vault"), "no vault 'nowhere'"),
        ("audit: {erase: {month: 2026-11}}", (1, 17, "audit.erase.month"), "no such setting"),
        (
            "audit: {archive: {spool: s, kafka: {servers: [k:1]}}}",
            (1, 19, "audit.archive.spool"),
            "a spool too",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    text: str, place: tuple[int, int, str], words: str, capsys: Captured
) -> None:
    with pytest.raises(InvalidConfigurationError, match=re.escape(words)) as caught:
        parse_config(text, "regvault.yaml")
    assert [(p.line, p.column, p.path) for p in caught.value.problems] == [place]
    assert "sesame" not in str(caught.value)
    Path("regvault.yaml").write_text(text)
    assert run(["audit", "status"]) == 2
    assert f"regvault.yaml:{place[0]}:{place[1]}: {place[2]}" in capsys.readouterr().err
    # Help is there also then.
    assert run(["audit", "serve", "--help"]) == 0


def test_the_formats_are_those_of_the_command() -> None:
    (option,) = [p for p in commands()["tail"].params if p.name == "form"]
    assert isinstance(option.type, click.Choice)
    annotation: Any = Audit.model_fields["tail"].annotation
    told = annotation.__args__[0].model_fields["format"].annotation.__args__[0].__args__
    assert list(told) == list(option.type.choices)


LINE = (
    '10.0.0.7 - ann [20/Nov/2026:03:00:00 +0000] "GET /v2/team/app/manifests/v1 HTTP/1.1" '
    '200 419 "-" "docker/27"\n'
)


def test_from_a_log_to_an_answer_with_nothing_but_a_configuration(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("access.log").write_text(LINE)
    Path("regvault.yaml").write_text(
        "vaults: {disk: {location: ./vault}, other: {location: ./other}}\n"
        "audit: {spool: spool, vault: disk, tail: {paths: ['*.log'], format: nginx},\n"
        "        query: {repo: ['team/*']}, status: {spool: [spool]}}\n"
    )
    assert run(["init", "disk"]) == 0
    assert run(["init", "other"]) == 0
    assert run(["audit", "tail"]) == 0
    assert run(["audit", "archive"]) == 0
    capsys.readouterr()
    assert run(["audit", "query", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["source"] == "nginx"
    # A flag wins, and of what may be repeated it stands for all.
    assert run(["audit", "query", "--json", "--repo", "other/*"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["audit", "query", "--json", "--vault", "other"]) == 0
    assert capsys.readouterr().out == ""
    # The environment comes before the file, after the flag.
    monkeypatch.setenv("REGVAULT_VAULT", "other")
    assert run(["audit", "query", "--json"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["audit", "query", "--json", "--vault", "disk"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.delenv("REGVAULT_VAULT")
    assert run(["audit", "status", "--json"]) == 0
    (spool,) = json.loads(capsys.readouterr().out)["spools"]
    assert spool["directory"] == str(Path("spool").absolute())
    assert run(["audit", "verify"]) == 0


def test_a_spool_that_is_given_is_archived_although_kafka_is_configured(capsys: Captured) -> None:
    Path("regvault.yaml").write_text(
        "vaults: {disk: {location: ./vault}}\n"
        "audit: {kafka: {servers: ['127.0.0.1:1'], topic: t}}\n"
    )
    Spool("spool")
    assert run(["init", "disk"]) == 0
    assert run(["audit", "archive", "--spool", "spool"]) == 0
    arguments = ["audit", "archive", "--spool", "spool", "--kafka", "127.0.0.1:1"]
    assert run([*arguments, "--topic", "t"]) == 2
    assert "Archive one of them" in capsys.readouterr().err


def test_a_configured_spool_gives_way_to_kafka_that_is_given(capsys: Captured) -> None:
    Path("regvault.yaml").write_text(
        "vaults: {disk: {location: ./vault}}\naudit: {archive: {spool: spool}}\n"
    )
    Spool("spool")
    assert run(["init", "disk"]) == 0
    assert run(["audit", "archive", "--kafka", "127.0.0.1:1"]) == 2
    assert "nothing to archive is named" in capsys.readouterr().err


def test_config_check_shows_what_is_configured_and_no_secret(capsys: Captured) -> None:
    Path("vault").mkdir()
    Path("regvault.yaml").write_text(EVERYTHING)
    assert run(["config", "check", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["audit"]
    assert shown["kafka.password"] == "file:/run/secrets/kafka"
    assert shown["serve.spool_size"] == 1 << 30
    assert run(["config", "check"]) == 0
    assert 'audit.kafka.user: "ann"' in capsys.readouterr().out


def test_other_commands_do_not_ask_the_configuration() -> None:
    Path("regvault.yaml").write_text("audit: {spol: x}")
    assert run(["demo", "--help"], App()) == 0
