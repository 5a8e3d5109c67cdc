"""Archived events: each once whatever is killed, proven, found, and forgotten with its month."""

from __future__ import annotations

import base64
import contextlib
import threading
import time

import pytest
from events import archive, archived, body, digest, ids, new_vault, spooled
from world import World

from regvault.audit.envelope import message_of
from regvault.audit.split import join, message_from, split
from regvault.audit.spool import Reader, Spool
from regvault.audit.spool.source import SpoolSource
from regvault.errors import RegvaultError, UsageError
from regvault.model.progress import NO_PROGRESS
from regvault.model.stream import Arrived, Message
from regvault.ops.audit.archive import Archiver
from regvault.ops.audit.archived import ArchivedEvents
from regvault.ops.audit.select import Wanted
from regvault.ops.audit.verify import verify_audit
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.age import Identity
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.index import IndexReader
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment import term_of
from regvault.vault.create import Sealing
from regvault.vault.frames import compress, decompress
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault


def problems(vault):
    return verify_audit(vault, progress=NO_PROGRESS).problems


def test_what_is_archived_comes_back_as_it_was(tmp_path):
    place = spooled(tmp_path / "spool", *range(100))
    vault = new_vault()
    done = archive(place, vault)
    assert (done.events, done.repeats, done.segments) == (100, 0, 1)
    found = archived(vault)
    assert ids(found) == [f"e{n}" for n in range(100)]
    assert found[3]["raw"] == "secret line 3"
    assert [event["seq"] for event in found] == list(range(1, 101))
    assert not problems(vault)
    assert archive(place, vault).segments == 0


def test_a_spool_that_has_nothing_yet_is_archived_at_once(tmp_path):
    place = tmp_path / "spool"
    source = SpoolSource(Spool(str(place)))
    source.start(dict, lambda: None)
    assert source.caught_up()
    source.close()


def test_repeats_are_left_out_also_when_what_is_remembered_is_lost(tmp_path):
    place = spooled(tmp_path / "spool", 1, 2, 2, 3, 1)
    vault = new_vault()
    assert archive(place, vault, cache=str(tmp_path / "cache")).repeats == 2
    for cache in (str(tmp_path / "cache"), None, str(tmp_path / "other")):
        spooled(place, 2, 3, 4, 4)
        done = archive(place, vault, cache=cache)
        assert (done.events, done.repeats) == ((1, 3) if cache else (0, 4)) or done.events in {0, 1}
    assert ids(archived(vault)) == ["e1", "e2", "e3", "e4"]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_crash_at_any_request_neither_loses_nor_doubles_an_event(tmp_path, when):
    for at in range(1, 60):
        place = spooled(tmp_path / f"spool-{at}", *range(10))
        vault = new_vault()
        archive(place, vault)
        spooled(place, *range(10, 20))
        faulty = FaultyStore(vault.store)
        faulty.crash_at(at, when=when)
        crashed = True
        try:
            archive(place, Vault(faulty), cache=str(tmp_path / f"cache-{at}"))
            crashed = False
        except CrashError:
            pass
        spooled(place, *range(20, 25))
        archive(place, vault, cache=str(tmp_path / f"cache-{at}"))
        assert ids(archived(vault)) == [f"e{n}" for n in range(25)], at
        assert not problems(vault)
        if not crashed:
            break
    assert not crashed
    assert at > 4


def test_two_archivers_of_one_stream_double_nothing(tmp_path):
    """The slot of a link is created once: who comes second throws away what the first has."""
    place = spooled(tmp_path / "spool", *range(10))
    vault = new_vault()
    slow = Archiver(vault, SpoolSource(Spool(place)), cache=None)
    slow._restart()
    slow._take(slow._source.read(1))
    assert archive(place, vault).events == 10
    slow._close()
    assert slow._moved
    spooled(place, *range(10, 15))
    done = slow.run(threading.Event(), follow=False)
    assert done.events == 5
    assert ids(archived(vault)) == [f"e{n}" for n in range(15)]
    assert not problems(vault)


