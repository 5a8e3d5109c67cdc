"""Events that are not archived yet: in a spool, or in Kafka beyond what is archived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.audit.split import event_of, split
from regvault.ops.audit.archive import chain_of
from regvault.vault.audit.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.spool import Reader
    from regvault.model.event import Event
    from regvault.model.stream import EventSource
    from regvault.vault.vault import Vault

__all__ = ["in_spool", "in_stream"]

_POLL_S = 0.5


def in_spool(reader: Reader) -> Iterator[Event]:
    """Yield the events of a spool, also those that are delivered and still there."""
    import orjson

    while records := reader.read(1000):
        for record in records:
            yield orjson.loads(record.data)
    reader.close()


def in_stream(source: EventSource, vault: Vault | None) -> Iterator[Event]:
    """Yield the events of a stream that a vault has not archived; all where there is no vault.

    Args:
        source: the stream, read by nobody else in the same way.
        vault: whose archive of it is known.
    """
    positions: dict[str, int] = {}
    if vault is not None:
        head = Chain(vault, chain_of(vault, source.stream)).head()
        positions = {} if head is None else head.positions
    source.start(lambda: positions, lambda: None)
    try:
        while True:
            arrived = source.read(_POLL_S)
            for each in arrived:
                parts = split(each.message, f"{each.partition} {each.offset}")
                yield event_of(parts.public, parts.personal)
            if not arrived and source.caught_up():
                return
    finally:
        source.close()
