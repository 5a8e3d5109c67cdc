"""Signals and gaps of real registries: what they do, what they lose when they are killed."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from programs import program
from receiving import Receiver, wait_for
from servers import Registry, free_port
from streams import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kafka_broker import KafkaBroker
    from regvault_cli import Cli
    from servers import RegistryVersion

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
#: Of `ci-secret` and `eve-secret`.
PASSWORDS = """\
ci:$2y$05$abcdefghijklmnopqrstuugWjyqo97wP4YlRBSV4VJUtofdT33kWi
eve:$2y$05$abcdefghijklmnopqrstuuD6CTvRnO6ygPYFjpeoSbv2Oy0e2fDS2
"""
HERE = "127.0.0.1"
#: Another network, by the first 24 bits of its addresses.
ELSEWHERE = "127.9.9.9"


class Client:
    """A client of a registry's API, at an address, perhaps with a password."""

    def __init__(self, registry: Registry, user: str = "", *, at: str = HERE) -> None:
        self.registry = registry
        self.at = at
        self.headers: dict[str, str] = {}
        if user:
            word = base64.b64encode(user.encode()).decode()
            self.headers["Authorization"] = f"Basic {word}"

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "", pause: float = 0
    ) -> tuple[int, str]:
        """Return the status, and the location that the answer names."""
        source = (self.at, 0)
        connection = http.client.HTTPConnection(
            HERE, self.registry.port, timeout=30, source_address=source
        )
        headers = {**self.headers, "Accept": MANIFEST}
        if kind:
            headers["Content-Type"] = kind
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            time.sleep(pause)
            answer.read()
            return answer.status, answer.headers.get("Location", "")
        finally:
            connection.close()

    def push_blob(self, content: bytes, name: str = "team/app") -> str:
        _, location = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        place = urlsplit(location)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = f"{place.path}?{place.query}&digest={digest}"
        assert self.ask("PUT", path, content, "application/octet-stream")[0] == 201
        return digest

    def push(self, tag: str, content: bytes, name: str = "team/app") -> str:
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": self.push_blob(content, name),
            "size": len(content),
        }
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
        body = json.dumps(document).encode()
        assert self.ask("PUT", f"/v2/{name}/manifests/{tag}", body, MANIFEST)[0] == 201
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def pull(self, reference: str, name: str = "team/app") -> None:
        assert self.ask("GET", f"/v2/{name}/manifests/{reference}")[0] == 200


def notifying(version: RegistryVersion, port: int, tmp_path: Path, **more: Any) -> Registry:
    """A registry that tells a port of everything, and says what it counted."""
    endpoint = {
        "name": "regvault",
        "url": f"http://127.0.0.1:{port}/events",
        "timeout": "500ms",
        "threshold": 3,
        "backoff": "300ms",
    }
    debug = {"addr": f"127.0.0.1:{free_port()}", "prometheus": {"enabled": True}}
    return Registry(
        version,
        storage=tmp_path / "registry",
        state=tmp_path,
        settings={
            "http": {"debug": debug},
            "notifications": {"endpoints": [endpoint]},
            **more,
        },
    )


def debug_url(registry: Registry) -> str:
    return f"http://{registry.settings['http']['debug']['addr']}"


class Killed:
    """A registry that was killed with 50 notifications in its memory, and started anew."""

    def __init__(self, version: RegistryVersion, cli: Cli, tmp_path: Path) -> None:
        self.cli = cli
        self.spool = tmp_path / "spool"
        self.port = free_port()
        self.registry = notifying(version, self.port, tmp_path).start()
        receiver = self.receiver()
        client = Client(self.registry)
        client.push("v1", b"one")
        for _ in range(50):
            client.pull("v1")
        wait_for(lambda: self.status(expect=0)["here"] == 52)
        receiver.stop()
        for _ in range(50):
            client.pull("v1")
        assert self.status(expect=0)["waiting"] == 50
        self.registry.kill()
        self.registry.start()

    def receiver(self, *options: str) -> Receiver:
        return Receiver(self.spool, "--listen", f"127.0.0.1:{self.port}", *options)

    def status(self, expect: int) -> dict[str, Any]:
        where = ("--spool", self.spool, "--registry-metrics", debug_url(self.registry))
        (found,) = self.cli("audit", "status", *where, expect=expect).document["registries"]
        known: dict[str, Any] = found
        return known

    def tail(self) -> None:
        logs = self.spool.parent.glob("registry-*.log")
        words = ("--spool", self.spool, "--format", "distribution")
        self.cli("audit", "tail", *words, *logs)

    def query(self, *words: str) -> list[dict[str, Any]]:
        return self.cli("audit", "query", "--spool", self.spool, *words).lines


@pytest.fixture(params=["3", "2.8"])
def killed(request: pytest.FixtureRequest, cli: Cli, tmp_path: Path) -> Iterator[Killed]:
    found = Killed(request.param, cli, tmp_path)
    yield found
    found.registry.stop()


def test_fifty_events_that_died_with_a_registry_are_a_gap(killed: Killed) -> None:
    receiver = killed.receiver()
    (gap,) = killed.status(expect=3)["gaps"]
    assert (gap["missing"], gap["reconstructed"]) == (50, 0)
    (event,) = killed.query("--action", "gap")
    assert (event["missing"], event["from"], event["to"]) == (50, gap["from"], gap["to"])
    pulls = killed.query("--action", "pull", "--repo", "team/app")
    assert len(pulls) == 50
    assert event["from"] <= event["to"]
    # Said once, and what comes after it is complete.
    client = Client(killed.registry)
    for _ in range(5):
        client.pull("v1")
    wait_for(lambda: killed.status(expect=3)["here"] == 5)
    assert len(killed.query("--action", "gap")) == 1
    # Its log is found later.
    killed.tail()
    (gap,) = killed.status(expect=0)["gaps"]
    assert (gap["missing"], gap["reconstructed"]) == (0, 50)
    receiver.stop()


