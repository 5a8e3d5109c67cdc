"""How far files were read survives any cut of the file that says so."""

import os
from pathlib import Path

import pytest
from tailing import once

from regvault.audit.tail.state import State
from regvault.errors import LeaseHeldError, RefusedError, UnknownFormatError, UsageError

LINES = [f"line {n}" for n in range(9)]


def test_torn_or_damaged_at_every_byte_it_is_the_one_before_and_no_line_is_lost(site):
    site.write(*LINES[:3])
    site.tail()
    site.write(*LINES[3:6])
    site.tail()
    site.write(*LINES[6:])
    path = Path(site.state) / "files"
    data = path.read_bytes()
    before = path.with_name("files.previous").read_bytes()
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            path.write_bytes(bad)
            state = State(site.state)
            (entry,) = state.entries
            assert entry.mark.offset in {21, 42}
            assert not state.lost
            state.close()
    path.write_bytes(data[:-1])
    path.with_name("files.previous").write_bytes(before)
    site.tail()
    once(site.events(), LINES)


def test_where_it_is_lost_all_is_read_again_with_the_same_ids(site):
    site.write(*LINES)
    site.tail()
    for name in ("files", "files.previous"):
        (Path(site.state) / name).write_bytes(b"\0" * 100)
    state = State(site.state)
    assert state.lost
    state.close()
    site.tail()
    assert site.stored() == 2 * len(LINES)
    once(site.events(), LINES)


def test_two_at_once_do_not_share_one_and_a_newer_one_is_not_overwritten(site):
    state = State(site.state)
    with pytest.raises(LeaseHeldError):
        State(site.state)
    state.save()
    state.close()
    path = Path(site.state) / "files"
    data = path.read_bytes()
    from regvault.audit.spool.record import encode

    path.write_bytes(encode(data[18:-1].replace(b'"format":1', b'"format":2')))
    with pytest.raises(UnknownFormatError):
        State(site.state)
    with pytest.raises(UsageError):
        State(os.path.join(path, "below a file"))


@pytest.mark.parametrize("name", ["lock", "files"])
def test_it_is_not_opened_through_a_link(tmp_path, name):
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "state" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="is a symbolic link"):
        State(str(tmp_path / "state"))
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_files_that_are_gone_for_long_are_forgotten(site):
    site.write(*LINES)
    site.tail()
    state = State(site.state)
    state.entries[0].seen -= 10 * 86_400
    state.save()
    assert state.entries == []
    state.close()
