"""Reads what counts out of a link of a chain: pulls, pushes, and of which time it tells."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from regvault.audit.joining import ended_ms, source_of
from regvault.errors import VaultDamagedError
from regvault.ops.audit.access.tables import Record
from regvault.ops.audit.seen import name_of
from regvault.policy.access import is_pull, is_push
from regvault.policy.access_counts import DAY_US
from regvault.policy.coverage import Span
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.event import Event
    from regvault.policy.access import AccessRules
    from regvault.vault.audit.chain import Link
    from regvault.vault.audit.months import Months
    from regvault.vault.audit.segment import Line
    from regvault.vault.vault import Vault

__all__ = ["LinkReader", "span_of", "time_us"]

SILENCE_US = DAY_US
"""Where nothing came in for so long nobody knows whether there was nothing: microseconds."""

_SKEW_US = 3600 * 10**6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_LENGTH = len("2026-11-20T03:00:00.000000Z")
_KINDS = {"manifest": 1, "blob": 2}
_SOURCE = "from "
_PURPOSE = "access statistics"
_NOBODY: dict[str, Any] = {"actor": None, "address": None, "useragent": None, "raw": None}


def time_us(text: str) -> int:
    """Return a time of an event in microseconds since the epoch. Raises ValueError."""
    if len(text) == _LENGTH and text[19] == "." and text[26] == "Z" and text[20:26].isdecimal():
        return _second(text[:19]) + int(text[20:26])
    return _moment_us(text)


@lru_cache(4096)
def _second(text: str) -> int:
    return _moment_us(text)


def _moment_us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _US


def latest_us(link: Link) -> int:
    """Return the latest time at which events of a link can have come in, microseconds."""
    return time_us(link.closed) + _SKEW_US


def span_of(link: Link) -> Span:
    """Return when the first and the last event of a link came in."""
    latest = latest_us(link)
    first, last = (min(_us(text, latest), latest) for text in link.received)
    return Span(first, max(first, last))


def _us(text: str, otherwise: int) -> int:
    """Return a time in microseconds; another where it is none."""
    try:
        return max(0, time_us(text))
    except ValueError:
        return otherwise


class LinkReader:
    """Reads one link, frame by frame.

    Attributes:
        first, end: when its first and its last event came in, microseconds since the epoch.
        last: when the newest did so far, of earlier links too.
        gaps: of which time something is missing.
        spools: of each the newest number, and when the newest event came in at it; and of each
            source that has told of a pull, `from s3`, when it told of anything last.
    """

    def __init__(
        self,
        vault: Vault,
        link: Link,
        months: Months,
        rules: AccessRules,
        *,
        last: int | None,
        before: int,
        spools: dict[str, tuple[int, int]],
    ) -> None:
        """Read nothing yet.

        Args:
            vault: where it is.
            link: which.
            months: the keys of months.
            rules: who is no real client.
            last: when the newest event of earlier links came in; None: there is none.
            before: when the first event of the link before came in.
            spools: as earlier links left them.
        """
        self._link = link
        self._reader = SegmentReader.of(vault, link, months)
        self._months = months
        self._rules = rules
        self._keys: dict[str, bytes | None] = {}
        self._hashes: dict[tuple[str, str], bytes] = {}
        self._received = ""
        self._now = 0
        # A clock that is wrong, or a record that lies, must not say that all is known until then.
        self._latest = latest_us(link)
        self.first, self.end = span_of(link)
        self.last = self.first if last is None else last
        self._before = min(self.first, self.first if last is None else before)
        self.gaps: list[Span] = []
        self.spools = spools
        self._spool = link.stream.get("spool") if link.stream.get("kind") == "spool" else None
        self._is_whole = self._spool is None or self._has_all(self._spool)
        if link.gaps:  # of some partition; when its events would have been nobody knows
            self.gaps.append(Span(self._before, max(self.end, self.last)))

    def _has_all(self, spool: str) -> bool:
        """Return whether each number of a spool is archived, or left out as a repeat."""
        link = self._link
        following = link.positions.get(spool, 0)
        number = self.spools[spool][0] if spool in self.spools else None
        return number is not None and link.events + link.repeats == following - 1 - number

    def miss(self) -> None:
        """Say that events are missing somewhere up to the end of this link."""
        self.last = max(self.last, self.end)
        self.gaps.append(Span(self._before, self.last))

    def frames(self) -> Iterator[list[Record]]:
        """Yield what counts, a list for each frame.

        Raises:
            VaultDamagedError: it cannot be read.
            ObjectNotFoundError: it is gone.
        """
        for number in range(len(self._reader.table().frames)):
            found: list[Record] = []
            for line in self._reader.lines(number):
                try:
                    record = self._record(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise VaultDamagedError(
                        f"{self._link.key} is damaged: a line of it is no event", key=self._link.key
                    ) from None
                if record is not None:
                    found.append(record)
            yield found

    def end_here(self) -> None:
        """Say that the link ends, read or not: its last numbers may be those of repeats."""
        self.last = max(self.last, self.end)
        if self._spool is not None:
            number = self._link.positions.get(self._spool, 0) - 1
            self.spools[self._spool] = (number, self.last)

    def _record(self, line: Line) -> Record | None:
        event: Event = orjson.loads(line.public)
        self._follow(event)
        source = f"{_SOURCE}{event['source']}"
        if source in self.spools:
            self.spools[source] = (0, max(self.spools[source][1], self._now))
        if event.get("reconstructed"):
            return None  # the record that it stands in for is an event, too
        if is_pull(event):
            self.spools.setdefault(source, (0, self._now))
            return self._of(event, line.personal)
        if is_push(event):
            return self._of(event, None)
        return None

    def _follow(self, event: Event) -> None:
        """See whether something is missing before an event."""
        text = event["received"]
        if text != self._received:
            self._received = text
            self._now = min(_us(text, self.last), self._latest)
            if self._now - self.last > SILENCE_US:
                self.gaps.append(Span(self.last, self._now))
        spool, seq = event["spool"], event["seq"]
        number, heard = self.spools.get(spool, (seq - 1, self._now))
        if not self._is_whole and seq > number + 1:
            self.gaps.append(Span(min(heard, self._now), self._now))
        if event["action"] == "gap":
            self.gaps.append(self._told(event))
        if spool:
            self.spools[spool] = (max(seq, number), max(heard, self._now))
        self.last = max(self.last, self._now)

    def _told(self, event: Event) -> Span:
        """Return the time in which events are missing, as an event says it."""
        first, last = event.get("from"), event.get("to")
        if not (isinstance(first, str) and isinstance(last, str)):
            # It was found when it was read, some time after it came to be.
            return Span(self._before, self._now)
        since = _us(first, self._before)
        return Span(min(since, self._now), max(since, min(_us(last, self._now), self._now)))

    def _of(self, event: Event, personal: bytes | None) -> Record:
        who = _NOBODY if personal is None else orjson.loads(personal.partition(b"\t")[0])
        actor, address = who["actor"], who["address"]
        month = self._month(event["received"][:7])
        status = event["status"]
        values = (
            self._time(event),
            name_of(event["id"]),
            0 if event["action"] == "pull" else 1,
            _KINDS.get(event.get("kind", ""), 0),
            event["repository"],
            event["tag"],
            event["digest"],
            source_of({"source": event["source"], "raw": who.get("raw")}),
            status if isinstance(status, int) else None,
            event.get("request_id"),
            self._hash(month, actor),
            self._hash(month, address),
            self._hash(month, who["useragent"]),
            month,
            int(self._rules.ignores(who["useragent"], actor, address)),
        )
        return tuple.__new__(Record, values)  # what `Record(...)` does, three times as fast

    def _time(self, event: Event) -> int:
        """Return when it happened; a time that cannot be true is when it came in."""
        time = _us(event["time"], self._now) + int(ended_ms(event) * 1000)
        return time if time <= self._now + DAY_US else self._now

    def _month(self, month: str) -> str:
        """Return the month with whose key the archive keeps what tells of persons."""
        return month if month in self._link.months else self._link.months[-1]

    def _hash(self, month: str, text: str | None) -> bytes | None:
        """Return a keyed hash of who it was: with the month's key it is forgotten too."""
        if text is None:
            return None
        found = self._hashes.get((month, text))
        if found is not None:
            return found
        if month not in self._keys:
            self._keys[month] = self._months.derived(month, _PURPOSE)
        key = self._keys[month]
        if key is None:
            return None
        data = text.encode("utf-8", "surrogatepass")
        found = self._hashes[month, text] = hashlib.blake2b(data, digest_size=8, key=key).digest()
        return found
