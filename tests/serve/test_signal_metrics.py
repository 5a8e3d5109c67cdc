"""What Prometheus is shown, and that the alert rules ask for what is there."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from receiving import Receiver, wait_for

from regvault.audit.spool import Spool
from regvault.model.event import time_text

RULES = Path(__file__).resolve().parents[2] / "docs" / "alerts" / "regvault-audit.rules.yml"


def line(status=401, user="bob", method="GET", path="/v2/", took="0.7"):
    now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    return f'10.0.0.7 - {user} [{now}] "{method} {path} HTTP/1.1" {status} 2 "-" "curl" {took}\n'


def notification(number, **more):
    return {
        "events": [
            {
                "id": f"00000000-0000-7000-8000-{number:012d}",
                "timestamp": time_text(time.time_ns()),
                "action": "pull",
                "target": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": "sha256:" + "ab" * 32,
                    "repository": "team/app",
                    **more.pop("target", {}),
                },
                "request": {"method": "GET", "addr": "10.0.0.7:4711", **more.pop("request", {})},
                **more,
            }
        ]
    }


def events(place, action):
    reader = Spool(str(place)).reader()
    found = [json.loads(record.data) for record in reader.read(100_000)]
    return [event for event in found if event["action"] == action]


def test_serve_notices_signals_beside_taking_events(tmp_path):
    place = tmp_path / "spool"
    receiver = Receiver(place, "--signals", "--learning", "0", "--mass-deletion", "5")
    try:
        for n in range(5):
            target = {"digest": f"sha256:{n:064x}", "repository": "team/app"}
            more = {"action": "delete", "actor": {"name": "eve"}}
            assert receiver.post(notification(n, target=target, **more)) == 202
        wait_for(lambda: events(place, "signal"))
        (signal,) = events(place, "signal")
        assert (signal["signal"], signal["actor"]) == ("mass-deletion", "eve")
        wait_for(lambda: receiver.metric('regvault_audit_signals_total{signal="mass-deletion"}'))
        assert receiver.metric('regvault_audit_signal_active{signal="mass-deletion"}') == 1
        assert receiver.metric('regvault_audit_watch_up{of="signals"}') == 1
        text = receiver.request("GET", "/metrics")[1].decode()
    finally:
        receiver.stop()
    shown = set(re.findall(r"^(regvault_audit_\w+?)(?:\{| )", text, re.MULTILINE))
    # What is there only once something was counted.
    shown |= {
        "regvault_audit_log_requests_total",
        "regvault_audit_auth_failures_total",
        "regvault_audit_pull_seconds_bucket",
        "regvault_audit_pull_seconds_count",
        "regvault_audit_registry_up",
        "regvault_audit_registry_pending_events",
    }
    assert set(re.findall(r"regvault_audit_\w+", RULES.read_text())) <= shown


def test_a_receiver_without_signals_has_none(tmp_path):
    receiver = Receiver(tmp_path / "spool")
    try:
        assert b"regvault_audit_signals" not in receiver.request("GET", "/metrics")[1]
    finally:
        receiver.stop()
    assert not (tmp_path / "spool" / "signals").exists()


@pytest.fixture
def follower(tmp_path):
    Spool(str(tmp_path / "spool"))  # who looks at one makes none
    words = ["audit", "signals", "--spool", str(tmp_path / "spool"), "--follow"]
    process = subprocess.Popen(
        [sys.executable, "-m", "regvault", *words, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=20)


def test_signals_beside_tail_have_numbers_of_their_own(tmp_path, follower):
    url = follower.stderr.readline().split(" at ")[1].strip()

    def metrics():
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    log = tmp_path / "access.log"
    log.write_text(line() * 150)
    command = [sys.executable, "-m", "regvault", "audit", "tail", "--spool"]
    subprocess.run([*command, str(tmp_path / "spool"), str(log)], check=True, capture_output=True)
    wait_for(lambda: 'regvault_audit_signal_active{signal="auth-failures"} 1.0' in metrics())
    text = metrics()
    assert "regvault_audit_spool_limit_bytes 8.589934592e+09" in text
    assert re.search(r'regvault_audit_auth_failures_total\{source="\w+"\} 150.0', text)
    (signal,) = events(tmp_path / "spool", "signal")
    assert (signal["signal"], signal["state"]) == ("auth-failures", "begin")