def test_a_segment_ends_after_its_time_and_at_its_size(tmp_path, monkeypatch):
    place = spooled(tmp_path / "spool", *range(50))
    monkeypatch.setattr("regvault.ops.audit.collected._MOST_EVENTS", 10)
    monkeypatch.setattr("regvault.audit.spool.source._AT_ONCE", 7)
    vault = new_vault()
    assert archive(place, vault).segments == 4
    spooled(place, *range(50, 64))
    assert archive(place, vault, segment_s=0.0).segments == 2
    (chain,) = chains(vault)
    links = [Chain(vault, chain).read(number) for number in Chain(vault, chain).numbers()]
    assert [link.previous for link in links] == [None, *(link.sha256 for link in links[:-1])]
    assert ids(archived(vault)) == [f"e{n}" for n in range(64)]


def test_what_was_gone_before_it_could_be_archived_is_said(tmp_path):
    place = str(tmp_path / "spool")
    spool = Spool(place, segment_bytes=1)
    for number in range(3):
        spool.append([body(number)])
    vault = new_vault()
    archive(place, vault)
    for number in range(3, 9):
        spool.append([body(number)])
    for name in sorted(tmp_path.glob("spool/*.seg"))[:-1]:
        name.unlink()
    done = archive(place, vault)
    assert done.gaps == [{"partition": spool.id, "first": 4, "next": 9}]
    report = verify_audit(vault, progress=NO_PROGRESS)
    assert report.exit_code() == 3
    assert "records 4 to 9" in report.gaps[0]


# Proof


def signed():
    key = SigningKey.generate()
    return Keys(key, (key.public,))


@pytest.mark.parametrize("keys", [signed, lambda: Keys(None, ())], ids=["signed", "plain"])
def test_every_change_of_the_archive_is_named(tmp_path, keys):
    vault = new_vault(keys())
    place = str(tmp_path / "spool")
    for number in range(4):
        spooled(place, *range(number * 5, number * 5 + 5))
        archive(place, vault)
    store = vault.store
    assert not problems(vault)
    for entry in list(store.list("audit/")):
        was = store.get(entry.key)
        cases = [was[:-1], b"", was[: len(was) // 2], was + b"x"]
        cases += [was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :] for at in range(0, len(was), 7)]
        for data in cases:
            store.put(entry.key, data)
            assert problems(vault), (entry.key, len(data))
        store.delete(entry.key)
        assert problems(vault), entry.key
        store.put(entry.key, was)
    assert not problems(vault)


def test_links_that_changed_places_and_a_chain_of_another_vault_are_named(tmp_path):
    vault, other = new_vault(), new_vault()
    place = str(tmp_path / "spool")
    for number in range(3):
        spooled(place, number)
        archive(place, vault)
    (chain,) = chains(vault)
    keys = [f"audit/{chain}/{number:08d}.json" for number in (1, 2)]
    first, second = (vault.store.get(key) for key in keys)
    vault.store.put(keys[0], second)
    vault.store.put(keys[1], first)
    assert {found.key for found in problems(vault)} >= set(keys)
    for entry in vault.store.list("audit/"):
        other.store.put(entry.key, vault.store.get(entry.key))
    assert problems(other)


def test_a_link_that_took_the_place_of_another_is_named(tmp_path):
    """Of the same stream, whole in itself: only that the next one names another gives it away."""
    vault, forged = new_vault(), None
    place = str(tmp_path / "spool")
    spooled(place, 1)
    archive(place, vault)
    before = {entry.key: vault.store.get(entry.key) for entry in vault.store.list()}
    spooled(place, 2)
    archive(place, vault)
    forged = {entry.key: vault.store.get(entry.key) for entry in vault.store.list()}
    for key in forged.keys() - before.keys():
        vault.store.delete(key)
    archive(place, vault)  # the same event again, in another segment
    spooled(place, 3)
    archive(place, vault)
    for key, data in forged.items():
        vault.store.put(key, data)
    (found,) = problems(vault)
    assert found.what == "forked"
    assert found.key.endswith("00000003.json")


# What tells of persons


def everything(store):
    return b"\n".join(entry.key.encode() + b"\n" + store.get(entry.key) for entry in store.list())


def forms(text):
    data = text.encode()
    return [data, data.hex().encode(), base64.b64encode(data)[:-4]]


def opened_frames(vault):
    """Return all that a reader sees who has no key of any month."""
    import zstandard

    found = []
    for entry in vault.store.list("audit/"):
        data = vault.store.get(entry.key)
        at = data.find(b"\x28\xb5\x2f\xfd")
        while at >= 0:
            with contextlib.suppress(zstandard.ZstdError):
                found.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[at:]))
            at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
    return b"\n".join(found)


