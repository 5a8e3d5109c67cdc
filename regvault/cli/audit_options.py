"""Options that the audit commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli.options import SIZE, secret_ref
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.audit.spool import Spool
    from regvault.cli.app import App
    from regvault.policy.access import AccessRules

__all__ = [
    "access_rules",
    "event_time",
    "ignore_option",
    "kafka_options",
    "kafka_settings",
    "needs_extra",
    "open_spool",
    "spool_options",
]

F = TypeVar("F", bound="Callable[..., Any]")

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


def spool_options(function: F) -> F:
    """Add `--spool` and `--spool-size`, as `spool` and `spool_size`."""
    decorated = click.option(
        "--spool-size",
        metavar="SIZE",
        type=SIZE,
        default="8GiB",
        show_default=True,
        help="Bytes that the spool may have. Nothing is dropped: when it is full, events are "
        "refused until some of it is delivered.",
    )(function)
    return click.option(
        "--spool",
        metavar="DIR",
        required=True,
        type=click.Path(file_okay=False),
        help="The directory where events are durable until they are delivered.",
    )(decorated)


def open_spool(directory: str, size: float) -> Spool:
    """Open the spool that the options name."""
    from regvault.audit.spool import Spool

    if size < 1 << 20:
        raise UsageError("--spool-size: a spool needs 1 MiB at least", hint="One is 8GiB.")
    return Spool(directory, limit=int(size))


def kafka_options(*, required: bool) -> Callable[[F], F]:
    """Add `--kafka`, `--topic` and how Kafka is reached."""

    def add(function: F) -> F:
        options = [
            click.option(
                "--kafka",
                metavar="HOST:PORT",
                multiple=True,
                required=required,
                help="A broker of the cluster; may be repeated, or several with commas.",
            ),
            click.option(
                "--topic", metavar="T", required=required, help="The topic of the events."
            ),
            click.option(
                "--kafka-security",
                type=click.Choice(_PROTOCOLS, case_sensitive=False),
                help="How brokers are spoken to; else by what else is given.",
            ),
            click.option(
                "--kafka-mechanism",
                type=click.Choice(_MECHANISMS, case_sensitive=False),
                help="How this client proves who it is (SASL).",
            ),
            click.option("--kafka-user", metavar="NAME", help="The user, for PLAIN and SCRAM."),
            click.option(
                "--kafka-password",
                metavar="REF",
                help="Where the password is, or the token of OAUTHBEARER: file:/PATH or env:NAME.",
            ),
            click.option(
                "--kafka-ca",
                metavar="FILE",
                type=click.Path(dir_okay=False),
                help="Who signed the brokers' certificates (PEM); else whom the system trusts.",
            ),
            click.option(
                "--kafka-cert",
                metavar="FILE",
                type=click.Path(dir_okay=False),
                help="The certificate of this client (PEM), for mTLS.",
            ),
            click.option(
                "--kafka-key",
                metavar="FILE",
                type=click.Path(dir_okay=False),
                help="Its private key (PEM).",
            ),
        ]
        for option in reversed(options):
            function = option(function)
        return function

    return add


def kafka_settings(options: dict[str, Any]) -> KafkaSettings:
    """Return how Kafka is reached.

    Args:
        options: those of `kafka_options`, by their names.

    Raises:
        UsageError: they do not fit together.
    """
    from regvault.audit.kafka.settings import KafkaSettings

    needs_extra("kafka")
    servers = tuple(part for value in options["kafka"] for part in value.split(",") if part)
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"--kafka: {server!r} is no HOST:PORT", hint="One is kafka1:9092.")
    reference = options["kafka_password"]
    password = None if reference is None else secret_ref("--kafka-password", reference).read
    mechanism = options["kafka_mechanism"]
    tls = any(options[name] for name in ("kafka_ca", "kafka_cert"))
    guessed = {(0, 0): 0, (1, 0): 1, (0, 1): 2, (1, 1): 3}[bool(tls), mechanism is not None]
    security = options["kafka_security"] or _PROTOCOLS[guessed]
    if mechanism is None and (options["kafka_user"] or password):
        raise UsageError(
            "--kafka-user and --kafka-password need --kafka-mechanism", hint=", ".join(_MECHANISMS)
        )
    return KafkaSettings(
        servers,
        protocol=security,
        mechanism=mechanism,
        username=options["kafka_user"],
        password=password,
        ca_file=options["kafka_ca"],
        cert_file=options["kafka_cert"],
        key_file=options["kafka_key"],
    )


def ignore_option(function: F) -> F:
    """Add `--ignore` as `ignored`; see `access_rules`."""
    return click.option(
        "--ignore",
        "ignored",
        metavar="WHO",
        multiple=True,
        help="Who is no client whose pulls count, beside scanners, replication and probes that are "
        "known: agent=GLOB, actor=GLOB or address=NETWORK; may be repeated.",
    )(function)


def access_rules(app: App, ignored: tuple[str, ...]) -> AccessRules:
    """Return whose pulls count: as configured, and as options say."""
    from regvault.policy.access import AccessRules

    configured = () if app.config is None else app.config.access.ignore
    return AccessRules([*configured, *ignored])


def event_time(app: App, option: str, text: str) -> str:
    """Return a TIME of the command line as events have it. Raises UsageError."""
    from datetime import UTC, datetime

    from regvault.model.event import time_text
    from regvault.policy.selectors import parse_time

    try:
        moment = parse_time(text, now=datetime.now(UTC), timezone=app.timezone)
        return time_text(int(moment.timestamp()) * 10**9 + moment.microsecond * 1000)
    except (UsageError, ValueError) as error:
        hint = error.hint if isinstance(error, UsageError) else None
        raise UsageError(f"{option}: {error}", hint=hint) from None


def needs_extra(*modules: str) -> None:
    """Raise UsageError where the extra `audit` is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("orjson", *modules) if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the audit commands need {', '.join(missing)}",
            hint="Install regvault with its extra: pip install 'regvault[audit]'",
        )
