"""The contract of `regvault.model.store.ObjectStore`, as tests.

Every store passes it: a class of tests that derives from `StoreContract` and has a fixture
`store`. A directory of tests that has another store to try (a real MinIO) does this:

    # conftest.py
    sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
    pytest.register_assert_rewrite("store_contract")

    # test_minio_store.py
    from store_contract import StoreContract

    class TestMinio(StoreContract):
        @pytest.fixture
        def store(self, minio): yield S3Store(...)   # empty, a fresh prefix for each test

What a store cannot do is said by the class attributes below.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    PreconditionError,
    StoreError,
)
from regvault.model.store import ObjectStore, Stored

MIB = 1024 * 1024

ODD_NAMES = [
    "with space",
    "plus+plus",
    "percent%41",
    "amp&amp;",
    "less<than>",
    "quote\"'",
    "back\\slash",
    "question?mark#hash",
    "semi;colon=equals",
    "ünïcode-鍵-🔑",
    "sha256:0123",
    "tilde~star*",
    "UPPER",
    "upper",
    "..dots..",
    "-dash",
]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class OneWay(io.RawIOBase):
    """A stream that cannot be rewound, as one from a socket."""

    def __init__(self, data: bytes, *, step: int = 10**9) -> None:
        self._data = io.BytesIO(data)
        self._step = step
        self.was_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:
        count = self._data.readinto(memoryview(buffer)[: self._step])
        self.was_read += count
        return count


class Failing(OneWay):
    """A stream whose source fails in the middle, with an error of its own."""

    class Error(Exception):
        pass

    def readinto(self, buffer: bytearray | memoryview) -> int:
        count = super().readinto(buffer)
        if not count:
            raise self.Error
        return count


def keys(store: ObjectStore, prefix: str = "", *, after: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix, after=after)]


def fill(store: ObjectStore, names: list[str]) -> None:
    for name in names:
        store.put(name, name.encode())


class StoreContract:
    """What holds for every store."""

    # An object and objects below its name at once (`a` and `a/b`): a file system has no such thing
    # (False), and MinIO stores both but lists only one (None).
    nests: ClassVar[bool | None] = True
    # How many objects the test of long listings writes: more than one page of S3.
    many: ClassVar[int] = 1100

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    def test_it_is_an_object_store(self, store):
        assert isinstance(store, ObjectStore)
        assert "://" in store.location

    # Reading what was written

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 300])
    def test_bytes_come_back_as_they_were_put(self, store, data):
        stored = store.put("a/b/c", data)
        assert store.get("a/b/c") == data
        assert (stored.size, stored.sha256) == (len(data), sha(data))
        assert stored.proof in ("store", "regvault")

    def test_head_and_list_agree_with_what_the_write_said(self, store):
        stored = store.put("a/b", b"one")
        entry = store.head("a/b")
        assert (entry.key, entry.size, entry.etag) == ("a/b", 3, stored.etag)
        [listed] = store.list("a/")
        assert listed[:3] == entry[:3]
        # S3 tells whole seconds in HEAD and milliseconds in LIST.
        assert abs(listed.modified_ns - entry.modified_ns) < 1_000_000_000
        assert abs(store.now_ns() - entry.modified_ns) < 60_000_000_000

    def test_the_etag_changes_with_the_content(self, store):
        first = store.put("k", b"one")
        second = store.put("k", b"two")
        assert first.etag != second.etag == store.head("k").etag

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_are_names_like_others(self, store, name):
        key = f"odd {name}/{name}/{name}"
        store.put(key, b"x")
        assert keys(store) == [key]
        assert keys(store, f"odd {name}/") == [key]
        assert list(store.list_prefixes()) == [f"odd {name}"]
        assert list(store.list_prefixes(f"odd {name}/")) == [name]
        assert store.head(key).key == key
        assert store.get(key) == b"x"
        with store.open(key) as reader:
            assert reader.read() == b"x"
        store.put_stream(key, io.BytesIO(b"yy"), size=2, sha256=sha(b"yy"))
        assert store.get(key) == b"yy"
        store.delete(key)
        assert keys(store) == []

    @pytest.mark.parametrize(
        "key", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../../b", "a\0"]
    )
    def test_a_key_that_could_lead_elsewhere_is_refused(self, store, key):
        for verb in (store.get, store.open, store.head, store.delete):
            with pytest.raises(StoreError):
                verb(key)
        with pytest.raises(StoreError):
            store.put(key, b"")
        with pytest.raises(StoreError):
            store.put_stream(key, io.BytesIO(b""), size=0)
        stage = store.stage()
        with pytest.raises(StoreError):
            stage.commit(key)
        stage.abort()
        assert keys(store) == []

    def test_missing_keys_are_told_apart_from_failures(self, store):
        store.put("a/b", b"x")
        for key in ("nothing", "a/c", "a", "a/b/c"):
            for verb in (store.get, store.open, store.head):
                with pytest.raises(ObjectNotFoundError) as caught:
                    verb(key)
                assert caught.value.key == key
                assert key in str(caught.value)

    # Ranges

    @pytest.mark.parametrize(
        ("start", "length"),
        [
            (0, 0), (0, 1), (0, 10), (0, 11), (3, 4), (3, None), (9, 5), (10, None), (10, 1),
            (11, None), (50, 3), (-1, None), (-4, None), (-10, None), (-50, None),
        ],
    )  # fmt: skip
    def test_ranges_are_clamped_to_the_object(self, store, start, length):
        data = b"0123456789"
        store.put("k", data)
        if start < 0:
            expected = data[max(0, len(data) + start) :]
        else:
            expected = data[start:] if length is None else data[start : start + length]
        assert store.get("k", start=start, length=length) == expected
        with store.open("k", start=start, length=length) as reader:
            assert reader.size == len(expected)
            assert reader.read() == expected
        with store.open("k", start=start, length=length) as reader:
            buffer = bytearray(20)
            got = b""
            while count := reader.readinto(buffer):
                got += buffer[:count]
            assert got == expected

    @pytest.mark.parametrize(("start", "length"), [(0, None), (0, 4), (2, None), (-3, None)])
    def test_ranges_of_an_empty_object_are_empty(self, store, start, length):
        store.put("k", b"")
        assert store.get("k", start=start, length=length) == b""
        with store.open("k", start=start, length=length) as reader:
            assert reader.read() == b""

    @pytest.mark.parametrize(("start", "length"), [(0, None), (2, 0), (2, 5), (-3, None)])
    def test_ranges_of_nothing_are_not_found(self, store, start, length):
        with pytest.raises(ObjectNotFoundError):
            store.get("k", start=start, length=length)
        with pytest.raises(ObjectNotFoundError):
            store.open("k", start=start, length=length)

    def test_a_range_from_the_end_has_no_length(self, store):
        store.put("k", b"0123456789")
        with pytest.raises(StoreError):
            store.get("k", start=-3, length=2)

    def test_a_reader_can_be_read_in_parts_and_closed_twice(self, store):
        data = os.urandom(300_000)
        store.put_stream("k", io.BytesIO(data), size=len(data))
        with store.open("k") as reader:
            head = reader.read(1000)
            middle = bytearray(100_000)
            count = reader.readinto(middle)
            rest = b"".join(iter(lambda: reader.read(65_536), b""))
            assert reader.read(10) == b""
        reader.close()
        reader.close()
        assert head + bytes(middle[:count]) + rest == data

    def test_a_reader_left_half_read_releases_what_it_holds(self, store):
        data = os.urandom(2 * MIB)
        store.put_stream("k", io.BytesIO(data), size=len(data))
        for _ in range(70):
            with store.open("k") as reader:
                assert reader.read(10)
        assert store.get("k", length=3) == data[:3]

    # Order

    def test_keys_come_in_byte_order_across_directories(self, store):
        names = ["a-b", "a.b", "a/b", "a/b-c", "a/b.c/d", "a0", "aa/z", "b", "Z", "a/Z", "é", "~"]
        names += ["a/b0/x", "𐀀", "\uffee", "a/c/d/e/f", "a/c-d"]
        random.Random(5).shuffle(names)
        fill(store, names)
        expected = sorted(names, key=lambda name: name.encode())
        assert keys(store) == expected
        for prefix in ("a", "a/", "a/b", "a/b.", "a/c/d", "é", "zz", "a/c/d/e/f", "a/c/d/e/f/g"):
            assert keys(store, prefix) == [name for name in expected if name.startswith(prefix)]
            for after in [*expected, "a/", "a/b/", "a/c/", "", "\U0010ffff"]:
                wanted = [
                    name
                    for name in expected
                    if name.startswith(prefix) and name.encode() > after.encode()
                ]
                if prefix == "a/" or after in ("a/b", "a/", "a/c/"):
                    assert keys(store, prefix, after=after) == wanted

    def test_an_object_may_have_others_below_its_name(self, store):
        if self.nests is None:
            pytest.skip("this server does not list them")
        if not self.nests:
            store.put("a", b"1")
            with pytest.raises(StoreError):
                store.put("a/b", b"2")
            store.put("c/d", b"2")
            with pytest.raises(StoreError):
                store.put("c", b"2")
            return
        fill(store, ["a/b", "a", "a-", "a0"])
        assert keys(store) == ["a", "a-", "a/b", "a0"]
        assert keys(store, "a/") == ["a/b"]

    def test_names_below_a_prefix(self, store):
        fill(store, ["a/1", "a/2/3", "b-c/1", "b/1", "top", "a/x/y/z"])
        assert list(store.list_prefixes()) == ["a", "b-c", "b"]
        assert list(store.list_prefixes("a/")) == ["2", "x"]
        assert list(store.list_prefixes("top/")) == []
        assert list(store.list_prefixes("none/")) == []

    def test_a_missing_prefix_lists_nothing(self, store):
        assert keys(store) == []
        assert keys(store, "none/") == []
        assert keys(store, "none/of/it") == []

    def test_a_long_listing_is_whole(self, store):
        names = [f"n/{number % 7}/{number:05}" for number in range(self.many)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: store.put_stream(name, io.BytesIO(b"."), size=1), names))
        names.sort()
        assert keys(store) == names
        assert keys(store, "n/3/") == [name for name in names if name.startswith("n/3/")]
        assert keys(store, after=names[self.many // 2]) == names[self.many // 2 + 1 :]
        assert list(store.list_prefixes("n/")) == [str(number) for number in range(7)]

    def test_a_listing_lives_with_what_changes_under_it(self, store):
        fill(store, [f"{letter}/{number}" for letter in "abc" for number in range(5)])
        seen = []
        for entry in store.list():
            seen.append(entry.key)
            store.delete("b/3")
            store.put("a/00", b"late")
        assert seen == sorted(set(seen))
        assert set(seen) >= {f"{letter}/{number}" for letter in "ac" for number in range(5)}

    def test_two_listings_can_be_read_in_turns(self, store):
        fill(store, ["a/1", "a/2", "b/1", "b/2"])
        pairs = list(zip(store.list("a/"), store.list("b/"), strict=True))
        assert [(one.key, two.key) for one, two in pairs] == [("a/1", "b/1"), ("a/2", "b/2")]

    # Conditions

    def test_create_only_never_replaces(self, store):
        store.put("k", b"first", if_none_match=True)
        with pytest.raises(PreconditionError):
            store.put("k", b"second", if_none_match=True)
        assert store.get("k") == b"first"

    @pytest.mark.parametrize("rounds", [3])
    def test_of_32_parallel_creates_exactly_one_wins(self, store, rounds):
        for number in range(rounds):
            won = race(lambda me: store.put(f"k{number}", b"%d" % me, if_none_match=True), 32)  # noqa: B023
            assert len(won) == 1
            assert store.get(f"k{number}") == b"%d" % won[0]

    def test_of_16_parallel_swaps_exactly_one_wins(self, store):
        etag = store.put("k", b"start").etag
        won = race(lambda me: store.put("k", b"%d" % me, if_match=etag), 16)
        assert len(won) == 1
        assert store.get("k") == b"%d" % won[0]

    def test_a_chain_of_swaps(self, store):
        etag = store.put("k", b"0").etag
        old = etag
        for number in range(1, 6):
            etag = store.put("k", b"%d" % number, if_match=etag).etag
            assert store.head("k").etag == etag
        with pytest.raises(PreconditionError):
            store.put("k", b"late", if_match=old)
        assert store.get("k") == b"5"

    def test_parallel_counting_by_swaps_loses_nothing(self, store):
        store.put("k", b"0")

        def count() -> None:
            done = 0
            while done < 4:
                etag = store.head("k").etag
                value = int(store.get("k"))
                try:
                    store.put("k", b"%d" % (value + 1), if_match=etag)
                except PreconditionError:
                    continue
                done += 1

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(count) for _ in range(4)]:
                future.result()
        assert store.get("k") == b"16"

    def test_a_swap_of_nothing_fails(self, store):
        etag = store.put("other", b"x").etag
        with pytest.raises(PreconditionError):
            store.put("k", b"x", if_match=etag)
        store.delete("other")
        with pytest.raises(PreconditionError):
            store.put("other", b"x", if_match=etag)
        assert keys(store) == []

    # Streams

    @pytest.mark.parametrize("promise", [True, False])
    @pytest.mark.parametrize("one_way", [True, False])
    @pytest.mark.parametrize("size", [0, 1, 70_000, 8 * MIB + 5])
    def test_streams_are_stored_whole(self, store, size, one_way, promise):
        data = random.Random(size).randbytes(size)
        reader = OneWay(data, step=100_000) if one_way else io.BytesIO(data)
        stored = store.put_stream("k", reader, size=size, sha256=sha(data) if promise else None)
        assert stored == Stored(store.head("k").etag, size, sha(data), stored.proof)
        assert stored.proof in ("store", "regvault")
        assert store.get("k") == data

    @pytest.mark.parametrize("before", [None, b"before"])
    @pytest.mark.parametrize("size", [0, 10, 3 * MIB])
    @pytest.mark.parametrize("wrong", ["digest", "longer", "shorter", "flipped"])
    def test_wrong_bytes_are_never_visible(self, store, wrong, size, before):
        if before is not None:
            store.put("k", before)
        data = b"y" * size
        promised, digest = size, sha(data)
        if wrong == "digest":
            digest = sha(b"something else")
        elif wrong == "longer":
            data += b"y"
        elif wrong == "shorter":
            promised += 1
            digest = sha(data + b"y")
        elif size:
            data = data[:-1] + b"z"
        else:
            return
        for reader in (io.BytesIO(data), OneWay(data)):
            with pytest.raises(DigestMismatchError):
                store.put_stream("k", reader, size=promised, sha256=digest)
        if before is None:
            assert keys(store) == []
        else:
            assert store.get("k") == before

    @pytest.mark.parametrize("wrong", [-1, 1])
    def test_a_wrong_size_is_refused_without_a_digest_too(self, store, wrong):
        for reader in (io.BytesIO(b"y" * 5000), OneWay(b"y" * 5000)):
            with pytest.raises(DigestMismatchError):
                store.put_stream("k", reader, size=5000 + wrong)
        assert keys(store) == []

    @pytest.mark.parametrize("size", [10, 2 * MIB])
    def test_an_error_of_the_source_stays_what_it_is(self, store, size):
        store.put("k", b"before")
        for promise in (sha(b"y" * size * 2), None):
            with pytest.raises(Failing.Error):
                store.put_stream("k", Failing(b"y" * size), size=size * 2, sha256=promise)
        assert store.get("k") == b"before"
        assert keys(store) == ["k"]

    def test_readers_see_the_old_or_the_new_object_whole(self, store):
        bodies = [bytes([number]) * 200_000 for number in range(4)]
        store.put_stream("k", io.BytesIO(bodies[0]), size=200_000)
        stop = threading.Event()

        def look() -> set[tuple[int, int]]:
            seen = set()
            while not stop.is_set():
                data = store.get("k")
                seen.add((len(data), len(set(data))))
            return seen

        with ThreadPoolExecutor(3) as pool:
            looking = [pool.submit(look) for _ in range(2)]
            try:
                for number in range(12):
                    store.put_stream("k", io.BytesIO(bodies[number % 4]), size=200_000)
            finally:
                stop.set()
            for future in looking:
                assert future.result() <= {(200_000, 1)}

    # Stages

    def test_a_stage_appears_under_its_digest(self, store):
        stage = store.stage()
        for part in (b"abc", bytearray(b"def"), memoryview(b"ghi" * 100_000)):
            assert stage.write(part) == len(part)
        digest = stage.sha256()
        assert keys(store) == []
        stored = stage.commit(f"packs/{digest}.tar")
        data = b"abcdef" + b"ghi" * 100_000
        assert digest == sha(data) == stored.sha256
        assert stored.size == len(data)
        assert stored.etag == store.head(f"packs/{digest}.tar").etag
        assert store.get(f"packs/{digest}.tar") == data
        stage.abort()
        assert keys(store) == [f"packs/{digest}.tar"]

    def test_an_aborted_stage_leaves_nothing(self, store):
        stage = store.stage()
        stage.write(b"x" * 100_000)
        stage.abort()
        stage.abort()
        with pytest.raises(StoreError):
            stage.commit("k")
        with pytest.raises(StoreError):
            stage.write(b"x")
        assert keys(store) == []

    def test_a_stage_replaces_what_is_there(self, store):
        store.put("k", b"before")
        stage = store.stage()
        stage.write(b"after")
        stage.commit("k")
        assert store.get("k") == b"after"
        with pytest.raises(StoreError):
            stage.commit("k2")

    def test_an_empty_stage_is_an_empty_object(self, store):
        assert store.stage().commit("k").size == 0
        assert store.get("k") == b""

    # The rest

    def test_deleting_twice_is_no_error(self, store):
        fill(store, ["a/b", "a/c"])
        store.delete("a/b")
        store.delete("a/b")
        store.delete("none/at/all")
        store.delete("a/c/d")
        assert keys(store) == ["a/c"]

    def test_the_barrier_may_be_called_at_any_time(self, store):
        store.barrier()
        store.put_stream("a/b/c", io.BytesIO(b"x"), size=1)
        store.barrier()
        store.barrier()
        assert store.get("a/b/c") == b"x"

    def test_the_clock_goes_forward(self, store):
        first = store.now_ns()
        store.put("k", b"x")
        second = store.now_ns()
        assert second >= first
        assert store.head("k").modified_ns >= first - 2_000_000_000

    def test_space_is_known_or_not(self, store):
        space = store.space()
        assert space.free_bytes is None or space.free_bytes > 0
        assert space.free_inodes is None or space.free_inodes > 0


def race(act, count: int) -> list[int]:
    """Let `count` threads do `act(number)` at once; return who was not refused."""
    gate = threading.Barrier(count)

    def run(me: int) -> int | None:
        gate.wait()
        try:
            act(me)
        except PreconditionError:
            return None
        return me

    with ThreadPoolExecutor(count) as pool:
        return [me for me in pool.map(run, range(count)) if me is not None]
