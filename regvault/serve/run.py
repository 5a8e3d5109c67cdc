"""Runs the receiver, with the shipper beside it, until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn

from regvault.errors import CredentialError, UsageError
from regvault.serve.protocol import REQUEST_S, limited, raise_file_limit
from regvault.serve.receiver import Receiver
from regvault.serve.signal_metrics import SignalMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.audit.ship import Shipper
    from regvault.audit.signals.watching import Watching
    from regvault.audit.spool import Spool

__all__ = ["Listener", "run_receiver"]

_DRAIN_S = 10.0


class Listener(NamedTuple):
    """Where and how to listen.

    Attributes:
        host, port: the address.
        cert, key: PEM files of TLS; None: plain HTTP.
        client_ca: PEM file of those who sign senders' certificates; None: senders show none.
    """

    host: str
    port: int
    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None


def run_receiver(
    listener: Listener,
    spool: Spool,
    *,
    token: str | None,
    body_cap: int,
    kafka: KafkaSettings | None,
    topic: str | None,
    dead_letters: str | None,
    say: Callable[[str], None],
    warn: Callable[..., None],
    watching: Watching | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; then answer what is under way, and ship what is there.

    With `watching` what it notices goes into the spool, too, and its numbers are shown.

    Raises:
        CredentialError: the TLS files are none.
        UsageError: the address cannot be listened at.
    """
    shipper = None
    if kafka is not None and topic is not None:
        shipper = _shipper(spool, kafka, topic, dead_letters, warn)
    receiver = Receiver(
        spool,
        token=token,
        body_cap=body_cap,
        shipped=None if shipper is None else lambda: shipper.shipped,
        metrics=() if watching is None else (SignalMetrics(watching),),
    )
    bound = _bind(listener)
    scheme = "https" if listener.cert else "http"
    host, port = bound.getsockname()[:2]
    say(f"Listening at {scheme}://{host if ':' not in host else f'[{host}]'}:{port}/events")
    stop = threading.Event()
    threads = [] if watching is None else watching.start(stop)
    if shipper is not None:
        thread = threading.Thread(
            target=shipper.run, args=(stop,), kwargs={"follow": True, "drain_s": _DRAIN_S}
        )
        thread.start()
        threads.append(thread)
    try:
        server = uvicorn.Server(_config(receiver, listener))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(server, bound, receiver))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        spool.close()
    return 0


def _shipper(
    spool: Spool,
    kafka: KafkaSettings,
    topic: str,
    dead_letters: str | None,
    warn: Callable[..., None],
) -> Shipper:
    from regvault.audit.kafka.clients import open_sink
    from regvault.audit.ship import Shipper

    return Shipper(
        spool,
        lambda: open_sink(kafka),
        topic,
        dead_letters=dead_letters,
        report=warn,
    )


async def _serve(server: uvicorn.Server, bound: socket.socket, receiver: Receiver) -> None:
    try:
        await server.serve(sockets=[bound])
    finally:  # uvicorn raises the signal again that ended it
        await receiver.close()


def _bind(listener: Listener) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        return socket.create_server((listener.host, listener.port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {listener.host}:{listener.port}: {error.strerror}",
            hint="Is something else listening there?",
        ) from None


def _config(receiver: Receiver, listener: Listener) -> uvicorn.Config:
    settings: dict[str, Any] = {}
    if listener.cert is not None:
        settings["ssl_certfile"], settings["ssl_keyfile"] = listener.cert, listener.key
    if listener.client_ca is not None:
        settings["ssl_ca_certs"] = listener.client_ca
        settings["ssl_cert_reqs"] = ssl.CERT_REQUIRED
    config = uvicorn.Config(
        receiver.app,
        http=limited(REQUEST_S, raise_file_limit()),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=int(_DRAIN_S),
        **settings,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise CredentialError(
            f"cannot use the TLS files {listener.cert}, {listener.key}: {error}",
            hint="They are PEM: a certificate, and its private key without a password.",
        ) from None
    return config


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
