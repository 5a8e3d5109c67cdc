"""What processes see ahead is what a survey sees; and nothing depends on them."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from registry_build import digest_of
from registry_place import FailingTree
from test_registry_scan import TRICKY, A, fill

from regvault.model.registry import Kind
from regvault.registry.ahead import Glimpse, LookAhead, LookAheadError

if TYPE_CHECKING:
    from registry_place import Place

    from regvault.registry.reader import DistributionSource

B = digest_of(b"b")


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    # Who runs the tests has threads of its own.
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def processes(source: DistributionSource) -> list[int]:
    assert source._ahead is not None
    return list(source._ahead._pids)


def fingerprints(surveys):
    return [(each.repository, each.fingerprint) for each in surveys]


def assert_gone(pids):
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_they_see_the_same_in_the_same_order(tree: Place):
    fill(tree, TRICKY)
    source = tree.source()
    plain = fingerprints(source.surveys())
    source.look_ahead()
    pids = processes(source)
    assert len(pids) == 3
    seen = list(source.surveys(compare=True))
    assert {type(each) for each in seen} == {Glimpse}
    assert fingerprints(seen) == plain
    assert [name for name, _ in plain] == sorted(TRICKY)
    assert all(fingerprint for _, fingerprint in plain)
    assert_gone(pids)


def test_links_are_those_of_now(tree: Place):
    fill(tree, ["a", "b"])
    source = tree.source()
    source.look_ahead()
    seen = next(surveys := source.surveys(compare=True))
    tree.build.layer("a", B)
    assert (seen.repository, seen.links().layers) == ("a", tuple(sorted([A, B])))
    assert seen.fingerprint != source.survey("a").fingerprint
    surveys.close()


@pytest.mark.parametrize("killed", [[0], [1], [0, 1, 2]])
def test_what_a_killed_one_did_not_send_is_surveyed_here(tree: Place, killed):
    names = [f"r{number:03}" for number in range(300)]
    fill(tree, names)
    source = tree.source()
    plain = fingerprints(source.surveys())
    source.look_ahead()
    pids = processes(source)
    for number in killed:
        os.kill(pids[number], signal.SIGKILL)
    assert fingerprints(source.surveys(compare=True)) == plain
    assert_gone(pids)


def test_a_line_cut_off_is_no_line(tree: Place):
    def survey(wanted):
        class Seen:
            repository = "a"
            fingerprint = "f:1:abc"

        yield Seen
        Seen.fingerprint = "x" * 100_000  # the first part of it fills the pipe
        yield Seen

    ahead = LookAhead(survey)
    assert ahead.working
    seen = ahead.seen()
    assert next(seen) == ("a", "f:1:abc")
    for pid in ahead._pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(LookAheadError):
        list(seen)
    ahead.close()


def test_one_that_fails_ends_without_a_word(tree: Place, capfd):
    fill(tree, TRICKY)

    class Broken(FailingTree):
        def stat_children(self, prefix, leaf, names):
            if os.getpid() != here and "a0" in prefix:
                raise RuntimeError("only in a process")
            return self._store.stat_children(prefix, leaf, names)

    here = os.getpid()
    source = tree.source(Broken(tree.store, "none"))
    plain = fingerprints(source.surveys())
    source.look_ahead()
    assert fingerprints(source.surveys(compare=True)) == plain
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_read_is_found_when_it_is_asked_for(tree: Place):
    fill(tree, ["a", "b"])
    source = tree.source(FailingTree(tree.store, "repositories/a/_layers"))
    source.look_ahead()
    first, second = source.surveys(compare=True)
    assert (first.fingerprint, bool(second.fingerprint)) == ("", True)
    assert [finding.kind for finding in first.links().findings] == [Kind.UNREADABLE]


def test_since_when(tree: Place, monkeypatch):
    fill(tree, ["a"])
    source = tree.source()
    assert source.ahead_since_ns() is None
    before = time.time_ns()
    source.look_ahead()
    since = source.ahead_since_ns()
    assert since is not None
    assert before <= since <= time.time_ns()
    pids = processes(source)
    monkeypatch.setattr("regvault.registry.reader._AHEAD_NS", 0)
    assert source.ahead_since_ns() is None
    assert_gone(pids)


def test_what_is_too_old_is_not_compared_with(tree: Place, monkeypatch):
    fill(tree, ["a"])
    source = tree.source()
    source.look_ahead()
    time.sleep(0.3)  # it has looked
    tree.build.layer("a", B)
    monkeypatch.setattr("regvault.registry.reader._AHEAD_NS", 1)
    now = source.survey("a").fingerprint
    assert fingerprints(source.surveys(compare=True)) == [("a", now)]


@pytest.mark.parametrize("words", [{}, {"repositories": ["a"], "compare": True}])
def test_who_wants_links_or_names_does_not_get_it(tree: Place, words):
    fill(tree, ["a"])
    source = tree.source()
    source.look_ahead()
    pids = processes(source)
    assert fingerprints(source.surveys(**words)) == fingerprints([source.survey("a")])
    assert_gone(pids)


def test_close_ends_them_whatever_they_do(tree: Place):
    fill(tree, ["a"])

    class Hanging(FailingTree):
        def stat_children(self, prefix, leaf, names):
            time.sleep(60)

    source = tree.source(Hanging(tree.store, "none"))
    source.look_ahead()
    pids = processes(source)
    source.close()
    assert_gone(pids)


def test_they_end_when_nobody_reads_any_more(tree: Place):
    fill(tree, [f"{number:03}-{'n' * 200}" for number in range(1000)])
    source = tree.source()
    source.look_ahead()
    pids = processes(source)
    for pipe in source._ahead._pipes:
        pipe.close()  # as when the process that reads is killed
    deadline = time.monotonic() + 20
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("why", ["threads", "one core", "asked"])
def test_where_there_are_none(tree: Place, monkeypatch, why):
    fill(tree, TRICKY)
    source = tree.source(threads=1 if why == "asked" else 4)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    if why == "threads":
        other.start()
        monkeypatch.setattr(threading, "active_count", lambda: 2)
    if why == "one core":
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    source.look_ahead()
    stop.set()
    assert processes(source) == []
    assert fingerprints(source.surveys(compare=True)) == fingerprints(source.surveys())
    if why == "threads":
        other.join()


def test_no_process_more(tree: Place, monkeypatch):
    fill(tree, TRICKY)
    forks = [os.fork]

    def fork():
        if not forks:
            raise BlockingIOError("Resource temporarily unavailable")
        return forks.pop()()

    monkeypatch.setattr(os, "fork", fork)
    source = tree.source()
    source.look_ahead()
    assert processes(source) == []
    assert fingerprints(source.surveys(compare=True)) == fingerprints(source.surveys())


def test_object_storage_is_listed_as_before(md5: Place):
    fill(md5, ["a"])
    source = md5.source()
    source.look_ahead()
    assert source.ahead_since_ns() is None
    assert fingerprints(source.surveys(compare=True)) == fingerprints(source.surveys())
