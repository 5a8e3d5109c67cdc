"""The ports of the audit stream: a topic that events go to, and one that they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Arrived",
    "Delivery",
    "EventSink",
    "EventSource",
    "KafkaClient",
    "KafkaMechanism",
    "KafkaProtocol",
    "LogFormat",
    "Message",
    "RejectedError",
]

#: How the brokers of a cluster are spoken to.
KafkaProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
#: How a client proves who it is (SASL).
KafkaMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
#: Which library does it; `auto`: librdkafka where the extra `fast-kafka` is installed.
KafkaClient = Literal["auto", "kafka-python", "librdkafka"]
#: What the lines of a log are.
LogFormat = Literal[
    "auto",
    "cri",
    "distribution",
    "combined",
    "nginx",
    "haproxy",
    "traefik",
    "harbor",
    "token",
    "falco",
    "s3",
    "cloudtrail",
    "cloudfront",
]


class Message(NamedTuple):
    """One record of a topic.

    Attributes:
        key: records of one key stay in order; None: of no order.
        value: the record's bytes.
        timestamp_ms: since the epoch.
        headers: names with values.
    """

    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


class RejectedError(Exception):
    """A record will never be taken: it is too large, say. Others may be."""


class Delivery(Protocol):
    """What becomes of one record that was sent."""

    @property
    def is_done(self) -> bool:
        """Whether it is known."""

    @property
    def exception(self) -> BaseException | None:
        """None where the record is durable in its topic; else why not, as the library says it.

        See `EventSink.explain`.
        """


class EventSink(Protocol):
    """Topics to write to.

    Once something went wrong with more than one record (an error of the `RegvaultError` tree,
    raised or explained), the sink is of no more use: whoever has it closes it, opens another one,
    and sends again all that was not acknowledged.
    """

    def send(self, topic: str, message: Message) -> Delivery:
        """Begin to send a record; does not wait until it is there.

        Raises:
            RejectedError: it will never be taken.
            RegvaultError: nothing is taken now.
        """

    def explain(self, error: BaseException) -> Exception:
        """Return what the exception of a delivery means: a RejectedError or a RegvaultError."""

    def close(self) -> None:
        """Give up what is under way, at once."""


class Arrived(NamedTuple):
    """One record that came from a stream.

    Attributes:
        partition: of the topic, or the id of a spool: its offsets count by themselves.
        offset: of the record.
        message: the record.
    """

    partition: str
    offset: int
    message: Message


class EventSource(Protocol):
    """A stream to read, each partition in order."""

    @property
    def stream(self) -> dict[str, str]:
        """What names the stream for ever: where it is from, what it is called there."""

    def start(
        self, positions: Callable[[], Mapping[str, int]], yielding: Callable[[], None]
    ) -> None:
        """Begin to read.

        Args:
            positions: asked when partitions are to be read: of each, the first offset that is
                wanted; others from their beginning.
            yielding: called before partitions are given to another reader: what was read of them
                should be settled then.

        Raises:
            RegvaultError: it cannot be reached, or may not be read.
        """

    def read(self, timeout_s: float) -> list[Arrived]:
        """Return what came, [] where there was nothing in time. Raises RegvaultError."""

    def gone(self) -> list[dict[str, object]]:
        """Return what was wanted and is not there any more: `partition`, `first`, `next`."""

    def caught_up(self) -> bool:
        """Return whether all that was there when it began has been read."""

    def settle(self, positions: Mapping[str, int]) -> None:
        """Say that all before these offsets is kept elsewhere. Raises RegvaultError."""

    def close(self) -> None:
        """Stop reading."""
