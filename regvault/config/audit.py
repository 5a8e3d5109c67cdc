"""What the commands of `regvault audit` take from a configuration.

Each option of a command has a key here, called as its flag with `_` for `-`: in the section of the
command, else beside the sections, where several commands share it. Those of Kafka are in `kafka`,
without that word before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from regvault.config.rules import Settings, Span
from regvault.config.secrets import SecretRef
from regvault.config.values import (
    DigestText,
    File,
    Files,
    Glob,
    HostPort,
    Ignored,
    Secret,
    Size,
    VaultText,
    given,
)
from regvault.model.location import is_location
from regvault.model.stream import (  # pydantic reads them
    KafkaClient,  # noqa: TC001
    KafkaMechanism,  # noqa: TC001
    KafkaProtocol,  # noqa: TC001
    LogFormat,  # noqa: TC001
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Audit", "Kafka", "key_of"]

_Text = Annotated[str, Field(min_length=1)]
_Segment = Annotated[Span, Field(ge=1, le=3600)]
_Spool = Annotated[Size, Field(ge=1 << 20)]

_FOLLOW = "Stay, and go on with what comes."
_VAULT = "The vault: its name, or a location. Else `audit.vault`, else the only one."
_IN_PLACE = "What is other than in `audit.kafka`; `servers: []` for no Kafka."


class Kafka(Settings):
    """How Kafka is reached, and which topic is meant."""

    servers: list[HostPort] | None = Field(None, description="Brokers of the cluster: HOST:PORT.")
    topic: _Text | None = Field(None, description="The topic of the events.")
    dead_letter_topic: _Text | None = Field(
        None, description="Where goes what the topic does not take; else TOPIC.dead."
    )
    security: KafkaProtocol | None = Field(
        None, description="How brokers are spoken to; else by what else is given."
    )
    mechanism: KafkaMechanism | None = Field(
        None, description="How this client proves who it is (SASL)."
    )
    user: _Text | None = Field(None, description="The user, for PLAIN and SCRAM.")
    password: Secret | None = Field(
        None, description="Where the password or the token is: file:/PATH or env:NAME."
    )
    ca: File | None = Field(None, description="Who signed the brokers' certificates (PEM).")
    cert: File | None = Field(None, description="The certificate of this client (PEM), for mTLS.")
    key: File | None = Field(None, description="Its private key (PEM).")
    client: KafkaClient | None = Field(
        None, description="The library that does it: auto, librdkafka where it is installed."
    )


class _Spooled(Settings):
    spool: File | None = Field(None, description="The directory of the spool.")
    spool_size: _Spool | None = Field(None, description="Bytes that it may have: 8GiB.")


class _Counting(Settings):
    ignore: list[Ignored] | None = Field(
        None,
        description="Who is no client whose pulls count, beside scanners, replication and probes "
        "that are known: agent=GLOB, actor=GLOB or address=NETWORK.",
    )


class _Streamed(Settings):
    kafka: Kafka | None = Field(None, description=_IN_PLACE)


class _OfVault(Settings):
    vault: VaultText | None = Field(None, description=_VAULT)


class _Compared(Settings):
    registry_metrics: list[_Text] | None = Field(
        None, description="Debug servers of registries, whose counters are compared: URLs."
    )
    registry_endpoint: _Text | None = Field(
        None, description="The endpoint of their notifications: the only one, or regvault."
    )


class _Noticing(_Compared):
    auth_failures: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None, description="Percent of requests that may fail to authenticate: 1."
    )
    pull_p95: Annotated[float, Field(ge=1)] | None = Field(
        None, description="Milliseconds that 95 of 100 pulls may take: 500."
    )
    min_requests: Annotated[int, Field(ge=1)] | None = Field(
        None, description="So many requests in five minutes, before either counts: 100."
    )
    mass_deletion: Annotated[int, Field(ge=2)] | None = Field(
        None, description="So many deletions in ten minutes are a signal: 50."
    )
    learning: Span | None = Field(None, description="How long nobody counts as new: 7d.")
    registry_interval: Annotated[Span, Field(ge=1)] | None = Field(
        None, description="How often counters are read: 1m."
    )


class Serve(_Spooled, _Streamed, _Noticing):
    """Of `regvault audit serve`."""

    signals: bool | None = Field(None, description="Notice signals, and put them into the spool.")

    listen: HostPort | None = Field(None, description="Where to listen: 127.0.0.1:8099.")
    token: Secret | None = Field(
        None, description="Where the token of senders is: file:/PATH or env:NAME."
    )
    tls_cert: File | None = Field(None, description="Certificate (PEM).")
    tls_key: File | None = Field(None, description="Its key (PEM).")
    client_ca: File | None = Field(None, description="Who signs certificates of senders (PEM).")
    body_cap: Size | None = Field(None, description="Bytes of the largest request: 8MiB.")


class Tail(_Spooled):
    """Of `regvault audit tail`."""

    paths: Files | None = Field(
        None, description="Files or patterns; `-` is standard input. Relative: to this file."
    )
    format: LogFormat | None = Field(None, description="What the lines are: auto.")
    follow: bool | None = Field(None, description=_FOLLOW)
    state: File | None = Field(None, description="Where is kept how far each file was read.")


class Ship(_Spooled, _Streamed):
    """Of `regvault audit ship`."""

    follow: bool | None = Field(None, description=_FOLLOW)


class Archive(_OfVault, _Streamed, _Counting):
    """Of `regvault audit archive`."""

    group: _Text | None = Field(None, description="The consumer group: regvault-archive.")
    spool: File | None = Field(None, description="Archive this spool, in place of a topic.")
    segment: _Segment | None = Field(None, description="How long a segment is kept open: 1h.")
    follow: bool | None = Field(None, description=_FOLLOW)


class Replay(_OfVault, _Streamed):
    """Of `regvault audit replay`."""

    since: _Text | None = Field(None, description="The first time, such as 2026-11-20.")
    until: _Text | None = Field(None, description="The time before which events happened.")


class Query(_OfVault, _Streamed):
    """Of `regvault audit query`."""

    spool: Files | None = Field(None, description="Spools to ask, for what is not archived yet.")
    repo: list[Glob] | None = Field(None, description="Globs of repositories.")
    tag: list[_Text] | None = Field(None, description="Tags.")
    digest: list[DigestText] | None = Field(None, description="Digests, with what contains them.")
    exact: bool | None = Field(None, description="Only the digests themselves.")
    actor: list[_Text] | None = Field(None, description="Users.")
    address: list[_Text] | None = Field(None, description="Addresses of clients.")
    action: list[_Text] | None = Field(None, description="Actions, such as pull.")
    status: list[_Text] | None = Field(None, description="Such as 401, 4xx or 400-499; quoted.")
    since: _Text | None = Field(None, description="The first time, such as 7 days ago.")
    until: _Text | None = Field(None, description="The time before which events happened.")
    who_pulled: DigestText | None = Field(None, description="Who pulled this digest.")
    blast_radius: DigestText | None = Field(None, description="The same, by image.")
    timeline: bool | None = Field(None, description="All that happened, in order.")
    separate: bool | None = Field(None, description="Each record of a request by itself.")
    csv: bool | None = Field(None, description="Print CSV.")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="Print the first so many.")
    newest: Annotated[int, Field(ge=1)] | None = Field(None, description="Print the last so many.")


class Access(_OfVault, _Counting):
    """Of `regvault audit access`."""

    repo: list[Glob] | None = Field(None, description="Globs of repositories.")
    digest: list[DigestText] | None = Field(None, description="Digests.")
    idle_for: Span | None = Field(None, description="What was not used for so long: 90d.")
    aside: list[Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]] | None = Field(
        None,
        description="Chains of events that have ended, or tell nothing that others do not.",
    )
    csv: bool | None = Field(None, description="Print CSV.")


class Verify(_OfVault):
    """Of `regvault audit verify`."""

    vault_at: _Text | None = Field(None, description="As the vault was then.")


class Signals(_Spooled, _Noticing):
    """Of `regvault audit signals`."""

    follow: bool | None = Field(None, description=_FOLLOW)
    listen: HostPort | None = Field(None, description="Where /metrics is shown.")


class Status(_OfVault, _Compared):
    """Of `regvault audit status`."""

    spool: Files | None = Field(None, description="Spools to look at.")


class Forget(_OfVault):
    """Of `regvault audit forget`."""

    keep_for: Span | None = Field(None, description="How long events are kept: 400d.")


class Erase(_OfVault):
    """Of `regvault audit erase`."""


_SECTIONS: Final[dict[str, type[Settings]]] = {
    "serve": Serve,
    "tail": Tail,
    "ship": Ship,
    "archive": Archive,
    "replay": Replay,
    "query": Query,
    "access": Access,
    "verify": Verify,
    "status": Status,
    "signals": Signals,
    "forget": Forget,
    "erase": Erase,
}
_KAFKA: Final = "kafka"
#: Names of flags that are not those of their keys within `kafka`.
_OF_KAFKA: Final = {
    "kafka": "servers",
    "topic": "topic",
    "dead_letter_topic": "dead_letter_topic",
}


class Audit(_Spooled, _Streamed, _OfVault, _Counting):
    """Of the audit stream: sections of commands, and what they share. See docs/configuration.md."""

    kafka: Kafka | None = Field(
        None, description="Of serve, ship, archive, replay and query: how Kafka is reached."
    )
    vault: VaultText | None = Field(
        None, description="The vault of the archive: its name, or a location."
    )
    spool: File | None = Field(
        None,
        description="The spool of serve, tail, signals, ship; of archive where there is no Kafka.",
    )
    serve: Serve | None = Field(None, description="Of `regvault audit serve`.")
    tail: Tail | None = Field(None, description="Of `regvault audit tail`.")
    ship: Ship | None = Field(None, description="Of `regvault audit ship`.")
    archive: Archive | None = Field(None, description="Of `regvault audit archive`.")
    replay: Replay | None = Field(None, description="Of `regvault audit replay`.")
    query: Query | None = Field(None, description="Of `regvault audit query`.")
    access: Access | None = Field(None, description="Of `regvault audit access`.")
    verify: Verify | None = Field(None, description="Of `regvault audit verify`.")
    status: Status | None = Field(None, description="Of `regvault audit status`.")
    signals: Signals | None = Field(None, description="Of `regvault audit signals`.")
    forget: Forget | None = Field(None, description="Of `regvault audit forget`.")
    erase: Erase | None = Field(None, description="Of `regvault audit erase`.")

    def value(self, command: str, flag: str) -> Any:
        """Return what is configured for a flag of a command; None: nothing.

        Args:
            command: such as `serve`.
            flag: its name with `_` for `-`, such as `kafka_user`.
        """
        key = key_of(command, flag)
        if key is None:
            return None
        found = _at(getattr(self, command), key)
        if found is None and self._is_shared(command, flag):
            found = _at(self, key)
        return str(found) if isinstance(found, SecretRef) else found

    def shown(self) -> dict[str, Any]:
        """Return what is given, by key with dots between: of secrets where they are."""
        return dict(given(self))

    def problems(self, vaults: Iterable[str]) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
        """Yield what does not fit together: the key below `audit`, what is wrong, a hint.

        Args:
            vaults: the names of those that are configured.
        """
        names = list(vaults)
        for name, part in (("", self), *((name, getattr(self, name)) for name in _SECTIONS)):
            if part is None:
                continue
            place = (name,) if name else ()
            vault = getattr(part, "vault", None)
            if vault is not None and not is_location(vault) and vault not in names:
                hint = f"There is: {', '.join(names) or 'none'}."
                yield (*place, "vault"), f"there is no vault {vault!r}", hint
            kafka = getattr(part, "kafka", None)
            if kafka is not None and kafka.key is not None and kafka.cert is None:
                yield (*place, _KAFKA, "key"), "it needs a cert", None
        if self.serve is not None and (self.serve.tls_cert is None) != (self.serve.tls_key is None):
            yield ("serve",), "tls_cert and tls_key go together", None
        archive = self.archive
        if archive is not None and archive.spool is not None and _at(archive, (_KAFKA, "servers")):
            yield ("archive", "spool"), "kafka is given, and a spool too", "Archive one of them."

    def _is_shared(self, command: str, flag: str) -> bool:
        """Return whether what is beside the sections is for this command too."""
        if flag != "spool":
            return flag in ("spool_size", "vault", "ignore") or _key_in_kafka(flag) is not None
        if command == "archive":
            # Where events go through Kafka they are archived from there.
            return not self.value(command, _KAFKA)
        return command not in ("query", "status")


def key_of(command: str, flag: str) -> tuple[str, ...] | None:
    """Return the key of a flag below the section of its command, or beside it; None: it has none.

    Args:
        command: such as `serve`.
        flag: its name with `_` for `-`.
    """
    section = _SECTIONS[command]
    if _KAFKA in section.model_fields:
        inner = _key_in_kafka(flag)
        if inner is not None:
            return (_KAFKA, inner)
    return (flag,) if flag in section.model_fields else None


def _key_in_kafka(flag: str) -> str | None:
    inner = flag.removeprefix("kafka_") if flag[:6] == "kafka_" else _OF_KAFKA.get(flag)
    return inner if inner in Kafka.model_fields else None


def _at(settings: Settings | None, key: tuple[str, ...]) -> Any:
    """Return the value at a key, or None."""
    found: Any = settings
    for name in key:
        found = getattr(found, name, None)
        if found is None:
            return None
    return found
