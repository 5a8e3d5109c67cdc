"""Wrappers change nothing that they are not meant to: they pass the whole contract."""

import io
import os

import pytest
from store_contract import MIB, OneWay, StoreContract, keys, sha

from regvault.errors import StoreUnavailableError
from regvault.model.store import HierarchicalStore, ObjectStore
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import (
    CountingStore,
    CrashError,
    FaultyStore,
    LimitedStore,
    unwrap,
)


def wrap(store):
    fast = 10**12
    return FaultyStore(LimitedStore(CountingStore(store), upload=fast, download=fast))


class TestWrappedMemoryStore(StoreContract):
    many = 50

    @pytest.fixture
    def store(self):
        return wrap(MemoryStore())


class TestWrappedLocalStore(StoreContract):
    nests = False
    many = 50

    @pytest.fixture
    def store(self, tmp_path):
        return wrap(LocalStore(tmp_path, writable=True))


class TestWrappedS3Store(StoreContract):
    many = 50

    @pytest.fixture
    def store(self, make_s3):
        return wrap(make_s3("lax"))


class TestWhatAWrapperIs:
    def test_it_is_hierarchical_exactly_if_the_store_behind_it_is(self, tmp_path):
        for kind in (CountingStore, FaultyStore, LimitedStore):
            flat, deep = kind(MemoryStore()), kind(CountingStore(LocalStore(tmp_path)))
            assert isinstance(flat, ObjectStore)
            assert not isinstance(flat, HierarchicalStore)
            assert isinstance(deep, HierarchicalStore)
            assert isinstance(deep, kind)
            assert isinstance(unwrap(deep), LocalStore)

    def test_questions_in_bulk_pass(self, tmp_path):
        store = wrap(LocalStore(tmp_path))
        store.put("d/x/link", b"abc")
        assert store.scandir("d") == [("x", True)]
        assert store.stat_children("d", "link", ["x", "y"])[0][:2] == ("x", 3)
        assert store.read_children("d", "link", ["x", "y"], limit=9) == [("x", b"abc"), ("y", None)]


class TestCounting:
    def test_requests_and_bytes_are_counted(self):
        store = CountingStore(MemoryStore(), record=True)
        store.put("a", b"123")
        store.put_stream("b", OneWay(b"45"), size=2)
        stage = store.stage()
        stage.write(b"6789")
        stage.commit("c")
        assert store.bytes_written == 9
        assert store.get("a", length=2) == b"12"
        with store.open("c") as reader:
            reader.read()
        assert store.bytes_read == 6
        assert keys(store) == ["a", "b", "c"]
        assert store.counts == {
            "put": 1, "put_stream": 1, "stage": 1, "commit": 1, "get": 1, "open": 1, "list": 1,
        }  # fmt: skip
        assert store.calls[:2] == [("put", "a"), ("put_stream", "b")]
        store.reset()
        assert not store.counts
        assert not store.calls


class TestLimits:
    @pytest.fixture
    def waited(self):
        return []

    @pytest.fixture
    def store(self, waited):
        now = [0.0]

        def sleep(seconds):
            waited.append(seconds)
            now[0] += seconds

        return LimitedStore(
            MemoryStore(), upload=MIB, download=2 * MIB, clock=lambda: now[0], sleep=sleep
        )

    def test_every_way_up_and_down_is_limited(self, store, waited):
        data = os.urandom(4 * MIB)
        store.put("k", data)
        assert sum(waited) == pytest.approx(4, abs=0.3)
        waited.clear()
        store.put_stream("k", io.BytesIO(data), size=len(data), sha256=sha(data))
        assert sum(waited) == pytest.approx(4, abs=0.3)
        assert max(waited) <= 0.5
        waited.clear()
        stage = store.stage()
        stage.write(data)
        stage.commit("k")
        assert sum(waited) == pytest.approx(4, abs=0.3)
        waited.clear()
        assert store.get("k") == data
        assert sum(waited) == pytest.approx(2, abs=0.3)
        waited.clear()
        with store.open("k") as reader:
            assert reader.read() == data
        with store.open("k") as reader:
            buffer = bytearray(5 * MIB)
            assert reader.readinto(buffer) == len(data)
            assert buffer[: len(data)] == data
        assert sum(waited) == pytest.approx(4, abs=0.3)
        assert max(waited) <= 0.5


class TestFaults:
    def test_a_crash_before_leaves_nothing_and_after_leaves_all(self):
        for when, there in (("before", False), ("during", False), ("after", True)):
            inner = MemoryStore()
            store = FaultyStore(inner)
            store.crash_at(2, when=when)
            store.put("a", b"1")
            with pytest.raises(CrashError):
                store.put_stream("b", io.BytesIO(b"1234"), size=4)
            assert keys(inner) == (["a", "b"] if there else ["a"])
            for verb, *arguments in ((store.barrier,), (store.get, "a"), (store.put, "c", b"")):
                with pytest.raises(CrashError):
                    verb(*arguments)
            assert "c" not in keys(inner)

    def test_every_write_counts(self):
        store = FaultyStore(MemoryStore())
        store.put("a", b"")
        store.put_stream("b", io.BytesIO(b""), size=0)
        store.stage().commit("c")
        store.delete("a")
        store.barrier()
        keys(store)
        assert store.operations == 5

    def test_errors_come_as_often_as_planned(self):
        store = FaultyStore(MemoryStore())
        store.plan(
            StoreUnavailableError("no"), verbs={"get"}, match=lambda k: k == "a", at=2, times=2
        )
        store.put("a", b"1")
        store.put("b", b"2")
        outcomes = []
        for _ in range(4):
            try:
                outcomes.append(store.get("a"))
            except StoreUnavailableError:
                outcomes.append(None)
            assert store.get("b") == b"2"
        assert outcomes == [b"1", None, None, b"1"]

    def test_damage_is_seen_by_every_reader(self, tmp_path):
        store = FaultyStore(LocalStore(tmp_path))
        store.put("d/x/k", b"abcd")
        store.flip("d/x/k", -1)
        assert store.get("d/x/k") == b"abce"
        assert store.get("d/x/k", start=2, length=1) == b"c"
        assert store.get("d/x/k", start=-2) == b"ce"
        assert store.open("d/x/k", start=3).read() == b"e"
        assert store.read_children("d", "k", ["x"], limit=9) == [("x", b"abce")]
        store.truncate("d/x/k", 1)
        assert store.get("d/x/k") == b"a"
        store.mend()
        assert store.get("d/x/k") == b"abcd"
