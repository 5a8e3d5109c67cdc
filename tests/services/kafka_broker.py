"""A real Apache Kafka broker on loopback ports: KRaft, one node, broker and controller in one.

    with KafkaBroker(data, state=tmp, listeners=[TLS, SCRAM], users={"ann": "secret"}) as broker:
        broker.create_topic("events", partitions=3)
        KafkaProducer(**broker.client(SCRAM, user="ann"))
        broker.kill()
        broker.start()  # the same ports, the same records

The plain listener is always there, open to anybody, and may do everything also where ACLs are on:
it is for the tests themselves. Like servers.py this needs the standard library only, except for
what wants certificates or kafka-python.
"""

from __future__ import annotations

import base64
import json
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from kafka_probe import leads_all
from programs import kafka_jars, program
from servers import Server, ServerError, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from certificates import Authority

NODE = 1
JVM = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # Who was refused, and why: clients are not told.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.network.Selector=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
SECURITY = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True)
class Listener:
    """One way into a broker, on a port of its own."""

    name: str
    tls: bool = False
    client_certificate: bool = False
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None

    @property
    def protocol(self) -> str:
        """As Kafka and its clients name it."""
        secured = "SSL" if self.tls else "PLAINTEXT"
        return f"SASL_{secured}" if self.mechanism else secured


PLAINTEXT = Listener("PLAINTEXT")
CONTROLLER = Listener("CONTROLLER")
TLS = Listener("TLS", tls=True)
MTLS = Listener("MTLS", tls=True, client_certificate=True)
SASL_PLAIN = Listener("SASL_PLAIN", mechanism="PLAIN")
SCRAM = Listener("SCRAM", mechanism="SCRAM-SHA-256")
SCRAM_TLS = Listener("SCRAM_TLS", tls=True, mechanism="SCRAM-SHA-256")
OAUTH = Listener("OAUTH", mechanism="OAUTHBEARER")


