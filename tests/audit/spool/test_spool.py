"""The spool: what was taken is there after any cut, any damage costs its own record only."""

import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest

from regvault.audit.spool import Cursor, Reader, Spool, SpoolFullError
from regvault.audit.spool.record import encode, scan, seq_of
from regvault.errors import RefusedError, UsageError


def body(n, size=0):
    return json.dumps({"id": f"e{n}", "raw": "x" * size}, separators=(",", ":")).encode()


def ids(records):
    return [json.loads(record.data)["id"] for record in records]


def everything(directory, start=0):
    reader = Reader(directory, start)
    records = []
    while found := reader.read(limit=7):
        records += found
    reader.close()
    return records, reader.damage


def segment_of(directory):
    (name,) = [name for name in os.listdir(directory) if name.endswith(".seg")]
    return os.path.join(directory, name)


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "spool")


def test_what_was_appended_is_read_in_order_with_numbers_and_the_spools_id(place):
    spool = Spool(place)
    assert spool.append([body(1), body(2)]) == 1
    assert spool.append([body(3)]) == 3
    records, damage = everything(place)
    assert ids(records) == ["e1", "e2", "e3"]
    assert [record.seq for record in records] == [1, 2, 3]
    assert damage == []
    first = json.loads(records[0].data)
    assert list(first) == ["seq", "spool", "received", "id", "raw"]
    assert first["spool"] == spool.id
    assert first["received"].endswith("Z")
    again = Spool(place)
    assert again.id == spool.id
    assert again.append([body(4)]) == 4


def test_a_reader_sees_what_is_appended_after_it_came_to_the_end(place):
    spool = Spool(place, segment_bytes=200)
    reader = spool.reader()
    for n in range(20):
        assert reader.read() == []
        spool.append([body(n)])
        assert ids(reader.read()) == [f"e{n}"]


def test_records_larger_than_what_is_read_at_once(place):
    spool = Spool(place)
    sizes = [3 << 20, 10, (1 << 20) - 60, 1 << 20, 5 << 20, 10]
    for n, size in enumerate(sizes):
        spool.append([body(n, size)])
    records, damage = everything(place)
    assert [len(json.loads(record.data)["raw"]) for record in records] == sizes
    assert damage == []


def test_torn_at_every_byte_costs_only_the_record_that_is_torn(place, tmp_path):
    spool = Spool(place)
    spool.append([body(n) for n in range(4)])
    data = Path(segment_of(place)).read_bytes()
    ends = [0]
    while ends[-1] < len(data):
        ends.append(data.index(b"\n", ends[-1]) + 1)
    for cut in range(len(data)):
        for tail in (b"", b"\0" * 40, b"\0" * (len(data) - cut)):
            copy = str(tmp_path / "copy")
            shutil.copytree(place, copy)
            with open(segment_of(copy), "wb") as file:
                file.write(data[:cut] + tail)
            # A record whose newline alone is not there is whole, if something follows it.
            whole = sum(end - bool(tail) <= cut for end in ends[1:])
            after = Spool(copy)
            number = after.append([body(9), body(10)])
            records, damage = everything(copy)
            assert ids(records) == [*(f"e{n}" for n in range(whole)), "e9", "e10"], (cut, tail)
            assert number > whole
            hurt = len(tail) > (cut + 1 in ends) if tail else cut not in ends
            assert bool(damage) == bool(hurt), (cut, tail, damage)
            assert all(found.after == (whole or -1) for found in damage)
            shutil.rmtree(copy)


def test_every_damaged_byte_costs_its_own_record_only_and_is_reported(place):
    spool = Spool(place)
    spool.append([body(n) for n in range(5)])
    path = segment_of(place)
    data = Path(path).read_bytes()
    for at in range(len(data)):
        for value in (data[at] ^ 1, ord("\n"), 0):
            if value == data[at]:
                continue
            with open(path, "wb") as file:
                file.write(data[:at] + bytes([value]) + data[at + 1 :])
            records, damage = everything(place)
            lost = data[:at].count(b"\n")
            left = [f"e{n}" for n in range(5) if n != lost]
            if ids(records) == [f"e{n}" for n in range(5)]:
                # A newline, which nobody needs where the record is whole, or what reads the same.
                assert data[at] == ord("\n") or at - data.rfind(b"\n", 0, at) - 1 < 18
            else:
                assert ids(records) == left, (at, value)
                assert len(damage) == 1
                assert damage[0].after == (lost or -1)
                assert damage[0].torn == (lost == 4 and b"\n" not in data[at:])


