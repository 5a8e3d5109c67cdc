"""What passes is looked at again until it has passed; what stays is damage."""

from __future__ import annotations

import pytest

from regvault.model.registry import Kind, RepositoryLinks, TagLinks
from regvault.ops.snapshot.capture import MAX_READS, Capturer


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


class Look:
    """A survey of a repository of which these tags point to manifests that are not there."""

    repository = "app"
    fingerprint = ""  # it changes all the time

    def __init__(self, dangling) -> None:
        self.dangling = dangling

    def links(self):
        tags = tuple(TagLinks(f"t{n}", digest(n), ()) for n in self.dangling)
        return RepositoryLinks(tags, (), (), ())


class Source:
    def __init__(self, looks) -> None:
        self.looks = iter(looks)

    def survey(self, _repository):
        return Look(next(self.looks))


class Storer:
    bad: dict = {}  # noqa: RUF012

    def manifests(self, _digests):
        return {}

    def forgive(self, _digests):
        pass


def capture(looks):
    """Return what was captured, how often was looked, and how often was waited."""
    waits = []
    looks = list(looks)
    source = Source(looks[1:])
    capturer = Capturer(source, Storer(), set(), sleep=waits.append)
    captured = capturer.capture(Look(looks[0]))
    return captured, len(looks) - len(list(source.looks)), len(waits)


def test_one_deletion_after_another_is_no_damage():
    """Each look meets another one: that the third did, too, is only bad luck."""
    captured, reads, waits = capture([[1], [2], [3], []])
    assert captured.findings == []
    assert captured.window is None
    assert (reads, waits) == (4, 3)


@pytest.mark.parametrize("others", [[], [8]])
def test_what_stays_is_damage_however_busy_it_is(others):
    captured, reads, _ = capture([[7, *others], [7], [7], [7], [7], [7]])
    assert [(f.kind, f.image) for f in captured.findings] == [(Kind.TAG_DANGLING, ":t7")]
    assert captured.window is not None
    assert reads == MAX_READS + 1  # the last look is at the links only


def test_there_is_an_end_to_it():
    """Invariant 12: read again three times, then the window is recorded; gone is no damage."""
    captured, looks, waits = capture([[n] for n in range(1, 20)])
    assert captured.window is not None
    assert captured.findings == []
    assert captured.lines == []
    assert (looks, waits) == (MAX_READS + 1, MAX_READS)


def test_a_tag_that_is_still_there_at_the_end_is_damage():
    captured, _, _ = capture([[1], [2], [3], [4], [4, 5]])
    assert [(f.kind, f.image) for f in captured.findings] == [(Kind.TAG_DANGLING, ":t4")]
    assert captured.window is not None
