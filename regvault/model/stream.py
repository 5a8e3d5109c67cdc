"""The ports of the audit stream: a topic that events go to, and one that they come from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Delivery", "EventSink", "Message", "RejectedError"]


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
    """What becomes of one record that was sent.

    Attributes:
        is_done: it is known.
        exception: None where the record is durable in its topic; else why not, as the library says
            it (see `EventSink.explain`).
    """

    is_done: bool
    exception: BaseException | None


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
