"""Each fact of a place becomes the finding that a person on call would want."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regvault.errors import (
    ReadOnlyStoreError,
    StoreAccessError,
    StoreFullError,
    StoreUnavailableError,
)
from regvault.model.doctor import (
    Above,
    Asked,
    BucketFacts,
    BucketTrials,
    Credentials,
    DiskFacts,
    LifecycleRule,
    Lock,
    Sample,
    Spool,
    ask,
    unasked,
)
from regvault.policy.doctor import access, bucket, contents, disk
from regvault.policy.doctor.check import CHECKS, State, ok, skipped, warning, worst

ANY, WRITER, READER, PRUNER = Credentials
YES: Asked[bool] = Asked(True)
NO: Asked[bool] = Asked(False)
DENIED: Asked[bool] = Asked(None, "403", "ask someone", denied=True, exit_code=12)
UNASKED: Asked[bool] = unasked("not asked")
AWAY: Asked[bool] = Asked(None, "503", "later", exit_code=6)
GIB = 1 << 30


def raising(error):
    def call():
        raise error

    return ask(call)


@pytest.mark.parametrize(
    ("error", "denied", "code"),
    [
        (StoreAccessError("x"), True, 12),
        (ReadOnlyStoreError("x"), True, 12),
        (StoreFullError("x"), False, 6),
        (StoreUnavailableError("x"), False, 6),
    ],
)
def test_an_error_keeps_the_exit_code_that_scripts_know(error, denied, code):
    found = raising(error)
    assert (found.value, found.denied, found.exit_code, found.tried) == (None, denied, code, True)


def state(check):
    assert check.id in CHECKS
    assert (check.hint is not None) == (check.state in (State.WARNING, State.ERROR))
    return str(check.state)


def states(checks):
    return {check.id: state(check) for check in checks}


@pytest.mark.parametrize(
    ("skew", "expected"),
    [(0, "ok"), (59, "ok"), (-59, "ok"), (61, "warning"), (-299, "warning"), (301, "error")],
)
def test_a_clock_that_stops_prune_is_an_error(skew, expected):
    assert state(access.judge_clock(skew, limit_s=300)) == expected


@pytest.mark.parametrize(
    ("asked", "role", "expected"),
    [
        (YES, ANY, "ok"),
        (YES, WRITER, "ok"),
        (YES, PRUNER, "ok"),
        (YES, READER, "warning"),
        (DENIED, READER, "ok"),
        (DENIED, ANY, "warning"),
        (DENIED, WRITER, "error"),
        (DENIED, PRUNER, "error"),
        (AWAY, READER, "error"),
        (UNASKED, WRITER, "skipped"),
    ],
)
def test_who_may_write(asked, role, expected):
    assert state(access.judge_writing(asked, role)) == expected


@pytest.mark.parametrize(
    ("asked", "role", "of_bucket", "expected"),
    [
        (YES, ANY, True, "ok"),
        (YES, PRUNER, True, "ok"),
        (YES, WRITER, True, "warning"),
        (YES, READER, True, "warning"),
        (YES, WRITER, False, "ok"),
        (NO, PRUNER, True, "error"),
        (DENIED, ANY, True, "ok"),
        (DENIED, WRITER, True, "ok"),
        (DENIED, PRUNER, True, "error"),
        (DENIED, ANY, False, "error"),
        (AWAY, ANY, True, "error"),
        (UNASKED, PRUNER, True, "skipped"),
    ],
)
def test_who_may_delete(asked, role, of_bucket, expected):
    assert state(access.judge_deleting(asked, role, bucket=of_bucket)) == expected


@pytest.mark.parametrize(
    ("asked", "role", "locked", "expected"),
    [
        (YES, ANY, False, "ok"),
        (YES, WRITER, False, "warning"),
        (YES, PRUNER, False, "warning"),
        (DENIED, WRITER, False, "ok"),
        (DENIED, WRITER, True, "skipped"),  # by the lock, whatever is allowed
        (YES, WRITER, True, "warning"),
        (UNASKED, WRITER, False, "skipped"),
    ],
)
def test_who_may_delete_for_good(asked, role, locked, expected):
    assert state(access.judge_deleting_versions(asked, role, locked=locked)) == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [(YES, "ok"), (DENIED, "error"), (UNASKED, "skipped"), (AWAY, "error")]
)
def test_who_may_read(asked, expected):
    assert state(access.judge_reading(asked)) == expected


@pytest.mark.parametrize(
    ("winners", "expected"),
    [
        (Asked(1), "ok"),
        (Asked(0), "error"),
        (Asked(2), "error"),
        (AWAY, "error"),
        (UNASKED, "skipped"),
    ],
)
def test_exactly_one_create_wins(winners, expected):
    assert state(access.judge_creates(winners, 32)) == expected


@pytest.mark.parametrize(("asked", "expected"), [(YES, "ok"), (NO, "error"), (UNASKED, "skipped")])
def test_what_every_store_must_do(asked, expected):
    assert state(access.judge_swap(asked)) == expected
    assert state(access.judge_ranges(asked)) == expected
    assert state(access.judge_read_after_write(asked, asked)) == expected


def test_bytes_that_come_back_wrong_are_an_error_though_they_are_listed():
    assert state(access.judge_read_after_write(YES, NO)) == "error"


# A bucket

NAMES = ("vault.json", "blobs/", "packs/", "meta/", "locks/")
RULES = (LifecycleRule("tidy", noncurrent="after 30 days", aborts="after 7 days"),)
GOOD = BucketFacts("v/", "", Asked("Enabled"), Asked(Lock(False)), Asked(RULES), Asked(None))


def judged(facts, role=ANY):
    found = bucket.judge_bucket(
        facts, role, names=NAMES, cold=("blobs/", "packs/"), harmless=("locks/probe-",)
    )
    return states(found)


def with_rules(*rules, **words):
    return judged(replace(GOOD, lifecycle=Asked(rules), **words))


def test_a_bucket_as_it_should_be_has_no_findings():
    for role in Credentials:
        assert set(judged(GOOD, role).values()) == {"ok"}


def test_an_expiration_of_the_vault_is_an_error():
    assert with_rules(LifecycleRule("cleanup", expires="after 30 days"))[
        "lifecycle-expiration"
    ] == ("error")


@pytest.mark.parametrize(
    ("storage_class", "prefix", "expected"),
    [
        ("GLACIER", "v/", "error"),
        ("DEEP_ARCHIVE", "v/blobs/", "error"),  # this version thaws nothing
        ("GLACIER", "w/", "ok"),
        ("STANDARD_IA", "", "warning"),
        ("GLACIER_IR", "v/meta/", "warning"),
        ("STANDARD_IA", "v/blobs/", "ok"),
        ("TIER-OF-OUR-OWN", "v/blobs/", "warning"),
    ],
)
def test_an_archived_vault_is_an_error_and_a_dear_one_a_warning(storage_class, prefix, expected):
    rule = LifecycleRule("move", prefix=prefix, transitions=((storage_class, "after 1 day"),))
    assert with_rules(*RULES, rule)["lifecycle-transition"] == expected


def test_unfinished_uploads_and_old_versions_that_nobody_deletes_are_warnings():
    found = with_rules()
    assert (found["lifecycle-abort"], found["lifecycle-noncurrent"]) == ("warning", "warning")
    assert with_rules(versioning=Asked(""))["lifecycle-noncurrent"] == "ok"
    assert with_rules(versioning=Asked("Suspended"))["lifecycle-noncurrent"] == "warning"
    assert with_rules(versioning=DENIED)["lifecycle-noncurrent"] == "skipped"


def test_a_server_that_tidies_up_by_itself_needs_no_rule():
    """MinIO refuses such a rule: its users could never get rid of the warning."""
    assert with_rules(server="MinIO")["lifecycle-abort"] == "ok"


def test_rules_that_may_not_be_read_are_a_warning_except_to_a_reader():
    unread = replace(GOOD, lifecycle=DENIED)
    for role, expected in ((ANY, "warning"), (WRITER, "warning"), (READER, "skipped")):
        found = judged(unread, role)
        assert found["lifecycle-expiration"] == expected
        assert found["lifecycle-abort"] == "skipped"


def test_what_a_server_does_not_know_is_skipped_and_an_outage_is_not():
    unknown: Asked[str] = Asked(None, "NotImplemented")
    assert judged(replace(GOOD, versioning=unknown))["versioning"] == "skipped"
    assert judged(replace(GOOD, versioning=AWAY))["versioning"] == "error"
    assert judged(replace(GOOD, lifecycle=AWAY))["lifecycle-expiration"] == "error"


def test_a_bucket_without_versions_frightens_only_who_set_up_a_writer():
    off = replace(GOOD, versioning=Asked(""))
    assert judged(off)["versioning"] == "ok"
    assert judged(off, WRITER)["versioning"] == "warning"
    locked = replace(off, lock=Asked(Lock(True)))
    assert judged(locked, WRITER)["versioning"] == "ok"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ("ok", "ok")),
        ({"checksums": NO}, ("warning", "ok")),
        ({"checksums": AWAY}, ("error", "ok")),
        ({"multipart": AWAY, "aborted": UNASKED}, ("ok", "error")),
        ({"aborted": DENIED}, ("ok", "warning")),
    ],
)
def test_what_a_server_makes_sure_of(words, expected):
    good = BucketTrials(YES, YES, YES, DENIED)
    found = states(bucket.judge_bucket_trials(replace(good, **words), ANY, Asked(Lock(False))))
    assert (found["checksums"], found["multipart"]) == expected


@pytest.mark.parametrize(("free", "expected"), [(1, "error"), (3, "warning"), (9, "ok")])
def test_packs_wait_for_their_upload_on_the_local_disk(free, expected):
    assert state(bucket.judge_spool(Asked(Spool("/tmp", free)), needed=2, usual=8)) == expected


# A disk

DISK = DiskFacts(100 * GIB, 200 * GIB, 10**6, 10**7, "ext4", 0o700, False, False)


@pytest.mark.parametrize(
    ("words", "writable", "check", "expected"),
    [
        ({}, True, "permission-write", "ok"),
        ({}, False, "permission-write", "error"),
        ({"read_only": True}, False, "permission-write", "error"),
        ({"free_bytes": 10}, True, "space", "error"),
        ({"free_inodes": 10}, True, "inodes", "error"),
        ({"kind": "tmpfs"}, True, "file-system", "warning"),
        ({"mode": 0o777}, True, "file-modes", "ok"),
    ],
)
def test_where_a_new_vault_is_to_be_made(words, writable, check, expected):
    """What is wrong with the disk is so before init as well."""
    found = states(disk.judge_above(Above("/backup", replace(DISK, **words), writable)))
    assert found.pop(check) == expected
    assert set(found.values()) == {"ok"}


def on_disk(newest=None, **words):
    return states(disk.judge_disk(replace(DISK, **words), newest_bytes=newest))


def test_a_disk_as_it_should_be_has_no_findings():
    assert set(on_disk(newest=500 * GIB).values()) == {"ok"}


@pytest.mark.parametrize(
    ("words", "check", "expected"),
    [
        ({"free_bytes": 10}, "space", "error"),
        ({"free_bytes": GIB - 1}, "space", "warning"),
        ({"newest": 1001 * GIB}, "space", "warning"),
        ({"free_inodes": 10}, "inodes", "error"),
        ({"free_inodes": 5000}, "inodes", "warning"),
        ({"free_inodes": None, "total_inodes": None}, "inodes", "ok"),
        ({"kind": "tmpfs"}, "file-system", "warning"),
        ({"kind": "overlay"}, "file-system", "warning"),
        ({"kind": "nfs4"}, "file-system", "ok"),
        ({"kind": ""}, "file-system", "ok"),
        ({"mode": 0o755}, "file-modes", "warning"),
        ({"mode": 0o755, "closed_above": True}, "file-modes", "ok"),
        ({"mode": 0o777}, "file-modes", "error"),
        ({"mode": 0o1777}, "file-modes", "warning"),
        ({"mode": 0o750}, "file-modes", "ok"),
    ],
)
def test_a_disk_that_is_full_volatile_or_open(words, check, expected):
    found = on_disk(**words)
    assert found.pop(check) == expected
    assert set(found.values()) == {"ok"}


def test_a_mount_that_is_read_only_says_so():
    found = {c.id: c.found for c in disk.judge_disk(replace(DISK, read_only=True), newest_bytes=1)}
    assert found["file-system"] == "ext4, mounted read-only"


# What is in a vault, and a source


def test_the_dead_are_named():
    found = contents.judge_leases(alive=1, dead=["writer 0193"], looked_at="all")
    assert state(found) == "warning"
    assert "writer 0193" in found.found
    assert state(contents.judge_leases(alive=2, dead=[], looked_at="all")) == "ok"


@pytest.mark.parametrize(
    ("what", "dead", "idle", "expected"),
    [
        ("", False, 0, "ok"),
        ("released", False, 9, "ok"),
        ("held", False, 9, "ok"),
        ("held", True, 9, "warning"),
        ("requested", False, 9, "warning"),
        ("requested", False, 3601, "ok"),
        ("requested", True, 9, "ok"),
    ],
)
def test_a_prune_that_holds_snapshots_off_is_told(what, dead, idle, expected):
    found = contents.judge_prune_lock(state=what, run="01", dead=dead, idle_s=idle, patience_s=3600)
    assert state(found) == expected


def test_what_cannot_be_read_is_named():
    bad = Sample(3, 4, (("a/b", "cannot read 'a/b'"),), 7, whole=False)
    found = contents.judge_sample(bad)
    assert state(found) == "error"
    assert "cannot read 'a/b'" in found.found
    assert "7 cannot be read" in found.found
    assert state(contents.judge_sample(Sample(3, 4, (), 0, whole=True))) == "ok"


def test_a_vault_in_the_registry_and_one_beside_it_on_the_same_disk():
    assert state(contents.judge_overlap(["/v"])) == "error"
    assert state(contents.judge_overlap([])) == "ok"
    nothing, disk_of_it = ("/u", Asked("")), ("/v", Asked("file system"))
    assert state(contents.judge_apart([nothing, disk_of_it])) == "warning"
    assert state(contents.judge_apart([nothing])) == "ok"
    assert state(contents.judge_apart([nothing, ("/w", unasked("gone"))])) == "skipped"
    assert state(contents.judge_apart([disk_of_it, ("/w", unasked("gone"))])) == "warning"


def test_what_was_skipped_is_no_finding():
    found = [ok("clock", "x"), skipped("space", "x")]
    assert worst(found) is State.OK
    assert worst([*found, warning("inodes", "x", "y")]) is State.WARNING
