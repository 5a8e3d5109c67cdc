"""Who is a client; counts and sketches that do not depend on any order; time that is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.errors import UsageError
from regvault.policy.access import AccessRules
from regvault.policy.access_counts import (
    bucket_of,
    clients_in,
    decayed,
    first_day,
    merged,
    within,
)
from regvault.policy.coverage import Coverage, Span, covered_by

HASHES = st.lists(st.binary(min_size=6, max_size=6), max_size=200)
SPANS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)).map(lambda s: Span(*s)))


def test_rules_have_ids_of_their_own():
    assert AccessRules().id == AccessRules([]).id
    one = AccessRules(["agent=a*", "actor=b"])
    assert one.id == AccessRules(["actor=b", "agent=a*", "actor=b"]).id
    assert len({one.id, AccessRules().id, AccessRules(["agent=b", "actor=a*"]).id}) == 3


@pytest.mark.parametrize("text", ["", "bob", "agent=", "=x", "who=x", "address=10.0.0.1/99"])
def test_what_names_nobody_is_refused(text):
    with pytest.raises(UsageError):
        AccessRules([text])


def test_parts_of_words_are_no_names():
    rules = AccessRules()
    assert not rules.ignores("clairvoyant/1", "trivyuser", "x")
    assert not rules.ignores("docker/27.3.1 go/go1.22", "robot$trivy", None)
    assert rules.ignores("docker/27 (via Trivy)", None, None)


@given(HASHES, HASHES)
def test_a_sketch_of_two_is_that_of_all_in_any_order(some, others):
    both = merged(merged(b"", some), others)
    assert both == merged(merged(b"", reversed(others)), some) == merged(b"", [*some, *others])
    exact = len({*some, *others})
    assert clients_in(both) == exact if exact < 64 else clients_in(both) >= 64


@given(st.lists(st.integers(0, 1000), max_size=80), st.integers(0, 60), st.permutations(range(5)))
def test_days_become_blocks_whenever_they_are_counted(days, later, order):
    """What is counted first and grows old is what is counted when it is old."""
    newest = 1000 + later
    direct: dict[int, int] = {}
    for day in days:
        bucket = bucket_of(day, newest)
        direct[bucket] = direct.get(bucket, 0) + 1
    aged: dict[int, int] = {}
    for part in order:
        for day in days[part::5]:
            bucket = bucket_of(bucket_of(day, 1000), newest)
            aged[bucket] = aged.get(bucket, 0) + 1
    assert aged == direct
    assert sum(direct.values()) == len(days)
    assert first_day(newest) <= newest - 96
    for window in (1, 7, 30, 90):
        assert within(direct, newest, window, newest) == sum(day > newest - window for day in days)
        exact = sum(2.0 ** -((newest - day) / window) for day in days)
        assert exact - 1e-9 <= decayed(direct, newest, window, newest) <= exact * 2**32 + 1e-9


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(51, 100), SPANS), min_size=1, max_size=4),
    st.integers(0, 100),
)
def test_only_time_of_which_all_tell_is_idle(streams, since):
    found = covered_by([(Span(first, last), gaps) for first, last, gaps in streams])

    def known(moment):
        return all(
            first <= moment < last and not any(gap.first <= moment < gap.last for gap in gaps)
            for first, last, gaps in streams
        )

    assert found.idle_us(since) == sum(map(known, range(since, 100)))
    assert found.is_whole(since) == (
        found.start <= since < found.end and all(map(known, range(since, found.end)))
    )
    if since <= found.end:
        assert found.idle_us(since) + found.frozen_us(since) == found.end - since


def test_without_streams_nothing_is_known():
    found = covered_by([])
    assert found == Coverage()
    assert found.idle_us(0) == found.idle_us(5) == 0
    assert not found.is_whole(0)
    assert not found.is_whole(5)