def test_a_number_is_never_given_twice_even_if_all_was_taken_away(place):
    spool = Spool(place, segment_bytes=1)
    spool.append([body(1)])
    spool.append([body(2)])
    spool.cursor("ship").advance(3)
    assert spool.collect() == 1
    for name in os.listdir(place):
        if name.endswith(".seg"):
            os.unlink(os.path.join(place, name))
    assert Spool(place).append([body(3)]) == 3


def test_what_one_consumer_lacks_is_kept(place):
    spool = Spool(place, segment_bytes=1)
    for n in range(6):
        spool.append([body(n)])
    assert spool.collect() == 0  # nobody has taken anything
    spool.cursor("ship").advance(6)
    spool.cursor("archive").advance(3)
    spool.collect()
    assert [record.seq for record in everything(place)[0]] == [3, 4, 5, 6]
    spool.cursor("archive").remove()
    spool.collect()
    assert [record.seq for record in everything(place)[0]] == [6]


def test_a_damaged_cursor_is_the_one_before(place):
    Spool(place)
    cursor = Cursor(place, "ship")
    cursor.advance(10)
    cursor.advance(20)
    path = os.path.join(place, "cursors", "ship")
    data = Path(path).read_bytes()
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + b"\0" + data[at + 1 :]):
            with open(path, "wb") as file:
                file.write(bad)
            found = Cursor(place, "ship")
            assert found.next in {10, 20}
            assert not found.lost
    for name in (path, path + ".previous"):
        with open(name, "wb"):
            pass
    assert Cursor(place, "ship").next == 0
    assert Cursor(place, "ship").lost


def test_a_full_spool_refuses_and_drops_nothing(place):
    """Rule 25: the spool refuses new events when full; it never drops old ones."""
    spool = Spool(place, limit=10_000)
    taken = 0
    while spool.usage().nbytes < 9_400:
        spool.append([body(taken, 500)])
        taken += 1
    with pytest.raises(SpoolFullError):
        spool.append([body(taken, 500)])
    assert 15 < taken < 20
    assert len(everything(place)[0]) == taken
    spool.cursor("ship").advance(taken)
    assert spool.collect() > 0
    spool.append([body(taken, 500)])


def test_a_disk_that_fills_within_a_batch_keeps_whole_records_and_says_how_many(place, monkeypatch):
    records = [body(n, 100) for n in range(5)]
    one = len(encode(b'{"seq":1,"spool":"0123456789abcdef",' + records[0])) + 40
    for room in range(0, 5 * one, 37):
        spool = Spool(place)
        write = os.write
        left = [room]

        def short(fd, data, write=write, left=left):
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            data = data[: left[0]]
            left[0] -= len(data)
            return write(fd, data)

        before = len(everything(place)[0])
        monkeypatch.setattr(os, "write", short)
        try:
            spool.append(records)
            stored = 5
        except SpoolFullError as error:
            stored = error.stored
        finally:
            monkeypatch.setattr(os, "write", write)
        found, damage = everything(place)
        assert len(found) == before + stored
        assert damage == []
        spool.append([body(7)])
        assert ids(everything(place)[0])[-1] == "e7"
        spool.close()