def test_of_a_hundred_pulls_the_fifty_that_only_the_log_has_are_marked(killed: Killed) -> None:
    receiver = killed.receiver()
    killed.tail()
    (gap,) = killed.status(expect=0)["gaps"]
    assert (gap["missing"], gap["reconstructed"]) == (0, 50)
    assert killed.query("--action", "gap") == []
    pulls = killed.query("--action", "pull", "--repo", "team/app")
    assert len(pulls) == 100
    assert sum(bool(event.get("reconstructed")) for event in pulls) == 50
    assert len(killed.query("--action", "push", "--repo", "team/app")) == 2
    killed.status(expect=0)
    assert len(killed.query("--action", "pull", "--repo", "team/app")) == 100
    receiver.stop()


def test_a_watched_registry_that_is_killed_is_noticed_by_itself(cli: Cli, tmp_path: Path) -> None:
    port = free_port()
    spool = tmp_path / "spool"
    with notifying("3", port, tmp_path) as registry:
        Client(registry).push("v1", b"one")
        url = ("--registry-metrics", debug_url(registry), "--registry-interval", "1s")
        receiver = Receiver(spool, "--listen", f"127.0.0.1:{port}", "--signals", *url)
        wait_for(lambda: receiver.metric("regvault_audit_spool_next_seq") >= 3)
        name = "regvault_audit_registry_pending_events"
        wait_for(lambda: receiver.metric(name) == 0)
        receiver.stop()
        for _ in range(50):
            Client(registry).pull("v1")
        watch = cli.start("audit", "signals", "--follow", "--spool", spool, *url)
        time.sleep(4)
        registry.kill()
        registry.start()

        def gaps() -> list[dict[str, Any]]:
            return cli("audit", "query", "--spool", spool, "--action", "gap").lines

        wait_for(lambda: len(gaps()) == 1, 60)
        assert gaps()[0]["missing"] == 50
        watch.send_signal(signal.SIGTERM)
        cli.finish(watch)


def test_each_signal_is_raised_by_a_real_registry_and_comes_to_kafka(
    kafka_broker: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    port = free_port()
    spool = tmp_path / "spool"
    (tmp_path / "htpasswd").write_text(PASSWORDS)
    auth = {"htpasswd": {"realm": "x", "path": str(tmp_path / "htpasswd")}}
    options = ("--learning", "0", "--min-requests", "10", "--mass-deletion", "6")
    kafka = ("--kafka", kafka_broker.address(), "--topic", topic)
    receiver = Receiver(spool, "--listen", f"127.0.0.1:{port}", "--signals", *options, *kafka)
    with notifying("3", port, tmp_path, auth=auth) as registry:
        words = ("--spool", str(spool), "--format", "distribution", str(registry.log))
        tail = subprocess.Popen(
            [*receiver.process.args[:4], "tail", "--follow", *words], stderr=subprocess.DEVNULL
        )
        ci, eve = Client(registry, "ci:ci-secret"), Client(registry, "eve:eve-secret")
        for n in range(6):
            ci.push(f"v{n}", b"%d" % n, "team/old")
        ci.push("stable", b"good")
        ci.pull("stable")
        assert signals(kafka_broker, topic) == Counter()
        # Somebody else overwrites it; from elsewhere; it is slow; who are they; all is gone.
        eve.push("stable", b"bad")
        Client(registry, "ci:ci-secret", at=ELSEWHERE).pull("stable")
        large = ci.push_blob(bytes(24 << 20))
        for _ in range(9):
            ci.ask("GET", f"/v2/team/app/blobs/{large}", pause=0.6)
        for _ in range(12):
            assert Client(registry, "ci:guessed").ask("GET", "/v2/team/app/tags/list")[0] == 401
        for n in range(6):
            digest = ci.push(f"v{n}", b"%d" % n, "team/old")
            assert eve.ask("DELETE", f"/v2/team/old/manifests/{digest}")[0] == 202
        expected = {
            ("tag-new-actor", None): 1,
            ("new-network", None): 1,
            ("pull-latency", "begin"): 1,
            ("auth-failures", "begin"): 1,
            ("mass-deletion", "begin"): 1,
        }
        wait_for(lambda: signals(kafka_broker, topic).total() >= len(expected), 60)
        found = signals(kafka_broker, topic)
        assert {name: found[name] for name in expected} == expected
        tail.terminate()
        tail.wait()
    receiver.stop()
    by_name = {event["signal"]: event for event in events(kafka_broker, topic)}
    assert by_name["tag-new-actor"]["actor"] == "eve"
    assert by_name["new-network"]["address"] == ELSEWHERE
    assert by_name["mass-deletion"]["actor"] == "eve"


def events(broker: KafkaBroker, topic: str) -> list[dict[str, Any]]:
    found = [json.loads(record.value) for record in records(broker, topic)]
    return [each["data"] for each in found if each["type"] == "regvault.audit.signal"]


def signals(broker: KafkaBroker, topic: str) -> Counter[tuple[str, str | None]]:
    return Counter((each["signal"], each.get("state")) for each in events(broker, topic))


def test_the_alert_rules_are_raised_by_what_they_are_about(tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    rules = here.parents[1] / "docs" / "alerts" / "regvault-audit.rules.yml"
    test = tmp_path / "rules.test.yml"
    text = here.joinpath("regvault-audit.rules.test.yml").read_text()
    test.write_text(text.replace("[RULES]", json.dumps([str(rules)])))
    for words in (("check", rules), ("test", test)):
        done = subprocess.run(
            [program("promtool"), words[0], "rules", words[1]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
