"""What real parts say of one request is one event: registry, its log, nginx and HAProxy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from images import layer
from programs import program
from proxies import HAProxy, Nginx, Relay
from receiving import Receiver, wait_for
from servers import Registry

from regvault.audit.joining import WINDOW_S
from regvault.audit.spool import Reader
from regvault.ops.audit.live import in_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regvault_cli import Cli

#: `pw` by bcrypt, at a cost of 4.
HASH = "$2b$04$TkFyjk4SXf.IipyP.8qiFeTB5BKqcEoZGBRVjsIGyKdj6xg7W1LPu"
USERS = ("alice", "bob")


class Client:
    """crane of one user, at one address of a registry."""

    def __init__(self, directory: Path, host: str, user: str, password: str = "pw") -> None:
        self.host = host
        self._home = directory / f"{user}-{password}-{host.rpartition(':')[2]}"
        self._home.mkdir(exist_ok=True)
        auths = {host: {"username": user, "password": password}}
        (self._home / "config.json").write_text(json.dumps({"auths": auths}))

    def run(self, *arguments: str | Path, fails: bool = False) -> str:
        done = subprocess.run(
            [program("crane"), *arguments, "--insecure"],
            env={**os.environ, "DOCKER_CONFIG": str(self._home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"crane {arguments}: {done.stderr}"
        return done.stdout.strip()


class Tailing:
    """`regvault audit tail --follow` of one file, as a process."""

    def __init__(self, cli: Cli, spool: Path, form: str, file: Path) -> None:
        self._cli = cli
        state = spool.parent / f"tail-{file.name}"
        self._arguments = ("audit", "tail", "--spool", spool, "--format", form, "--state", state)
        self._file = file
        self._process = cli.start(*self._arguments, "--follow", file)

    def end(self) -> None:
        """End it; another run takes what it had not read yet."""
        self._process.send_signal(signal.SIGTERM)
        self._cli.finish(self._process)
        self._cli(*self._arguments, self._file)


@pytest.fixture
def registry(receiver: Receiver, tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "htpasswd").write_text("".join(f"{user}:{HASH}\n" for user in USERS))
    endpoint = {
        "name": "regvault",
        "url": f"http://127.0.0.1:{receiver.port}/events",
        "timeout": "1s",
        "threshold": 3,
        "backoff": "1s",
    }
    settings = {
        "auth": {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}},
        "notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]},
    }
    with Registry("3", storage=tmp_path / "data", state=tmp_path, settings=settings) as found:
        yield found


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path / "spool")
    yield found
    found.stop()


@pytest.mark.parametrize("form", ["text", "json", "auto"])
def test_a_hundred_pulls_through_proxies_are_a_hundred_events_of_all_that_saw_them(
    form: str, registry: Registry, receiver: Receiver, cli: Cli, tmp_path: Path
) -> None:
    as_json = form == "json"
    spool = tmp_path / "spool"
    vault = tmp_path / "vault"
    # A line of nginx without its name may be of anybody; so may one of the registry's access log.
    told = ("combined", "combined") if form == "auto" else ("nginx",)
    everybody = Counter(["distribution", "distribution-log", "haproxy", *told])
    cli("init", vault)
    with contextlib.ExitStack() as stack:
        # In text HAProxy is what clients reach, in JSON nginx.
        nginx: Nginx
        haproxy: HAProxy
        if as_json:
            haproxy = HAProxy(registry.host, state=tmp_path, json=True, trusted=True)
            stack.enter_context(haproxy)
            nginx = Nginx(haproxy.host, state=tmp_path, json=True)
            door = stack.enter_context(nginx)
        else:
            nginx = stack.enter_context(Nginx(registry.host, state=tmp_path, json=False))
            haproxy = HAProxy(nginx.host, state=tmp_path, json=False, trusted=False)
            door = stack.enter_context(haproxy)
        relay = stack.enter_context(Relay("127.0.0.2", door.port))
        logs = {"distribution": registry.log, "nginx": nginx.access, "haproxy": haproxy.log}
        tails = [
            Tailing(cli, spool, "auto" if form == "auto" else kind, file)
            for kind, file in logs.items()
        ]
        alice, bob = Client(tmp_path, door.host, "alice"), Client(tmp_path, relay.host, "bob")
        # So that what asked whether they are ready is no part of what follows.
        time.sleep(WINDOW_S + 0.1)
        digests = _do(alice, bob, tmp_path)
        # All have told of the deletion, which was the last request.
        wait_for(lambda: _deleted(spool) >= everybody)
        receiver.stop()
    for tail in tails:
        tail.end()
    cli("audit", "archive", "--spool", spool, "--vault", vault)
    assert cli("audit", "verify", "--vault", vault).document["problems"] == []
    asked = sum(
        1 for line in nginx.access.read_text(errors="replace").splitlines() if _is_asked(line)
    )
    query = partial(cli, "audit", "query", "--vault", vault)
    _check(lambda *options: query(*options).lines, digests, asked, everybody)


def _do(alice: Client, bob: Client, directory: Path) -> dict[str, str]:
    """Push, pull, ask, delete and fail; return the digests of the images."""
    images = [f"team/app:v{number}" for number in range(10)]
    for number, image in enumerate(images):
        alice.run("append", "-f", layer(directory, f"l{number}"), "-t", f"{alice.host}/{image}")
    digests = {image: alice.run("digest", f"{alice.host}/{image}") for image in images}

    def pull(number: int) -> None:
        client = (alice, bob)[number % 2]
        image = f"{client.host}/{images[number % 10 if number < 60 else 3]}"
        client.run("pull", image, directory / f"out-{number}.tar")

    for number in range(20):
        pull(number)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pull, range(20, 100)))
    bob.run("manifest", f"{bob.host}/team/app:missing", fails=True)
    stranger = Client(directory, alice.host, "alice", "wrong")
    stranger.run("digest", f"{alice.host}/team/app:v1", fails=True)
    alice.run("delete", f"{alice.host}/team/app@{digests['team/app:v9']}")
    return digests


def _deleted(spool: Path) -> Counter[str]:
    """Return who has told of a deletion so far."""
    return Counter(
        event["source"]
        for event in in_spool(Reader(str(spool)))
        if event["action"] == "delete" and event["digest"] is not None
    )


def _is_asked(line: str) -> bool:
    """Whether nginx logged a request of a client: no readiness probe, and no attempt at TLS."""
    return " /v2/" in line and "readiness" not in line


def _check(
    query: Callable[..., list[dict[str, Any]]],
    digests: dict[str, str],
    asked: int,
    everybody: Counter[str],
) -> None:
    """Compare what is found with what was done.

    Args:
        query: asks for events.
        digests: of the images.
        asked: how many requests nginx saw.
        everybody: the sources of a request that succeeded.
    """
    pulls = query("--repo", "team/app", "--action", "pull")
    got = [e for e in pulls if (e["method"], e["status"]) == ("GET", 200)]
    manifests = [event for event in got if event["kind"] == "manifest"]
    assert len(manifests) == 100
    assert len([event for event in got if event["kind"] == "blob"]) == 200
    others = everybody - Counter(["distribution"])
    addresses = {"alice": "127.0.0.1", "bob": "127.0.0.2"}
    for event in got:
        assert _sources(event) == everybody
        assert event["raw"]
        assert all(other["raw"] for other in event["joined"])
        assert event["duration_ms"] is not None
        assert event["address"] == addresses[event["actor"]]
    assert Counter(event["actor"] for event in manifests) == {"alice": 50, "bob": 50}
    pulled = Counter(event["digest"] for event in manifests)
    assert pulled == {
        digest: 46 if image == "team/app:v3" else 6 for image, digest in digests.items()
    }
    # What was asked for without being had is no pull; `digest` asks by HEAD.
    told = Counter((e["method"], e["kind"], e["status"]) for e in pulls if e not in got)
    assert told["HEAD", "manifest", 200] == 10
    assert told["GET", "manifest", 404] == 1
    pushed = query("--repo", "team/app", "--action", "push")
    assert Counter(event["kind"] for event in pushed) == {"manifest": 10, "blob": 20}
    assert all(_sources(event) == everybody for event in pushed)
    # The registry tells of the manifest, and of the tag that it had.
    deleted, tag = query("--repo", "team/app", "--action", "delete")
    assert (tag["kind"], tag["tag"]) == ("tag", "v9")
    assert (deleted["actor"], deleted["status"]) == ("alice", 202)
    assert _sources(deleted) == everybody
    # A wrong password; nobody checked the name.
    failed = [e for e in query("--status", "401") if e["repository"] == "team/app"]
    assert {e["action"] for e in failed} == {"login"}
    assert all(_sources(event) == others for event in failed)
    # All in all: each request once, whoever told of it.
    every = [e for e in query() if e["action"] != "log" and e["useragent"] != "readiness"]
    every.remove(tag)
    assert len(every) == asked
    assert all(_sources(event) >= others for event in every)


def _sources(event: dict[str, Any]) -> Counter[str]:
    return Counter([event["source"], *(other["source"] for other in event.get("joined", ()))])
