"""Puts archived events back into a topic, as they were."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.audit.split import message_from
from regvault.errors import ObjectNotFoundError, RegvaultError, TemporaryError, VaultDamagedError
from regvault.model.stream import RejectedError
from regvault.ops.audit.archived import ArchivedEvents
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.stream import Delivery, EventSink, Message
    from regvault.vault.audit.index import Summary
    from regvault.vault.audit.segment import Line
    from regvault.vault.vault import Vault

__all__ = ["HINT", "Replayed", "replay"]

HINT = (
    "Does it run, and can this host reach it? Then run the same command again: what is there "
    "already is sent twice, with the same ids."
)
"""What to do where the topic cannot be reached, or is gone on the way."""

_WINDOW = 5000
_STALL_S = 150.0
_SETTLE_S = 5.0
_NAP_S = 0.002


@dataclass
class Replayed:
    """What was put back.

    Attributes:
        sent: records, each acknowledged.
        rejected: records that the topic does not take.
        erased: records whose month tells of nobody any more; they were sent without.
        reason: why the first of those that the topic does not take is not taken; or "".
        expired: what came in until then, and is not kept any more, may have been of that time; or
            "".
    """

    sent: int = 0
    rejected: int = 0
    erased: int = 0
    reason: str = ""
    expired: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {"sent": self.sent, "rejected": self.rejected, "erased": self.erased}


def replay(
    vault: Vault,
    connect: Callable[[], EventSink],
    topic: str,
    *,
    since: str,
    until: str,
    progress: Progress,
) -> Replayed:
    """Send all archived events of a time to a topic: values, keys, timestamps and headers.

    In the order in which they were archived, which keeps that of each key. What cannot be read, and
    what the topic does not take, holds up nothing else.

    Args:
        vault: where they are.
        connect: opens what they are sent by; raises what is of the `RegvaultError` tree.
        topic: where they go.
        since: the first time at which they happened.
        until: the one before which they did.
        progress: is told.

    Raises:
        RegvaultError: the vault or the topic cannot be used; or, once all else is sent, some of
            the archive cannot be read.
    """
    done = Replayed()
    archived = ArchivedEvents(vault)
    months = Months(vault)
    outbox = _Outbox(connect, topic, done)
    try:
        progress.phase(f"Sending to {topic}")
        links = archived.links(since, until)
        done.expired = archived.expired
        for link in sorted(links, key=lambda each: (each.key.rpartition("/")[0], each.number)):
            reader = SegmentReader(vault, link.key, link.table, months)
            for line in _lines(reader, link, archived.damaged):
                message = _message(line, since, until)
                if message is not None:
                    done.erased += line.personal is None
                    outbox.send(message)
            progress.advance(1)
        outbox.drain()
    finally:
        outbox.close()
    for key, why in archived.damaged.items():
        raise RegvaultError(
            f"{key} cannot be read: {why}",
            hint=f"All else was sent: {done.sent} events. See: regvault audit verify",
        )
    return done


def _lines(reader: SegmentReader, link: Summary, damaged: dict[str, str]) -> Iterator[Line]:
    """Yield the events of a segment; what cannot be read is noted."""
    try:
        frames = len(reader.table().frames)
    except (VaultDamagedError, ObjectNotFoundError) as error:
        damaged[link.key] = error.message
        return
    for number in range(frames):
        try:
            lines = reader.lines(number)
        except (VaultDamagedError, ObjectNotFoundError) as error:
            damaged[link.key] = error.message
        else:
            yield from lines


def _message(line: Line, since: str, until: str) -> Message | None:
    """Return the record of an event; None where it did not happen in that time."""
    import orjson

    if not since <= orjson.loads(line.public)["time"] < until:
        return None
    message = message_from(line.public, line.personal)
    if line.personal is None:
        # The record's own time went with the persons, and what the event says may be anybody's
        # word: a topic takes no records of the future.
        now_ms = time.time_ns() // 1_000_000
        message = message._replace(timestamp_ms=min(message.timestamp_ms, now_ms))
    return message


class _Flying(NamedTuple):
    message: Message
    delivery: Delivery
    #: It was refused together with others, and is sent alone.
    alone: bool


class _Outbox:
    """Sends records in order, and finds out which are refused.

    kafka-python (3.0.12) fails all that is under way, and comes, with a record that is refused. So
    one that may be it is sent again alone, over a new connection: then it is known whose fault it
    is.
    """

    def __init__(self, connect: Callable[[], EventSink], topic: str, done: Replayed) -> None:
        self._connect = connect
        self._topic = topic
        self._done = done
        self._sink = connect()
        self._flying: deque[_Flying] = deque()
        #: What is to be sent, and whether alone.
        self._waiting: deque[tuple[Message, bool]] = deque()

    def send(self, message: Message) -> None:
        """Send a record; wait where many are under way."""
        self._waiting.append((message, False))
        while self._waiting:
            self._advance()

    def drain(self) -> None:
        """Wait until all records are acknowledged."""
        while self._waiting or self._flying:
            self._advance()

    def close(self) -> None:
        """Give up what is under way."""
        self._sink.close()

    def _advance(self) -> None:
        """Send the next record if it may be sent now; else wait for the first under way."""
        while self._flying and self._flying[0].delivery.is_done:
            if not self._take_first():
                return
        if not self._waiting or self._must_wait():
            if self._flying:
                self._await(lambda: self._flying[0].delivery.is_done, _STALL_S)
            return
        message, alone = self._waiting.popleft()
        try:
            delivery = self._sink.send(self._topic, message)
        except RejectedError as error:
            self._reject(error)
        except RegvaultError:
            self._waiting.appendleft((message, alone))
            if not self._flying or not self._start_over():
                raise
        else:
            self._flying.append(_Flying(message, delivery, alone))

    def _must_wait(self) -> bool:
        if not self._flying:
            return False
        return len(self._flying) >= _WINDOW or self._flying[-1].alone or self._waiting[0][1]

    def _await(self, is_so: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"Kafka has acknowledged nothing for {seconds:.0f} seconds", hint=HINT
                )
            time.sleep(_NAP_S)

    def _take_first(self) -> bool:
        """Take what is known of the first record under way; return whether it was acknowledged."""
        first = self._flying[0]
        error = first.delivery.exception
        if error is None:
            self._flying.popleft()
            self._done.sent += 1
            return True
        if not self._start_over():
            raise self._sink.explain(error)
        return False

    def _start_over(self) -> bool:
        """Send again what was not acknowledged, if a record was refused; else return False."""
        deadline = time.monotonic() + _SETTLE_S
        while not all(each.delivery.is_done for each in self._flying):
            if time.monotonic() > deadline:
                break
            time.sleep(_NAP_S)
        errors = [
            each.delivery.exception if each.delivery.is_done else None for each in self._flying
        ]
        reasons = [None if error is None else self._sink.explain(error) for error in errors]
        if not any(isinstance(reason, RejectedError) for reason in reasons):
            return False
        again: list[tuple[Message, bool]] = []
        for each, reason in zip(self._flying, reasons, strict=True):
            if isinstance(reason, RejectedError) and len(self._flying) == 1:
                self._reject(reason)
            elif reason is None and each.delivery.is_done:
                self._done.sent += 1
            else:
                again.append((each.message, isinstance(reason, RejectedError)))
        self._waiting.extendleft(reversed(again))
        self._flying.clear()
        self._sink.close()
        self._sink = self._connect()
        return True

    def _reject(self, error: RejectedError) -> None:
        self._done.rejected += 1
        self._done.reason = self._done.reason or str(error)
