import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import os
import random
import stat
import subprocess
import sys
import time

import pytest
from store_contract import MIB, Failing, OneWay, StoreContract, keys

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    ReadOnlyStoreError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)
from regvault.model.store import HierarchicalStore
from regvault.storage import local_lock, local_read, local_write, syscalls
from regvault.storage.local import LocalStore
from regvault.storage.streams import BytesReader


class TestLocalStore(StoreContract):
    nests = False

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "store", create=True)
        yield store
        store.close()


class TestLocalStoreThatFollowsLinks(TestLocalStore):
    many = 50

    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(tmp_path / "store", create=True, follow_symlinks=True)
        yield store
        store.close()


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "store", create=True)
    yield store
    store.close()


def files(store):
    return sorted(
        os.path.relpath(os.path.join(path, name), store.root)
        for path, _, names in os.walk(store.root)
        for name in names
    )


class TestTheRoot:
    def test_a_missing_root_is_not_made_by_accident(self, tmp_path):
        with pytest.raises(StoreMissingError):
            LocalStore(tmp_path / "none")
        with pytest.raises(StoreMissingError):
            LocalStore(tmp_path / "none", create=True, writable=False)
        (tmp_path / "file").write_bytes(b"")
        for create in (True, False):
            with pytest.raises(StoreMissingError):
                LocalStore(tmp_path / "file", create=create)
        assert not (tmp_path / "none").exists()

    def test_it_is_hierarchical(self, store):
        assert isinstance(store, HierarchicalStore)

    def test_free_space_is_known(self, store):
        space = store.space()
        assert space.free_bytes > 0

    def test_a_store_for_reading_writes_nothing(self, tmp_path):
        LocalStore(tmp_path).put("k", b"x")
        store = LocalStore(tmp_path, writable=False)
        for act in (
            lambda: store.put("a", b""), lambda: store.delete("k"), store.stage,
            lambda: store.put_stream("a", io.BytesIO(b""), size=0), store.sweep_temporary,
        ):  # fmt: skip
            with pytest.raises(ReadOnlyStoreError):
                act()
        store.barrier()
        assert store.now_ns()
        assert files(store) == ["k"]


class TestTemporaryFiles:
    def test_nothing_is_left_of_a_failed_write(self, store):
        with pytest.raises(Failing.Error):
            store.put_stream("a/b", Failing(b"x" * 10), size=20)
        with pytest.raises(PreconditionError):
            store.put("a/c", b"", if_match="x")
        store.put("a/d", b"")
        with pytest.raises(PreconditionError):
            store.put("a/d", b"", if_none_match=True)
        stage = store.stage()
        stage.write(b"x")
        stage.abort()
        assert [name for name in files(store) if not name.startswith(".regvault-lock")] == ["a/d"]

    def test_what_a_crash_left_is_hidden_and_swept_when_it_is_old(self, store):
        store.put("a/b", b"x")
        stage = store.stage()
        stage.write(b"alive")
        old = [".regvault-0123.tmp", "a/.regvault-4567.tmp"]
        for name in old:
            path = os.path.join(store.root, name)
            with open(path, "wb"):
                os.utime(path, (1, 1))
        assert keys(store) == ["a/b"]
        assert store.scandir("a") == [("b", False)]
        with pytest.raises(StoreError):
            store.get(old[1])
        assert store.sweep_temporary(older_than_s=3600) == 2
        assert store.sweep_temporary() == 0
        stage.commit("c")
        assert keys(store) == ["a/b", "c"]

    def test_what_is_old_is_judged_by_the_clock_of_the_file_system(self, store, monkeypatch):
        stage = store.stage()
        stage.write(b"alive")
        real = time.time_ns
        monkeypatch.setattr("time.time_ns", lambda: real() + 2 * 86_400 * 10**9)
        store.put("a", b"1")
        assert store.sweep_temporary() == 0
        stage.commit("b")

    def test_who_slept_so_long_that_his_file_was_swept_may_try_again(self, store):
        stage = store.stage()
        stage.write(b"asleep")
        assert store.sweep_temporary(older_than_s=-1) == 1
        with pytest.raises(StoreUnavailableError, match="is gone"):
            stage.commit("b")
        assert keys(store) == []

    @pytest.mark.parametrize("signal_at", ["during"])
    def test_a_killed_writer_leaves_no_object(self, store, signal_at):
        code = (
            "import sys, os, signal; from regvault.storage.local import LocalStore\n"
            "class R:\n"
            "    n = 0\n"
            "    def readinto(self, b):\n"
            "        self.n += 1\n"
            "        if self.n > 2: os.kill(os.getpid(), signal.SIGKILL)\n"
            "        return len(b)\n"
            "LocalStore(sys.argv[1]).put_stream('a/b', R(), size=10**9)"
        )
        run = subprocess.run([sys.executable, "-c", code, store.root], check=False)
        assert run.returncode == -9
        assert keys(store) == []
        assert len(files(store)) == 1
        assert store.sweep_temporary(older_than_s=-1) == 1


