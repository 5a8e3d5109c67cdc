"""What `doctor` says of a spool: it is looked at, and left as it was."""

from __future__ import annotations

import json
import os
import time

import pytest

pytest.importorskip("orjson", reason="of the extra `audit`")

from regvault.audit.intake import bodies_of
from regvault.audit.spool import Spool
from regvault.cli.app import App
from regvault.cli.doctor_stream import named_stream
from regvault.cli.main import run

OPTIONS = ("security", "mechanism", "user", "password", "ca", "cert", "key")
EVENT = {"events": [{"id": "x", "action": "pull", "target": {"repository": "team/app"}}]}


def looked(capsys, *arguments):
    code = run(["doctor", *arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    return code, {check["id"]: check for check in document["checks"]}


def filled(place):
    spool = Spool(str(place))
    for number in range(20):
        body = json.dumps(EVENT).encode()
        spool.append(bodies_of(body, {}, f"2026-11-20T03:00:{number:02}.000000Z"))
    return spool


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("regvault.config.search._FILES", ("regvault.yaml",))
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)


def files(place):
    return sorted(
        (os.path.join(where, name), os.stat(os.path.join(where, name)).st_size)
        for where, _, names in os.walk(place)
        for name in names
    )


def test_a_spool_is_looked_at_and_left_as_it_was(capsys, tmp_path, monkeypatch):
    spool = filled(tmp_path / "spool")
    before = files(tmp_path / "spool")
    code, found = looked(capsys, "--spool", str(tmp_path / "spool"))
    assert code == 3  # nobody takes events from it
    assert found["spool"]["state"] == "ok"
    assert found["spool-durable"]["state"] == "ok"
    assert found["spool-consumers"]["state"] == "warning"
    assert found["spool-damage"]["state"] == "ok"
    assert {check["subject"] for check in found.values()} == {"spool"}
    assert files(tmp_path / "spool") == before
    spool.cursor("kafka").register()
    _, found = looked(capsys, "--spool", str(tmp_path / "spool"), "--no-write")
    assert found["spool-durable"]["state"] == "skipped"
    assert found["spool-consumers"]["state"] == "ok"
    assert found["spool-consumers"]["found"] == "kafka: 20 events to go"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3 * 3600)
    _, found = looked(capsys, "--spool", str(tmp_path / "spool"), "--no-write")
    assert found["spool-consumers"]["state"] == "warning"
    assert "the oldest for kafka waits for 3 hours" in found["spool-consumers"]["found"]


def test_damage_is_an_error(capsys, tmp_path):
    filled(tmp_path / "spool").close()
    (segment,) = (tmp_path / "spool").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    code, found = looked(capsys, "--spool", str(tmp_path / "spool"))
    assert code == 3
    assert found["spool-damage"]["state"] == "error"


@pytest.mark.parametrize("there", [True, False])
def test_where_no_spool_is_none_is_made(capsys, tmp_path, there):
    if there:
        (tmp_path / "spool").mkdir()
    code, found = looked(capsys, "--spool", str(tmp_path / "spool"))
    assert (code, found["spool"]["state"]) == (10, "error")
    assert found["spool-durable"]["state"] == "skipped"
    assert os.path.isdir(tmp_path / "spool") == there
    assert not there or not os.listdir(tmp_path / "spool")


def test_the_spool_of_a_configuration_is_looked_at_with_its_limit(capsys, tmp_path):
    filled(tmp_path / "spool").close()
    (tmp_path / "regvault.yaml").write_text("audit: {spool: spool, spool_size: 1MiB}\n")
    _, found = looked(capsys)
    assert "of 1.0 MiB" in found["spool"]["found"]


@pytest.mark.parametrize(
    "section", ["kafka: {K}", "serve: {kafka: {K}}", "archive: {kafka: {K}, vault: /v}"]
)
def test_the_topic_is_found_wherever_it_is_configured(tmp_path, section):
    pytest.importorskip("kafka", reason="of the extra `audit`")
    kafka = "servers: ['k:1'], topic: t, dead_letter_topic: lost"
    (tmp_path / "regvault.yaml").write_text(f"audit: {{{section.replace('K', kafka)}}}")
    none = dict.fromkeys(["topic", "dead_letter_topic", *(f"kafka_{name}" for name in OPTIONS)])
    (topic,), spools = named_stream(App(), {"kafka": (), **none}, (), (), everything=True)
    assert (topic.location, topic.dead_letters) == ("t at k:1", "lost")
    assert (topic.vault is not None) == ("vault" in section)
    assert not spools
    # What is named is looked at instead.
    given = {"kafka": ("other:1",), **none, "topic": "u", "dead_letter_topic": "v"}
    (topic,), _ = named_stream(App(), given, (), (), everything=False)
    assert (topic.location, topic.dead_letters) == ("u at other:1", "v")


def test_kafka_without_a_topic_is_no_place_to_look_at(capsys):
    assert run(["doctor", "--kafka", "127.0.0.1:1"]) == 2
    assert "go together" in capsys.readouterr().err
