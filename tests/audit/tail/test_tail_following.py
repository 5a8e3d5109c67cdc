"""What was written to log files is in the spool, whatever became of the files meanwhile."""

import json
import os
import tempfile
import threading
from pathlib import Path

import pytest
from tailing import Site, compress, old, once, wait_for

from regvault.audit.spool import Spool
from regvault.audit.tail.names import is_rotated, live_name

LINES = [f"line {n} {'x' * (n % 50)}" for n in range(200)]


def test_what_a_restart_finds_new_is_read_and_nothing_else(site):
    site.write(*LINES[:50])
    done = site.tail()
    assert (done.files, done.counts.lines, done.events, done.lag) == (1, 50, 50, 0)
    assert done.counts.nbytes == site.log.stat().st_size
    assert site.tail().events == 0
    site.write(*LINES[50:60])
    assert site.tail().events == 10
    once(site.events(), LINES[:60])
    assert site.stored() == 60


def test_renamed_while_it_was_away_the_rest_of_the_old_file_is_read_then_the_new(site):
    site.write(*LINES[:50])
    site.tail()
    site.write(*LINES[50:60])
    site.log.rename(site.logs / "app.log.1")
    site.write(*LINES[60:80])
    site.tail()
    assert site.raws() == LINES[:80]
    assert site.stored() == 80


def test_rotated_several_times_while_it_was_away_all_that_came_between_is_read(site):
    site.write(*LINES[:20])
    site.write("of before", path=site.logs / "app.log.9")
    old(site.logs / "app.log.9")
    site.tail()
    for turn in range(1, 6):
        for number in range(turn, 0, -1):
            before = site.logs / (f"app.log.{number - 1}" if number > 1 else "app.log")
            if before.exists():
                before.rename(site.logs / f"app.log.{number}")
        site.write(*LINES[20 * turn : 20 * turn + 20])
    compress(site.logs / "app.log.5", ".gz")
    compress(site.logs / "app.log.3", ".zst")
    site.tail()
    once(site.events(), LINES[:120])
    assert site.stored() == 120


@pytest.mark.parametrize("before", [None, "", "line 0"])
def test_what_was_written_and_rotated_since_a_log_was_empty_or_not_there_is_read(site, before):
    if before is not None:
        site.write(before, end="")
    site.write("other", path=site.logs / "other.log")
    site.tail(site.log, site.logs / "other.log")
    if before is not None:
        assert site.stored() == 1
    site.log.write_text("".join(f"{line}\n" for line in LINES[:20]))
    site.log.rename(site.logs / "app.log.1")
    site.write(*LINES[20:40])
    site.tail()
    once(site.events(), [*LINES[:40], "other"])


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_copied_and_truncated_what_only_the_copy_has_is_read(site, pattern):
    site.write(*LINES[:50])
    site.tail(site.logs / pattern)
    site.write(*LINES[50:60])
    (site.logs / "app.log.1").write_bytes(site.log.read_bytes())
    site.log.write_bytes(b"")
    site.write(*LINES[60:200])  # larger than it was
    site.tail(site.logs / pattern)
    once(site.events(), LINES)
    site.log.write_bytes(b"")
    site.write("short")
    site.tail(site.logs / pattern)
    once(site.events(), [*LINES, "short"])
    assert site.stored() == 201


def test_a_copy_beside_the_file_is_not_read_twice(site):
    site.write(*LINES[:50])
    for name in ("app.log.1", "app.log-20261120"):
        (site.logs / name).write_bytes(site.log.read_bytes())
    site.tail(site.logs / "app.log*")
    compress(site.logs / "app.log.1", ".gz", keep=True)
    site.tail(site.logs / "app.log*")
    once(site.events(), LINES[:50])
    assert site.stored() == 50


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_compressed_before_it_was_read_to_its_end_the_rest_is_read(site, ending, pattern):
    site.write(*LINES[:50])
    site.tail(site.logs / pattern)
    site.write(*LINES[50:60])
    site.write("no end", end="")
    site.log.rename(site.logs / "app.log.1")
    site.write(*LINES[60:70])
    compress(site.logs / "app.log.1", ending)
    site.tail(site.logs / pattern)
    once(site.events(), [*LINES[:70], "no end"])
    (site.logs / f"app.log.1{ending}").rename(site.logs / f"app.log.2{ending}")
    site.tail(site.logs / pattern)
    assert site.stored() == 71