class TestLinks:
    @pytest.fixture
    def outside(self, tmp_path):
        (tmp_path / "outside" / "dir").mkdir(parents=True)
        (tmp_path / "outside" / "secret").write_bytes(b"secret")
        (tmp_path / "outside" / "dir" / "secret").write_bytes(b"secret")
        return tmp_path / "outside"

    @pytest.fixture
    def trap(self, store, outside):
        os.makedirs(os.path.join(store.root, "d", "real"))
        os.symlink(outside / "secret", os.path.join(store.root, "d", "file"))
        os.symlink(outside, os.path.join(store.root, "d", "out"))
        os.symlink("real", os.path.join(store.root, "d", "near"))
        store.put("d/real/k", b"k")
        return store

    def test_no_link_is_read_through(self, trap):
        for key in ("d/file", "d/out/secret", "d/out/dir/secret", "d/near/k"):
            with pytest.raises(StoreError) as caught:
                trap.get(key)
            assert not isinstance(caught.value, ObjectNotFoundError) or key == "d/file"
            with pytest.raises(StoreError):
                trap.head(key)
        assert keys(trap) == ["d/real/k"]
        assert keys(trap, "d/") == ["d/real/k"]
        assert list(trap.list_prefixes("d/")) == ["real"]
        for prefix in ("d/out/", "d/near/"):
            with pytest.raises(StoreError):
                keys(trap, prefix)
            with pytest.raises(StoreError):
                trap.scandir(prefix)
            with pytest.raises(StoreError):
                trap.read_children(prefix, "", ["secret"], limit=10)
        assert trap.read_children("d", "secret", ["out"], limit=10) == [("out", None)]
        assert trap.read_children("d", "dir/secret", ["out"], limit=10) == [("out", None)]
        assert trap.read_children("d", "", ["file"], limit=10) == [("file", None)]
        assert trap.stat_children("d", "secret", ["out"]) == [("out", -1, 0, 0)]
        assert trap.stat_children("d", "", ["out", "near"])[0][1] == -1

    def test_no_link_is_written_or_deleted_through(self, trap, outside):
        for key in ("d/out/new", "d/out/dir/new", "d/out/newdir/new", "d/near/new"):
            with pytest.raises(StoreError, match="symbolic link"):
                trap.put(key, b"x")
            with pytest.raises(StoreError, match="symbolic link"):
                trap.put_stream(key, io.BytesIO(b"x"), size=1)
            stage = trap.stage()
            with pytest.raises(StoreError, match="symbolic link"):
                stage.commit(key)
        with pytest.raises(StoreError):
            trap.delete("d/out/secret")
        trap.put("d/file", b"mine")
        assert trap.get("d/file") == b"mine"
        assert (outside / "secret").read_bytes() == b"secret"
        assert sorted(os.listdir(outside)) == ["dir", "secret"]
        assert os.listdir(outside / "dir") == ["secret"]

    def test_a_link_that_appears_meanwhile_leads_nowhere(self, store, outside):
        store.put("d/k", b"k")
        os.rename(os.path.join(store.root, "d"), os.path.join(store.root, "e"))
        os.symlink(outside, os.path.join(store.root, "d"))
        with pytest.raises(StoreError):
            store.put("d/k", b"x")
        with pytest.raises(StoreError):
            store.get("d/secret")

    def test_a_registry_is_read_through_its_links(self, trap, outside):
        live = LocalStore(trap.root, follow_symlinks=True, writable=False)
        assert live.get("d/file") == b"secret"
        assert live.get("d/out/dir/secret") == b"secret"
        assert keys(live) == [
            "d/file", "d/near/k", "d/out/dir/secret", "d/out/secret", "d/real/k",
        ]  # fmt: skip
        assert live.read_children("d", "dir/secret", ["out"], limit=3) == [("out", b"sec")]
        assert live.stat_children("d", "secret", ["out"])[0][:2] == ("out", 6)

    def test_links_in_a_circle_end(self, store):
        store.put("d/k", b"")
        os.symlink(".", os.path.join(store.root, "d", "again"))
        os.symlink("loop", os.path.join(store.root, "d", "loop"))
        live = LocalStore(store.root, follow_symlinks=True)
        assert keys(live) == ["d/k"]
        assert sorted(live.scandir("d")) == [("again", False), ("k", False), ("loop", False)]

    def test_links_that_lead_back_by_a_detour_end(self, store):
        store.put("a/k", b"")
        store.put("b/k", b"")
        os.symlink("../b", os.path.join(store.root, "a", "over"))
        os.symlink("../a", os.path.join(store.root, "b", "back"))
        os.symlink("../..", os.path.join(store.root, "b", "out"))
        live = LocalStore(store.root, follow_symlinks=True)
        assert sorted(live.scandir("a")) == [("k", False), ("over", True)]
        assert sorted(live.scandir("a/over")) == [("back", False), ("k", False), ("out", True)]


