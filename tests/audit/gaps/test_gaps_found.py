"""What a registry counted and never delivered: named, with what its log has of it, and no more."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.audit.gaps.counters import Reading, check_url, parse_reading, read_counters
from regvault.audit.gaps.tracker import GapTracker
from regvault.audit.joining import joined
from regvault.audit.signals.memory import Memory
from regvault.errors import NotFoundError, SourceUnavailableError, UsageError
from regvault.model.event import new_event, time_text

URL = "http://127.0.0.1:5001"
OTHER = "http://127.0.0.1:5002"
START = 1_795_800_000.0
DIGEST = "sha256:" + "ab" * 32


def text(at):
    return time_text(int((START + at) * 1000) * 1_000_000)


def instance(at):
    """Return the id that a process of 3.1 makes itself when it starts."""
    digits = f"{int((START + at) * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7ea4-acf4-40ce22982558"


def record(number, at, source, *, of=None, **more):
    event = new_event(
        text(at),
        more.pop("action", "pull"),
        source,
        "{}",
        **{
            "method": "GET",
            "repository": "team/app",
            "digest": DIGEST,
            "address": "10.0.0.7",
            "request_id": f"r{number}",
            "instance": of,
            **more,
        },
    )
    here = {"seq": number, "spool": "s", "received": text(at)}
    return {**here, **event, "id": f"{source}-{number}"}


def notified(number, at, of=None, **more):
    return record(number, at, "distribution", of=of, **more)


def logged(number, at, of=None, **more):
    fields = {"status": 200, **more}
    return record(number, at, "distribution-log", of=of, **fields)


def reading(at, events, successes, *, started=0, url=URL):
    pending = events - successes
    since = None if started is None else START + started
    return Reading(url, START + at, since, "regvault", events, successes, 0, pending)


class World:
    """A tracker, what went into the spool, and what it said."""

    def __init__(self, place, **more):
        self.memory = Memory(str(place / "gaps.db"))
        self.tracker = GapTracker(self.memory, **more)
        self.spool = []
        self.said = []

    def take(self, *events):
        for event in events:
            self.spool.append(event)
            self.tracker.take(event)
        return self

    def read(self, at, *counters, **more):
        self.tracker.reading(reading(at, *counters, **more))
        return self.tick(at)

    def tick(self, at):
        found = self.tracker.tick(START + at)
        self.said += found
        self.memory.commit(**self.tracker.saved())
        return found

    def again(self):
        """Return what another process knows."""
        self.tracker = GapTracker(self.memory)
        return self

    def gaps(self):
        return [event for event in self.said if event["action"] == "gap"]

    def stand_ins(self):
        return [event for event in self.said if event.get("reconstructed")]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize("started", [0, None])
def test_events_that_died_with_a_registry_are_named_with_their_number_and_time(world, started):
    of = instance(0) if started is not None else "ca264c18-1075-4d7f-ac8d-223cb097ef99"
    world.read(1, 0, 0, started=started)
    world.take(*(notified(n, n, of) for n in range(2, 12)))
    world.read(100, 60, 10, started=started)
    assert world.said == []
    world.again().read(200, 3, 3, started=None if started is None else 150)
    (gap,) = world.gaps()
    assert gap["missing"] == 50
    assert (gap["from"], gap["to"]) == (text(11), text(200 if started is None else 150))
    assert world.read(300, 5, 5, started=None if started is None else 150) == []


def test_what_a_log_has_stands_in_and_nothing_is_missing(world):
    of = instance(0)
    world.read(1, 0, 0)
    for n in range(2, 102):
        if n < 52:
            world.take(notified(n, n / 10, of))
        world.take(logged(n, n / 10, of))
    world.read(100, 100, 50)
    world.take(logged(500, 160, instance(150), status=404)).tick(161)
    world.again().read(200, 0, 0, started=150)
    assert world.gaps() == []
    found = world.stand_ins()
    assert len(found) == 50
    assert len({event["id"] for event in found}) == 50
    assert found[0]["action"] == "pull"
    assert found[0]["address"] == "10.0.0.7"
    assert [event["request_id"] for event in found] == [f"r{n}" for n in range(52, 102)]
    # And a query counts right: 100 pulls, of which 50 are marked.
    events = sorted(world.spool[:-1] + found, key=lambda event: event["time"])
    requests = list(joined(events))
    assert len(requests) == 100
    assert sum(bool(event.get("reconstructed")) for event in requests) == 50


def test_what_comes_of_a_log_only_in_part_is_missing_in_part(world):
    world.read(1, 0, 0)
    world.take(*(logged(n, n, instance(0)) for n in range(2, 22)))
    world.read(100, 50, 0)
    world.read(200, 0, 0, started=150)
    (gap,) = world.gaps()
    assert gap["missing"] == 30
    assert len(world.stand_ins()) == 20


def test_a_log_that_is_read_later_stands_in_then(world):
    world.read(1, 0, 0)
    world.read(100, 50, 0)
    world.read(200, 0, 0, started=150)
    assert world.gaps()[0]["missing"] == 50
    world.again().take(*(logged(n, n, instance(0)) for n in range(2, 52)))
    world.tick(300)
    assert len(world.stand_ins()) == 50
    (ended,) = world.tracker.ended
    assert (ended.missing, ended.reconstructed) == (0, 50)
    assert world.tick(301) == []


def test_a_log_has_some_time_to_be_read(tmp_path):
    world = World(tmp_path, grace_s=30.0)
    world.read(1, 0, 0).clear()
    world.read(100, 1, 0)
    assert world.read(200, 0, 0, started=150) == []
    world.take(logged(1, 90, instance(0)), logged(2, 160, instance(150), status=404))
    world.tick(231)
    assert (len(world.stand_ins()), world.gaps()) == (1, [])


def test_whether_something_was_lost_after_the_last_look_is_unknown_without_a_log(world):
    world.read(1, 0, 0)
    world.take(*(notified(n, n, instance(0)) for n in range(2, 12)))
    world.read(100, 10, 10)
    world.read(200, 0, 0, started=150)
    (gap,) = world.gaps()
    assert "missing" not in gap
    assert (gap["from"], gap["to"]) == (text(100), text(150))


def test_what_was_delivered_after_the_last_look_is_not_missing(world):
    world.read(1, 0, 0)
    world.read(100, 50, 0)
    world.take(*(notified(n, 50 + n / 10, instance(0)) for n in range(50)))
    world.take(logged(99, 160, instance(150), status=404))
    world.read(200, 0, 0, started=150)
    assert world.said == []


def test_events_that_came_before_anybody_looked_are_not_missing(world):
    # 1000 were delivered, and left the spool long ago; five are here.
    of = instance(0)
    world.take(*(notified(n, n, of) for n in range(5)))
    world.read(100, 1000, 1000)
    world.take(*(notified(n, 100 + n, of) for n in range(10, 20)))
    world.read(200, 1040, 1010)
    world.read(300, 0, 0, started=250)
    (gap,) = world.gaps()
    # One that may have been under way at the first look is given the benefit of the doubt.
    assert gap["missing"] in {29, 30}


def test_a_repeat_is_not_another_event(world):
    world.read(1, 0, 0)
    world.take(*(notified(n, n, instance(0)) for n in range(2, 12)))
    world.take(*(notified(n, n, instance(0)) for n in range(2, 12)))
    world.read(100, 20, 10)
    world.read(200, 0, 0, started=150)
    assert world.gaps()[0]["missing"] == 10


def test_two_registries_behind_one_receiver_are_told_apart(world):
    one, two = instance(0), instance(5)
    world.read(1, 0, 0)
    world.read(6, 0, 0, started=5, url=OTHER)
    world.take(*(notified(n, 10 + n, one) for n in range(10)))
    world.take(*(notified(100 + n, 10 + n, two) for n in range(20)))
    world.read(100, 15, 10)
    world.read(100, 20, 20, started=5, url=OTHER)
    world.read(200, 0, 0, started=150)
    (gap,) = world.gaps()
    assert gap["missing"] == 5
    # Older ones cannot be: then nothing is said that is not known.


def test_the_log_of_one_registry_does_not_vouch_for_another(world):
    world.read(1, 0, 0)
    world.read(6, 0, 0, started=5, url=OTHER)
    world.take(logged(1, 180, instance(5), status=404))
    world.read(100, 0, 0)
    world.read(100, 0, 0, started=5, url=OTHER)
    world.read(200, 0, 0, started=150)
    assert ["missing" in gap for gap in world.gaps()] == [False]


def test_registries_that_cannot_be_told_apart_are_not_called_complete(world):
    world.read(1, 0, 0)
    world.read(6, 0, 0, started=5, url=OTHER)
    name = "ca264c18-1075-4d7f-ac8d-223cb097ef99"
    world.take(*(notified(n, 10 + n, name) for n in range(10)))
    world.read(100, 15, 10)
    world.read(200, 0, 0, started=150)
    (gap,) = world.gaps()
    assert "missing" not in gap


def test_a_process_that_came_and_went_unseen_is_none_of_the_others(world):
    world.read(1, 0, 0)
    world.take(*(notified(n, n, instance(0)) for n in range(2, 12)))
    world.read(60, 15, 10)
    # It delivers more than the first one lacks, and dies with two.
    unseen = instance(70)
    world.take(*(notified(100 + n, 71 + n / 10, unseen) for n in range(20)))
    world.take(logged(200, 80, unseen), logged(201, 81, unseen))
    world.read(120, 0, 0, started=100)
    (gap,) = world.gaps()
    assert gap["missing"] == 5
    assert len(world.stand_ins()) == 2


def test_one_request_in_two_logs_has_one_stand_in(world):
    world.read(1, 0, 0)
    world.take(logged(1, 50, instance(0)))
    world.take(record(7, 50.1, "nginx", status=200, request_id="of-nginx"))
    world.take(record(8, 60, "nginx", status=200, request_id=None))
    world.read(100, 2, 0)
    world.take(logged(3, 160, instance(150), status=404))
    world.read(200, 0, 0, started=150)
    assert len(world.stand_ins()) == 2
    assert world.gaps() == []
    events = sorted(world.spool[:-1] + world.stand_ins(), key=lambda event: event["time"])
    requests = list(joined(events))
    assert [bool(event.get("reconstructed")) for event in requests] == [True, True]


def test_a_notification_finds_the_record_of_a_proxy_before_or_after_it(world):
    world.read(1, 0, 0)
    of = instance(0)
    world.take(record(1, 50, "nginx", status=200, request_id=None), notified(1, 50.2, of))
    world.take(notified(2, 60, of), record(2, 60.5, "nginx", status=200, request_id=None))
    assert len(world.tracker._ledger) == 0


def test_what_a_registry_never_notifies_of_is_not_made_up(world):
    world.read(1, 0, 0)
    world.take(
        logged(1, 2, instance(0), status=404),
        logged(2, 3, instance(0), status=304),
        logged(3, 4, instance(0), action="list"),
        logged(4, 5, instance(0), status=200),  # it ignores this media type, say
    )
    world.read(300, 0, 0)
    world.take(logged(9, 460, instance(450), status=404))
    world.read(500, 0, 0, started=450)
    assert world.said == []


def test_a_notification_that_comes_after_all_takes_the_mark_away():
    log, note = logged(1, 10), notified(1, 9.9)
    mark = {**log, "id": "m", "reconstructed": True, "reason": "x"}
    (marked,) = joined([log, mark])
    assert marked["reconstructed"] is True
    assert list(marked)[-4:] == ["actor", "address", "useragent", "raw"]
    for order in ([note, log, mark], [log, mark, note], [mark, log, note]):
        (found,) = joined(order)
        assert "reconstructed" not in found
        assert found["source"] == "distribution"


def test_a_crash_after_it_was_said_says_the_same_again(tmp_path):
    ids = []
    for at in (200, 260):
        world = World(tmp_path / str(at))
        world.read(1, 0, 0)
        world.take(*(logged(n, n, instance(0)) for n in range(2, 22)))
        world.read(100, 50, 0)
        world.read(at, 0, 0, started=150)
        ids.append([event["id"] for event in world.said])
    assert ids[0] == ids[1]


# The counters

METRICS = """\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
process_start_time_seconds 1.79581180899e+09
registry_http_requests_total{code="200",handler="blob",method="get"} 3
registry_http_requests_total{code="201",handler="manifest",method="put"} 1
registry_notifications_events_total{endpoint="regvault",type="Errors"} 4
registry_notifications_events_total{endpoint="regvault",type="Events"} 14
registry_notifications_events_total{endpoint="regvault",type="Successes"} 10
registry_notifications_pending_total{endpoint="regvault"} 4
registry_notifications_status_total{code="202 Accepted",endpoint="regvault"} 10
"""


def expvar(*names):
    numbers = {"Pending": 4, "Events": 14, "Successes": 10, "Failures": 0, "Errors": 4}
    endpoints = [{"name": name, "Metrics": {**numbers, "Statuses": {}}} for name in names]
    return json.dumps({"registry": {"notifications": {"endpoints": endpoints}}})


@pytest.mark.parametrize("pages", [[METRICS], [METRICS, expvar("regvault")]])
def test_the_pages_of_a_registry_are_read(pages):
    found = parse_reading(URL, pages, 5.0, None)
    assert found == Reading(URL, 5.0, 1.79581180899e9, "regvault", 14, 10, 0, 4, 4)


def test_a_registry_without_prometheus_is_read_too():
    found = parse_reading(URL, [expvar("regvault", "other")], 5.0, None)
    assert (found.started, found.events, found.requests) == (None, 14, None)
    assert parse_reading(URL, [expvar("a", "b")], 5.0, "b").endpoint == "b"
    assert parse_reading(URL, [expvar("only")], 5.0, None).endpoint == "only"


@pytest.mark.parametrize(
    "pages",
    [["{}"], ["<html>"], ["{broken"], [expvar("a", "b")], ['{"registry": 5}'], ["[" * 9999]],
)
def test_what_counts_nothing_of_notifications_is_said(pages):
    with pytest.raises(NotFoundError):
        parse_reading(URL, pages, 5.0, None)


def test_a_registry_that_has_had_no_event_yet_counts_none():
    page = "process_start_time_seconds 1.7e9\n"
    assert parse_reading(URL, [page], 5.0, None).events == 0


def test_a_debug_server_is_asked_for_both_pages():
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            page = {"/debug/vars": expvar("regvault"), "/metrics": None}.get(self.path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert read_counters(url).events == 14
        with pytest.raises(NotFoundError):
            read_counters(f"{url}/metrics")
        server.shutdown()
        thread.join()
    with pytest.raises(SourceUnavailableError):
        read_counters(url)
    for bad in ("file:///etc/passwd", "ftp://x", "127.0.0.1:5001", ""):
        with pytest.raises(UsageError):
            check_url(bad)


@given(st.lists(st.one_of(st.text(), st.sampled_from(METRICS.splitlines())), max_size=12))
def test_whatever_a_debug_server_says_is_read_or_refused(lines):
    for page in ("\n".join(lines), "{" + "".join(lines)):
        try:
            found = parse_reading(URL, [page], 5.0, None)
        except NotFoundError:
            continue
        assert min(found.events, found.successes, found.pending) >= 0
