"""What registries counted against what came; and events of signals and gaps in the archive."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from events import archive, archived, new_vault

from regvault.audit.gaps.watch import GapWatch
from regvault.audit.intake import body_of
from regvault.audit.signals.signal import Signal
from regvault.audit.spool import Spool
from regvault.cli.main import run
from regvault.model.event import new_event, time_text
from regvault.ops.audit.gaps import registry_statuses


class Debug(HTTPServer):
    """A registry's debug server that says what it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Page)
        self.started = time.time()
        self.events = self.successes = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        numbers = {"Events": server.events, "Successes": server.successes}
        lines = [f"process_start_time_seconds {server.started}"]
        for kind, number in numbers.items():
            labels = f'endpoint="regvault",type="{kind}"'
            lines.append(f"registry_notifications_events_total{{{labels}}} {number}")
        waiting = server.events - server.successes
        lines.append(f'registry_notifications_pending_total{{endpoint="regvault"}} {waiting}')
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write("\n".join(lines).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with Debug() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "spool"))


def notified(spool, registry, first, count):
    bodies = []
    for n in range(first, first + count):
        event = new_event(time_text(time.time_ns()), "pull", "distribution", "{}", method="GET")
        bodies.append(body_of({**event, "id": f"n{n}"}))
    spool.append(bodies)
    registry.events += count
    registry.successes += count


def dies(registry):
    registry.started += 100
    registry.events = registry.successes = 0


def test_the_status_of_a_registry_is_told_and_its_gap_put_into_the_spool_once(spool, registry):
    (found,) = registry_statuses(spool, [registry.url])
    assert (found.events, found.gaps, found.recent) == (0, [], False)
    notified(spool, registry, 0, 10)
    registry.events += 50
    (found,) = registry_statuses(spool, [registry.url])
    assert (found.events, found.delivered, found.waiting, found.here) == (60, 10, 50, 10)
    dies(registry)
    for _ in range(2):
        (found,) = registry_statuses(spool, [registry.url])
        assert [gap["missing"] for gap in found.gaps] == [50]
        assert found.recent
    assert [event["action"] for event in _all(spool)].count("gap") == 1


def test_while_another_process_watches_its_findings_are_told(spool, registry):
    registry_statuses(spool, [registry.url])
    registry.events += 7
    registry_statuses(spool, [registry.url])
    dies(registry)
    watch = GapWatch(spool, [registry.url], grace_s=0.0)
    watch.once()
    (found,) = registry_statuses(spool, [registry.url])
    assert [gap["missing"] for gap in found.gaps] == [7]
    watch.follower.close()


def test_a_registry_that_does_not_answer_is_said_and_its_past_is_kept(spool, registry):
    registry_statuses(spool, [registry.url])
    registry.events += 7
    gone = "http://127.0.0.1:1"
    first, second = registry_statuses(spool, [registry.url, gone])
    assert (first.problem, first.waiting) == (None, 7)
    assert "cannot read" in second.problem


def test_the_command_ends_with_3_while_a_gap_is_young(spool, registry, capsys):
    words = ["--json", "audit", "status", "--spool", spool.directory]
    ask = [*words, "--registry-metrics", registry.url]
    assert run(ask) == 0
    registry.events += 3
    assert run(ask) == 0
    dies(registry)
    capsys.readouterr()
    assert run(ask) == 3
    (found,) = json.loads(capsys.readouterr().out)["registries"]
    assert found["gaps"][0]["missing"] == 3
    assert run(words) == 0
    assert run([*ask, "--spool", str(spool.directory)]) == 2
    assert run([*words, "--registry-metrics", "nonsense"]) == 2


def test_signals_gaps_and_stand_ins_are_archived_as_they_are(spool):
    now = time.time()
    about = {"repository": "team/app", "tag": "v1", "actor": "eve", "address": "10.0.0.7"}
    signal = Signal("tag-new-actor", now, ("x",), "somebody new", about={**about, "raw": "{}"})
    lasting = Signal("auth-failures", now, ("y",), "2 %", "begin", 0.02, 0.01, now - 60)
    span = {"from": "2026-11-20T03:00:00.000000Z", "to": "2026-11-20T03:01:00.000000Z"}
    gap = new_event(time_text(time.time_ns()), "gap", "regvault", "{}", missing=50, **span)
    stand_in = {
        **new_event(time_text(time.time_ns()), "pull", "nginx", "{}", reconstructed=True, **about),
        "id": "s",
    }
    spool.append([body_of(e) for e in (signal.event(), lasting.event(), {**gap, "id": "g"})])
    spool.append([body_of(stand_in)])
    vault = new_vault()
    archive(spool.directory, vault)
    assert archived(vault) == sorted(_all(spool), key=lambda event: event["time"])
    found = {event["action"]: event for event in archived(vault)}
    assert (found["gap"]["missing"], found["gap"]["from"]) == (50, span["from"])
    assert found["pull"]["reconstructed"] is True


def _all(spool):
    return [json.loads(record.data) for record in spool.reader().read(1000)]