PERSONAL = ("person-1", "10.1.2.3", "secret-agent", "secret line")


def test_a_month_that_is_erased_tells_of_nobody_and_the_chain_is_whole(tmp_path):
    vault = new_vault()
    archive(spooled(tmp_path / "spool", *range(50)), vault)
    before = {entry.key: vault.store.get(entry.key) for entry in vault.store.list("audit/")}
    seen = everything(vault.store) + opened_frames(vault)
    for text in PERSONAL:
        for form in forms(text):
            assert form not in seen, text
    assert b"team/app" in seen  # the search would find it
    months = Months(vault)
    (month,) = months.known()
    assert months.erase(month)
    assert not months.erase(month)
    assert {key: vault.store.get(key) for key in before} == before
    assert not problems(vault)
    events = ArchivedEvents(vault)
    found = list(events.find(Wanted()))
    assert len(found) == 50
    assert events.erased
    assert {event["actor"] for event in found} == {None}
    assert {event["raw"] for event in found} == {""}
    assert found[0]["repository"] == "team/app"
    with pytest.raises(UsageError, match="was erased"):
        months.close(month, b"", b"")


def test_events_that_come_late_for_an_erased_month_get_the_key_of_this_one(tmp_path, monkeypatch):
    vault = new_vault()
    place = spooled(tmp_path / "spool", 1)
    archive(place, vault)
    months = Months(vault)
    (month,) = months.known()
    monkeypatch.setattr("regvault.ops.audit.collected._this_month", lambda: "2031-01")
    months.erase(month)
    spooled(place, 2)
    archive(place, vault)
    assert set(Months(vault).known()) == {month, "2031-01"}
    assert [event["actor"] for event in archived(vault)] == [None, "person-2"]


def test_a_sealed_vault_tells_its_store_nothing(tmp_path):
    host, alice = Identity.generate(), Identity.generate()
    keys = Keys(identities=(host,))
    vault = new_vault(keys, sealing=Sealing((alice.public,)))
    archive(spooled(tmp_path / "spool", *range(20)), vault)
    seen = everything(vault.store)
    for text in (*PERSONAL, "team/app", digest(1), digest(1)[7:]):
        for form in forms(text):
            assert form not in seen, text
    assert ids(archived(vault)) == [f"e{n}" for n in range(20)]
    as_alice = Vault(vault.store, Keys(identities=(alice,)))
    assert archived(as_alice)[1]["actor"] == "person-1"
    nobody = Vault(vault.store, Keys())
    assert not problems(nobody)  # by its bytes
    with pytest.raises(RegvaultError, match="identity"):
        archived(nobody)


# Finding


