"""What the audit commands print and refuse: hostile names, filters that can match nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from events import body, digest

from regvault.audit.spool import Spool
from regvault.cli.app import App
from regvault.cli.audit_pullers import show_pullers
from regvault.cli.commands import audit_erase
from regvault.cli.commands.audit_status import _show_chain, _show_registry
from regvault.cli.main import run
from regvault.ops.audit.gaps import RegistryStatus
from regvault.ops.audit.query import Events
from regvault.ops.audit.select import Wanted
from regvault.ops.audit.status import ChainStatus
from regvault.storage.local import LocalStore
from regvault.vault.audit.months import Months
from regvault.vault.vault import Vault

FORGED = "ann\n2026-11-20 03:00:00 UTC  delete   team/app  bob 10.0.0.9\r\t\x1b[2K"
NOBODY = ["--kafka", "127.0.0.1:1", "--topic", "t"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)


def put(*events):
    Spool("spool").append([body(number, **more) for number, more in enumerate(events)])


def asked(capsys, *options, code=0):
    capsys.readouterr()
    assert run(["audit", "query", "--spool", "spool", *options]) == code
    return capsys.readouterr()


HOSTILE = ("actor", "address", "repository", "tag", "digest", "useragent", "reason", "signal")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("options", [(), ("--csv",), ("--who-pulled",), ("--blast-radius",)])
def test_what_comes_from_outside_is_no_line_of_its_own(capsys, name, options):
    put({name: FORGED, "status": 200})
    if options in {("--who-pulled",), ("--blast-radius",)}:
        options = (*options, digest(0), "--exact")
        if name == "digest":
            return
    out = asked(capsys, *options).out
    assert len(out.splitlines()) == (2 if options == ("--csv",) else 1)
    assert "\x1b" not in out
    assert "\t" not in out


def test_a_raw_line_of_a_log_is_no_line_of_its_own(capsys):
    put({"action": "log", "raw": FORGED + "x" * 200})
    (line,) = asked(capsys).out.splitlines()
    assert "(ann\\n2026-11-20" in line
    assert "x" * 100 not in line


def test_status_says_what_registries_and_chains_say_in_one_line(capsys):
    app = App()
    _show_registry(app, RegistryStatus(FORGED))
    _show_chain(app, ChainStatus("a", stream={"topic": FORGED}))
    _show_chain(app, ChainStatus("a", problem=FORGED))
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert len(told.err.splitlines()) == 2


@pytest.mark.parametrize("begin", "=+-@\t\r")
def test_a_cell_is_no_formula(capsys, begin):
    put({"actor": f"{begin}HYPERLINK(1)", "tag": f"{begin}x", "status": 200})
    for options in (["--csv"], ["--csv", "--who-pulled", digest(0), "--exact"]):
        (row,) = csv.DictReader(io.StringIO(asked(capsys, *options).out))
        assert row["actor"].startswith("'")
        assert row.get("tag", row.get("tags")).startswith("'")


def test_columns_are_added_at_the_end(capsys):
    put({"reason": "why", "duration_ms": 12.5, "reconstructed": True})
    (row,) = csv.reader(io.StringIO(asked(capsys, "--csv").out.splitlines()[1]))
    assert row[0].startswith("2026-11-20T")
    assert row[8:] == ["test", "secret-agent/1", "12.5", "why", "True"]
    assert asked(capsys, "--csv", "--who-pulled", digest(6)).out.startswith("actor,address,pulls")


def test_logs_and_signals_say_what_they_are_about(capsys):
    put(
        {"action": "log", "raw": "disk is slow"},
        {"action": "log", "reason": "a panic", "raw": "x"},
        {"action": "signal", "signal": "mass-deletion", "state": "begin", "reason": "60 of them"},
    )
    log, other, noticed = asked(capsys).out.splitlines()
    assert log.endswith("(disk is slow)")
    assert other.endswith("(a panic)")
    assert noticed.endswith("mass-deletion begin (60 of them)")


ASKED = "(only asked how to log in)"
REFUSED = {"action": "login", "status": 401, "repository": None, "digest": None}


@pytest.mark.parametrize(
    ("more", "asks"),
    [
        ({"source": "nginx", "actor": None}, True),
        ({"source": "nginx", "actor": "ann"}, False),
        ({"source": "nginx", "actor": None, "status": 403}, False),
        ({"source": "nginx", "actor": None, "repository": "team/app"}, False),
        ({"source": "token", "actor": None}, False),
        ({"source": "harbor-log", "actor": None, "method": None}, False),
    ],
)
def test_what_only_asks_how_to_log_in_is_no_failed_login(capsys, more, asks):
    put({**REFUSED, **more})
    (line,) = asked(capsys, "--action", "login").out.splitlines()
    assert (ASKED in line) == asks


@pytest.mark.parametrize(
    ("reason", "actor", "asks"),
    [
        ("authorization token required", None, True),
        ("authorization token required", "ann", False),
        ("authentication failure", None, False),
    ],
)
def test_of_several_records_the_registrys_says_whether_it_was_only_asked(
    capsys, reason, actor, asks
):
    both = {**REFUSED, "request_id": "r"}
    put(
        {**both, "source": "nginx", "actor": actor},
        {**both, "source": "distribution-log", "actor": None, "reason": reason},
    )
    (line,) = asked(capsys).out.splitlines()
    assert (ASKED in line) == asks


def test_of_a_month_that_was_erased_nobody_knows_who_only_asked(capsys, monkeypatch):
    assert run(["init", "./vault"]) == 0
    put({**REFUSED, "source": "nginx"})
    assert run(["audit", "archive", "--spool", "spool", "--vault", "./vault"]) == 0
    Months(Vault(LocalStore("vault"))).erase(time.strftime("%Y-%m", time.gmtime()))
    capsys.readouterr()
    assert run(["audit", "query", "--vault", "./vault"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert ASKED not in line


def test_the_newest_are_the_last(capsys):
    put(*({"status": 200} for _ in range(9)))

    def ids(*options):
        out = asked(capsys, "--json", *options).out
        return [json.loads(line)["id"] for line in out.splitlines()]

    assert ids("--newest", "2") == ["e7", "e8"]
    assert ids("--limit", "2") == ["e0", "e1"]
    assert ids("--newest", "20") == ids()
    asked(capsys, "--newest", "2", "--limit", "2", code=2)
    Path("regvault.yaml").write_text("audit: {query: {limit: 3}}\n")
    assert ids("--newest", "2") == ["e7", "e8"]
    Path("regvault.yaml").write_text("audit: {query: {newest: 3}}\n")
    assert ids("--limit", "2") == ["e0", "e1"]


def test_csv_and_json_exclude_each_other(capsys):
    put({})
    told = asked(capsys, "--csv", "--json", code=2)
    assert "--csv and --json" in json.loads(told.out)["error"]["message"]
    assert run(["audit", "access", "--csv", "--json", "--vault", "./vault"]) == 2
    assert "--csv and --json" in capsys.readouterr().out
    Path("regvault.yaml").write_text("audit: {query: {csv: true}}\n")
    assert json.loads(asked(capsys, "--json").out)["id"] == "e0"


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--address", "nonsense"], "10.0.0.7"),
        (["--address", "10.0.0.7:80"], "without a port"),
        (["--status", "999"], "400-499"),
        (["--status", "499-400"], "400-499"),
        (["--status", "9xx"], "400-499"),
        (["--since", "2026-11-20", "--until", "2026-11-20"], "before --until"),
        (["--since", "2026-11-21", "--until", "2026-11-20"], "before --until"),
        (["--repo", "team/app:v1"], "--tag"),
        (["--repo", "team/app@sha256:12"], "--digest"),
    ],
)
def test_what_can_match_nothing_is_an_error(capsys, options, hint):
    put({})
    assert hint in asked(capsys, *options, code=2).err.partition("Hint: ")[2]


def test_what_can_match_is_asked(capsys):
    put({"status": 404, "address": "2001:db8::7"})
    for options in (
        ["--address", "2001:db8::7", "--status", "4xx", "--status", "0-599"],
        ["--since", "2026-11-19", "--until", "2026-11-21", "--repo", "team/*"],
    ):
        assert len(asked(capsys, *options).out.splitlines()) == 1


def test_replay_and_access_refuse_what_can_match_nothing(capsys):
    options = ["--since", "2026-11-21", "--until", "2026-11-20", "--vault", "./vault"]
    assert run(["audit", "replay", *NOBODY, *options]) == 2
    assert "before --until" in capsys.readouterr().err
    assert run(["audit", "access", "--vault", "./vault", "--repo", "team/app:v1"]) == 2
    assert "--digest" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_a_replay_that_reaches_no_kafka_says_what_to_do_and_nothing_of_a_spool(capsys):
    assert run(["init", "./vault"]) == 0
    capsys.readouterr()
    options = ["--since", "2026-11-20", "--vault", "./vault", "--yes"]
    assert run(["audit", "replay", *NOBODY, *options]) == 6
    hint = capsys.readouterr().err.partition("Hint: ")[2]
    assert "run the same command again" in hint
    assert "with the same ids" in hint
    assert "spool" not in hint


def test_what_has_no_dry_run_does_not_name_it(capsys, monkeypatch):
    assert run(["init", "./vault"]) == 0
    options = ["--since", "2026-11-20", "--vault", "./vault"]
    assert run(["audit", "replay", *NOBODY, *options]) == 2
    assert capsys.readouterr().err.endswith("Hint: Give --yes.\n")
    put({})
    assert run(["audit", "archive", "--spool", "spool", "--vault", "./vault"]) == 0
    (month,) = (path.stem for path in Path("vault/erasable").glob("*.json"))
    capsys.readouterr()
    later = time.time_ns() + 40 * 86_400 * 10**9  # the month is over
    monkeypatch.setattr(audit_erase, "time", SimpleNamespace(time_ns=lambda: later))
    assert run(["audit", "erase", month, "--vault", "./vault"]) == 2
    assert capsys.readouterr().err.endswith("Hint: Give --yes.\n")


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "é", "x" * 250])
def test_a_topic_that_kafka_does_not_allow_is_named(capsys, name):
    Spool("spool")
    options = ["--kafka", "127.0.0.1:1", "--topic"]
    for command in (["ship", "--spool", "spool"], ["archive", "--vault", "./v"], ["query"]):
        assert run(["audit", *command, *options, name]) in {2, 10}
    assert run(["audit", "ship", "--spool", "spool", *options, name]) == 2
    assert "is no name of a topic" in capsys.readouterr().err
    more = ["t", "--dead-letter-topic", name]
    assert run(["audit", "ship", "--spool", "spool", *options, *more]) == 2
    assert "--dead-letter-topic" in capsys.readouterr().err


@pytest.fixture
def impatient(monkeypatch):
    """Where nobody listens that is known after a second, in place of ten."""
    for module in ("consumer", "producer"):
        monkeypatch.setattr(f"regvault.audit.kafka.{module}._CONNECT_MS", 1000)


@pytest.mark.usefixtures("impatient")
def test_without_kafka_the_other_places_answer(capsys):
    put({})
    Path("regvault.yaml").write_text(
        "audit: {kafka: {servers: ['127.0.0.1:1'], topic: t, client: kafka-python}}\n"
    )
    told = asked(capsys, code=3)
    assert len(told.out.splitlines()) == 1
    assert "Warning: Kafka at 127.0.0.1:1" in told.err
    assert "--no-kafka" in told.err
    assert "Nothing is lost" not in told.err
    told = asked(capsys, "--no-kafka")
    assert len(told.out.splitlines()) == 1
    assert not told.err
    asked(capsys, "--no-kafka", *NOBODY, code=2)
    # Where nobody else can answer it is no answer.
    assert run(["audit", "query"]) == 6
    told = capsys.readouterr()
    assert "Nothing is lost" not in told.err
    assert "can this host reach it" in told.err


@pytest.mark.parametrize("command", ["query", "status", "signals"])
def test_who_looks_at_a_spool_makes_none(capsys, command):
    Path("empty").mkdir()
    Path("file").write_text("x")
    for place in ("nowhere", "empty", "file"):
        assert run(["audit", command, "--spool", place]) == 10
        assert f"{place} is no spool" in capsys.readouterr().err
    assert not Path("nowhere").exists()
    assert not list(Path("empty").iterdir())
    Spool("spool")
    assert run(["audit", command, "--spool", "spool"]) == 0


def test_who_archives_a_spool_makes_none(capsys):
    assert run(["init", "./vault"]) == 0
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/file").write_text("x")
    for place in ("empty", "other"):
        before = sorted(Path(place).iterdir())
        archive = ["audit", "archive", "--spool", place, "--vault", "./vault"]
        assert run(archive) == 10
        told = capsys.readouterr().err
        assert f"{place} is no spool" in told
        assert "Hint: Name the --spool" in told
        assert sorted(Path(place).iterdir()) == before
    Spool("spool")
    assert run(["audit", "archive", "--spool", "spool", "--vault", "./vault"]) == 0


def test_pullers_of_a_layer_are_rows_with_their_images(capsys):
    put({"status": 200, "tag": "v1"})
    app = App()
    events = Events(
        None, [lambda: iter([json.loads(r.data) for r in Spool("spool").reader().read()])]
    )
    wanted = Wanted(digests=frozenset({digest(0)}))
    assert show_pullers(app, events, wanted, by_image=True, as_csv=True) == 1
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["digest"], row["tags"]) == (digest(0), "v1")


def wait_until_at_rest(pid):
    """Wait until a process has started, and does little more than wait; ten seconds at most."""
    before = -100
    for _ in range(10):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if int(caught[1], 16) >> (signal.SIGTERM - 1) & 1 and ticks - before <= 10:
            return
        before = ticks
        time.sleep(1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["archive", "--follow", "--spool", "spool", "--vault", "./vault"],
        ["signals", "--follow", "--spool", "spool"],
        ["tail", "--follow", "--spool", "spool", "x.log"],
        ["ship", "--follow", "--spool", "spool", *NOBODY],
        ["serve", "--listen", "127.0.0.1:0", "--spool", "spool"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_told_to_end_says_that_and_no_error(arguments):
    assert run(["init", "./vault"]) == 0
    Path("x.log").touch()
    Spool("spool")
    command = [sys.executable, "-m", "regvault", "audit", *arguments]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        try:
            wait_until_at_rest(process.pid)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 143
    assert told.endswith("Stopped by SIGTERM.\n")
    assert "Error" not in told


def test_a_copy_that_lacks_events_has_not_all_of_it(capsys):
    for name in ("vault", "other"):
        assert run(["init", f"./{name}"]) == 0
    put({})
    assert run(["audit", "archive", "--spool", "spool", "--vault", "./vault"]) == 0
    copy = ["copy", "--from", "./vault", "--to", "./other"]
    for words, *options in (
        ("has all snapshots.", "--dry-run"),
        ("has all snapshots.",),
        ("has all of it.", "--dry-run"),
    ):
        capsys.readouterr()
        assert run([*copy, *options]) == 0
        out = capsys.readouterr().out
        assert words in out
        assert ("1 archived event" in out) == ("snapshots" in words)