class TestWhatIsNoObject:
    def test_special_files_are_not_objects_and_stop_nothing(self, store):
        store.put("d/k", b"k")
        os.mkfifo(os.path.join(store.root, "d", "fifo"))
        os.mkdir(os.path.join(store.root, "d", "empty"))
        for follow in (True, False):
            other = LocalStore(store.root, follow_symlinks=follow)
            assert keys(other) == ["d/k"]
            for key in ("d/fifo", "d/empty", "d"):
                with pytest.raises(ObjectNotFoundError):
                    other.get(key)
                with pytest.raises(ObjectNotFoundError):
                    other.head(key)
            found = other.read_children("d", "", ["k", "fifo", "empty", "none"], limit=5)
            assert [found[0], found[2], found[3]] == [("k", b"k"), ("empty", None), ("none", None)]
        store.delete("d/empty")
        assert ("empty", True) in store.scandir("d")

    def test_names_that_are_no_utf8_keep_their_place(self, store):
        names = [b"a\xff", b"a\xc3\xa9", b"a\xf0\x9f\x94\x91", b"a\xee\x80\x80", b"a"]
        for name in names:
            with open(os.path.join(os.fsencode(store.root), name), "wb"):
                pass
        assert [os.fsencode(key) for key in keys(store)] == sorted(names)
        for key in keys(store):
            assert store.get(key) == b""
        with pytest.raises(StoreError):
            store.get("lone \ud800 surrogate")


class TestQuestionsInBulk:
    def test_missing_names_and_wrong_kinds_are_marked(self, store):
        for name in ("a", "b", "c/x"):
            store.put(f"p/{name}/current/link", name.encode() * 10)
        names = ["a", "none", "b", "c"]
        for follow in (False, True):
            other = LocalStore(store.root, follow_symlinks=follow)
            entry = other.head("p/a/current/link")
            found = other.stat_children("p", "current/link", iter(names))
            assert [(name, size) for name, size, *_ in found] == [
                ("a", 10), ("none", -1), ("b", 10), ("c", -1),
            ]  # fmt: skip
            assert found[0][2] == entry.modified_ns
            assert other.read_children("p/", "current/link", names, limit=4) == [
                ("a", b"aaaa"), ("none", None), ("b", b"bbbb"), ("c", None),
            ]  # fmt: skip
            assert other.stat_children("p", "", ["a", "none"])[0][1] >= 0
            assert other.stat_children("p", "", ["a", "none"])[1][1] == -1
            assert other.stat_children("p", "current", ["a"]) == [("a", -1, 0, 0)]
            assert other.stat_children("gone", "x", ["a"]) == [("a", -1, 0, 0)]
            assert other.read_children("gone/too", "x", ["a"], limit=1) == [("a", None)]
            for name in ("..", "a/b", "", ".", "a\0"):
                with pytest.raises(StoreError):
                    other.stat_children("p", "link", [name])
                with pytest.raises(StoreError):
                    other.read_children("p", "link", [name], limit=1)
            with pytest.raises(StoreError):
                other.stat_children("p", "../../etc", ["a"])
            with pytest.raises(ObjectNotFoundError):
                other.scandir("gone")
            assert sorted(other.scandir("p/")) == [("a", True), ("b", True), ("c", True)]