def test_only_what_may_have_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.frames.FRAME_BYTES", 2000)
    vault = new_vault()
    place = str(tmp_path / "spool")
    for number in range(5):
        spooled(place, *range(number * 100, number * 100 + 100))
        archive(place, vault)
    spooled(place, 777, digest=digest(12345), actor="mallory")
    archive(place, vault)
    reads = []
    get = vault.store.get
    monkeypatch.setattr(vault.store, "get", lambda key, **at: reads.append(key) or get(key, **at))
    for wanted in ({"digests": frozenset({digest(12345)})}, {"actors": frozenset({"mallory"})}):
        reads.clear()
        events = ArchivedEvents(vault)
        assert ids(events.find(Wanted(**wanted))) == ["e777"]
        whole = sum(entry.size for entry in vault.store.list("audit/"))
        assert events.read_bytes < whole / 2
    for wanted, expected in [
        (
            {"since": "2026-11-20T00:08:10", "until": "2026-11-20T00:08:13"},
            ["e490", "e491", "e492"],
        ),
        ({"repos": ("team/*",), "actions": frozenset({"push"})}, []),
        ({"repos": ("other",)}, []),
        ({"addresses": frozenset({"10.1.2.4"}), "since": "2026-11-20T00:08:15"}, ["e499"]),
    ]:
        assert [name for name in ids(archived(vault, **wanted)) if name != "e777"] == expected


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    """A vault with 30 links of a few events, most of them in indexes of two sizes."""
    monkeypatch.setattr("regvault.ops.audit.indexing.LINKS", 3)
    monkeypatch.setattr("regvault.ops.audit.indexing.MERGED", 3)
    monkeypatch.setattr("regvault.vault.audit.index._FRAME_BYTES", 500)
    monkeypatch.setattr("regvault.vault.audit.index._LINKS_IN_FRAME", 2)
    vault = new_vault()
    place = str(tmp_path / "spool")
    for number in range(30):
        spooled(place, *range(number * 10, number * 10 + 10), repository=f"team/app-{number % 4}")
        archive(place, vault)
    return vault


WANTED = [
    {},
    {"digests": frozenset({digest(3)})},
    {"digests": frozenset({digest(3), digest(99)})},
    {"digests": frozenset({digest(99)})},
    {"repos": ("team/app-1",)},
    {"repos": ("team/app-1",), "digests": frozenset({digest(5)})},
    {"repos": ("team/*",), "since": "2026-11-20T00:02:00", "until": "2026-11-20T00:03:00"},
    {"actors": frozenset({"person-2"}), "digests": frozenset({digest(1)})},
]


def test_indexes_find_what_reading_all_finds(indexed):
    (chain,) = chains(indexed)
    head = Chain(indexed, chain).head()
    sizes = [index.last - index.first + 1 for index in head.indexes]
    assert sizes == [27]  # of links 1 to 27, when link 30 was written: it could not know itself
    whole = archived(indexed)
    assert len(whole) == 300
    for wanted in WANTED:
        expected = [event for event in whole if Wanted(**wanted).has(event)]
        assert archived(indexed, **wanted) == expected, wanted
    assert not problems(indexed)


def test_nothing_hides_behind_an_index_that_is_damaged_or_gone(indexed):
    """A store that forges an index is found out by the link that names it."""
    store = indexed.store
    keys = [entry.key for entry in store.list("audit/") if "/index-" in entry.key]
    (chain,) = chains(indexed)
    (used,) = Chain(indexed, chain).head().indexes
    was = store.get(used.key)
    whole = archived(indexed)
    other = next(store.get(key) for key in keys if key != used.key)
    cases = [None, b"", other, was[:-1]]
    cases += [was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :] for at in range(0, len(was), 397)]
    for data in cases:
        store.delete(used.key) if data is None else store.put(used.key, data)
        assert used.key in {found.key for found in problems(indexed)}
        for wanted in WANTED:
            expected = [event for event in whole if Wanted(**wanted).has(event)]
            assert archived(indexed, **wanted) == expected, wanted


def test_an_index_that_was_forged_hides_nothing(indexed):
    """A frame of the same length, whole in itself, that does not tell where a digest is."""
    store = indexed.store
    (chain,) = chains(indexed)
    (used,) = Chain(indexed, chain).head().indexes
    was = store.get(used.key)
    wanted = term_of("digest", digest(3))
    expected = archived(indexed, digests=frozenset({digest(3)}))
    reader = IndexReader(indexed, used)
    forged = 0
    for _, place in reader._table():
        text = decompress(was[place.offset : place.offset + place.length], "", 1 << 20)
        for at in range(len(wanted)):
            other = wanted[:at] + ("0" if wanted[at] != "0" else "1") + wanted[at + 1 :]
            frame = compress(text.replace(wanted.encode(), other.encode()))
            if wanted.encode() in text and len(frame) == place.length:
                store.put(
                    used.key, was[: place.offset] + frame + was[place.offset + place.length :]
                )
                assert archived(indexed, digests=frozenset({digest(3)})) == expected
                forged += 1
    assert forged


