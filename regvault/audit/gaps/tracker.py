"""Watches what registries counted against what came, and says what is missing when one has died.

A registry delivers in order. So of a process that ended, what had not come is the end of what it
had: what its counters said when they were last read, less what is here. What a log has of that time
stands in, as events that are marked `reconstructed`; of the rest an event of action `gap` tells.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.fields import derived_id
from regvault.audit.gaps.ledger import Ledger, is_log, is_notification
from regvault.audit.joining import joined
from regvault.audit.signals.memory import as_saved
from regvault.audit.signals.signal import stamp
from regvault.model.event import PERSONAL, new_event

if TYPE_CHECKING:
    from regvault.audit.gaps.counters import Reading
    from regvault.audit.signals.memory import Memory
    from regvault.model.event import Event

__all__ = ["GapTracker", "Process"]

_SOURCE: Final = "distribution"
_NEAR_S: Final = 3.0
#: A process' start is known by whole seconds, if the host's is.
_INEXACT_S: Final = 1.0
_SAME_S: Final = 1.5
_SETTLED_S: Final = 60.0
_MOST_ENDED: Final = 100
_MOST_INSTANCES: Final = 1000
_REPEATS: Final = 20_000
_KEPT_S: Final = 7 * 86400.0


@dataclass
class Process:
    """One process of a registry, as its counters told.

    Attributes:
        url: where they are read.
        started: when it started, by what it says; else when the one before was seen to have
            ended, or 0.
        at: when they were last read.
        events, successes, pending: what they said then. See `Reading`.
        told: it says itself when it started.
        alone: before that, the process before it was running: what was here is not of this one.
        base: events that had come before anybody looked, and are not counted here; None: that is
            to be found out, from those that were here when the counters were first read.
        after: meanwhile, events that came after that.
        end: when the next one started; None: it is the one that runs.
        seen: when that was seen.
        judged: what is missing is found out.
        missing: events that nothing stands in for; None: nobody knows whether there are some.
        reconstructed: events that stand in.
        since: from when on they are missing.
    """

    url: str
    started: float
    at: float
    events: int
    successes: int
    pending: int
    told: bool = False
    alone: float = 0.0
    base: int | None = None
    after: int = 0
    end: float | None = None
    seen: float = 0.0
    judged: bool = False
    missing: int | None = 0
    reconstructed: int = 0
    since: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is told of one that has ended, for `--json`."""
        return {
            "started": stamp(self.started),
            "from": None if self.since is None else stamp(self.since),
            "to": None if self.end is None else stamp(self.end),
            "events": self.events,
            "missing": self.missing,
            "reconstructed": self.reconstructed,
        }


@dataclass
class _Instance:
    """Notifications of one process.

    Attributes:
        count: how many there are.
        first, last: when the first of them happened, and the last.
        came: when one came in for the first time.
        born: when the process started, by what its id says, or None.
    """

    count: int
    first: float
    last: float
    came: float
    born: float | None


_OfInstance = tuple[int, float, float, float, float | None]