def test_a_sync_that_fails_is_no_success_and_what_follows_goes_elsewhere(place, monkeypatch):
    spool = Spool(place)
    spool.append([body(1)])

    def fails(fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input"):
            spool.append([body(2)])
    first = spool.append([body(3)])
    records, _ = everything(place)
    numbers = [record.seq for record in records]
    assert numbers == sorted(set(numbers))
    assert ids(records)[-1] == "e3"
    assert records[-1].seq == first == 3
    assert len([name for name in os.listdir(place) if name.endswith(".seg")]) == 2


def _append(place, writer, count):
    spool = Spool(place, segment_bytes=5000)
    for n in range(count):
        spool.append([f'{{"id":"{writer}-{n}"}}'.encode()] * (1 + n % 3))


def test_several_processes_append_at_once(place):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(place, n, 100)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    records, damage = everything(place)
    assert damage == []
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    for writer in range(3):
        mine = [found for found in ids(records) if found.startswith(f"{writer}-")]
        assert len(mine) == sum(1 + n % 3 for n in range(100))
        assert [*dict.fromkeys(mine)] == [f"{writer}-{n}" for n in range(100)]


def test_a_writer_that_was_killed_within_a_write_hinders_no_other(place):
    alive, dead = Spool(place), Spool(place)
    alive.append([body(1)])
    dead.append([body(2)])
    with open(segment_of(place), "ab") as file:
        file.write(encode(b'{"seq":3,"id":"e3"}')[:-5])
    alive.append([body(4)])
    records, damage = everything(place)
    assert ids(records) == ["e1", "e2", "e4"]
    assert [found.torn for found in damage] == [True]
    assert records[-1].seq > 3


def test_readers_beside_a_writer_get_each_record_once(place):
    spool = Spool(place, segment_bytes=3000)
    found = []

    def read():
        reader = Reader(place)
        while len(found) < 600:
            found.extend(record.seq for record in reader.read(limit=50))

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(200):
        spool.append([body(n, n % 80)] * 3)
    thread.join(30)
    assert found == list(range(1, 601))


def test_other_things_are_no_spool(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="other things"):
        Spool(str(tmp_path))
    with pytest.raises(UsageError, match="Not a directory"):
        Spool(str(tmp_path / "file" / "x"))
    with pytest.raises(UsageError, match="cannot be the name"):
        Cursor(str(tmp_path), "../x")


def test_a_spool_of_a_newer_format_is_refused(place):
    Spool(place)
    with open(os.path.join(place, "spool.json"), "wb") as file:
        file.write(encode(b'{"seq":0,"format":2,"id":"x"}'))
    with pytest.raises(RefusedError, match="format 2"):
        Spool(place)


def test_records_begin_with_their_number():
    assert seq_of(b'{"seq":12,"id":""}') == 12
    with pytest.raises(ValueError, match=r"number|subsection|substring"):
        seq_of(b'{"id":""}')
    assert scan(b"garbage\n" + encode(b'{"seq":1,"a":2}')).damage == [(0, 8, 0)]
    assert scan(encode(b'{"other":1}')).records == []


LINKS = ["lock", "spool.json", "spool.json.tmp", "cursors", "00000000000000000001.seg"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_the_directory_leads_nowhere(tmp_path, name):
    """Who may put names there has no other file read or written by it."""
    place, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    place.mkdir()
    if name == "cursors":
        elsewhere.mkdir()
    else:
        elsewhere.write_bytes(b"precious")
    if name != "lock":
        (place / "lock").touch()
    (place / name).symlink_to(elsewhere)
    with pytest.raises(RefusedError, match=f"{name}: {name} is a symbolic link"):
        Spool(str(place))
    assert list(elsewhere.iterdir()) == [] if name == "cursors" else True
    assert name == "cursors" or elsewhere.read_bytes() == b"precious"


def test_a_link_is_never_written_as_the_next_segment(place, tmp_path):
    spool = Spool(place, segment_bytes=1)
    spool.append([body(1)])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    link = Path(place) / "00000000000000000002.seg"
    for target in (elsewhere, tmp_path / "nothing"):
        link.symlink_to(target)
        with pytest.raises(OSError, match="is a symbolic link"):
            spool.append([body(2)])
        reader = Reader(place)
        assert ids(reader.read(1)) == ["e1"]
        with pytest.raises(RefusedError, match=r"\.seg is a symbolic link"):
            reader.read()
        reader.close()
        link.unlink()
    assert elsewhere.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()
    assert spool.append([body(2)]) == 2
    assert ids(everything(place)[0]) == ["e1", "e2"]


def test_a_link_in_place_of_a_cursor_is_replaced_and_not_written_through(place, tmp_path):
    spool = Spool(place)
    spool.append([body(1), body(2)])
    spool.cursor("one").advance(2)
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(os.path.join(place, "cursors", "one"), elsewhere)
    before = elsewhere.read_bytes()
    for name in ("one", "one.previous"):
        path = os.path.join(place, "cursors", name)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(elsewhere, path)
    cursor = Spool(place).cursor("one")
    assert (cursor.next, cursor.lost) == (0, True)
    for _ in range(2):
        cursor.advance(3)
    assert spool.cursor("one").next == 3
    assert not any(path.is_symlink() for path in (Path(place) / "cursors").iterdir())
    os.symlink(elsewhere, os.path.join(place, "cursors", "one.tmp"))
    with pytest.raises(OSError, match="is a symbolic link"):
        cursor.advance(4)
    assert elsewhere.read_bytes() == before


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "disk")
    spool = Spool(str(tmp_path / "spool"))
    spool.append([body(1)])
    spool.cursor("one").advance(2)
    assert ids(everything(str(tmp_path / "spool"))[0]) == ["e1"]
    assert (tmp_path / "disk" / "lock").exists()