class KafkaBroker(Server):
    """One broker on one directory, which it formats when it starts there for the first time.

    A client is, to ACLs, the user that it logs in as; the CN of its certificate (MTLS); the subject
    of its token (OAUTH). Whoever says nothing of himself is ANONYMOUS, who may do everything.
    """

    def __init__(
        self,
        datadir: Path,
        *,
        state: Path,
        listeners: Iterable[Listener] = (),
        users: Mapping[str, str] | None = None,
        acls: bool = False,
        settings: Mapping[str, object] | None = None,
        port: int | None = None,
        ports: Mapping[Listener, int] | None = None,
        detached: bool = False,
    ) -> None:
        """Prepare a broker; nothing runs before start().

        users: name -> password, for listeners with PLAIN and SCRAM; the latter take those that
            there are at the first start.
        settings: more of server.properties, as Kafka names it. It is written at each start.
        port, ports: those of the plain and of the other listeners; free ones by default.
        """
        super().__init__("kafka", state=state, port=port, detached=detached)
        self.datadir = datadir
        self.listeners = tuple(listeners)
        self.users = dict(users or {})
        self.acls = acls
        self.settings = dict(settings or {})
        self.config = state / f"{self.stem}.properties"
        self._given_ports = dict(ports or {})
        self._other_ports: dict[Listener, int] = {}
        self._choose_other_ports()
        self._authority: Authority | None = None

    @property
    def authority(self) -> Authority:
        """Signed the broker's certificate, and signs those of clients."""
        if self._authority is None:
            from certificates import Authority

            self._authority = Authority(self.state / f"{self.stem}-certificates")
        return self._authority

    def address(self, listener: Listener = PLAINTEXT) -> str:
        """Host and port, for bootstrap.servers."""
        return f"127.0.0.1:{self.port if listener == PLAINTEXT else self._other_ports[listener]}"

    def client(
        self,
        listener: Listener = PLAINTEXT,
        *,
        user: str | None = None,
        token_lifetime: float = 3600.0,
        **more: Any,
    ) -> dict[str, Any]:
        """Keywords for kafka-python's clients; `more` goes over them.

        `user` is who logs in, with the password of `users`, or has a certificate or a token.
        """
        found: dict[str, Any] = {
            "bootstrap_servers": [self.address(listener)],
            "security_protocol": listener.protocol,
            # Its default of 30 s makes a client sleep on long after a broker is back.
            "reconnect_backoff_max_ms": 500,
        }
        if listener.tls:
            found["ssl_cafile"] = str(self.authority.certificate)
        if listener.client_certificate and user is not None:
            found["ssl_certfile"] = found["ssl_keyfile"] = str(self.authority.issue(user))
        if listener.mechanism is not None:
            assert user is not None
            found["sasl_mechanism"] = listener.mechanism
        if listener.mechanism == "OAUTHBEARER":
            found["sasl_oauth_token_provider"] = _token_provider(str(user), token_lifetime)
        elif listener.mechanism is not None:
            found["sasl_plain_username"] = user
            found["sasl_plain_password"] = self.users.get(str(user))
        return {**found, **more}

    def admin(self) -> Any:
        """A KafkaAdminClient that may do everything; close it."""
        from kafka.admin import KafkaAdminClient

        return KafkaAdminClient(**self.client())

    def create_topic(self, name: str, partitions: int = 3, **configs: object) -> str:
        """Make a topic that can be written to at once; configs like `retention_ms=1000`."""
        admin = self.admin()
        try:
            admin.create_topics(
                {
                    name: {
                        "num_partitions": partitions,
                        "replication_factor": 1,
                        "configs": {key.replace("_", "."): _text(configs[key]) for key in configs},
                    }
                }
            )
        finally:
            admin.close()
        self.wait_ready()
        return name

    def allow(
        self, user: str, *operations: str, topic: str | None = None, group: str | None = None
    ) -> None:
        """Let a user do this (READ, WRITE, DESCRIBE, ...) with a topic or a consumer group."""
        admin = self.admin()
        try:
            done = admin.create_acls(_acls(user, operations, topic=topic, group=group))
        finally:
            admin.close()
        if done["failed"]:
            raise ServerError(f"kafka refused to allow {operations} to {user}: {done['failed']}")

    def revoke(
        self, user: str, *operations: str, topic: str | None = None, group: str | None = None
    ) -> None:
        """Take back what was allowed; those that are connected notice it too."""
        from kafka.errors import NoError

        admin = self.admin()
        try:
            done = admin.delete_acls(_acls(user, operations, topic=topic, group=group))
        finally:
            admin.close()
        for asked, removed, error in done:
            if error is not NoError or not removed:
                raise ServerError(f"kafka did not revoke {asked}: {error}")

    def wait_ready(self) -> None:
        """Return once every partition can be written to and read, e.g. after resume()."""
        if self._process is None:
            raise ServerError("kafka is not running")
        if not self._wait_until_ready():
            raise ServerError(f"kafka died by itself{self._log_excerpt()}")

    def pause(self) -> None:
        """Let nothing of it run, while its connections stay open: a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def start(self) -> Self:
        if not (self.datadir / "meta.properties").exists():
            self._format()
        super().start()
        # Clients know it by these from now on.
        self._port_is_given = True
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)  # one that is paused would not hear of it
        super().stop()

    def command(self) -> Sequence[str | Path]:
        self._write_config()
        return [*_java(), "kafka.Kafka", self.config]

    def environment(self) -> Mapping[str, str]:
        return {}

    def is_ready(self) -> bool:
        return leads_all(self.port, NODE)

    def choose_ports(self) -> None:
        super().choose_ports()
        self._choose_other_ports()

    def _choose_other_ports(self) -> None:
        taken = {self.port, *self._given_ports.values()}
        for listener in (CONTROLLER, *self.listeners):
            port = self._given_ports.get(listener)
            while port is None or (listener not in self._given_ports and port in taken):
                port = free_port()
            taken.add(port)
            self._other_ports[listener] = port

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise ServerError("kafka is not running")
        self._process.send_signal(number)

    def _format(self) -> None:
        self.datadir.mkdir(parents=True, exist_ok=True)
        self._write_config()
        # Each its own, so that a broker that was replaced by an empty one can be told. The first
        # byte keeps the name from starting with what would be an option.
        cluster = base64.urlsafe_b64encode(b"K" + secrets.token_bytes(15)).decode().rstrip("=")
        argv: list[str | Path] = [*_java(), "kafka.tools.StorageTool", "format"]
        argv += ["--cluster-id", cluster, "--config", self.config]
        mechanisms = {listener.mechanism for listener in self.listeners}
        for mechanism in sorted(m for m in mechanisms if m and m.startswith("SCRAM")):
            for name, password in self.users.items():
                argv += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        done = subprocess.run(
            argv,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"kafka's format ended with {done.returncode}:\n{done.stdout}")

    def _write_config(self) -> None:
        config = {**self._base_config(), **self.settings}
        self.config.write_text("".join(f"{key}={_text(config[key])}\n" for key in config))

    def _base_config(self) -> dict[str, object]:
        every = (PLAINTEXT, CONTROLLER, *self.listeners)
        at = {each: f"{each.name}://{self.address(each)}" for each in every}
        config: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": NODE,
            # Not kept in the data, so that the ports may be others at the next start.
            "controller.quorum.voters": f"{NODE}@{self.address(CONTROLLER)}",
            "controller.listener.names": CONTROLLER.name,
            "inter.broker.listener.name": PLAINTEXT.name,
            "listeners": ",".join(at.values()),
            "advertised.listeners": ",".join(at[each] for each in every if each != CONTROLLER),
            "listener.security.protocol.map": ",".join(
                f"{each.name}:{each.protocol}" for each in every
            ),
            "log.dirs": self.datadir.resolve(),
            "auto.create.topics.enable": False,
            "group.initial.rebalance.delay.ms": 0,
            # After a crash the controller waits for as long before it takes the broker again.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # One node is all there is, and few partitions start sooner.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 2,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 2,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 2,
        }
        if any(listener.tls for listener in self.listeners):
            config |= self._tls_config()
        if self.acls:
            config["authorizer.class.name"] = (
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            )
            config["super.users"] = "User:ANONYMOUS"
        for listener in self.listeners:
            config |= self._listener_config(listener)
        return config

    def _tls_config(self) -> dict[str, object]:
        keys = self.authority.directory / "broker.pem"
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": keys if keys.exists() else self.authority.issue("broker"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.certificate,
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/,DEFAULT",
        }

    def _listener_config(self, listener: Listener) -> dict[str, object]:
        prefix = f"listener.name.{listener.name.lower()}"
        config: dict[str, object] = {}
        if listener.client_certificate:
            config[f"{prefix}.ssl.client.auth"] = "required"
        if listener.mechanism is None:
            return config
        config[f"{prefix}.sasl.enabled.mechanisms"] = listener.mechanism
        prefix += f".{listener.mechanism.lower()}.sasl"
        if listener.mechanism == "PLAIN":
            users = "".join(f' user_{name}="{self.users[name]}"' for name in self.users)
            module = f"{SECURITY}.plain.PlainLoginModule required{users}"
        elif listener.mechanism == "OAUTHBEARER":
            module = f"{SECURITY}.oauthbearer.OAuthBearerLoginModule required"
            config[f"{prefix}.server.callback.handler.class"] = (
                f"{SECURITY}.oauthbearer.internals.unsecured"
                ".OAuthBearerUnsecuredValidatorCallbackHandler"
            )
        else:
            module = f"{SECURITY}.scram.ScramLoginModule required"
        config[f"{prefix}.jaas.config"] = f"{module};"
        return config


def unsecured_token(subject: str, *, lifetime: float) -> str:
    """A JWT that nobody has signed, as the listener OAUTH takes it (and no real broker should)."""
    now = time.time()
    # The broker's clock counts milliseconds: what was issued within this one would be of later.
    issued = min(now, now + lifetime) - 60
    parts = ({"alg": "none"}, {"sub": subject, "iat": issued, "exp": now + lifetime})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join(part.decode().rstrip("=") for part in encoded) + "."


def _token_provider(subject: str, lifetime: float) -> Any:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
        def token(self) -> str:
            return unsecured_token(subject, lifetime=lifetime)

    return Provider()


def _acls(
    user: str, operations: Sequence[str], *, topic: str | None, group: str | None
) -> list[Any]:
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

    named = ((ResourceType.TOPIC, topic), (ResourceType.GROUP, group))
    return [
        ACL(
            principal=f"User:{user}",
            host="*",
            operation=ACLOperation[operation],
            permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(kind, name),
        )
        for kind, name in named
        if name is not None
        for operation in operations
    ]


def _java() -> list[str | Path]:
    return [program("java"), *JVM, "-cp", f"{kafka_jars()}/*"]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
