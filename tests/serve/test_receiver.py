"""`audit serve` as a process: durable before it answers, never more than it can keep."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from base64 import b64encode

import pytest
import uvicorn
from certificates import Authority
from receiving import Receiver, client_context, event, wait_for

from regvault.audit.spool import Reader, Spool, SpoolFullError
from regvault.cli.main import run
from regvault.serve import receiver as receiver_module
from regvault.serve.group_commit import GroupCommit
from regvault.serve.protocol import limited


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(*options, spool="spool", **more):
        receiver = Receiver(tmp_path / spool, *options, **more)
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.stop(signal.SIGKILL)


def stored(place):
    reader = Reader(str(place))
    found = [json.loads(record.data) for record in reader.read(10_000, 1 << 30)]
    assert reader.damage == []
    return found


def test_what_was_answered_is_there_after_the_process_was_killed(serve, tmp_path):
    """Rule 24: an event is answered 2xx only once it is durable here."""
    receiver = serve()
    for n in range(20):
        assert receiver.post(event(n)) == 202
    receiver.stop(signal.SIGKILL)
    found = stored(tmp_path / "spool")
    assert [item["id"] for item in found] == [event(n)["events"][0]["id"] for n in range(20)]
    assert [item["seq"] for item in found] == list(range(1, 21))


def test_only_who_shows_the_token_may_put_events(serve, tmp_path):
    receiver = serve("--token", "env:SECRET", environment={"SECRET": "sesame-1"})
    assert receiver.post(event(1)) == 401
    for wrong in ("", "sesame-2", "sesame-", "sesame-1 ", "\xff"):
        assert receiver.post(event(1), token=wrong) == 401
    assert receiver.post(event(1), headers={"Authorization": "Basic sesame-1"}) == 401
    assert receiver.post(event(2), token="sesame-1") == 202
    # Falco can show it only as the password in its URL.
    for shown, status in (
        ("Basic " + b64encode(b"falco:sesame-1").decode(), 202),
        ("basic " + b64encode(b":sesame-1").decode(), 202),
        ("Basic " + b64encode(b"falco:sesame-2").decode(), 401),
        ("Basic " + b64encode(b"sesame-1").decode(), 401),
        ("Basic sesame-1", 401),
        ("Basic ", 401),
        ("Basic Bearer sesame-1", 401),
    ):
        assert receiver.post(event(3), headers={"Authorization": shown}) == status, shown
    assert len(stored(tmp_path / "spool")) == 3
    for path in ("/healthz", "/readyz", "/metrics"):
        assert receiver.request("GET", path)[0] == 200
    assert receiver.metric('regvault_audit_requests_total{answer="unauthorized"}') == 12
    assert b"sesame" not in receiver.request("GET", "/metrics")[1]
    assert "sesame" not in "".join(receiver.lines)


def test_what_is_no_event_is_taken_and_kept(serve, tmp_path):
    receiver = serve()
    assert receiver.post(b"{ no JSON") == 202
    assert receiver.post({"events": [{"what": 1}]}) == 202
    assert [item["action"] for item in stored(tmp_path / "spool")] == ["unparsed"] * 2
    assert receiver.metric('regvault_audit_events_total{understood="no"}') == 2
    assert receiver.request("GET", "/events")[0] == 405
    assert receiver.request("GET", "/other")[0] == 404


def test_a_body_that_is_too_large_is_one_event_that_says_so(serve, tmp_path):
    receiver = serve("--body-cap", "1MiB")
    assert receiver.post(b"x" * (1 << 20)) == 202
    assert receiver.post(b"y" * ((1 << 20) + 1)) == 202
    small, large = stored(tmp_path / "spool")
    assert len(small["raw"]) == 1 << 20
    assert len(large["raw"]) == 64 << 10
    assert "1048577 bytes" in large["reason"]


def test_a_body_without_end_does_not_fill_the_memory(serve):
    receiver = serve()
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        connection.sendall(
            b"POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        part = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        answer = b""
        try:
            for _ in range(200):
                connection.sendall(part)
            answer = connection.recv(100)
        except OSError:
            pass
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    status = open(f"/proc/{receiver.process.pid}/status").read()  # noqa: SIM115
    peak = int(status.split("VmHWM:")[1].split()[0])
    assert peak < 300 << 10
    assert receiver.post(event(1)) == 202


def test_what_takes_long_to_read_holds_nobody_up_and_takes_no_more_memory_than_it_may(serve):
    receiver = serve()
    many = b'{"events":[' + b",".join([b'{"action":""}'] * 560_000) + b"]}"
    cut = b'{"events":[{"action":"pull","x":"' + b'\\"' * 4_194_250 + b'"}]}'
    answers = []
    senders = [
        threading.Thread(target=lambda body=body: answers.append(receiver.post(body)))
        for body in (many, cut, many, cut)
    ]
    for sender in senders:
        sender.start()
    longest = 0.0
    while any(sender.is_alive() for sender in senders):
        began = time.monotonic()
        assert receiver.request("GET", "/healthz")[0] == 200
        longest = max(longest, time.monotonic() - began)
    assert answers == [202] * 4
    assert longest < 5
    status = open(f"/proc/{receiver.process.pid}/status").read()  # noqa: SIM115
    peak = int(status.split("VmHWM:")[1].split()[0])
    assert peak < 700 << 10


def test_others_are_answered_while_a_large_body_is_read(tmp_path, monkeypatch):
    read, going = threading.Event(), threading.Event()

    def slow(*_):
        going.set()
        assert read.wait(20)
        return [b"{}"]

    monkeypatch.setattr(receiver_module, "bodies_of", slow)
    receiver = receiver_module.Receiver(Spool(str(tmp_path / "spool")))

    async def ask(method, path, body=b""):
        sent = []

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
        await receiver.app(scope, receive, send)
        return sent[0]["status"]

    async def both():
        large = asyncio.ensure_future(ask("POST", "/events", b"x" * (300 << 10)))
        await asyncio.to_thread(going.wait, 20)
        health = await ask("GET", "/healthz")
        read.set()
        answers = health, await large
        await receiver.close()
        return answers

    assert asyncio.run(both()) == (200, 202)


HALF = b"POST /events HTTP/1.1\r\nHost: x\r\nX: "


def half_sent(port, count, text=HALF):
    made = []
    for _ in range(count):
        made.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        made[-1].sendall(text)
    return made


def test_requests_that_never_end_hold_up_nobody(tmp_path):
    """Those are closed first that have been coming in longest; files for the spool remain."""
    receiver = Receiver(tmp_path / "spool", files=(100, 200))
    connections = half_sent(receiver.port, 400)
    try:
        for n in range(20):
            assert receiver.post(event(n)) == 202
    finally:
        for connection in connections:
            connection.close()
        receiver.stop()
    # 136 of them may be open: the soft limit was raised, some files are kept for the spool.
    assert len(stored(tmp_path / "spool")) == 20


def is_closed(connection, seconds=5):
    """Return whether a connection is closed by the other side in time."""
    connection.settimeout(seconds)
    with connection:
        try:
            while connection.recv(1000):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize(
    "text",
    [
        b"",
        HALF,
        b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX: ",
    ],
)
def test_a_request_that_does_not_come_in_is_given_up(tmp_path, text):
    receiver = receiver_module.Receiver(Spool(str(tmp_path / "spool")))
    config = uvicorn.Config(
        receiver.app, http=limited(0.5, 10), lifespan="off", log_config=None, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            port = bound.getsockname()[1]
            began = time.monotonic()
            (connection,) = half_sent(port, 1, text)
            assert is_closed(connection)
            assert time.monotonic() - began > 0.4
            # A request that came in is waited for, however long the next one lets wait.
            (connection,) = half_sent(port, 1, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with connection:
                for wait in (0.0, 1.0):
                    time.sleep(wait)
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * bool(wait))
                    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        finally:
            server.should_exit = True
            thread.join(20)


def test_a_full_spool_answers_503_and_is_unready_before(serve, tmp_path):
    """Rule 25: the spool refuses new events when full (503); it never drops old ones."""
    receiver = serve("--spool-size", "1MiB")
    unready_at = None
    taken = 0
    while receiver.post(event(taken, filler="x" * 10_000)) == 202:
        taken += 1
        if unready_at is None and receiver.request("GET", "/readyz")[0] == 503:
            unready_at = taken
    assert unready_at is not None
    assert unready_at < taken
    assert receiver.request("GET", "/healthz")[0] == 200
    assert b"full" in receiver.request("GET", "/readyz")[1]
    spool = Spool(str(tmp_path / "spool"))
    assert len(stored(tmp_path / "spool")) == taken
    spool.cursor("ship").advance(taken)
    assert spool.collect() > 0
    assert receiver.post(event(taken)) == 202
    assert receiver.request("GET", "/readyz")[0] == 200


def test_who_has_no_certificate_cannot_connect(serve, tmp_path):
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "stranger")
    server, ca = str(authority.issue("server")), str(authority.certificate)
    receiver = serve(
        *("--tls-cert", server, "--tls-key", server, "--client-ca", ca), scheme="https"
    )
    good = client_context(ca, authority.issue("client"))
    assert receiver.post(event(1), context=good) == 202
    for context in (
        client_context(ca),
        client_context(ca, stranger.issue("client")),
        client_context(stranger.certificate, authority.issue("client")),
    ):
        with pytest.raises(OSError, match=r"."):
            receiver.post(event(2), context=context)
    assert len(stored(tmp_path / "spool")) == 1


def test_a_stop_answers_what_is_under_way(serve, tmp_path):
    receiver = serve()
    answers = []

    def post(number):
        for n in range(200):
            try:
                answers.append((number * 1000 + n, receiver.post(event(number * 1000 + n))))
            except OSError:
                return

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answers) > 50)
    assert receiver.stop(signal.SIGTERM) == 143
    for thread in threads:
        thread.join()
    assert {status for _, status in answers} == {202}
    ids = {item["id"] for item in stored(tmp_path / "spool")}
    assert {event(number)["events"][0]["id"] for number, _ in answers} <= ids


def test_two_receivers_may_share_a_spool(serve, tmp_path):
    first, second = serve(), serve()
    for n in range(20):
        assert first.post(event(2 * n)) == 202
        assert second.post(event(2 * n + 1)) == 202
    found = stored(tmp_path / "spool")
    assert [item["seq"] for item in found] == list(range(1, 41))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--listen", "nowhere"], "no HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "no HOST:PORT"),
        (["--tls-cert", "x"], "go together"),
        (["--client-ca", "x"], "needs TLS"),
        (["--kafka", "x:1"], "go together"),
        (["--kafka", "x", "--topic", "t"], "no HOST:PORT"),
        (["--kafka", "x:1", "--topic", "t", "--kafka-user", "u"], "need --kafka-mechanism"),
        (["--kafka", "x:1", "--topic", "t", "--kafka-mechanism", "PLAIN"], "needs a password"),
        (["--token", "sesame"], "never written here"),
        (["--spool-size", "10KiB"], "1 MiB at least"),
    ],
)
def test_wrong_options_are_refused_with_a_hint(options, message, tmp_path, capsys):
    assert run(["audit", "serve", "--spool", str(tmp_path / "spool"), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert "Hint: " in said.err


# The group commit


def _spool_of(syncs, *, fails=False):
    class Slow:
        def append(self, bodies):
            syncs.append(list(bodies))
            if fails:
                raise SpoolFullError("full", stored=1)

    return Slow()


def test_one_request_alone_waits_for_nobody_and_many_share_a_sync():
    async def run():
        syncs = []
        commit = GroupCommit(_spool_of(syncs))
        await commit.store([b"a"])
        assert syncs == [[b"a"]]
        await asyncio.gather(*(commit.store([b"%d" % n]) for n in range(64)))
        assert len(syncs) <= 3
        assert [body for batch in syncs[1:] for body in batch] == [b"%d" % n for n in range(64)]
        await commit.close()

    asyncio.run(run())


def test_of_a_batch_that_did_not_fit_only_what_is_durable_is_answered():
    async def run():
        commit = GroupCommit(_spool_of([], fails=True))
        found = await asyncio.gather(
            *(commit.store([b"%d" % n]) for n in range(3)), return_exceptions=True
        )
        assert found[0] is None
        assert all(isinstance(error, SpoolFullError) for error in found[1:])
        await commit.close()

    asyncio.run(run())


def test_an_answer_comes_after_the_sync(tmp_path, monkeypatch):
    async def run():
        spool = Spool(str(tmp_path / "spool"))
        commit = GroupCommit(spool)
        order = []
        sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda fd: (order.append("sync"), sync(fd)))
        await commit.store([b'{"id":"1"}'])
        order.append("answer")
        assert order == ["sync", "answer"]
        await commit.close()

    asyncio.run(run())


def test_it_listens_where_a_configuration_says_and_ships_nothing_if_that_says_so(tmp_path):
    config = tmp_path / "regvault.yaml"
    (tmp_path / "secret").write_text("sesame")
    serve = {
        "listen": "127.0.0.1:0",
        "token": f"file:{tmp_path / 'secret'}",
        "kafka": {"servers": []},
    }
    kafka = {"servers": ["127.0.0.1:1"], "topic": "t"}
    config.write_text(json.dumps({"audit": {"spool": "spool", "kafka": kafka, "serve": serve}}))
    receiver = Receiver(environment={"REGVAULT_CONFIG": str(config)})
    try:
        assert receiver.post(event(1)) == 401
        assert receiver.post(event(1), token="sesame") == 202
        assert len(stored(tmp_path / "spool")) == 1
    finally:
        receiver.stop()
    assert not any("127.0.0.1:1" in line for line in receiver.lines)