class TestConditions:
    def test_creates_of_many_processes_have_one_winner(self, store):
        code = (
            "import sys; from regvault.storage.local import LocalStore\n"
            "from regvault.errors import PreconditionError\n"
            "store = LocalStore(sys.argv[1]); won = 0\n"
            "for n in range(40):\n"
            "    try: store.put(f'k/{n}', sys.argv[2].encode(), if_none_match=True); won += 1\n"
            "    except PreconditionError: pass\n"
            "for n in range(20):\n"
            "    while True:\n"
            "        etag = store.head('count').etag; value = int(store.get('count'))\n"
            "        try: store.put('count', b'%d' % (value + 1), if_match=etag); break\n"
            "        except PreconditionError: pass\n"
            "print(won)"
        )
        store.put("count", b"0")
        runs = [
            subprocess.Popen([sys.executable, "-c", code, store.root, str(me)], stdout=-1)
            for me in range(3)
        ]
        assert sum(int(run.communicate()[0]) for run in runs) == 40
        assert store.get("count") == b"60"

    @pytest.mark.parametrize("condition", ["if_none_match", "if_match"])
    def test_what_another_writes_just_before_it_gets_its_name_stays(
        self, store, condition, monkeypatch
    ):
        words = {"if_none_match": True}
        if condition == "if_match":
            words = {"if_match": store.put("k", b"before").etag}
        observe = LocalStore._observe

        def beside(self, written_ns):
            monkeypatch.setattr(LocalStore, "_observe", observe)
            LocalStore(self.root).put("k", b"of another")

        monkeypatch.setattr(LocalStore, "_observe", beside)
        with pytest.raises(PreconditionError):
            store.put("k", b"mine", **words)
        assert store.get("k") == b"of another"

    def test_without_hard_links_renaming_does(self, store, monkeypatch):
        def no_links(*_, **__):
            raise OSError(errno.EOPNOTSUPP, "")

        monkeypatch.setattr(os, "link", no_links)
        store.put("k", b"1", if_none_match=True)
        with pytest.raises(PreconditionError):
            store.put("k", b"2", if_none_match=True)
        assert store.get("k") == b"1"
        assert files(store) == ["k"]

        def no_rename(*_):
            raise OSError(errno.EINVAL, "")

        monkeypatch.setattr(local_write, "rename_noreplace", no_rename)
        with pytest.raises(StoreError, match="only if it is not there"):
            store.put("k2", b"1", if_none_match=True)
        assert files(store) == ["k"]

    def test_a_link_that_was_made_although_it_says_exists_is_ones_own(self, store, monkeypatch):
        link = os.link

        def link_twice(*args, **options):
            link(*args, **options)
            link(*args, **options)

        monkeypatch.setattr(os, "link", link_twice)
        store.put("k", b"1", if_none_match=True)
        assert store.get("k") == b"1"

    def test_an_etag_never_comes_back(self, store):
        etags = {store.put("k", b"same").etag}
        for _ in range(30):
            etags.add(store.put("k", b"same").etag)
        assert len(etags) == 31

    def test_a_file_system_that_cannot_lock_refuses_swaps_only(self, store, monkeypatch):
        etag = store.put("k", b"1").etag

        def no_locks(*_):
            raise OSError(errno.ENOLCK, "")

        monkeypatch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(StoreError):
            store.put("k", b"2", if_match=etag)
        store.put("k", b"3")
        store.delete("k")
        assert keys(store) == []

    def test_a_process_that_stopped_within_a_swap_holds_nobody_up_for_ever(
        self, store, monkeypatch
    ):
        monkeypatch.setattr(local_lock, "LOCK_WAIT_S", 0.1)
        etag = store.put("a", b"1", if_match=store.put("a", b"0").etag).etag
        with open(f"{store.root}/.regvault-lock", "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for write in (
                lambda: store.put("a", b"2", if_match=etag),
                lambda: store.put("a", b"2"),
                lambda: store.delete("a"),
            ):
                with pytest.raises(StoreUnavailableError, match="lock") as caught:
                    write()
                assert caught.value.exit_code == 6
            assert store.get("a") == b"1"
            assert not [name for name in os.listdir(store.root) if name.endswith(".tmp")]
        store.put("a", b"2", if_match=etag)


