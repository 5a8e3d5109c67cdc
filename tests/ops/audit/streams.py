"""Streams of events for tests of access statistics, with times of their own."""

from __future__ import annotations

import json
import threading
import time

from events import body

from regvault.audit.envelope import message_of
from regvault.model.event import time_text
from regvault.model.stream import Arrived
from regvault.ops.audit.access.statistics import AccessStatistics
from regvault.ops.audit.archive import Archiver
from regvault.policy.access import AccessRules

RULES = AccessRules()
START = 1_793_664_000 * 10**6  # 2026-11-03, microseconds
SECOND = 10**6
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def text(us):
    """Return a time of a test, microseconds since its beginning, as events have it."""
    return time_text((START + int(us)) * 1000)


class Feed:
    """A stream to archive: events come in when the test says, and links end then too."""

    def __init__(self, vault, monkeypatch, name="one", kind="spool"):
        self.vault = vault
        self.stream = {"kind": kind, kind if kind == "spool" else "topic": name}
        self.name = name
        self.events = []
        self.at = 0
        self.lost = []
        self.spoilt = (b"", b"")
        self._patch = monkeypatch

    def put(self, us, number, *, received=None, spool=None, **more):
        """Let an event happen; it comes in at once unless another time is given."""
        made = json.loads(body(number, **{"time": text(us), "source": "distribution", **more}))
        head = {
            "seq": len(self.events) + 1,
            "spool": self.name if spool is None else spool,
            "received": text(us if received is None else received),
        }
        data = json.dumps({**head, **made}, separators=(",", ":")).encode()
        self.events.append((len(self.events) + 1, data))
        return self

    def lose(self, count=1):
        """Let numbers pass that never come."""
        for _ in range(count):
            self.events.append((len(self.events) + 1, None))

    def archive(self, us=None, **more):
        """Archive what has come; the link is closed at that time."""
        received = [json.loads(data)["received"] for _, data in self.events if data]
        now = max(received) if us is None else text(us)
        with self._patch.context() as patch:
            ns = (int(_us(now)) + 1) * 1000
            patch.setattr(time, "time_ns", lambda: ns)
            return Archiver(self.vault, self, **more).run(threading.Event(), follow=False)

    # EventSource

    def start(self, positions, yielding):
        self.at = max(positions().get(self.name, 1), 1)

    def read(self, timeout_s):
        found = self.events[self.at - 1 : self.at - 1 + 5000]
        self.at += len(found)
        messages = [(number, message_of(data)) for number, data in found if data]
        return [
            Arrived(self.name, number, each._replace(value=each.value.replace(*self.spoilt)))
            for number, each in messages
        ]

    def gone(self):
        lost, self.lost = self.lost, []
        return lost

    def caught_up(self):
        return self.at > len(self.events)

    def settle(self, positions):
        pass

    def close(self):
        pass


def _us(value):
    from regvault.ops.audit.access.link import time_us

    return time_us(value)


def statistics(vault, cache=None, rules=RULES):
    return AccessStatistics(vault, rules, cache=None if cache is None else str(cache))


def answers(vault, cache=None, rules=RULES, *, keep=False, aside=()):
    """Bring statistics up to date; return all that they answer, as JSON."""
    made = statistics(vault, cache, rules)
    try:
        done = made.bring_up_to_date()
        with made.view(aside) as view:
            found = [view.to_json(access) for access in view.targets()]
            told = view.coverage_json()
        if keep:
            made.keep(always=True)
    finally:
        made.close()
    assert not done.left
    return {"targets": found, "coverage": told}


def by_target(answer):
    return {(each["digest"] or each["tag"], each["repository"]): each for each in answer["targets"]}
