"""`regvault audit serve`: the receiver of events."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import click

from regvault.cli.audit_options import (
    address_of,
    audit_command,
    kafka_options,
    kafka_settings,
    needs_extra,
    open_spool,
    spool_options,
    wants_kafka,
)
from regvault.cli.options import SIZE, secret_ref
from regvault.cli.signal_options import signal_options, watching_of
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App


@audit_command(
    "serve",
    examples=[
        (
            "Beside a registry on the same host",
            "regvault audit serve --listen 127.0.0.1:8099 --spool /var/spool/regvault",
        ),
        (
            "For others, into Kafka",
            "regvault audit serve --listen 0.0.0.0:8099 --token file:/run/secrets/audit ...",
        ),
    ],
    exit_codes=(0, 1, 2, 5, 6, 12),
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8099",
    show_default=True,
    help="Where to listen; port 0: any that is free, which is said.",
)
@spool_options
@click.option(
    "--token",
    metavar="REF",
    help="Where the token is that senders show (bearer, or a password): file:/PATH or env:NAME.",
)
@click.option(
    "--tls-cert", metavar="FILE", type=click.Path(dir_okay=False), help="Certificate (PEM)."
)
@click.option("--tls-key", metavar="FILE", type=click.Path(dir_okay=False), help="Its key (PEM).")
@click.option(
    "--client-ca",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Senders show a certificate that was signed by one of these (PEM).",
)
@click.option(
    "--body-cap",
    metavar="SIZE",
    type=SIZE,
    default="8MiB",
    show_default=True,
    help="A larger request becomes one event that says so, and holds its beginning.",
)
@kafka_options(required=False)
@click.option(
    "--dead-letter-topic",
    metavar="T",
    help="Where goes what the topic does not take, and what is no event; else TOPIC.dead.",
)
@click.option(
    "--signals",
    is_flag=True,
    help="Notice what docs/signals.md lists, and put it into the spool as events.",
)
@signal_options
@click.pass_obj
def serve(
    app: App,
    /,
    listen: str,
    spool: str,
    spool_size: float,
    token: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    client_ca: str | None,
    body_cap: float,
    dead_letter_topic: str | None,
    signals: bool,
    **options: Any,
) -> int:
    """Take events of registries over HTTP, and make them durable before answering.

    POST /events takes notifications of CNCF distribution, webhooks of Harbor, alerts of Falco and
    falcosidekick, and CloudEvents of zot and others, told apart by their content. The
    answer is 202 once they are on the disk of this host, 503 when the spool is full: nothing is
    dropped. What an authenticated sender sends that is no event is kept as one of action
    `unparsed`.

    With --signals what is out of the ordinary becomes events of action `signal`, and with
    --registry-metrics what a registry counted and never delivered becomes one of action `gap`.

    /healthz, /readyz and /metrics need no token. With --kafka and --topic what comes is sent on;
    else `regvault audit ship` does that.
    """
    needs_extra("uvicorn", "starlette", "prometheus_client")
    from regvault.serve.run import Listener, run_receiver

    host, port = address_of(listen)
    secret = None if token is None else secret_ref("--token", token).read()
    if bool(tls_cert) != bool(tls_key):
        raise UsageError("--tls-cert and --tls-key go together", hint="Give both, or neither.")
    if client_ca and not tls_cert:
        raise UsageError("--client-ca needs TLS", hint="Give --tls-cert and --tls-key too.")
    if secret is None and client_ca is None and not _is_loopback(host):
        app.console.warn(
            f"whoever reaches {listen} can put events into the spool",
            hint="Give --token, or --client-ca.",
        )
    named = {**options, "dead_letter_topic": dead_letter_topic}
    settings = kafka_settings(named) if wants_kafka(options) else None
    app.follows = True
    opened = open_spool(spool, spool_size)
    return run_receiver(
        Listener(host, port, tls_cert, tls_key, client_ca),
        opened,
        token=secret,
        body_cap=int(body_cap),
        kafka=settings,
        topic=options["topic"],
        dead_letters=dead_letter_topic,
        say=app.console.note,
        warn=app.console.warn_line,
        watching=watching_of(app, opened, options, wanted=signals),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