class GapTracker:
    """A watcher of a spool (see `Watcher`) that also takes readings of registries' counters."""

    def __init__(self, memory: Memory, *, grace_s: float = 0.0) -> None:
        """Know what the memory knows.

        Args:
            memory: of this spool.
            grace_s: seconds that a log has, after an end was seen, to be read up to there.
        """
        self._grace = grace_s
        self._ledger = Ledger(memory)
        self._ids: OrderedDict[str, None] = OrderedDict()
        saved = memory.document("processes") or {"running": {}, "ended": []}
        self.running = as_saved(saved["running"], dict[str, Process])
        self.ended = as_saved(saved["ended"], list[Process])
        found = as_saved(memory.document("instances") or {}, dict[str, _OfInstance])
        self._instances = {name: _Instance(*each) for name, each in found.items()}
        self._logs = as_saved(memory.document("logs") or {}, dict[str, float])

    def saved(self) -> dict[str, Any]:
        """Return the documents that its memory has to commit. See `Watcher`."""
        return {
            "processes": {
                "running": {url: asdict(each) for url, each in self.running.items()},
                "ended": [asdict(each) for each in self.ended],
            },
            "instances": {
                name: list(vars(each).values()) for name, each in self._instances.items()
            },
            "logs": self._logs,
        }

    def take(self, event: Event) -> list[Event]:
        """Take the next event of the spool. See `Watcher`."""
        source = event["source"]
        if is_notification(event):
            if source == _SOURCE and event["id"] not in self._ids:
                self._count(event)
        elif is_log(event) and not event.get("reconstructed"):
            moment = _moment(event["time"])
            name = event.get("instance") or ""
            if name or event["status"] is not None:
                self._logs[name] = max(moment, self._logs.get(name, 0.0))
            if len(self._logs) > _MOST_INSTANCES:
                del self._logs[min(self._logs, key=self._logs.__getitem__)]
            self._ledger.record(event, moment, _moment(event["received"]))
        return []

    def _count(self, event: Event) -> None:
        self._ids[event["id"]] = None
        if len(self._ids) > _REPEATS:
            self._ids.popitem(last=False)
        moment, received = _moment(event["time"]), _moment(event["received"])
        name = event.get("instance") or ""
        own = self._instances.get(name)
        if own is None:
            if len(self._instances) >= _MOST_INSTANCES:
                del self._instances[min(self._instances, key=lambda n: self._instances[n].last)]
            own = self._instances[name] = _Instance(0, moment, moment, received, _born(name))
        own.count += 1
        own.first, own.last = min(own.first, moment), max(own.last, moment)
        for each in self.running.values():
            if each.base is None and received > each.at and self._owner(own) is each:
                each.after += 1
        self._ledger.notification(event, moment, received)

    # The counters

    def reading(self, found: Reading) -> None:
        """Take what a registry's counters say now."""
        before = self.running.get(found.url)
        if before is not None and not _is_same(before, found):
            before.end = found.started if found.started is not None else found.at
            before.end = max(before.end, before.at)
            before.seen = found.at
            self.ended = [*self.ended, before][-_MOST_ENDED:]
            del self.running[found.url]
        own = self.running.get(found.url)
        if own is None:
            started = 0.0 if before is None else before.end or 0.0
            if found.started is not None:
                started = found.started
            alone, base = (0.0, None) if before is None else (before.at, 0)
            told = found.started is not None
            own = Process(found.url, started, found.at, 0, found.successes, 0, told, alone, base)
            self.running[found.url] = own
        elif own.base is not None:
            own.at = found.at
        if own.base is not None:
            own.successes = found.successes
        own.events, own.pending = found.events, found.pending

    def tick(self, now: float) -> list[Event]:
        """Return what is missing of processes that ended, when all that came was taken."""
        for own in self.running.values():
            if own.base is None:
                lacking = own.successes - (self.received(own) - own.after)
                # One may be under way between here and the counter: none is missed that came.
                own.base = lacking + 1 if lacking > 0 else 0
            if own.pending == 0:
                self._settle(own)
        said: list[Event] = []
        changed, self._ledger.changed = self._ledger.changed, False
        for own in self.ended:
            if not own.judged and own.seen + self._grace <= now:
                said += self._judge(own)
            elif own.judged and changed and now - own.seen < _KEPT_S:
                said += self._late(own)
        if changed:
            oldest = stamp(now - _KEPT_S)
            self._ledger.take_out(lambda record: record["time"] < oldest)
        return said

    def _settle(self, own: Process) -> None:
        """Forget records of a process that delivered all it had: it does not notify of those."""
        first, last = stamp(own.started), stamp(own.at - _SETTLED_S)
        self._ledger.take_out(
            lambda record: first <= record["time"] < last and self._is_of(record, own)
        )

    def received(self, process: Process) -> int:
        """Return how many notifications of a process are here."""
        return sum(own.count for own in self._instances.values() if self._owner(own) is process)

    def _owner(self, own: _Instance) -> Process | None:
        """Return the process that an instance is, where only one can be it."""
        found = self._owners(own)
        return found[0] if len(found) == 1 else None

    def _owners(self, own: _Instance) -> list[Process]:
        """Return the processes that an instance may be."""
        known = [e for e in (*self.ended, *self.running.values()) if e.alone < own.came]
        born = own.born
        if born is not None:
            told = [each for each in known if each.told and abs(each.started - born) <= _NEAR_S]
            if told:
                return [min(told, key=lambda each: abs(each.started - born))]
            # One that came and went between two readings is none of those that say when they began.
            known = [each for each in known if not each.told]
        # Of each registry the newest that may have been running when its first event happened.
        found = {each.url: each for each in known if each.started - _INEXACT_S <= own.first}
        return list(found.values())

    def _is_uncertain(self, own: Process) -> bool:
        """Return whether events are here that may be of this process, or of another one."""
        found = map(self._owners, self._instances.values())
        return any(len(owners) > 1 and own in owners for owners in found)

    # What is missing

    def _judge(self, own: Process) -> list[Event]:
        """Return the events that tell what is missing of a process that ended."""
        own.judged = True
        here = self.received(own)
        unknown = self._is_uncertain(own)
        lost = 0 if unknown else max(0, own.events - here - (own.base or 0))
        mine = [each for each in self._instances.values() if self._owner(each) is own]
        said = self._rebuilt(own)
        own.reconstructed = len(said)
        own.missing = max(0, lost - self._of_it(said, own))
        if lost or said:
            own.since = max((each.last for each in mine), default=own.started)
        if own.missing == 0 and (unknown or not self._is_covered(own)):
            own.missing = None
            own.since = own.at
        if own.missing != 0:
            said.append(self._gap(own, lost))
        return said

    def _late(self, own: Process) -> list[Event]:
        """Return what stands in for more of it, where a log was read only now."""
        said = self._rebuilt(own)
        own.reconstructed += len(said)
        if said and own.missing:
            own.missing = max(0, own.missing - self._of_it(said, own))
        elif said:
            own.missing = 0
        return said

    def _is_covered(self, own: Process) -> bool:
        """Return whether a log of this registry was read beyond the last look at its counters."""
        alive = own, self.running.get(own.url)
        return any(
            last >= own.at and (not name or any(each in alive for each in self._named(name, last)))
            for name, last in self._logs.items()
        )

    def _of_it(self, said: list[Event], own: Process) -> int:
        """Return how many events are of this process, and of none that nobody saw."""
        return sum(
            name is None or own in self._named(name, _moment(event["time"]))
            for event in said
            for name in [event.get("instance")]
        )

    def _rebuilt(self, own: Process) -> list[Event]:
        found = self._ledger.take_out(lambda record: self._is_lost(record, own))
        return [_reconstructed(event) for event in joined({**r, "raw": ""} for r in found)]

    def _is_lost(self, record: Event, own: Process) -> bool:
        first, last = stamp(own.started - _INEXACT_S), stamp((own.end or 0) + _INEXACT_S)
        return first <= record["time"] < last and self._is_of(record, own)

    def _is_of(self, record: Event, own: Process) -> bool:
        name = record.get("instance")
        if name is None:
            return True
        # Of a process that nobody saw, the time has to do.
        return self._named(name, _moment(record["time"])) in ([], [own])

    def _named(self, name: str, moment: float) -> list[Process]:
        """Return the processes that one may be that a log names, at a time."""
        instance = self._instances.get(name)
        if instance is None:
            instance = _Instance(0, moment, moment, moment, _born(name))
        return self._owners(instance)

    def _gap(self, own: Process, lost: int) -> Event:
        assert own.end is not None
        assert own.since is not None
        if own.missing is None:
            reason = "a registry started anew; whether notifications were waiting is not known"
        else:
            reason = f"a registry started anew with {lost} notifications or more that never came"
            if own.reconstructed:
                reason += f"; {own.reconstructed} requests are in a log"
        span: dict[str, Any] = {"from": stamp(own.since), "to": stamp(own.end)}
        event = new_event(
            stamp(own.end),
            "gap",
            "regvault",
            json.dumps({**own.to_json(), "url": own.url}),
            severity="warning",
            reason=reason,
            missing=own.missing,
            **span,
        )
        event["id"] = derived_id("gap", own.url, stamp(own.started))
        return event


def _reconstructed(event: Event) -> Event:
    """Return the event that stands in for the notification of a request that a log has."""
    of = [event["id"], *(each["id"] for each in event.get("joined", ()))]
    kept = {n: v for n, v in event.items() if n not in {"joined", "id", "raw", *PERSONAL}}
    made: Event = {"id": derived_id("reconstructed", event["id"]), **kept}
    made["reason"] = "it is in a log, and no notification of it came"
    made["reconstructed"] = True
    made |= {name: event.get(name) for name in PERSONAL[:-1]}
    made["raw"] = json.dumps({"of": of})
    return made


def _is_same(own: Process, found: Reading) -> bool:
    if found.events < own.events or found.successes < own.successes:
        return False
    return found.started is None or abs(found.started - own.started) < _SAME_S


def _born(instance: str) -> float | None:
    """Return when a process started by its instance id: 3.1 and later make it of the time."""
    if len(instance) == 36 and instance[14] == "7":
        try:
            return int(instance[:8] + instance[9:13], 16) / 1000
        except ValueError:
            pass
    return None


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
