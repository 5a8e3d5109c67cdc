"""What processes see ahead is what a survey sees; and nothing depends on them."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from registry_build import digest_of
from registry_place import Failing, FailingTree
from test_registry_scan import TRICKY, A, fill

from regvault.errors import ObjectNotFoundError, SourceError, SourceTooLargeError, StoreError
from regvault.model.registry import Kind
from regvault.registry.ahead import Glimpse, LookAhead, LookAheadError
from regvault.registry.gather import GatheredSurvey, SmallBlobs
from regvault.registry.scan_tree import TreeSurvey

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
        Seen.fingerprint = "x" * 3_000_000  # the first part of it fills the pipe
        yield Seen

    ahead = LookAhead(survey, gather=None)
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


@pytest.mark.parametrize("compare", [True, False])
def test_a_namespace_that_a_process_could_not_read_is_read_here(tree: Place, compare):
    fill(tree, ["a/x", "a/y", "b"])

    class Broken(FailingTree):
        def scandir(self, prefix):
            if os.getpid() != here and prefix.endswith("/repositories/a"):
                raise StoreError("only in a process")
            return self._store.scandir(prefix)

    here = os.getpid()
    source = tree.source(Broken(tree.store, "none"))
    source.look_ahead()
    surveys = list(source.surveys(compare=compare))
    assert [survey.repository for survey in surveys] == ["a/x", "a/y", "b"]
    assert all(survey.fingerprint for survey in surveys)


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
    monkeypatch.setattr("regvault.registry.reader.FRESH_NS", 0)
    assert source.ahead_since_ns() is None
    assert_gone(pids)


def test_what_is_too_old_is_not_compared_with(tree: Place, monkeypatch):
    fill(tree, ["a"])
    source = tree.source()
    source.look_ahead()
    time.sleep(0.3)  # it has looked
    tree.build.layer("a", B)
    monkeypatch.setattr("regvault.registry.reader.FRESH_NS", 1)
    now = source.survey("a").fingerprint
    assert fingerprints(source.surveys(compare=True)) == [("a", now)]


def test_who_asks_by_name_does_not_get_it(tree: Place):
    fill(tree, ["a"])
    source = tree.source()
    source.look_ahead()
    pids = processes(source)
    (found,) = source.surveys(["a"], compare=True)
    assert isinstance(found, TreeSurvey)
    assert_gone(pids)


class Opened(FailingTree):
    """Notes which blobs this process opens."""

    def __init__(self, store):
        super().__init__(store, "none")
        self.blobs = []

    def open(self, key, *, start=0, length=None):
        self.blobs.append(key)
        return self._store.open(key, start=start, length=length)

    def get(self, key, *, start=0, length=None):
        self.blobs.append(key)
        return self._store.get(key, start=start, length=length)


def small_blobs(source, image):
    with source.open_blob(image.config)[0] as reader:
        return source.read_blob(image.digest, limit=1 << 20), reader.read()


def test_who_wants_links_gets_them_with_manifests_and_configs(tree: Place):
    images = [tree.build.image(f"app{n:02}", "v1", seed=n) for n in range(20)]
    plain = {s.repository: (s.fingerprint, s.links()) for s in tree.source().surveys()}
    store = Opened(tree.store)
    source = tree.source(store)
    source.look_ahead()
    pids = processes(source)
    found = list(source.surveys())
    assert {type(each) for each in found} == {GatheredSurvey}
    assert {s.repository: (s.fingerprint, s.links()) for s in found} == plain
    assert [each.repository for each in found] == sorted(plain)
    seen = [small_blobs(source, image) for image in images]
    assert store.blobs == []
    assert [digest_of(data) for both in seen for data in both] == [
        digest for image in images for digest in (image.digest, image.config)
    ]
    assert [small_blobs(source, image) for image in images] == seen  # once; then they are opened
    assert len(store.blobs) == 40
    assert_gone(pids)


def test_what_cannot_be_read_ahead_is_left_to_who_needs_it(tree: Place):
    good = tree.build.image("a", "good", seed=1)
    large = tree.build.blob(b" " * (64 << 10) + b"{}")
    lost = digest_of(b"lost")
    for digest in (large, lost):
        tree.build.revision("a", digest)
    store = Opened(tree.store)
    source = tree.source(store)
    source.look_ahead()
    (found,) = source.surveys()
    assert set(found.links().revisions) == {good.digest, large, lost}
    small_blobs(source, good)
    assert store.blobs == []
    assert len(source.read_blob(large, limit=1 << 20)) == (64 << 10) + 2
    with pytest.raises(ObjectNotFoundError):
        source.read_blob(lost, limit=1 << 20)
    with pytest.raises(SourceTooLargeError):
        source.read_blob(large, limit=1 << 10)


def test_the_bytes_of_one_repository_have_a_bound(tree: Place, monkeypatch):
    monkeypatch.setattr("regvault.registry.gather._REPOSITORY_BYTES", 2000)
    images = [tree.build.image("a", f"v{n}", seed=n) for n in range(9)]
    source = tree.source()
    source.look_ahead()
    list(source.surveys())
    sent = sum(source._small.take(image.digest) is not None for image in images)
    assert 0 < sent < 9


def test_what_is_not_asked_for_has_a_bound(monkeypatch):
    monkeypatch.setattr("regvault.registry.gather._KEPT_BYTES", 10)
    small = SmallBlobs()
    small.put([("a", b"1234"), ("b", b"5678"), ("a", b"1234"), ("c", b"9012")])
    assert [small.take(name) for name in "aabbcc"] == [None, None, b"5678", None, b"9012", None]
    small.put([("d", b"x" * 10)])
    assert small.take("d") == b"x" * 10


@pytest.mark.parametrize("killed", [[0], [0, 1, 2]])
def test_what_a_killed_one_did_not_read_is_read_here(tree: Place, killed):
    for number in range(200):
        tree.build.image(f"r{number:03}", "v1", seed=number)
    source = tree.source()
    plain = [(s.repository, s.fingerprint, s.links()) for s in source.surveys()]
    source.look_ahead()
    pids = processes(source)
    found = source.surveys()
    first = next(found)
    for number in killed:
        os.kill(pids[number], signal.SIGKILL)
    seen = [first, *found]
    assert [(s.repository, s.fingerprint, s.links()) for s in seen] == plain
    assert_gone(pids)


def test_links_that_were_read_long_ago_are_read_again(tree: Place, monkeypatch):
    fill(tree, ["a"])
    source = tree.source()
    source.look_ahead()
    (found,) = source.surveys()
    before = found.fingerprint
    tree.build.layer("a", B)
    assert found.links().layers == (A,)
    monkeypatch.setattr("regvault.registry.gather.FRESH_NS", 0)
    assert found.links().layers == tuple(sorted([A, B]))
    assert found.fingerprint == before != source.survey("a").fingerprint


def test_a_slow_file_system_is_left_to_threads(tree: Place, monkeypatch):
    monkeypatch.setattr("regvault.registry.pace._SLOW_S", 0.0)
    monkeypatch.setattr("regvault.registry.pace._TRIAL_FILES", 1)
    names = [f"r{number}" for number in range(9)]
    fill(tree, names)
    source = tree.source(threads=4)
    assert source.at_hand
    source.look_ahead()
    found = list(source.surveys())
    assert [each.repository for each in found] == names
    assert GatheredSurvey not in {type(each) for each in found}
    assert not source.at_hand


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
    # As when the process that reads is killed: its ends of all pipes are gone.
    for pipe in source._ahead._pipes:
        pipe.close()
    while source._ahead._orders:
        os.close(source._ahead._orders.pop())
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


class Listed(Failing):
    """Counts the LISTs of repositories, and notes in which thread they ran."""

    def __init__(self, store, part="none"):
        super().__init__(store, part)
        self.lists = []

    def list(self, prefix="", *, after=""):
        self.lists.append((prefix, threading.get_ident()))
        self._check(prefix)
        return self._store.list(prefix, after=after)


def test_object_storage_is_listed_ahead_once(md5: Place):
    names = sorted(TRICKY)
    fill(md5, TRICKY)
    plain = [(s.repository, s.fingerprint, s.links()) for s in md5.source().surveys()]
    store = Listed(md5.store)
    source = md5.source(store)
    before = time.time_ns()
    source.look_ahead()
    source.look_ahead()
    since = source.ahead_since_ns()
    assert since is not None
    assert before <= since <= time.time_ns()
    deadline = time.monotonic() + 20
    while not store.lists:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found = source.surveys(compare=True)
    assert [(s.repository, s.fingerprint, s.links()) for s in found] == plain
    assert [name for name, _, _ in plain] == names
    assert len(store.lists) == 1
    assert store.lists[0][1] != threading.get_ident()
    assert source.ahead_since_ns() is None
    assert fingerprints(source.surveys()) == [each[:2] for each in plain]
    assert len(store.lists) == 2


def test_what_was_listed_long_ago_is_listed_again(md5: Place, monkeypatch):
    fill(md5, ["a"])
    source = md5.source()
    source.look_ahead()
    time.sleep(0.2)  # it has listed
    md5.build.layer("a", B)
    monkeypatch.setattr("regvault.registry.reader.FRESH_NS", 0)
    (found,) = source.surveys(compare=True)
    assert found.links().layers == tuple(sorted([A, B]))


def test_an_error_of_the_list_is_that_of_who_asks(md5: Place):
    fill(md5, ["a"])
    source = md5.source(Listed(md5.store, "repositories"))
    source.look_ahead()
    with pytest.raises(SourceError, match="denied"):
        list(source.surveys())


def test_close_ends_a_list_that_nobody_wanted(md5: Place, monkeypatch):
    monkeypatch.setattr("regvault.registry.list_ahead._CHUNKS_AHEAD", 1)
    monkeypatch.setattr("regvault.registry.parallel_list._CHUNK", 1)
    fill(md5, [f"r{number}" for number in range(9)])
    source = md5.source()
    source.look_ahead()
    thread = source._flat._ahead._thread
    time.sleep(0.2)
    assert thread.is_alive()  # it waits: no more than so much is ahead
    source.close()
    assert not thread.is_alive()
