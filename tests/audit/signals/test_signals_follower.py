"""What watches a spool loses nothing of it, holds nobody up, and says each thing once."""

import contextlib
import json
import sqlite3
import threading
import time

import pytest
from noticing import START, made

from regvault.audit.gaps.tracker import GapTracker
from regvault.audit.intake import body_of
from regvault.audit.signals.counts import Counts
from regvault.audit.signals.engine import Engine
from regvault.audit.signals.follower import Follower, memory_path
from regvault.audit.signals.memory import Memory
from regvault.audit.signals.settings import Thresholds
from regvault.audit.spool import Spool, SpoolFullError
from regvault.errors import LeaseHeldError, TemporaryError


def failures(first, count):
    """Return bodies of events that are worth a signal."""
    events = [
        made(n, time.time() - START - 50, "login", status=401, actor="bob", repository=None)
        for n in range(first, first + count)
    ]
    kept = [{k: v for k, v in e.items() if k not in {"seq", "spool", "received"}} for e in events]
    return [body_of(event) for event in kept]


def spooled(place, count=150, **more):
    spool = Spool(str(place), **more)
    spool.append(failures(0, count))
    return spool


def follower(spool, **more):
    return Follower(
        spool,
        "signals",
        lambda memory: Engine(memory, Thresholds(learning_s=0.0)),
        **more,
    )


def run(spool, **more):
    own = follower(spool, **more)
    own.run(threading.Event(), follow=False)
    return own


def events(spool, action="signal"):
    reader = spool.reader()
    found = [json.loads(record.data) for record in reader.read(100_000)]
    return [event for event in found if event["action"] == action]


def test_what_is_noticed_is_an_event_of_the_spool_once(tmp_path):
    spool = spooled(tmp_path / "spool")
    run(spool)
    run(spool)
    (signal,) = events(spool)
    assert (signal["signal"], signal["state"], signal["source"]) == (
        "auth-failures",
        "begin",
        "regvault",
    )
    assert list(signal)[-4:] == ["actor", "address", "useragent", "raw"]
    assert signal["from"] < signal["to"]


def test_a_crash_between_an_event_and_what_is_remembered_makes_a_repeat(tmp_path, monkeypatch):
    spool = spooled(tmp_path / "spool")

    def crash(_self, **_documents):
        raise sqlite3.OperationalError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Memory, "commit", crash)
        own = follower(spool)
        with pytest.raises(sqlite3.OperationalError):
            own.step()
        own.close()
    run(spool)
    first, again = events(spool)
    assert first["id"] == again["id"]


def test_it_goes_on_where_it_was_and_not_where_its_cursor_is(tmp_path):
    spool = spooled(tmp_path / "spool", 60)
    counts = Counts()
    bounds = Thresholds(learning_s=0.0)
    # A cursor that is behind: it is only for the spool.
    for number, expected in enumerate((60, 80)):
        own = Follower(spool, "signals", lambda memory: Engine(memory, bounds, counts))
        own.run(threading.Event(), follow=False)
        assert (counts.events, own.skipped) == (expected, 0)
        spool.cursor("signals").advance(5)
        spool.append(failures(1000 * number + 1000, 20))


def test_two_processes_do_not_say_everything_twice(tmp_path):
    spool = spooled(tmp_path / "spool")
    first = follower(spool)
    first.step()
    with pytest.raises(LeaseHeldError):
        run(spool)
    first.close()
    run(spool)


def small(place):
    """Return a spool of several small segments."""
    spool = Spool(str(place), limit=4 << 20, segment_bytes=4096)
    for first in range(0, 300, 10):
        spool.append(failures(first, 10))
    return spool


def test_a_watcher_alone_frees_nothing(tmp_path):
    # Who delivers these events has not begun yet: a watcher has delivered them to nobody.
    spool = small(tmp_path / "spool")
    own = follower(spool)
    while own.step():
        pass
    own.close()
    assert spool.collect() == 0
    assert spool.usage().first == 1
    spool.cursor("ship-t").advance(200)
    assert spool.collect() > 0
    assert 100 < spool.usage().first <= 200


