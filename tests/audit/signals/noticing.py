"""Events for signals, and an engine that takes them."""

from regvault.audit.signals.engine import Engine
from regvault.audit.signals.memory import Memory
from regvault.audit.signals.settings import Thresholds
from regvault.model.event import new_event, time_text

START = 1_795_800_000.0


def text(moment):
    return time_text(int(moment * 1000) * 1_000_000)


def made(number, at, action="pull", source="nginx", *, received=None, **more):
    """Return an event that happened `at` seconds after the start."""
    event = new_event(
        text(START + at),
        action,
        source,
        more.pop("raw", ""),
        **{
            "method": "GET",
            "repository": "team/app",
            "address": "10.0.0.7",
            "status": 200,
            **more,
        },
    )
    came = text(START + (at if received is None else received))
    return {"seq": number, "spool": "s", "received": came, **event, "id": f"e{number}"}


def engine(place, **thresholds):
    return Engine(
        Memory(str(place / "signals.db")), Thresholds(**{"learning_s": 0.0, **thresholds})
    )


def told(watcher, events):
    """Return the signals of events: name and state."""
    return [(s["signal"], s.get("state")) for event in events for s in watcher.take(event)]
