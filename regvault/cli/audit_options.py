"""Options that the audit commands share."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from regvault.cli.configured import ConfiguredCommand
from regvault.cli.group import command
from regvault.cli.options import SIZE, secret_ref
from regvault.errors import NotFoundError, UsageError
from regvault.model.stream import KafkaClient, KafkaMechanism, KafkaProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.audit.spool import Spool
    from regvault.cli.app import App
    from regvault.policy.access import AccessRules

__all__ = [
    "AuditCommand",
    "PathsArgument",
    "access_rules",
    "address_of",
    "audit_command",
    "event_time",
    "given",
    "ignore_option",
    "kafka_options",
    "kafka_settings",
    "needs_extra",
    "open_spool",
    "require_spool",
    "spool_options",
    "wants_kafka",
]

F = TypeVar("F", bound="Callable[..., Any]")

_PROTOCOLS = get_args(KafkaProtocol)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_CLIENTS = get_args(KafkaClient)
_MECHANISMS = get_args(KafkaMechanism)


class AuditCommand(ConfiguredCommand):
    """A command that takes what it is not told from the section `audit` of the configuration."""

    section = "audit"


audit_command = partial(command, cls=AuditCommand)
"""Decorator: as `command`, for the commands of `regvault audit`."""


class PathsArgument(click.Argument):
    """An argument of any number of paths, which may be configured too."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Take what is configured where none is given."""
        if not opts.get(str(self.name)):  # older click takes none for given
            opts = {name: value for name, value in opts.items() if name != self.name}
        return super().consume_value(ctx, opts)


def given(name: str) -> bool:
    """Return whether a parameter of the command that runs is given on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def wants_kafka(options: dict[str, Any]) -> bool:
    """Return whether a topic is named: by options of `kafka_options` that are not required.

    Raises:
        UsageError: only one of `--kafka` and `--topic` is.
    """
    if options["kafka"] and options["topic"]:
        return True
    if options["kafka"] or given("topic"):
        raise UsageError("--kafka and --topic go together", hint="Give both, or neither.")
    return False


def address_of(text: str) -> tuple[str, int]:
    """Return the host and the port of a `--listen`. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen: {text!r} is no HOST:PORT", hint="One is 127.0.0.1:8099.")
    return host.strip("[]"), int(port)


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
        type=click.Path(),
        help="The directory where events are durable until they are delivered.",
    )(decorated)


def open_spool(directory: str, size: float) -> Spool:
    """Open the spool that the options name."""
    from regvault.audit.spool import Spool

    if size < 1 << 20:
        raise UsageError("--spool-size: a spool needs 1 MiB at least", hint="One is 8GiB.")
    return Spool(directory, limit=int(size))


def require_spool(directory: str) -> None:
    """Raise NotFoundError where there is no spool: who puts nothing into one makes none."""
    from regvault.audit.spool.files import segments

    try:
        if os.path.isfile(os.path.join(directory, "spool.json")) or segments(directory):
            return
        why = "is no spool"
    except OSError as error:
        why = f"is no spool: {error.strerror}"
    raise NotFoundError(
        f"{directory} {why}",
        hint="Name the --spool of `regvault audit serve` or `regvault audit tail`, which make it.",
    )


def kafka_options(*, required: bool, client: bool = True) -> Callable[[F], F]:
    """Add `--kafka`, `--topic` and how Kafka is reached.

    Args:
        required: both must be given.
        client: which library does it can be said, too.
    """

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
        if client:
            options.append(
                click.option(
                    "--kafka-client",
                    type=click.Choice(_CLIENTS, case_sensitive=False),
                    default="auto",
                    show_default=True,
                    envvar="REGVAULT_KAFKA_CLIENT",
                    show_envvar=True,
                    help="The library that does it; auto: librdkafka where it is installed.",
                )
            )
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
    for name in ("topic", "dead_letter_topic"):
        if options.get(name):
            _check_topic(name.replace("_", "-"), options[name])
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
        client=options.get("kafka_client", "kafka-python"),
    )


def _check_topic(flag: str, name: str) -> None:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise UsageError(
            f"--{flag}: {name!r} is no name of a topic",
            hint="Kafka takes 249 of a-z, A-Z, 0-9, '.', '_' and '-' at most.",
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


def access_rules(ignored: tuple[str, ...]) -> AccessRules:
    """Return whose pulls count, as `--ignore` says. Raises UsageError."""
    from regvault.policy.access import AccessRules

    return AccessRules(ignored)


def event_time(app: App, option: str, text: str) -> str:
    """Return the first moment of a TIME of the command line as events have it.

    Raises:
        UsageError: it is none.
    """
    from datetime import UTC, datetime

    from regvault.model.event import time_text
    from regvault.policy.selectors import parse_start

    try:
        moment = parse_start(text, now=datetime.now(UTC), timezone=app.timezone)
        return time_text(int(moment.timestamp()) * 10**9 + moment.microsecond * 1000)
    except (UsageError, ValueError) as error:
        hint = error.hint if isinstance(error, UsageError) else None
        raise UsageError(f"{option}: {error}", hint=hint) from None


def needs_extra(*modules: str) -> None:
    """Raise UsageError where the extra `audit` is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("msgspec", "orjson", *modules) if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the audit commands need {', '.join(missing)}",
            hint="Install regvault with its extra: pip install 'regvault[audit]'",
        )