def test_events_of_one_time_come_by_their_times_whatever_segment_has_them(tmp_path):
    vault = new_vault()
    place = str(tmp_path / "spool")
    for numbers in ((5, 1, 9), (2, 8), (0, 3, 7), (6, 4)):
        spooled(place, *numbers)
        archive(place, vault)
    assert ids(archived(vault)) == [f"e{n}" for n in range(10)]


# Records as they were


@pytest.mark.parametrize(
    "message",
    [
        Message(b"k", b"no event", 5, (("a", b"1"), ("a", b"2"))),
        Message(None, b"", 0, ()),
        Message(b"", b'{"data":{}}', 1_763_596_800_000, ()),
        Message(b"x", b'{"specversion":"1.0","data":{"id":1}}', -1, (("h", b"\xff"),)),
        Message(b"x", b"\xff\xfe" * 100, 1_763_596_800_000, ()),
    ],
)
def test_records_that_are_none_of_ours_are_kept_byte_for_byte(message):
    parts = split(message, "0 17")
    assert parts.event.action == "unparsed"
    assert message_from(parts.public, parts.personal) == message
    assert split(message, "0 17").event.id == parts.event.id
    assert split(message, "0 18").event.id != parts.event.id


def test_records_of_ours_are_kept_without_being_kept_twice(tmp_path):
    place = spooled(tmp_path / "spool", *range(5))
    for record in Reader(place).read():
        message = message_of(record.data)
        parts = split(message, "x")
        assert b"\t" not in parts.personal
        assert join(parts.public, parts.personal) == record.data
        assert message_from(parts.public, parts.personal) == message
        other = message._replace(key=b"other", timestamp_ms=7, headers=())
        assert message_from(*split(other, "x")[:2]) == other


class Listed:
    """A stream of given records."""

    stream = {"kind": "test"}  # noqa: RUF012

    def __init__(self, messages):
        self._messages = list(messages)

    def start(self, positions, yielding):
        self._at = positions().get("0", 0)

    def read(self, timeout_s):
        found = self._messages[self._at : self._at + 3]
        first, self._at = self._at, self._at + len(found)
        return [Arrived("0", first + n, message) for n, message in enumerate(found)]

    def gone(self):
        return []

    def caught_up(self):
        return self._at >= len(self._messages)

    def settle(self, positions):
        pass

    def close(self):
        pass


def test_any_record_can_be_archived(tmp_path):
    messages = [Message(None, bytes([n]) * n, n) for n in range(1, 40)]
    vault = new_vault()
    done = Archiver(vault, Listed(messages), cache=None).run(threading.Event(), follow=False)
    assert done.events == 39
    assert {event["action"] for event in archived(vault)} == {"unparsed"}
    assert not problems(vault)


# Cut-off tails


def _cut_off(vault):
    (chain,) = chains(vault)
    for key in [entry.key for entry in vault.store.list(f"audit/{chain}/")]:
        if key.endswith(("00000003.json", "00000004.json")):
            vault.store.delete(key)


def test_a_tail_that_is_cut_off_is_named_where_a_snapshot_knew_of_it(tmp_path):
    made = World(store=MemoryStore("vault"))
    made.push.image("app", "v1", layers=(b"layer",))
    place = str(tmp_path / "spool")
    for number in range(4):
        spooled(place, number)
        archive(place, made.vault())
    made.snapshot()
    root = made.roots()[-1]
    ((chain, head),) = root.audit.items()
    assert head["sequence"] == 4
    assert chain in chains(made.vault())
    _cut_off(made.vault())
    (found,) = problems(made.vault())
    assert found.what == "cut-off"
    assert "links 3 to 4" in found.detail
    made.push.image("app", "v2", layers=(b"other",))
    made.snapshot()  # which does not forget it
    assert made.roots()[-1].audit == root.audit
    assert [found.what for found in problems(made.vault())] == ["cut-off"]


