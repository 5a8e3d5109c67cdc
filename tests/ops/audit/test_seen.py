"""Ids that were archived are known for some days, in a file that may be lost."""

from __future__ import annotations

import pytest

from regvault.ops.audit.seen import SeenIds, name_of

NAMES = [name_of(f"event {number}") for number in range(3000)]


@pytest.fixture
def seen(tmp_path):
    made = SeenIds(str(tmp_path), "chain")
    yield made
    made.close()


def test_what_was_added_is_known(seen):
    assert seen.add(NAMES[:2000], "2026-11-20") == set()
    assert seen.add(NAMES[1000:], "2026-11-21") == set(range(1000))
    assert seen.add([NAMES[5], name_of("new"), NAMES[6], name_of("new")], "2026-11-21") == {0, 2, 3}


def test_it_is_forgotten_unless_it_is_kept(seen, tmp_path):
    seen.add(NAMES[:10], "2026-11-20")
    seen.keep(1, "2026-11-12")
    seen.add(NAMES[10:20], "2026-11-20")
    seen.drop()
    assert seen.add(NAMES[:20], "2026-11-20") == set(range(10))
    seen.close()
    again = SeenIds(str(tmp_path), "chain")
    assert again.link == 1
    assert again.add(NAMES[:11], "2026-11-20") == set(range(10))
    again.close()


def test_days_that_are_over_are_forgotten(seen):
    seen.add(NAMES[:1000], "2026-11-20")
    seen.keep(1, "2026-11-20")
    assert seen.add(NAMES[:1000], "2026-11-20") == set(range(1000))
    seen.keep(2, "2026-11-21")
    seen.add(NAMES[1000:1500], "2026-11-28")
    seen.keep(3, "2026-11-21")
    assert seen.add(NAMES[:1500], "2026-11-28") == set(range(1000, 1500))


def test_ids_that_only_the_rest_tells_apart_are_two(seen):
    one, two = b"\x01" * 8 + b"abcd", b"\x01" * 8 + b"abce"
    assert seen.add([one], "2026-11-20") == set()
    assert seen.add([two, NAMES[0]], "2026-11-20") == set()
    assert seen.add([one, NAMES[0]], "2026-11-20") == {0, 1}
    assert seen.add([b"\xff" * 12, b"\x80" + b"\x00" * 11, b"\xff" * 12], "2026-11-20") == {2}


def test_another_archiver_of_this_host_remembers_for_itself(seen, tmp_path):
    seen.add(NAMES[:5], "2026-11-20")
    seen.keep(1, "2026-11-12")
    other = SeenIds(str(tmp_path), "chain")
    assert other.link == 0
    assert other.add(NAMES[:5], "2026-11-20") == set()
    other.close()
