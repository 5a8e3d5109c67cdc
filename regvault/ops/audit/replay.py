"""Puts archived events back into a topic, as they were."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regvault.audit.split import message_from
from regvault.errors import RegvaultError, TemporaryError
from regvault.model.stream import RejectedError
from regvault.ops.audit.archived import ArchivedEvents
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.model.stream import Delivery, EventSink
    from regvault.vault.audit.index import Summary
    from regvault.vault.vault import Vault

__all__ = ["Replayed", "replay"]

_WINDOW = 5000
_STALL_S = 150.0


@dataclass
class Replayed:
    """What was put back.

    Attributes:
        sent: records, each acknowledged.
        rejected: records that the topic does not take.
        erased: records whose month tells of nobody any more; they were sent without.
    """

    sent: int = 0
    rejected: int = 0
    erased: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {"sent": self.sent, "rejected": self.rejected, "erased": self.erased}


def replay(
    vault: Vault, sink: EventSink, topic: str, *, since: str, until: str, progress: Progress
) -> Replayed:
    """Send all archived events of a time to a topic: values, keys, timestamps and headers.

    In the order in which they were archived, which keeps that of each key.

    Args:
        vault: where they are.
        sink: where they go.
        topic: its name there.
        since: the first time at which they happened.
        until: the one before which they did.
        progress: is told.

    Raises:
        RegvaultError: the vault or the topic cannot be used.
    """
    done = Replayed()
    flying: deque[Delivery] = deque()
    archived = ArchivedEvents(vault)
    months = Months(vault)
    progress.phase(f"Sending to {topic}")
    links = archived.links(since, until)
    for link in sorted(links, key=lambda each: (each.key.rpartition("/")[0], each.number)):
        _send(link, vault, months, sink, topic, (since, until), flying, done)
        progress.advance(1)
    _drain(flying, sink, done, 0)
    for key, why in archived.damaged.items():
        raise RegvaultError(f"{key} cannot be read: {why}", hint="See: regvault audit verify")
    return done


def _send(
    link: Summary,
    vault: Vault,
    months: Months,
    sink: EventSink,
    topic: str,
    when: tuple[str, str],
    flying: deque[Delivery],
    done: Replayed,
) -> None:
    import orjson

    reader = SegmentReader(vault, link.key, link.table, months)
    for number in range(len(reader.table().frames)):
        for line in reader.lines(number):
            if not when[0] <= orjson.loads(line.public)["time"] < when[1]:
                continue
            if line.personal is None:
                done.erased += 1
            try:
                flying.append(sink.send(topic, message_from(line.public, line.personal)))
            except RejectedError:
                done.rejected += 1
            _drain(flying, sink, done, _WINDOW)


def _drain(flying: deque[Delivery], sink: EventSink, done: Replayed, most: int) -> None:
    """Wait until no more than so many records are under way."""
    deadline = time.monotonic() + _STALL_S
    while flying:
        if flying[0].is_done:
            error = flying.popleft().exception
            if error is not None:
                raise sink.explain(error)
            done.sent += 1
            deadline = time.monotonic() + _STALL_S
        elif len(flying) <= most:
            return
        elif time.monotonic() > deadline:
            raise TemporaryError(
                f"Kafka has acknowledged nothing for {_STALL_S:.0f} seconds",
                hint="Try it again: what is there already is sent twice, with the same ids.",
            )
        else:
            time.sleep(0.002)