def test_a_tail_that_is_cut_off_is_named_where_a_verification_knew_of_it(tmp_path):
    vault = new_vault()
    place = str(tmp_path / "spool")
    for number in range(4):
        spooled(place, number)
        archive(place, vault)
    assert verify_audit(vault, progress=NO_PROGRESS).recorded
    _cut_off(vault)
    (found,) = problems(vault)
    assert found.what == "cut-off"
    assert not verify_audit(vault, progress=NO_PROGRESS).recorded
    spooled(place, 10)
    archive(place, vault)  # goes on from what is there, under a number that was taken before
    assert {found.what for found in problems(vault)} <= {"cut-off", "forked"}
    assert problems(vault)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    "steps", [(0, -86_400, 0), (0, 20 * 86_400, 5), (0, 400 * 86_400, 0), (0, -400 * 86_400, 5)]
)
def test_a_clock_that_is_set_back_loses_and_doubles_nothing(tmp_path, monkeypatch, steps, cached):
    real = time.time_ns
    vault = new_vault()
    cache = str(tmp_path / "cache") if cached else None
    for place, step in enumerate(steps):
        monkeypatch.setattr("time.time_ns", lambda step=step: real() + step * 10**9)
        some = range(place * 10 + 10)  # new ones, and all that there were
        spooled(tmp_path / "spool", *some)
        archive(spooled(tmp_path / "spool", *some), vault, cache=cache)
    monkeypatch.undo()
    assert sorted(ids(archived(vault))) == sorted(f"e{number}" for number in range(30))
    assert not verify_audit(vault, progress=NO_PROGRESS).problems


@pytest.mark.parametrize("cached", [True, False])
def test_events_that_came_in_long_ago_are_archived_once(tmp_path, monkeypatch, cached):
    """A spool that could not be delivered for weeks, beside one that always was."""
    real = time.time_ns
    vault = new_vault()
    cache = str(tmp_path / "cache") if cached else None
    monkeypatch.setattr("time.time_ns", lambda: real() - 30 * 86_400 * 10**9)
    old = [message_of(each.data) for each in Reader(spooled(tmp_path / "old", *range(20))).read()]
    monkeypatch.undo()
    new = Reader(spooled(tmp_path / "new", *range(100, 140))).read()
    fresh = [message_of(each.data) for each in new]
    messages = [*old, *fresh[:10], *old, *fresh[10:], *old]
    for end in (30, 55, 90, 100):
        archiver = Archiver(vault, Listed(messages[:end]), cache=cache, segment_s=0.0)
        archiver.run(threading.Event(), follow=False)
    assert len(archived(vault)) == 60
    assert len(set(ids(archived(vault)))) == 60


def test_a_query_says_that_a_tail_or_a_chain_is_gone(tmp_path):
    vault = new_vault()
    for number in range(4):
        archive(spooled(tmp_path / "spool", *range(number * 10, number * 10 + 10)), vault)
    verify_audit(vault, progress=NO_PROGRESS)
    (name,) = chains(vault)
    events = ArchivedEvents(vault)
    assert len(list(events.find(Wanted()))) == 40
    assert not events.damaged
    for count in (20, 0):
        for key in (
            [f"audit/{name}/{n:08d}.json" for n in (3, 4)] if count else list_of(vault, name)
        ):
            vault.store.delete(key)
        events = ArchivedEvents(vault)
        assert len(list(events.find(Wanted()))) == count
        assert "are gone" in events.damaged[f"audit/{name}/"]


def list_of(vault, name):
    return [entry.key for entry in vault.store.list(f"audit/{name}/")]


def test_a_link_that_cannot_be_read_hides_no_other(tmp_path):
    vault = new_vault()
    for number in range(4):
        archive(spooled(tmp_path / "spool", *range(number * 10, number * 10 + 10)), vault)
    (name,) = chains(vault)
    vault.store.put(f"audit/{name}/00000005.json", b"nothing")
    vault.store.put(f"audit/{name}/00000009.json", b"nothing")
    events = ArchivedEvents(vault)
    assert len(list(events.find(Wanted()))) == 40
    assert len(events.damaged) == 2
