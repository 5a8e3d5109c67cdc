"""Each fact of a topic and of a spool becomes the finding that keeps events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regvault.errors import CredentialError, NotFoundError, TemporaryError
from regvault.model.doctor import Archived, Asked, SpoolFacts, StreamRole, TopicFacts, ask, unasked
from regvault.policy.doctor import stream
from regvault.policy.doctor.check import CHECKS, State

ANY, SHIP, ARCHIVE = StreamRole
DAY = 86_400.0
MIB = 1 << 20
SETTINGS = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
}
GOOD = TopicFacts(
    partitions=6,
    leaderless=0,
    replication=3,
    behind=0,
    rights=frozenset({"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}),
    settings=SETTINGS,
)
SPOOL = SpoolFacts(
    nbytes=MIB, limit=64 * MIB, free_bytes=1 << 40, kind="ext4", consumers=(), damage=0
)


def raising(error):
    def call():
        raise error

    return ask(call)


def topic(facts=GOOD, role=ANY, *, brokers=3, every=DAY):
    asked = facts if isinstance(facts, Asked) else Asked(facts)
    found = list(stream.judge_topic(asked, role, brokers=brokers, every_s=every, largest=MIB))
    return checked(found)


def checked(found):
    for check in found:
        assert check.id in CHECKS
        assert (check.hint is not None) == (check.state in (State.WARNING, State.ERROR)), check
    assert len({check.id for check in found}) == len(found)
    return {check.id: check for check in found}


def state(name, facts=GOOD, **more):
    return str(topic(facts, **more)[name].state)


def setting(check, name, value, **more):
    return state(check, replace(GOOD, settings={**SETTINGS, name: value}), **more)


def test_a_topic_as_it_should_be_has_no_finding():
    assert {str(check.state) for check in topic().values()} == {"ok"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFoundError("x", hint="y"), 10), (CredentialError("x", hint="y"), 12)],
)
def test_a_topic_that_cannot_be_seen_is_an_error_and_the_rest_is_not_known(error, code):
    found = topic(raising(error))
    assert (found["topic"].state, found["topic"].exit_code) == (State.ERROR, code)
    assert {str(c.state) for name, c in found.items() if name != "topic"} == {"skipped"}
    assert len(found) == len(topic())


def test_a_partition_without_a_leader_is_an_error():
    found = topic(replace(GOOD, leaderless=1))["topic"]
    assert (found.state, found.exit_code) == (State.ERROR, 6)


@pytest.mark.parametrize(
    ("rights", "role", "expected"),
    [
        ({"READ"}, ANY, "ok"),
        ({"WRITE"}, ANY, "ok"),
        ({"DESCRIBE"}, ANY, "error"),
        ({"WRITE"}, SHIP, "ok"),
        ({"READ"}, SHIP, "error"),
        ({"READ"}, ARCHIVE, "ok"),
        ({"WRITE"}, ARCHIVE, "error"),
        (None, SHIP, "skipped"),
    ],
)
def test_a_right_that_is_lacking_is_an_error_to_whom_needs_it(rights, role, expected):
    facts = replace(GOOD, rights=None if rights is None else frozenset(rights))
    found = topic(facts, role)["topic-rights"]
    assert str(found.state) == expected
    assert found.state is not State.ERROR or found.exit_code == 12


@pytest.mark.parametrize(
    ("replication", "brokers", "behind", "expected"),
    [
        (3, 3, 0, "ok"),
        (5, 5, 0, "ok"),
        (3, 3, 2, "warning"),
        (2, 3, 0, "error"),
        (1, 3, 0, "error"),
        (2, 2, 0, "warning"),
        (1, 1, 0, "warning"),
    ],
)
def test_replicas(replication, brokers, behind, expected):
    facts = replace(GOOD, replication=replication, behind=behind)
    assert state("topic-replication", facts, brokers=brokers) == expected


@pytest.mark.parametrize(
    ("least", "replication", "expected"),
    [
        ("2", 3, "ok"),
        ("1", 3, "error"),
        ("3", 3, "error"),
        ("2", 2, "error"),
        ("1", 1, "warning"),
        ("2", 1, "error"),
        ("nonsense", 3, "error"),
    ],
)
def test_how_many_replicas_acknowledge(least, replication, expected):
    facts = replace(
        GOOD, replication=replication, settings={**SETTINGS, "min.insync.replicas": least}
    )
    assert state("topic-in-sync", facts) == expected


@pytest.mark.parametrize(
    ("check", "name", "value", "expected"),
    [
        ("topic-unclean-election", "unclean.leader.election.enable", "true", "error"),
        ("topic-cleanup", "cleanup.policy", "compact", "error"),
        ("topic-cleanup", "cleanup.policy", "compact,delete", "error"),
        ("topic-retention", "retention.ms", "-1", "ok"),
        ("topic-retention", "retention.ms", "86399999", "error"),
        ("topic-retention", "retention.ms", "86400000", "warning"),
        ("topic-retention", "retention.ms", "172800000", "ok"),
        ("topic-retention", "retention.bytes", "1073741824", "warning"),
        ("topic-record-size", "max.message.bytes", "1000000", "warning"),
    ],
)
def test_settings_that_lose_events(check, name, value, expected):
    assert setting(check, name, value) == expected


def test_how_long_records_are_kept_is_held_against_how_often_they_are_archived():
    assert setting("topic-retention", "retention.ms", "7200000", every=3600.0) == "ok"
    assert state("topic-retention", every=8 * DAY) == "error"


def test_settings_that_may_not_be_read_are_not_known():
    found = topic(replace(GOOD, settings=None))
    assert {found[name].state for name in stream.OF_SETTINGS} == {State.SKIPPED}
    assert found["topic-replication"].state is State.OK


@pytest.mark.parametrize(
    ("asked", "role", "expected"),
    [
        (Asked(GOOD), ANY, "ok"),
        (Asked(replace(GOOD, rights=frozenset({"DESCRIBE"}))), SHIP, "warning"),
        (raising(NotFoundError("x", hint="y")), ANY, "warning"),
        (raising(NotFoundError("x", hint="y")), ARCHIVE, "skipped"),
        (unasked("x"), ANY, "skipped"),
    ],
)
def test_the_topic_of_dead_letters(asked, role, expected):
    found = stream.judge_dead_letters(asked, role)
    checked([found])
    assert str(found.state) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Archived(begun=True, gone=0, waiting=0, age_s=9 * DAY), "ok"),
        (Archived(begun=True, gone=0, waiting=5, age_s=DAY), "ok"),
        (Archived(begun=True, gone=0, waiting=5, age_s=2.1 * DAY), "warning"),
        (Archived(begun=True, gone=0, waiting=5, age_s=3.6 * DAY), "error"),
        (Archived(begun=True, gone=1, waiting=0, age_s=0), "error"),
        (Archived(begun=False, gone=0, waiting=5, age_s=0), "warning"),
        (Archived(begun=False, gone=0, waiting=0, age_s=0), "ok"),
    ],
)
def test_how_far_the_archive_is_behind(facts, expected):
    found = stream.judge_archived(Asked(facts), SETTINGS, every_s=DAY)
    checked([found])
    assert str(found.state) == expected


def test_the_archive_is_late_also_where_nobody_knows_how_long_records_are_kept():
    facts = Archived(begun=True, gone=0, waiting=5, age_s=30 * DAY)
    assert stream.judge_archived(Asked(facts), None, every_s=DAY).state is State.WARNING
    assert stream.judge_archived(unasked("x"), None, every_s=DAY).state is State.SKIPPED


def spool(**more):
    return checked(list(stream.judge_spool(Asked(replace(SPOOL, **more)))))


@pytest.mark.parametrize(
    ("check", "more", "expected"),
    [
        ("spool", {}, "ok"),
        ("spool", {"nbytes": 58 * MIB}, "warning"),
        ("spool", {"nbytes": 64 * MIB - 100}, "error"),
        ("spool-space", {}, "ok"),
        ("spool-space", {"free_bytes": 65 * MIB, "limit": 1 << 30}, "warning"),
        ("spool-space", {"free_bytes": 63 * MIB}, "error"),
        ("spool-file-system", {"kind": "tmpfs"}, "warning"),
        ("spool-file-system", {"kind": "overlay"}, "warning"),
        ("spool-file-system", {"kind": ""}, "ok"),
        ("spool-consumers", {}, "warning"),
        ("spool-consumers", {"nbytes": 0}, "ok"),
        ("spool-consumers", {"consumers": (("kafka", 5, 10.0),)}, "ok"),
        ("spool-consumers", {"consumers": (("kafka", 5, 10.0), ("x", 9, 3601.0))}, "warning"),
        ("spool-damage", {}, "ok"),
        ("spool-damage", {"damage": 1}, "error"),
    ],
)
def test_a_spool(check, more, expected):
    found = spool(**more)[check]
    assert str(found.state) == expected
    if (check, expected) in {("spool", "error"), ("spool-space", "error")}:
        assert found.exit_code == 6


def test_a_spool_that_is_not_there_is_an_error_and_the_rest_is_not_known():
    asked = raising(NotFoundError("x", hint="y"))
    found = checked(list(stream.judge_spool(asked)))
    assert (found["spool"].state, found["spool"].exit_code) == (State.ERROR, 10)
    assert len(found) == len(spool())


def test_a_disk_that_cannot_sync_is_an_error_and_a_slow_one_a_warning():
    for asked, expected in (
        (Asked(0.004), "ok"),
        (Asked(1.5), "warning"),
        (raising(TemporaryError("x", hint="y")), "error"),
    ):
        found = stream.judge_sync(asked)
        checked([found])
        assert str(found.state) == expected
