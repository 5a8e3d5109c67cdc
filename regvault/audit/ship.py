"""Moves events from a spool into Kafka, each until it is acknowledged."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from regvault.audit.envelope import message_of, shortened
from regvault.audit.formats.fields import derived_id
from regvault.audit.intake import body_of
from regvault.errors import NotFoundError, RegvaultError, TemporaryError
from regvault.model.event import UNPARSED, new_event, time_text
from regvault.model.stream import RejectedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from regvault.audit.spool import Damage, Reader, Record, Spool
    from regvault.model.stream import Delivery, EventSink, Message

__all__ = ["DEAD_LETTERS", "Shipped", "Shipper", "gap_event"]

DEAD_LETTERS = ".dead"
"""What the name of the topic of what Kafka does not take ends in, where no other one is named."""

_WINDOW = 5000
_WINDOW_BYTES = 16 << 20
_ADVANCE_S = 1.0
_IDLE_S = 0.05
_NAP_S = 0.002
_STALL_S = 150.0
_BACKOFF_S = (0.5, 30.0)


@dataclass
class Shipped:
    """What a shipper has done so far, and how it is.

    Attributes:
        sent: events acknowledged.
        dead: of those, acknowledged in the topic of dead letters, and maybe shortened in the topic.
        gaps: reports of damage in the spool, put into it as events.
        failures: how often all was given up and begun again.
        problem: why nothing is sent just now; None: it is.
        lag: events that are in the spool and not acknowledged, as far as is known.
    """

    sent: int = 0
    dead: int = 0
    gaps: int = 0
    failures: int = 0
    problem: RegvaultError | None = None
    lag: int = 0

    def to_json(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "sent": self.sent,
            "dead_letters": self.dead,
            "gaps": self.gaps,
            "failures": self.failures,
        }


class _Flying(NamedTuple):
    record: Record
    topic: str
    size: int
    delivery: Delivery
    #: What goes to the topic once this is acknowledged as a dead letter.
    then: Message | None = None
    #: There is a dead letter of this record.
    is_dead: bool = False


class _AgainError(Exception):
    """All is to be sent again over a new connection; nothing is wrong with Kafka."""


class Shipper:
    """Takes events out of a spool, in order, and into a topic.

    At least once: what was not known to be acknowledged when a run ended is sent again by the next,
    with the same ids.

    Attributes:
        shipped: what it has done.
    """

    def __init__(
        self,
        spool: Spool,
        connect: Callable[[], EventSink],
        topic: str,
        *,
        dead_letters: str | None = None,
        consumer: str | None = None,
        report: Callable[..., None] | None = None,
    ) -> None:
        """Begin where the last run of this consumer of the spool ended.

        Args:
            spool: where the events are.
            connect: opens the sink; raises what is of the `RegvaultError` tree.
            topic: where they go.
            dead_letters: the topic for what is not taken there, and for what is no event.
            consumer: the name of the cursor; None: one for each topic.
            report: is told what goes wrong, with a `hint`, once until it goes well again.
        """
        self.shipped = Shipped()
        self._spool = spool
        self._connect = connect
        self._report = report
        self._topic = topic
        self._dead_topic = dead_letters or topic + DEAD_LETTERS
        self._cursor = spool.cursor(consumer or f"ship-{topic}"[:200])
        self._sink: EventSink | None = None
        self._reader: Reader = spool.reader(self._cursor.next)
        self._flying: deque[_Flying] = deque()
        self._waiting: deque[Record] = deque()
        self._suspect = -1
        self._unwanted: dict[int, str] = {}
        self._hopeless: set[int] = set()
        self._bytes = 0
        self._done_to = self._cursor.next
        self._advanced = time.monotonic()
        self._progressed = time.monotonic()

    def run(self, stop: threading.Event, *, follow: bool, drain_s: float = 10.0) -> Shipped:
        """Ship what is there, and with `follow` what comes, until told to stop.

        The consumer is known to the spool while it runs, and from its first acknowledged event on.

        Args:
            stop: set from elsewhere to end it.
            follow: wait for more, and try again whatever goes wrong.
            drain_s: how long what is there is still shipped after `stop` was set.

        Raises:
            RegvaultError: without `follow`, something went wrong that trying again did not mend.
        """
        is_new = self._cursor.register()
        begun = self._done_to
        deadline = float("inf")
        tries = 0
        try:
            while True:
                if stop.is_set() and deadline == float("inf"):
                    deadline = time.monotonic() + drain_s
                if time.monotonic() > deadline:
                    return self.shipped
                try:
                    busy = self._step()
                except _AgainError:
                    self._start_over()
                    continue
                except RegvaultError as error:
                    self._give_up(error)
                    if stop.is_set() or (not follow and not self._again(error, tries)):
                        if follow:
                            return self.shipped
                        raise
                    low, high = _BACKOFF_S
                    stop.wait(min(high, low * 2**tries) * random.uniform(0.5, 1))  # noqa: S311
                    tries += 1
                    continue
                if self.shipped.problem is None:
                    tries = 0
                if busy:
                    continue
                if self._flying:
                    time.sleep(_NAP_S)
                elif not follow or stop.is_set():
                    return self.shipped
                else:
                    stop.wait(_IDLE_S)
        finally:
            with contextlib.suppress(RegvaultError, _AgainError):
                self._acknowledge()
            self._advance()
            self._close()
            is_wrong = isinstance(self.shipped.problem, NotFoundError)
            if is_new and self._done_to == begun and (is_wrong or not follow):
                # A topic that nobody knows to be there, say one misspelt, would hold all for ever.
                self._cursor.remove()

    @staticmethod
    def _again(error: RegvaultError, tries: int) -> bool:
        return isinstance(error, TemporaryError) and tries < 3

    def _step(self) -> bool:
        """Do some work; return whether there is more to do at once."""
        if self._sink is None:
            self._sink = self._connect()
            self._progressed = time.monotonic()
        progress = self._acknowledge()
        if time.monotonic() - self._advanced > _ADVANCE_S:
            self._advance()
        self._watch()
        room = _WINDOW - len(self._flying)
        if room < _WINDOW // 10 or self._bytes > _WINDOW_BYTES:
            return progress
        if not self._waiting:
            self._waiting.extend(self._reader.read(min(room, 500), 4 << 20))
            self._report_damage()
            self.shipped.lag = max(0, self._reader.next - self._done_to)
        sent = False
        while self._waiting and not self._must_wait(self._waiting[0]):
            self._send(self._waiting.popleft())
            sent = True
        return sent or progress

    def _must_wait(self, record: Record) -> bool:
        """Return whether a record is not to be sent while others are under way.

        One that was refused with others is sent alone, since then it is known whose fault it is;
        and what is sent twice is done before others are sent, so that all stays in order.
        """
        if not self._flying:
            return False
        last = self._flying[-1]
        return last.then is not None or self._suspect in {record.seq, last.record.seq}

    def _send(self, record: Record) -> None:
        message = message_of(record.data)
        if _is_unparsed(record.data):
            self._start(record, self._dead_topic, message, is_dead=True)
            return
        reason = self._unwanted.get(record.seq)
        try:
            if reason is not None:
                raise RejectedError(reason)
            self._start(record, self._topic, message)
        except RejectedError as error:
            small = shortened(record.data, str(error))
            hopeless = record.seq in self._hopeless or self._topic == self._dead_topic
            then = None if hopeless else small
            self._start(record, self._dead_topic, small, then=then, is_dead=True)

    def _start(
        self,
        record: Record,
        topic: str,
        message: Message,
        *,
        then: Message | None = None,
        is_dead: bool = False,
    ) -> None:
        assert self._sink is not None
        try:
            delivery = self._sink.send(topic, message)
        except NotFoundError as error:
            if topic == self._dead_topic:
                raise self._no_dead_letters() from error
            raise
        except RejectedError:
            if topic != self._dead_topic:
                raise
            message = shortened(record.data, "it is too large for Kafka")
            delivery = self._sink.send(topic, message)
        size = len(message.value)
        self._flying.append(_Flying(record, topic, size, delivery, then, is_dead))
        self._bytes += size

    def _no_dead_letters(self) -> RegvaultError:
        return NotFoundError(
            f"there is no topic {self._dead_topic} for what {self._topic} does not take",
            hint="Make it, or name another one (--dead-letter-topic). The spool keeps all.",
        )

    def _acknowledge(self) -> bool:
        """Take what is acknowledged off the front; return whether there was anything."""
        flying = self._flying
        before = self._done_to
        while flying and flying[0].delivery.is_done:
            first = flying[0]
            error = first.delivery.exception
            if error is not None:
                self._settle(first, error)
            flying.popleft()
            self._bytes -= first.size
            if first.then is not None and self._follow_up(first.record, first.then):
                break
            self._done_to = first.record.seq + 1
            self._unwanted.pop(first.record.seq, None)
            self._hopeless.discard(first.record.seq)
            self.shipped.sent += 1
            if first.is_dead:
                self.shipped.dead += 1
        if self._done_to == before:
            return False
        self._progressed = time.monotonic()
        self.shipped.problem = None
        return True

    def _follow_up(self, record: Record, message: Message) -> bool:
        """Send to the topic what has its dead letter; return whether that is possible."""
        try:
            self._start(record, self._topic, message, is_dead=True)
        except RejectedError:
            return False
        return True

    def _settle(self, first: _Flying, error: BaseException) -> None:
        """Raise what is to be done about a record that was not taken."""
        assert self._sink is not None
        explained = self._sink.explain(error)
        if not isinstance(explained, RejectedError):
            if isinstance(explained, NotFoundError) and first.topic != self._topic:
                raise self._no_dead_letters() from error
            raise explained from error
        # kafka-python (3.0.12) fails all that is under way, and comes, with one that is refused.
        if len(self._flying) > 1:
            refused = [each for each in self._flying if each.delivery.is_done]
            largest = max(refused, key=lambda each: (bool(each.delivery.exception), each.size))
            self._suspect = largest.record.seq
            raise _AgainError(f"a record was refused with others: {explained}") from error
        if first.topic == self._dead_topic:
            raise TemporaryError(
                f"the topic {self._dead_topic} does not take what {self._topic} does not take: "
                f"{explained}",
                hint="Let it take records of 1 MiB. Until then the spool keeps all.",
            ) from error
        if first.is_dead:
            self._hopeless.add(first.record.seq)
        else:
            self._unwanted[first.record.seq] = str(explained)
        raise _AgainError(f"a record was refused: {explained}") from error

    def _watch(self) -> None:
        """Raise TemporaryError where nothing was acknowledged for too long."""
        if self._flying and time.monotonic() - self._progressed > _STALL_S:
            raise TemporaryError(
                f"Kafka has acknowledged nothing for {_STALL_S:.0f} seconds",
                hint="It is tried again with a new connection.",
            )
        if not self._flying:
            self._progressed = time.monotonic()

    def _give_up(self, error: RegvaultError) -> None:
        """Say what is wrong, once, and start over."""
        known = self.shipped.problem is not None and self.shipped.problem.message == error.message
        if self._report is not None and not known:
            self._report(error.message, hint=error.hint)
        self.shipped.problem = error
        self.shipped.failures += 1
        self._start_over()

    def _start_over(self) -> None:
        """Forget what is under way: it is read and sent again, over a new connection."""
        self._close()
        self._flying.clear()
        self._waiting.clear()
        self._bytes = 0
        self._reader.close()
        self._reader = self._spool.reader(self._done_to)

    def _advance(self) -> None:
        self._advanced = time.monotonic()
        if self._done_to > self._cursor.next:
            self._cursor.advance(self._done_to)
            self._spool.collect()

    def _report_damage(self) -> None:
        damage, self._reader.damage = self._reader.damage, []
        for found in damage:
            self._spool.append([gap_event(self._spool.id, found)])
            self.shipped.gaps += 1

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None


def _is_unparsed(data: bytes) -> bool:
    import orjson

    return b'"action":"unparsed"' in data[:400] and orjson.loads(data)["action"] == UNPARSED


def gap_event(spool: str, found: Damage) -> bytes:
    """Return the event that reports damage of a spool: the same one for the same damage."""
    what = "the end of a write that was cut off" if found.torn else "damaged bytes"
    raw = json.dumps({**found._asdict(), "spool": spool}, separators=(",", ":"))
    event = new_event(
        time_text(time.time_ns()),
        "gap",
        "regvault",
        raw,
        reason=f"{what} in the spool after number {found.after}: {found.length} bytes",
    )
    event["id"] = derived_id("gap", spool, found.segment, str(found.offset), str(found.length))
    return body_of(event)
