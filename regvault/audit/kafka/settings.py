"""How a Kafka cluster is reached: addresses, TLS, SASL."""

from __future__ import annotations

import base64
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from regvault.errors import CredentialError, UsageError
from regvault.model.stream import KafkaMechanism, KafkaProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MECHANISMS", "PROTOCOLS", "KafkaSettings"]

PROTOCOLS: Final = get_args(KafkaProtocol)
MECHANISMS: Final = get_args(KafkaMechanism)


@dataclass(frozen=True)
class KafkaSettings:
    """How a cluster is reached.

    Attributes:
        servers: `HOST:PORT` of some brokers.
        protocol: one of `PROTOCOLS`.
        mechanism: one of `MECHANISMS`, where the protocol has SASL.
        username: for PLAIN and SCRAM.
        password: gives the password, or for OAUTHBEARER the token; asked at each connection, since
            tokens expire.
        ca_file: PEM, of who signed the brokers' certificates; None: those that the system trusts.
        cert_file, key_file: PEM, of this client (mTLS).
        check_hostname: the certificate must be of the host that is connected to.
        client: which library speaks to it: one of `clients.CLIENTS`.
    """

    servers: tuple[str, ...]
    protocol: str = "PLAINTEXT"
    mechanism: str | None = None
    username: str | None = None
    password: Callable[[], str] | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    check_hostname: bool = True
    client: str = "auto"

    def __post_init__(self) -> None:
        """Check that what is set fits. Raises UsageError."""
        if self.protocol.startswith("SASL") and self.mechanism is None:
            raise UsageError("Kafka with SASL needs a mechanism", hint=", ".join(MECHANISMS))
        if self.mechanism and self.password is None:
            raise UsageError(
                f"Kafka with {self.mechanism} needs a password or a token",
                hint="Say where it is: --kafka-password file:/PATH or env:NAME",
            )

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol.endswith("SSL")

    def ssl_context(self) -> ssl.SSLContext:
        """Return how TLS is spoken. Raises CredentialError where a file is none of the kind."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.check_hostname = self.check_hostname
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise CredentialError(
                f"cannot use the TLS files {names}: {error}",
                hint="They are PEM: certificates, and a private key without a password.",
            ) from None
        return context

    def for_kafka_python(self) -> dict[str, Any]:
        """Return the settings as kafka-python takes them."""
        found: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.protocol,
            "client_id": "regvault",
        }
        if self.tls:
            found["ssl_context"] = self.ssl_context()
            found["ssl_check_hostname"] = self.check_hostname
        if self.mechanism is not None:
            assert self.password is not None
            found["sasl_mechanism"] = self.mechanism
            if self.mechanism == "OAUTHBEARER":
                found["sasl_oauth_token_provider"] = _token_provider(self.password)
            else:
                found["sasl_plain_username"] = self.username
                found["sasl_plain_password"] = self.password()
        return found

    def for_librdkafka(self) -> dict[str, Any]:
        """Return the settings as librdkafka takes them. Raises CredentialError."""
        found: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.servers),
            "security.protocol": self.protocol,
            "client.id": "regvault",
            "allow.auto.create.topics": False,
            "reconnect.backoff.max.ms": 500,
            "log_level": 3,
        }
        if self.tls:
            self.ssl_context()  # says which file is of no use
            files = {
                "ssl.ca.location": self.ca_file,
                "ssl.certificate.location": self.cert_file,
                "ssl.key.location": self.key_file or self.cert_file,
            }
            found |= {name: value for name, value in files.items() if value is not None}
            found["ssl.endpoint.identification.algorithm"] = (
                "https" if self.check_hostname else "none"
            )
        if self.mechanism is not None:
            assert self.password is not None
            found["sasl.mechanism"] = self.mechanism
            if self.mechanism == "OAUTHBEARER":
                token = self.password
                found["oauth_cb"] = lambda _: _token_with_expiry(token())
            else:
                found["sasl.username"] = self.username or ""
                found["sasl.password"] = self.password()
        return found


def _token_with_expiry(token: str) -> tuple[str, float]:
    """Return a token with when it expires, epoch seconds; in five minutes where it does not say."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return token, float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return token, time.time() + 300


def _token_provider(token: Callable[[], str]) -> Any:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return token()

    return Provider()
