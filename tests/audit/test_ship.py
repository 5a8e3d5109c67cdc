"""From a spool into topics, of a sink in memory: what is too large, and who is a consumer."""

import json
import threading

import pytest

from regvault.audit.envelope import shortened
from regvault.audit.intake import body_of
from regvault.audit.ship import Shipper
from regvault.audit.split import message_from, split
from regvault.audit.spool import Spool
from regvault.audit.spool.cursor import cursors
from regvault.errors import NotFoundError, TemporaryError
from regvault.model.event import new_event
from regvault.model.stream import RejectedError

NOW = "2026-11-20T03:00:00.000000Z"


class Delivery:
    is_done = True

    def __init__(self, exception=None):
        self.exception = exception


class Cluster:
    """Topics that take records of so many bytes, and say so at once or later."""

    def __init__(self, at_once=True, **limits):
        self.at_once = at_once
        self.limits = limits
        self.topics = {name: [] for name in limits}
        self.after = None

    def send(self, topic, message):
        if topic not in self.limits:
            raise NotFoundError(f"no such topic: {topic}")
        if len(message.value) > self.limits[topic]:
            error = RejectedError(f"{topic} takes less")
            if self.at_once:
                raise error
            return Delivery(error)
        self.topics[topic].append(json.loads(message.value)["data"])
        if self.after is not None:
            self.after(topic)
        return Delivery()

    def explain(self, error):
        return error

    def close(self):
        pass


def body(number, raw="", **more):
    return body_of({**new_event(NOW, "pull", "test", raw, **more), "id": f"event-{number}"})


def ids(found):
    return [event["id"] for event in found]


def ship(spool, cluster, **more):
    shipper = Shipper(spool, lambda: cluster, "t", dead_letters="dead", **more)
    return shipper.run(threading.Event(), follow=False)


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "spool"))


@pytest.mark.parametrize("at_once", [True, False])
def test_an_event_that_is_too_large_is_in_the_topic_without_what_makes_it_large(spool, at_once):
    """Who calls himself something of a megabyte does not hide what he pulled."""
    large = {"repository": "team/app", "actor": "mallory", "useragent": "x" * 900_000}
    spool.append([body(0), body(1, "r" * 900_000, **large), body(2)])
    cluster = Cluster(at_once, t=100_000, dead=100_000)
    done = ship(spool, cluster)
    assert (done.sent, done.dead) == (3, 1)
    found = cluster.topics["t"]
    # Where it is refused later, what follows it was under way, and is sent again.
    assert ids(found)[-2:] == ["event-1", "event-2"]
    assert ids(found)[0] == "event-0"
    (kept,) = [event for event in found if event["id"] == "event-1"]
    assert (kept["actor"], kept["repository"], kept["raw"]) == ("mallory", "team/app", "")
    assert kept["useragent"] == "x" * 4096
    assert kept["seq"] == 2
    assert kept["reason"].startswith("t takes less; 900000 characters of raw")
    assert cluster.topics["dead"] == [kept]
    assert spool.cursor("ship-t").next == 4


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_too_large_even_so_is_a_dead_letter_only(spool, at_once):
    spool.append([body(0), body(1, useragent="x" * 90_000), body(2)])
    cluster = Cluster(at_once, t=2000, dead=100_000)
    done = ship(spool, cluster)
    assert (done.sent, done.dead) == (3, 1)
    assert set(ids(cluster.topics["t"])) == {"event-0", "event-2"}
    assert set(ids(cluster.topics["dead"])) == {"event-1"}
    assert spool.cursor("ship-t").next == 4


def test_a_dead_letter_alone_is_not_taken_for_the_event(spool):
    """The cursor stays until both are acknowledged."""
    spool.append([body(0), body(1, useragent="x" * 90_000)])
    cluster = Cluster(t=50_000, dead=100_000)

    def away(topic):
        if topic == "dead":
            del cluster.limits["t"]

    cluster.after = away
    with pytest.raises(NotFoundError):
        ship(spool, cluster)
    assert spool.cursor("ship-t").next == 2
    cluster.after, cluster.limits["t"] = None, 50_000
    assert ship(spool, cluster).sent == 1
    assert ids(cluster.topics["t"]) == ["event-0", "event-1"]


def test_without_dead_letters_what_is_too_large_waits(spool):
    spool.append([body(1, useragent="x" * 90_000)])
    cluster = Cluster(t=50_000)
    with pytest.raises(NotFoundError, match="dead"):
        ship(spool, cluster)
    assert cluster.topics["t"] == []


def known(spool):
    return [cursor.name for cursor in cursors(spool.directory)]


def test_a_topic_that_is_not_there_holds_nothing(spool):
    spool.append([body(0)])
    with pytest.raises(NotFoundError):
        ship(spool, Cluster(dead=1000))
    assert known(spool) == []
    assert ship(spool, Cluster(t=1000)).sent == 1
    spool.append([body(1)])
    with pytest.raises(NotFoundError):
        ship(spool, Cluster(dead=1000))
    assert known(spool) == ["ship-t"]


def test_a_shipper_keeps_what_is_there_from_its_start_on(spool):
    """What another consumer has goes not before it, however long its first event takes."""
    spool.append([body(0)])
    seen = []

    def connect():
        seen.append(known(spool))
        raise TemporaryError("no broker answers")

    stop = threading.Event()

    def report(*_, **__):
        stop.set()

    shipper = Shipper(spool, connect, "t", report=report)
    shipper.run(stop, follow=True)
    assert seen[0] == ["ship-t"]
    # It may come back, so that a broker that was away at its first start costs nothing.
    assert known(spool) == ["ship-t"]


def test_a_service_whose_topic_is_not_there_holds_nothing_once_it_ended(spool):
    spool.append([body(0)])
    stop = threading.Event()

    def report(*_, **__):
        stop.set()

    shipper = Shipper(spool, lambda: Cluster(dead=1000), "t", report=report)
    shipper.run(stop, follow=True)
    assert known(spool) == []


def test_what_is_shortened_can_be_archived():
    event = {"seq": 1, "spool": "ab" * 8, "received": NOW, **json.loads(body(1, "r" * 9, size=3))}
    message = shortened(json.dumps(event).encode(), "too large")
    parts = split(message, "t:0:0")
    assert (parts.event.id, parts.event.action, parts.event.size) == ("event-1", "pull", 3)
    assert parts.event.reason == "too large; 9 characters of raw are left out"
    assert message_from(parts.public, parts.personal) == message
