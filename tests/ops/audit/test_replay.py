"""What is archived goes back into a topic, whatever of it the topic or the vault has not."""

from __future__ import annotations

import json
import threading
import time

import pytest
from events import archive, body, new_vault, spooled

from regvault.audit.envelope import message_of
from regvault.errors import RegvaultError, TemporaryError
from regvault.model.event import time_text
from regvault.model.progress import NO_PROGRESS
from regvault.model.stream import Arrived, RejectedError
from regvault.ops.audit.archive import Archiver
from regvault.ops.audit.replay import replay
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.months import Months

FUTURE = "2999-01-01T00:00:00.000000Z"


class Topic:
    """Takes records as a broker and kafka-python do: one that is refused fails all under way.

    They are looked at once so many were sent, or somebody waits.
    """

    def __init__(self, refuse=lambda _: False, *, at_once=50, lost=None, precise=True):
        self.refuse, self.at_once, self.lost, self.precise = refuse, at_once, lost, precise
        self.records = []
        self.connected = 0

    def connect(self):
        self.connected += 1
        return Sink(self)

    def ids(self):
        return [json.loads(each.value)["data"]["id"] for each in self.records]


class Sink:
    def __init__(self, topic):
        self.topic = topic
        self.sent = []
        self.polls = 0
        self.is_spoilt = self.is_closed = False

    def send(self, _, message):
        assert not self.is_closed
        if self.is_spoilt:
            raise TemporaryError("this producer is of no more use")
        self.polls = 0
        delivery = Delivery(self, message)
        self.sent.append(delivery)
        if len(self.sent) >= self.topic.at_once:
            self.flush()
        return delivery

    def flush(self):
        batch, self.sent = self.sent, []
        bad = [each for each in batch if self.topic.refuse(each.message)]
        lost = len(self.topic.records) == self.topic.lost
        for each in batch:
            each.known = True
            if each in bad or (bad and not self.topic.precise):
                each.error = RejectedError("the time of a record is wrong")
            elif bad or lost:
                each.error = TemporaryError("it was in a batch with another", hint="Wait.")
            else:
                self.topic.records.append(each.message)
        self.is_spoilt = bool(bad)

    def explain(self, error):
        return error

    def close(self):
        self.is_closed = True


class Delivery:
    def __init__(self, sink, message):
        self.sink, self.message, self.known, self.error = sink, message, False, None

    @property
    def is_done(self):
        self.sink.polls += 1
        if not self.known and self.sink.polls > 1:  # nothing was sent since: somebody waits
            self.sink.flush()
        return self.known

    @property
    def exception(self):
        return self.error


class Feed:
    """A topic that strangers write to: records of today, whatever their events say."""

    def __init__(self, events):
        self.events, self.read_to = events, 0
        self.stream = {"kind": "kafka", "topic": "t"}

    def start(self, positions, _):
        self.read_to = positions().get("0", 0)

    def read(self, _):
        now = time.time_ns() // 1_000_000
        found = [
            Arrived("0", number, message_of(json.dumps(event).encode())._replace(timestamp_ms=now))
            for number, event in enumerate(self.events)
        ][self.read_to :]
        self.read_to = len(self.events)
        return found

    def gone(self):
        return []

    def caught_up(self):
        return self.read_to >= len(self.events)

    def settle(self, _):
        pass

    def close(self):
        pass


def from_future(record):
    return record.timestamp_ms > time.time_ns() // 1_000_000 + 3_600_000


def strange(*numbers, count=200):
    """Return events that came in now; some say that they come in in a thousand years."""
    now = time_text(time.time_ns())
    return [
        {
            "seq": number,
            "spool": "ab",
            "received": FUTURE if number in numbers else now,
            **json.loads(body(number)),
        }
        for number in range(count)
    ]


def put(vault, topic, **more):
    times = {"since": "", "until": "9999", "progress": NO_PROGRESS, **more}
    return replay(vault, topic.connect, "t", **times)


@pytest.mark.parametrize("where", [(0,), (120,), (199,), (3, 77, 78, 150)])
def test_what_a_stranger_dated_in_the_future_is_replayed_after_its_month_was_erased(where):
    vault = new_vault()
    Archiver(vault, Feed(strange(*where))).run(threading.Event(), follow=False)
    topic = Topic(from_future)
    assert put(vault, topic).to_json() == {"sent": 200, "rejected": 0, "erased": 0}
    assert Months(vault).erase(time_text(time.time_ns())[:7])
    topic = Topic(from_future)
    assert put(vault, topic).to_json() == {"sent": 200, "rejected": 0, "erased": 200}
    assert topic.ids() == [f"e{number}" for number in range(200)]
    assert topic.connected == 1
    told = [json.loads(each.value)["data"] for each in topic.records]
    assert {each["actor"] for each in told} == {None}
    assert [n for n, each in enumerate(told) if each["received"] == FUTURE] == list(where)


@pytest.mark.parametrize("precise", [True, False])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("where", [(0,), (120,), (199,), (3, 77, 78, 150), range(200)])
def test_what_the_topic_refuses_is_said_and_holds_up_no_other(tmp_path, where, at_once, precise):
    vault = new_vault()
    archive(spooled(tmp_path / "spool", *range(200)), vault)
    bad = {f"e{number}" for number in where}
    topic = Topic(
        lambda each: json.loads(each.value)["data"]["id"] in bad, at_once=at_once, precise=precise
    )
    done = put(vault, topic)
    assert done.to_json() == {"sent": 200 - len(bad), "rejected": len(bad), "erased": 0}
    assert "time of a record" in done.reason
    assert topic.ids() == [f"e{number}" for number in range(200) if number not in where]


def test_a_topic_that_is_gone_on_the_way_ends_it(tmp_path):
    vault = new_vault()
    archive(spooled(tmp_path / "spool", *range(200)), vault)
    topic = Topic(lost=100)
    with pytest.raises(TemporaryError, match="in a batch"):
        put(vault, topic)
    assert len(topic.ids()) == 100


def test_what_is_damaged_is_said_once_all_else_is_sent(tmp_path):
    vault = new_vault()
    for number in range(3):
        archive(spooled(tmp_path / "spool", *range(number * 10, number * 10 + 10)), vault)
    (name,) = chains(vault)
    key = Chain(vault, name).read(2).key
    data = vault.store.get(key)
    vault.store.put(key, data[:40] + b"damage" + data[46:])
    topic = Topic()
    with pytest.raises(RegvaultError, match="is damaged") as caught:
        put(vault, topic)
    assert "20 events" in caught.value.hint
    assert topic.ids() == [f"e{number}" for number in (*range(10), *range(20, 30))]
    vault.store.delete(key)
    topic = Topic()
    with pytest.raises(RegvaultError, match="cannot be read"):
        put(vault, topic)
    assert len(topic.ids()) == 20
