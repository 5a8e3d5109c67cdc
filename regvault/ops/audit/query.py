"""Finds events in all places where there are some, and puts together what is of one request."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING

from regvault.audit.joining import joined
from regvault.ops.audit.archived import ArchivedEvents
from regvault.ops.audit.contained import with_containers
from regvault.ops.audit.tagged import Tags, spans_in_events, spans_in_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.event import Event
    from regvault.ops.audit.select import Wanted
    from regvault.vault.vault import Vault

__all__ = ["Events"]


class Events:
    """All events that can be asked: archived ones, and those that are on their way.

    Attributes:
        archived: those of the vault, or None where there is no vault.
    """

    def __init__(
        self,
        vault: Vault | None,
        live: Iterable[Callable[[], Iterator[Event]]] = (),
        *,
        cache_base: str | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            vault: whose archive is asked; None: none.
            live: each yields events that are not archived, or may be both.
            cache_base: directory of the local caches; None keeps nothing.
        """
        self.archived = None if vault is None else ArchivedEvents(vault)
        self._vault = vault
        self._live_sources = list(live)
        self._cache_base = cache_base
        self._live: list[Event] | None = None

    def _live_events(self) -> list[Event]:
        """Return the events that are on their way: there are as many as spools hold, at most."""
        if self._live is None:
            found: dict[str, Event] = {}
            for source in self._live_sources:
                for event in source():
                    found.setdefault(event["id"], event)
            self._live = sorted(found.values(), key=lambda event: event["time"])
        return self._live

    def find(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for, by their times, each once."""
        live = [event for event in self._live_events() if wanted.has(event)]
        ids = {event["id"] for event in live}
        if self.archived is None:
            yield from live
            return
        at = 0
        for event in self.archived.find(wanted):
            while at < len(live) and live[at]["time"] < event["time"]:
                yield live[at]
                at += 1
            if event["id"] not in ids:
                yield event
        yield from live[at:]

    def requests(self, wanted: Wanted) -> Iterator[Event]:
        """Yield what `find` does, with the records of one request put together.

        Where digests are asked for, records that know only a tag count too, by what it was then.
        """
        tags = self._tags(wanted)
        if not tags.pairs:
            yield from joined(self.find(wanted))
            return
        some = heapq.merge(
            self.find(wanted), self.find(tags.wanted(wanted)), key=lambda event: event["time"]
        )
        for event in joined(some):
            if event["digest"] is not None or tags.has(event):
                yield event

    def _tags(self, wanted: Wanted) -> Tags:
        if not wanted.digests:
            return Tags(())
        spans = spans_in_events(wanted.digests, self.find)
        if self._vault is not None:
            spans += spans_in_snapshots(self._vault, wanted.digests, self._cache_base)
        return Tags(spans)

    def with_containers(self, wanted: Wanted) -> Wanted:
        """Return what is asked for with all that contains one of its digests asked for too."""
        if not wanted.digests:
            return wanted
        digests = with_containers(wanted.digests, self.find, self._vault, self._cache_base)
        return replace(wanted, digests=digests)