def test_ids_are_those_of_the_plain_file_if_all_is_read_compressed_without_a_state(site):
    site.write(*LINES)
    site.tail()
    before = {event["id"] for event in site.events()}
    for name in os.listdir(site.state):
        os.unlink(os.path.join(site.state, name))
    site.log.rename(site.logs / "app.log.1")
    compress(site.logs / "app.log.1", ".gz")
    site.tail(site.logs / "app.log*")
    assert site.stored() == 2 * len(LINES)
    assert {event["id"] for event in site.events()} == before


def test_two_logs_that_begin_alike_are_two(site):
    for name in ("a.log", "b.log"):
        site.write("same", "same too", path=site.logs / name)
    site.tail(site.logs / "*.log")
    events = site.events()
    assert len(events) == 4
    site.write("same again", path=site.logs / "b.log")
    site.write("same again", path=site.logs / "a.log")
    site.tail(site.logs / "*.log")
    assert len(site.events()) == 6


def test_a_log_that_begins_each_time_with_the_same_line_loses_none(site):
    for turn in range(4):
        site.write("started", f"line of {turn}")
        site.tail()
        for number in range(turn + 1, 0, -1):
            before = site.logs / (f"app.log.{number - 1}" if number > 1 else "app.log")
            before.rename(site.logs / f"app.log.{number}")
    assert sorted(site.raws()) == sorted(["started"] * 4 + [f"line of {turn}" for turn in range(4)])


def test_links_are_followed_and_rotated_files_found_where_they_lead(site):
    pod = site.logs / "pods" / "0.log"
    pod.parent.mkdir()
    links = site.logs / "containers"
    links.mkdir()
    (links / "web.log").symlink_to(pod)
    (links / "gone.log").symlink_to(site.logs / "nothing")
    site.write(*LINES[:30], path=pod)
    site.tail(links / "*.log")
    site.write(*LINES[30:40], path=pod)
    pod.rename(pod.with_name("0.log.20261120-030000"))
    compress(pod.with_name("0.log.20261120-030000"), ".gz")
    site.write(*LINES[40:50], path=pod)
    site.tail(links / "*.log")
    once(site.events(), LINES[:50])


def test_what_cannot_be_read_is_named_and_the_others_are_read(site):
    (site.logs / "loop.log").symlink_to(site.logs / "loop.log")
    os.mkfifo(site.logs / "pipe.log")
    (site.logs / "bad.log.1.gz").write_bytes(b"no gzip")
    old(site.logs / "bad.log.1.gz")
    site.write(*LINES[:5])
    done = site.tail(site.logs / "*", site.logs / "missing")
    assert {os.path.basename(name) for name in done.unreadable} == {
        "loop.log",
        "pipe.log",
        "bad.log.1.gz",
    }
    assert any("there is no file" in each for each in site.warnings)
    once(site.events(), LINES[:5])


def test_a_file_that_this_user_may_not_read_costs_no_other_one():
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        site = Site(Path(directory))
        os.mkdir(site.spool)
        os.chown(site.spool, 65534, 65534)
        site.write(*LINES, path=site.logs / "good.log")
        site.write("secret")
        site.log.chmod(0o600)
        os.seteuid(65534)
        try:
            if not os.access(directory, os.R_OK, effective_ids=True):
                pytest.skip("another user cannot come here")
            done = site.tail(site.logs / "*.log")
        finally:
            os.seteuid(0)
        assert done.unreadable == {str(site.log): "Permission denied"}
        once(site.events(), LINES)


def test_more_files_than_may_be_open_are_all_read(site):
    for number in range(30):
        site.write(f"line {number}", path=site.logs / f"{number}.log")
    assert site.tail(site.logs / "*.log", most_open=4).events == 30
    assert site.tail(site.logs / "*.log", most_open=4).events == 0