class TestDurability:
    @pytest.fixture
    def synced(self, monkeypatch):
        done = []
        fsync = os.fsync

        def spy(fd):
            done.append(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", spy)
        return done

    def test_a_put_is_on_the_disk_with_its_file_and_all_new_directories(self, store, synced):
        store.put("a/b/k", b"x")
        names = [os.path.relpath(path, store.root) for path in synced]
        assert names[0].startswith("a/b/.regvault-")
        assert names[1:] == ["a/b", "a", "."]
        synced.clear()
        store.put("a/b/k", b"y", if_none_match=False)
        assert len(synced) == 2

    def test_what_is_only_created_is_on_the_disk_with_its_directory(self, store, synced):
        store.put("a/b/k", b"x", if_none_match=True)
        names = [os.path.relpath(path, store.root) for path in synced]
        assert names[0].startswith("a/b/.regvault-")
        assert names[1:] == ["a/b", "a", "."]

    def test_streams_wait_for_the_barrier(self, store, synced, monkeypatch):
        calls = []
        monkeypatch.setattr("regvault.storage.local_tree.syncfs", calls.append)
        store.put_stream("a/b/k", io.BytesIO(b"x"), size=1)
        stage = store.stage()
        stage.write(b"x")
        stage.commit("c/d/k")
        assert not synced
        assert not calls
        store.barrier()
        assert len(calls) == 1
        store.put("a/b/k2", b"x")
        assert [os.path.basename(path) for path in synced][1:] == ["b"]

    @pytest.mark.parametrize("by", ["stream", "stage"])
    def test_what_replaces_a_file_is_on_the_disk_before_it_has_its_name(
        self, store, synced, monkeypatch, by
    ):
        def write(data):
            if by == "stream":
                store.put_stream("a/k", io.BytesIO(data), size=len(data))
            else:
                stage = store.stage()
                stage.write(data)
                stage.commit("a/k")

        write(b"old")
        assert not synced
        there = []
        rename = os.rename

        def renamed(*args, **kwargs):
            there.append((len(synced), store.get("a/k")))
            rename(*args, **kwargs)

        monkeypatch.setattr(os, "rename", renamed)
        write(b"new")
        assert there == [(1, b"old")]
        assert store.get("a/k") == b"new"

    def test_a_barrier_that_fails_is_an_error(self, store, monkeypatch):
        def broken(_):
            raise OSError(errno.EIO, "")

        monkeypatch.setattr("regvault.storage.local_tree.syncfs", broken)
        with pytest.raises(StoreError) as caught:
            store.barrier()
        assert "dmesg" in caught.value.hint

    def test_syncfs_reaches_the_kernel(self, tmp_path):
        fd = os.open(tmp_path, os.O_RDONLY)
        syscalls.syncfs(fd)
        os.close(fd)
        with pytest.raises(OSError, match="Bad file"):
            syscalls.syncfs(fd)

    def test_a_store_over_two_file_systems_is_synced_on_both(self, store, monkeypatch):
        os.mkdir(os.path.join(store.root, "blobs"))
        with mounted(os.path.join(store.root, "blobs")):
            store.put_stream("blobs/k", io.BytesIO(b"x"), size=1)
            stage = store.stage()
            stage.write(b"y" * MIB)
            stored = stage.commit("blobs/k2")
            assert store.get("blobs/k2") == b"y" * MIB
            assert stored.etag == store.head("blobs/k2").etag
            calls = []
            monkeypatch.setattr(
                "regvault.storage.local_tree.syncfs", lambda fd: calls.append(os.fstat(fd).st_dev)
            )
            store.barrier()
            assert len(set(calls)) == 2
            assert sorted(keys(store)) == ["blobs/k", "blobs/k2"]
            assert files(store) == ["blobs/k", "blobs/k2"]
            store.close()


class TestPastThePageCache:
    """Large files are written in whole pages, as far as their bytes and their disk allow."""

    SIZES = (1 << 20, (1 << 20) + 1, (1 << 20) + 4095, (2 << 20) + 4096, (3 << 20) + 17)

    @pytest.fixture(params=["as the disk is", "refused", "taken in halves"])
    def disk(self, request, monkeypatch):
        """Let the kernel take direct writes as it does, or not at all, or never a whole one."""
        write = os.write

        def refused(fd, data):
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return write(fd, data)

        def halved(fd, data):
            return write(fd, memoryview(data)[: max(1, len(data) // 2)])

        answer = {"refused": refused, "taken in halves": halved}.get(request.param)
        if answer is not None:
            monkeypatch.setattr("regvault.storage.local_write.os.write", answer)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("most", [1 << 20, 4096, 70_001])
    def test_a_stream_of_any_size_and_pace_is_stored_as_it_is(self, store, disk, size, most):
        data = random.Random(size).randbytes(size)

        class Slow(BytesReader):
            def readinto(self, buffer, /):
                return super().readinto(memoryview(buffer)[:most])

        store.put_stream("large", Slow(data), size=size, sha256=None)
        assert store.get("large") == data

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("step", [1 << 20, 524_288, 512, 99_991])
    def test_a_stage_that_is_written_in_any_steps_is_stored_as_it_is(self, store, disk, size, step):
        data = random.Random(size).randbytes(size)
        stage = store.stage()
        for at in range(0, size, step):
            assert stage.write(data[at : at + step]) == len(data[at : at + step])
        stored = stage.commit("staged")
        assert store.get("staged") == data
        assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).hexdigest())

    def test_a_stage_may_be_asked_for_its_digest_and_go_on(self, store, disk):
        first, second = b"a" * 700_001, b"b" * 700_001
        stage = store.stage()
        stage.write(first)
        assert stage.sha256() == hashlib.sha256(first).hexdigest()
        stage.write(second)
        stage.commit("staged")
        assert store.get("staged") == first + second


class TestErrors:
    def test_a_read_only_mount_is_read_and_not_written(self, store):
        store.put("a/k", b"x")
        with mounted(store.root, "bind", read_only=True):
            other = LocalStore(store.root)
            assert other.get("a/k") == b"x"
            assert keys(other) == ["a/k"]
            assert other.read_children("a", "", ["k"], limit=5) == [("k", b"x")]
            other.barrier()
            assert abs(other.now_ns() - time.time_ns()) < 10**9
            for act in (
                lambda: other.put("a/k2", b"x"), lambda: other.delete("a/k"), other.stage,
                lambda: other.put("new/k", b"x", if_none_match=True),
                lambda: other.put_stream("a/k2", io.BytesIO(b"x"), size=1),
            ):  # fmt: skip
                with pytest.raises(ReadOnlyStoreError) as caught:
                    act()
                assert caught.value.hint == "it is mounted read-only"
            other.close()

    def test_a_full_disk_says_so_and_keeps_what_was_there(self, store):
        with mounted(store.root, size="64k"):
            small = LocalStore(store.root)
            small.put("k", b"x")
            with pytest.raises(StoreFullError) as caught:
                small.put_stream("k", io.BytesIO(b"y" * MIB), size=MIB)
            assert caught.value.hint
            assert caught.value.exit_code == 6
            with pytest.raises(StoreFullError):
                small.put("k", b"y" * MIB)
            stage = small.stage()
            with pytest.raises(StoreFullError):
                stage.write(b"y" * MIB)
            stage.abort()
            assert small.get("k") == b"x"
            assert files(small) == ["k"]
            small.close()

    def test_a_full_disk_still_tells_the_time(self, store):
        """Else nobody could see who is at work in a full vault, nor prune it."""
        with mounted(store.root, size="64k"):
            small = LocalStore(store.root)
            with open(f"{store.root}/ballast", "wb", buffering=0) as ballast:
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(b"x" * 4096)
            assert small.space().free_bytes == 0
            assert abs(small.now_ns() - time.time_ns()) < 10**9
            assert files(small) == ["ballast"]
            small.close()

    @pytest.mark.parametrize(
        ("code", "read", "write"),
        [
            (errno.EACCES, StoreAccessError, ReadOnlyStoreError),
            (errno.EPERM, StoreAccessError, ReadOnlyStoreError),
            (errno.EROFS, ReadOnlyStoreError, ReadOnlyStoreError),
            (errno.EDQUOT, StoreFullError, StoreFullError),
            (errno.ESTALE, StoreUnavailableError, StoreUnavailableError),
            (errno.EMFILE, StoreUnavailableError, StoreUnavailableError),
            (errno.EIO, StoreError, StoreError),
        ],
    )
    def test_errors_of_the_system_are_told_by_their_meaning(
        self, store, monkeypatch, code, read, write
    ):
        store.put("a/k", b"x")
        real = os.open

        def broken(path, flags, *rest, **options):
            if not flags & os.O_DIRECTORY:
                raise OSError(code, os.strerror(code))
            return real(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", broken)
        for kind, act in (
            (read, lambda: store.get("a/k")),
            (read, lambda: store.read_children("a", "", ["k"], limit=1)),
            (write, lambda: store.put("a/k", b"")),
            (write, lambda: store.put_stream("a/k", io.BytesIO(b""), size=0)),
            (write, store.stage),
        ):
            with pytest.raises(StoreError) as caught:
                act()
            assert type(caught.value) is kind
            assert store.location in str(caught.value)
            assert caught.value.hint

    def test_a_directory_that_cannot_be_read_makes_no_shorter_list(self, store, monkeypatch):
        store.put("a/k", b"x")
        store.put("b/k", b"x")
        scandir = os.scandir
        calls = []

        def denied(fd):
            calls.append(fd)
            if len(calls) == 2:
                raise PermissionError(errno.EACCES, "")
            return scandir(fd)

        monkeypatch.setattr(local_read.os, "scandir", denied)
        with pytest.raises(StoreAccessError):
            keys(store)

    def test_an_error_of_the_source_is_no_error_of_the_store(self, store):
        class Broken(OneWay):
            def readinto(self, _buffer):
                raise OSError(errno.EIO, "the source's disk")

        with pytest.raises(OSError, match="the source's disk"):
            store.put_stream("k", Broken(b""), size=1)
        assert files(store) == []


class TestAttributes:
    def test_new_files_and_directories_get_mode_and_owner(self, tmp_path):
        store = LocalStore(
            tmp_path / "s", create=True, file_mode=0o640, dir_mode=0o750, owner=(1234, 2345)
        )
        store.put("a/b", b"x")
        store.put_stream("a/c", io.BytesIO(b"x"), size=1)
        stage = store.stage()
        stage.commit("d/e")
        for name, mode in (
            ("a", 0o750),
            ("d", 0o750),
            ("a/b", 0o640),
            ("a/c", 0o640),
            ("d/e", 0o640),
        ):
            status = os.stat(os.path.join(store.root, name))
            assert stat.S_IMODE(status.st_mode) == mode
            if os.geteuid() == 0:
                assert (status.st_uid, status.st_gid) == (1234, 2345)

    def test_by_default_the_umask_decides(self, tmp_path):
        old = os.umask(0o027)
        try:
            store = LocalStore(tmp_path)
            store.put("a/b", b"x")
        finally:
            os.umask(old)
        assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o750
        assert stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) == 0o640


class TestReaders:
    def test_a_reader_is_a_file_that_can_be_sent_and_rewound(self, store):
        store.put("k", b"0123456789")
        with store.open("k", start=2, length=5) as reader:
            assert os.pread(reader.fileno(), 3, 0) == b"012"
            assert reader.read(2) == b"23"
            assert reader.tell() == 2
            reader.seek(0)
            assert reader.read() == b"23456"
        with pytest.raises(StoreError):
            reader.readinto(bytearray(1))

    def test_no_descriptor_is_lost(self, store):
        store.put("a/b/k", b"x")
        os.mkfifo(os.path.join(store.root, "fifo"))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            store.get("a/b/k")
            for key in ("a/none", "none/k", "a", "fifo", "a/b/k/l"):
                with pytest.raises(ObjectNotFoundError):
                    store.open(key)
            store.put("a/c/k", b"x", if_none_match=False)
            next(store.list())
            store.stage().abort()
            store.open("a/b/k")
            store.delete("a/b/none")
            store.read_children("a", "k", ["b", "none"], limit=1)
            store.now_ns()
        assert len(os.listdir("/proc/self/fd")) == before


class mounted:  # noqa: N801
    """A tmpfs or a bind mount for the time of a block; the test is skipped where it may not be."""

    MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096

    def __init__(self, path, kind="tmpfs", *, size="16m", read_only=False):
        self._path = os.fsencode(path)
        self._libc = ctypes.CDLL(None, use_errno=True)
        if kind == "bind":
            ok = self._mount(self._path, None, self.MS_BIND, None)
            if ok and read_only:
                flags = self.MS_BIND | self.MS_REMOUNT | self.MS_RDONLY
                ok = self._mount(None, None, flags, None)
        else:
            ok = self._mount(b"tmpfs", b"tmpfs", 0, f"size={size}".encode())
        if not ok:
            pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")

    def _mount(self, source, kind, flags, data):
        return self._libc.mount(source, self._path, kind, ctypes.c_ulong(flags), data) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._libc.umount2(self._path, 2)