def test_a_watcher_that_is_behind_is_waited_for_until_the_spool_is_half_full(tmp_path):
    spool = small(tmp_path / "spool")
    spool.cursor("signals").register()
    spool.cursor("ship-t").advance(301)
    assert spool.collect() == 0
    tight = Spool(str(tmp_path / "spool"), limit=spool.usage().nbytes * 3 // 2, segment_bytes=4096)
    assert tight.collect() > 0
    own = run(spool)
    assert own.problem is None


def test_what_the_spool_did_not_keep_is_counted(tmp_path):
    spool = small(tmp_path / "spool")
    own = follower(spool)
    own.step()
    own.close()
    spool.cursor("ship-t").advance(301)
    spool.cursor("signals").remove()
    spool.collect()
    first = spool.usage().first
    own = run(spool)
    assert own.skipped == first - 251 > 0


def test_a_full_spool_holds_back_signals_and_loses_none(tmp_path):
    spool = spooled(tmp_path / "spool", limit=1 << 20)
    for size in (2000, 10):
        with contextlib.suppress(SpoolFullError):
            while True:
                line = {"id": "x", "action": "log", "source": "nginx", "raw": "x" * size}
                spool.append([body_of(line)])
    own = follower(spool, report=lambda *_a, **_k: None)
    stop = threading.Event()
    thread = threading.Thread(target=own.run, args=(stop,), kwargs={"follow": True})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while own.failures == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert events(spool) == []
        larger = Spool(str(tmp_path / "spool"))
        spool.__dict__["_limit"] = larger.usage().limit
        while not events(spool):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    assert len(events(spool)) == 1


def test_an_event_that_cannot_be_taken_is_reported_and_left_out(tmp_path):
    said = []
    spool = Spool(str(tmp_path / "spool"))
    spool.append([body_of({"id": "odd", "action": "pull"})])
    spool.append(failures(0, 150))
    own = run(spool, report=lambda text, **_: said.append(text))
    assert len(events(spool)) == 1
    assert own.failures == 1
    assert "left out" in said[0]


def test_a_memory_that_is_damaged_is_put_aside(tmp_path):
    spool = spooled(tmp_path / "spool")
    run(spool)
    path = memory_path(spool.directory, "signals")
    with open(path, "wb") as file:
        file.write(b"no database" * 1000)
    said = []
    run(spool, report=lambda text, **_: said.append(text))
    assert "damaged" in said[0]
    assert len({event["id"] for event in events(spool)}) == 1


NONE = "[" * 100_000
DOCUMENTS = [
    (name, value)
    for name, values in {
        "secret": ("{", "7", '"zz"', '"' + "ab" * 40 + '"'),
        "next": ("{", '"1"', "[]", "1.5", "-1", "{}", NONE),
        "began": ("x", '"now"', "[1]"),
        "auth-failures": (
            "{",
            "1",
            "[]",
            "{}",
            '{"shares": 1, "refused": []}',
            '{"shares": {}, "refused": [[1, 2, 3]]}',
            '{"shares": {"x": [[[1, [2]]], null, 0]}, "refused": []}',
            '{"shares": {"x": [[["a", [2, 2]]], null, 0]}, "refused": []}',
            '{"shares": {"x": [[[1, ["a", 2]]], null, "never"]}, "refused": []}',
        ),
        "pull-latency": ("{", "1", '{"x": 1}', '{"x": [[[1, [2, 2]]], null, 0]}'),
        "mass-deletion": (
            "{",
            "{}",
            '{"deleted":[],"requests":[],"newest":"x","begun":null,"last":0}',
            '{"deleted":[["a","b",1,2]],"requests":[],"newest":0,"begun":null,"last":0}',
            '{"deleted":[],"requests":[],"newest":0,"begun":null,"last":null}',
        ),
        "new-network": ("{", "1", "[1]", '[["10.0.0.0/24", "x"]]'),
    }.items()
    for value in values
]


@pytest.mark.parametrize(("name", "value"), DOCUMENTS)
def test_a_document_of_a_memory_that_is_none_is_a_new_beginning(tmp_path, name, value):
    spool = spooled(tmp_path / "spool")
    run(spool)
    path = memory_path(spool.directory, "signals")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT OR REPLACE INTO document VALUES (?, ?)", (name, value))
    said = []
    own = run(spool, report=lambda text, **_: said.append(text))
    assert ["damaged" in each for each in said] == [True]
    assert own.failures == 0
    assert len({event["id"] for event in events(spool)}) == 1
    said.clear()
    run(spool, report=lambda text, **_: said.append(text))
    assert not said


@pytest.mark.parametrize(
    "row",
    [
        ("tag", b"k", b"\xff", 1.0),
        ("tag", b"k", "", "yesterday"),
        ("tag", "k", "", 1.0),
        (b"tag", b"k", "", 1.0),
        (None, b"k", "", 1.0),
    ],
)
def test_a_row_of_a_memory_that_is_of_other_types_is_a_new_beginning(tmp_path, row):
    spool = spooled(tmp_path / "spool")
    run(spool)
    # WITHOUT ROWID takes no NULL in its key: the file's table may be another one.
    path = memory_path(spool.directory, "signals")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE known")
        db.execute("CREATE TABLE known (kind, key, value, at)")
        db.execute("INSERT INTO known VALUES (?, ?, ?, ?)", row)
    said = []
    run(spool, report=lambda text, **_: said.append(text))
    assert ["damaged" in each for each in said] == [True]


@pytest.mark.parametrize("name", ["signals", "signals/signals.lock", "signals/signals.db"])
def test_no_memory_is_opened_through_a_link(tmp_path, name):
    spool = spooled(tmp_path / "spool")
    elsewhere = tmp_path / "elsewhere"
    if name == "signals":
        elsewhere.mkdir()
    else:
        (tmp_path / "spool" / "signals").mkdir()
    (tmp_path / "spool" / name).symlink_to(elsewhere)
    with pytest.raises(TemporaryError, match="is a symbolic link"):
        run(spool)
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


GAPS = [
    ("processes", "1"),
    ("processes", '{"running": {"u": {"url": "u"}}, "ended": []}'),
    ("processes", '{"running": {}, "ended": {"a": 1}}'),
    ("instances", '{"a": [1, 2, 3, 4, "x"]}'),
    ("instances", '{"a": [1]}'),
    ("logs", '{"a": "b"}'),
]


@pytest.mark.parametrize(("name", "value"), GAPS)
def test_a_document_of_gaps_that_is_none_is_a_new_beginning(tmp_path, name, value):
    spool = spooled(tmp_path / "spool")
    path = memory_path(spool.directory, "gaps")
    Follower(spool, "gaps", GapTracker).run(threading.Event(), follow=False)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT OR REPLACE INTO document VALUES (?, ?)", (name, value))
    said = []
    own = Follower(spool, "gaps", GapTracker, report=lambda text, **_: said.append(text))
    own.run(threading.Event(), follow=False)
    assert ["damaged" in each for each in said] == [True]


@pytest.mark.parametrize("value", ['"x"', "{"])
def test_a_memory_that_is_spoilt_while_it_is_read_ends_nothing(tmp_path, monkeypatch, value):
    """The thread of a receiver goes on."""
    monkeypatch.setattr("regvault.audit.signals.follower._AGAIN_S", (0.01, 0.01))
    spool = spooled(tmp_path / "spool")
    own = follower(spool)
    stop = threading.Event()
    thread = threading.Thread(target=own.run, args=(stop,), kwargs={"follow": True})
    thread.start()
    try:
        wait_for(lambda: events(spool))
        path = memory_path(spool.directory, "signals")
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT OR REPLACE INTO document VALUES ('next', ?)", (value,))
        own._failed("something")
        monkeypatch.setattr(own, "step", failing_once(own.step))
        wait_for(lambda: own.failures >= 2 and own.problem is None)
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()


def failing_once(step):
    def fails():
        failed.append(1)
        if len(failed) == 1:
            raise OSError("the disk is slow")
        return step()

    failed = []
    return fails


def wait_for(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_memory_is_bounded_and_forgets_what_is_old(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.audit.signals.memory._MOST", 100)
    monkeypatch.setattr("regvault.audit.signals.memory._PRUNE_EVERY", 1)
    memory = Memory(str(tmp_path / "m.db"))
    now = time.time()
    memory.put("network", "old", value="", at=now - 401 * 86400)
    for n in range(500):
        memory.put("network", str(n), value="", at=now + n)
    memory.commit()
    memory.close()
    memory = Memory(str(tmp_path / "m.db"))
    assert memory.get("network", "old") is None
    assert memory.get("network", "0") is None
    assert memory.get("network", "499") == ""
    assert len(memory.values("network")) <= 100