def test_a_full_spool_ends_a_run_and_the_next_goes_on_where_it_was(site):
    from regvault.audit.spool import SpoolFullError

    site.write(*(f"line {n} {'x' * 100}" for n in range(5000)))
    runs = 0
    while True:
        spool = Spool(site.spool, limit=1 << 20)
        spool.cursor("ship").advance(spool.usage().next)
        spool.collect()
        spool.close()
        before = site.stored()
        try:
            site.tail(limit=1 << 20)
            break
        except SpoolFullError:
            runs += 1
            assert runs < 50
            assert site.stored() > before
    assert runs > 0
    assert site.stored() == 5000


def test_a_disk_that_fills_in_a_batch_skips_nothing_and_repeats_nothing(site, monkeypatch):
    from regvault.audit.spool import SpoolFullError

    site.write(*LINES)
    append = Spool.append
    for stored in (0, 1, 7, 90):

        def fills(spool, bodies, stored=stored):
            append(spool, bodies[:stored])
            raise SpoolFullError("full", stored=stored)

        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", fills)
            with pytest.raises(SpoolFullError):
                site.tail()
    site.tail()
    assert site.raws() == LINES
    assert site.stored() == len(LINES)


def test_a_crash_before_the_position_is_saved_repeats_lines_with_the_same_ids(site, monkeypatch):
    from tailing import Ended

    from regvault.audit.tail.state import State

    site.write(*LINES)
    save = State.save
    for run in range(3):
        with monkeypatch.context() as patch:
            calls = []

            def dies(state, calls=calls, begun=run == 0):
                calls.append(1)
                if len(calls) > begun:
                    raise Ended
                save(state)

            patch.setattr(State, "save", dies)
            with pytest.raises(Ended):
                site.tail()
    site.tail()
    once(site.events(), LINES)
    assert site.stored() == 4 * len(LINES)


def test_names_of_rotated_files():
    for name, live in {
        "app.log.1": "app.log",
        "app.log.12.gz": "app.log",
        "app.log-20261120": "app.log",
        "app.log-20261120-1795801200.zst": "app.log",
        "0.log.20261120-030000.gz": "0.log",
        "app-20261120.log": "app.log",
        "localhost.2026-11-20.log": "localhost.log",
        "app.log.old": "app.log",
        "app.log.gz": "app.log",
    }.items():
        assert live_name(name) == live
        assert is_rotated(f"/x/{name}")
    for name in ("app.log", "0.log", "web-1_default_a.log", "app.log.swp", "1"):
        assert live_name(name) == name


def test_new_files_of_a_pattern_are_followed_and_what_is_gone_does_not_end_it(site, monkeypatch):
    from tailing import Ended

    from regvault.audit.tail import follow

    thread = threading.Thread(target=lambda: _scene(site, ended))
    ended = threading.Event()
    thread.start()
    sleep = follow.time.sleep

    def nap(seconds):
        if ended.is_set():
            raise Ended
        sleep(min(seconds, 0.02))

    monkeypatch.setattr(follow, "time", _Time(nap))
    with pytest.raises(Ended):
        site.tail(site.logs / "*.log", follow=True)
    thread.join()
    assert any("there is no file" in each for each in site.warnings)
    once(site.events(), LINES[:60])
    assert json.dumps(site.warnings).count("there is no file") == 1


class _Time:
    def __init__(self, sleep):
        import time

        self.sleep, self.monotonic, self.time = sleep, time.monotonic, time.time


def _scene(site, ended):
    try:
        wait_for(lambda: site.warnings)
        site.write(*LINES[:20])
        wait_for(lambda: site.stored() == 20)
        site.write(*LINES[20:30], path=site.logs / "other.log")
        wait_for(lambda: site.stored() == 30)
        with open(site.log, "a") as file:
            site.log.rename(site.logs / "app.log.1")
            site.write(*LINES[30:40])
            wait_for(lambda: site.stored() == 40)
            file.write("".join(f"{line}\n" for line in LINES[40:50]))
        wait_for(lambda: site.stored() == 50)
        site.log.unlink()
        site.write(*LINES[50:60])
        wait_for(lambda: site.stored() == 60)
    finally:
        ended.set()
