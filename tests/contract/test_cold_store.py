"""A registry's directory with cold mounts, as a store with storage classes."""

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time

import pytest
from class_contract import DATA, ClassContract
from cold_registry import Mounted, move, temporary_files
from store_contract import StoreContract

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    PreconditionError,
    ReadOnlyStoreError,
    RefusedError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
    UsageError,
)
from regvault.registry.layout import BLOBS, blob_key
from regvault.storage import cold_files, cold_journal, local_lock, local_write
from regvault.storage.cold_bind import bind, unbind
from regvault.storage.cold_binding import bindings_of

DAY = 86_400


@pytest.fixture
def mounted(tmp_path):
    mounted = Mounted(tmp_path)
    yield mounted
    mounted.close()


@pytest.fixture
def store(mounted):
    return mounted.store()


class TestAsAnyStore(StoreContract):
    nests = False

    @pytest.fixture
    def store(self, store):
        return store


class TestClasses(ClassContract):
    hot = "hot"
    cold = "hdd"
    archive = None
    key = blob_key(f"sha256:{hashlib.sha256(DATA).hexdigest()}")

    @pytest.fixture
    def store(self, store):
        return store


class TestAMove:
    def test_the_registry_follows_a_link_to_the_same_bytes(self, mounted, store):
        key = mounted.push(DATA)
        before = os.stat(mounted.hot(key))
        moved = move(store, key, "hdd")
        assert moved.sha256 == hashlib.sha256(DATA).hexdigest()
        assert os.readlink(mounted.hot(key)) == str(mounted.cold_file(key))
        after = os.stat(mounted.hot(key))
        assert mounted.hot(key).read_bytes() == DATA
        assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns) == (
            before.st_mode, before.st_uid, before.st_gid, before.st_mtime_ns,
        )  # fmt: skip
        assert not temporary_files(mounted.root, mounted.cold)

    def test_it_comes_back_as_a_file(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        moved = move(store, key, "hot")
        assert moved.sha256 == hashlib.sha256(DATA).hexdigest()
        assert not mounted.hot(key).is_symlink()
        assert mounted.hot(key).read_bytes() == DATA
        assert os.stat(mounted.hot(key)).st_mtime_ns == 1_700_000_000 * 10**9
        assert not temporary_files(mounted.root, mounted.cold)

    def test_owner_and_mode_are_those_that_the_registry_gave(self, mounted, store):
        if os.geteuid() != 0:
            pytest.skip("only root may give files away")
        key = mounted.push(DATA)
        os.chmod(mounted.hot(key), 0o600)
        for path in (mounted.hot(key), mounted.hot(key).parent):
            os.chown(path, 1234, 2345)
        os.chmod(mounted.hot(key).parent, 0o710)
        move(store, key, "hdd")
        for path in (mounted.cold_file(key), mounted.cold_file(key).parent, mounted.cold / "blobs"):
            assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
        assert stat.S_IMODE(mounted.cold_file(key).stat().st_mode) == 0o600
        assert stat.S_IMODE(mounted.cold_file(key).parent.stat().st_mode) == 0o710
        os.chown(mounted.cold_file(key), 99, 99)  # as a mount may show it
        move(store, key, "hot")
        status = mounted.hot(key).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (1234, 0o600)

    def test_a_registry_that_exchanges_names_gives_no_other_file_away(
        self, mounted, store, tmp_path, monkeypatch
    ):
        """What runs as root writes where the registry may write too."""
        key = mounted.push(DATA)
        move(store, key, "hdd")
        victim = tmp_path / "victim"
        victim.write_bytes(b"secret")
        victim.chmod(0o600)
        before = victim.stat()
        real = cold_files.Temporary.finish

        def exchanged(self, **words):
            os.unlink(self.name, dir_fd=self.directory)
            os.symlink(victim, self.name, dir_fd=self.directory)
            return real(self, **words)

        monkeypatch.setattr(cold_files.Temporary, "finish", exchanged)
        with pytest.raises(StoreError):
            move(store, key, "hot")
        after = victim.stat()
        assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
            before.st_mode, before.st_uid, before.st_mtime_ns,
        )  # fmt: skip
        assert mounted.hot(key).read_bytes() == DATA

    def test_a_copy_that_the_registry_could_not_read_is_refused(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)
        os.chmod(mounted.hot(key), 0o600)
        if os.geteuid() == 0:
            os.chown(mounted.hot(key), 1234, 2345)

        def denied(*_, **__):
            raise PermissionError(errno.EPERM, "no")

        monkeypatch.setattr(cold_files.os, "fchown", denied)
        if os.geteuid() != 0:
            pytest.skip("what this user owns, the registry owns")
        with pytest.raises(StoreAccessError, match="could not read it"):
            move(store, key, "hdd")
        assert not mounted.hot(key).is_symlink()
        os.chmod(mounted.hot(key), 0o644)
        move(store, key, "hdd")

    def test_a_mount_of_object_storage_has_neither_owners_nor_directories_to_sync(
        self, mounted, store, monkeypatch
    ):
        key = mounted.push(DATA)
        fsync = os.fsync

        def on_the_mount(fd):
            return os.readlink(f"/proc/self/fd/{fd}").startswith(str(mounted.cold))

        def no_directories(fd):
            if on_the_mount(fd) and stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "no directories here")
            fsync(fd)

        monkeypatch.setattr(os, "fsync", no_directories)
        for name in ("fchown", "fchmod", "utime"):
            real = getattr(os, name)

            def fixed(fd, *words, real=real, **more):
                if isinstance(fd, int) and on_the_mount(fd):
                    raise OSError(errno.ENOTSUP, "fixed by the mount's options")
                return real(fd, *words, **more)

            monkeypatch.setattr(os, name, fixed)
        if os.geteuid() == 0:
            for path in (mounted.hot(key), mounted.hot(key).parent):
                os.chown(path, 1234, 2345)
        move(store, key, "hdd")
        assert mounted.hot(key).read_bytes() == DATA
        move(store, key, "hot")
        assert mounted.hot(key).read_bytes() == DATA
        assert mounted.hot(key).stat().st_uid == mounted.hot(key).parent.stat().st_uid
        assert store.reap(left_for_s=0).removed == 1

    def test_rotten_bytes_are_not_made_permanent(self, mounted, store):
        key = mounted.push(DATA)
        mounted.hot(key).write_bytes(b"x" + DATA[1:])
        with pytest.raises(DigestMismatchError):
            move(store, key, "hdd")
        assert not mounted.hot(key).is_symlink()
        assert not mounted.cold_file(key).exists()
        assert not temporary_files(mounted.root, mounted.cold)
        mounted.push(DATA)
        move(store, key, "hdd")
        mounted.cold_file(key).write_bytes(b"x" + DATA[1:])
        with pytest.raises(DigestMismatchError):
            move(store, key, "hot")
        assert mounted.hot(key).is_symlink()
        assert not temporary_files(mounted.root, mounted.cold)

    def test_what_the_mount_did_not_keep_is_noticed_before_the_swap(
        self, mounted, store, monkeypatch
    ):
        key = mounted.push(DATA)
        real = cold_files._read_back

        def flipped(temporary, digest, size, times):
            path = os.path.join(os.readlink(f"/proc/self/fd/{temporary.directory}"), temporary.name)
            with open(path, "r+b") as file:
                file.write(b"\0")
            real(temporary, digest, size, times)

        monkeypatch.setattr(cold_files, "_read_back", flipped)
        for where in ("hdd", "hot"):
            with pytest.raises(DigestMismatchError):
                move(store, key, where)
            assert mounted.hot(key).read_bytes() == DATA
            monkeypatch.setattr(cold_files, "_read_back", real)
            move(store, key, "hdd")
            monkeypatch.setattr(cold_files, "_read_back", flipped)

    @pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
    def test_other_digests_are_proven_too(self, mounted, store, algorithm):
        key = mounted.push(DATA, algorithm)
        moved = move(store, key, "hdd")
        assert moved.sha256 == hashlib.sha256(DATA).hexdigest()
        assert mounted.hot(key).read_bytes() == DATA
        mounted.cold_file(key).write_bytes(b"x" + DATA[1:])
        with pytest.raises(DigestMismatchError):
            move(store, key, "hot")

    def test_an_empty_blob_and_one_of_several_buffers(self, mounted, store):
        for data in (b"", os.urandom((3 << 20) + 77)):
            key = mounted.push(data)
            move(store, key, "hdd")
            assert store.get(key) == data
            move(store, key, "hot")
            assert mounted.hot(key).read_bytes() == data

    def test_only_blobs_are_moved(self, mounted, store):
        store.put("docker/registry/v2/repositories/a/_layers/x/link", b"sha256:1")
        with pytest.raises(StoreError, match="only blobs"):
            move(store, "docker/registry/v2/repositories/a/_layers/x/link", "hdd")
        with pytest.raises(ReadOnlyStoreError):
            move(mounted.reader(), mounted.push(DATA), "hdd")

    def test_from_one_cold_mount_to_another(self, mounted, tmp_path):
        (tmp_path / "nfs").mkdir()
        bind(str(mounted.root), "nfs", str(tmp_path / "nfs"), same_disk=True)
        store = mounted.store()
        key = mounted.push(DATA)
        move(store, key, "hdd")
        move(store, key, "nfs")
        assert store.placement(key).storage_class == "nfs"
        assert os.readlink(mounted.hot(key)).startswith(str(tmp_path / "nfs"))
        assert [name for _, name in store.list_classes(BLOBS)] == ["nfs"]
        store.reap(left_for_s=0)
        assert not mounted.cold_file(key).exists()
        assert store.get(key) == DATA

    def test_no_room_changes_nothing(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)

        def full(self, _data):
            with local_write.translated("write", self.location, key=self.key, write=True):
                raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(local_write.Temporary, "write", full)
        with pytest.raises(StoreFullError, match="hdd"):
            move(store, key, "hdd")
        assert not mounted.hot(key).is_symlink()
        assert not temporary_files(mounted.root, mounted.cold)

    def test_a_blob_that_changes_or_goes_while_it_is_copied(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)
        real = cold_files._read_back
        act = []
        monkeypatch.setattr(cold_files, "_read_back", lambda *words: (real(*words), act.pop()()))
        for change, error in (
            (lambda: mounted.hot(key).write_bytes(DATA + b"more"), PreconditionError),
            (lambda: shutil.rmtree(mounted.hot(key).parent), ObjectNotFoundError),
        ):
            mounted.push(DATA)
            act.append(change)
            with pytest.raises(error):
                move(store, key, "hdd")
            assert not mounted.cold_file(key).exists()
        assert not mounted.hot(key).parent.exists(), "what garbage collection removed came back"
        assert not temporary_files(mounted.root, mounted.cold)
        assert b'"step":"gone"' in mounted.journal()[-1]

    def test_garbage_collection_in_the_moment_of_the_swap(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)
        real = os.symlink

        def collected(*words, **more):
            shutil.rmtree(mounted.hot(key).parent)
            real(*words, **more)

        monkeypatch.setattr(os, "symlink", collected)
        with pytest.raises(ObjectNotFoundError):
            move(store, key, "hdd")
        assert not mounted.hot(key).parent.exists()
        assert not mounted.cold_file(key).exists()

    def test_many_threads(self, mounted, store):
        blobs = {mounted.push(os.urandom(5000)): None for _ in range(24)}
        blobs = {key: store.get(key) for key in blobs}
        failed = []

        def run(keys):
            for where in ("hdd", "hot", "hdd"):
                for key in keys:
                    try:
                        move(store, key, where)
                    except PreconditionError:  # another thread was there first
                        pass
                    except (StoreError, OSError) as error:
                        failed.append(error)

        threads = [threading.Thread(target=run, args=(list(blobs)[n:],)) for n in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            store.reap(left_for_s=0)
        assert not failed
        assert {key: store.get(key) for key in blobs} == blobs
        for key in blobs:
            move(store, key, "hdd")
        found = store.reap(left_for_s=0)
        assert (found.linked, found.waiting, found.kept) == (24, 0, 0)

    def test_a_reader_never_misses_a_blob_that_is_moved_to_and_fro(self, mounted, store):
        key = mounted.push(DATA)
        reader = mounted.reader()
        stop = threading.Event()
        bad, reads = [], [0, 0]

        def ours():
            while not stop.is_set():
                reads[0] += 1
                try:
                    if reader.get(key) != DATA or reader.head(key).size != len(DATA):
                        bad.append("other bytes")
                except (StoreError, OSError) as error:
                    bad.append(error)

        def as_a_registry():
            while not stop.is_set():
                reads[1] += 1
                try:
                    if mounted.hot(key).read_bytes() != DATA:
                        bad.append("other bytes")
                except OSError as error:
                    bad.append(error)

        threads = [threading.Thread(target=each) for each in (ours, as_a_registry)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            move(store, key, "hdd")
            move(store, key, "hot")
            store.reap()
        stop.set()
        for thread in threads:
            thread.join()
        assert not bad
        assert min(reads) > 20

    def test_another_process_waits_and_then_says_so(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)
        code = (
            "import sys; from regvault.storage.local_cold import ColdStore\n"
            "from regvault.storage.cold_binding import bindings_of\n"
            "s = ColdStore(sys.argv[1], bindings_of(sys.argv[1]), blobs=sys.argv[2])\n"
            "with s.turn.taken():\n"
            "    print('mine', flush=True); sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, mounted.root, BLOBS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout.readline() == b"mine\n"
        monkeypatch.setattr(local_lock, "LOCK_WAIT_S", 0.1)
        with pytest.raises(StoreUnavailableError, match="another process"):
            move(store, key, "hdd")
        with pytest.raises(StoreUnavailableError):
            store.reap()
        process.kill()
        process.communicate()
        move(store, key, "hdd")  # who is dead holds nothing


class TestReading:
    def test_what_is_cold_looks_like_what_is_hot(self, mounted, store):
        key, other = mounted.push(DATA), mounted.push(b"other")
        reader = mounted.reader()
        fan = key.rsplit("/", 2)[0]
        name = key.split("/")[-2]

        def seen():
            head = reader.head(key)
            return (
                [e.key for e in reader.list()],
                [(e.size, e.modified_ns) for e in reader.list(BLOBS)],
                (head.size, head.modified_ns),
                [row[:3] for row in reader.stat_children(fan, "data", [name, "none"])],
                reader.read_children(fan, "data", [name, "none"], limit=5),
                sorted(reader.scandir(f"{fan}/{name}")),
                reader.get(key, start=-4),
                reader.stored_sha256(key),
            )

        before = seen()
        move(store, key, "hdd")
        assert seen() == before
        classes = {e.key: name for e, name in reader.list_classes(BLOBS)}
        assert classes == {key: "hdd", other: "hot"}
        mounted.cold_file(key).unlink()  # with the mount there, this is loss
        for look in (reader.head, reader.get, reader.placement):
            with pytest.raises(ObjectNotFoundError):
                look(key)
        assert reader.stat_children(fan, "data", [name]) == [(name, -1, 0, 0)]

    def test_the_registry_may_see_the_mount_elsewhere(self, tmp_path):
        mounted = Mounted(tmp_path, seen="/in/a/container")
        key = mounted.push(DATA)
        move(mounted.store(), key, "hdd")
        suffix = key.removeprefix(BLOBS)
        assert os.readlink(mounted.hot(key)) == f"/in/a/container/blobs/{suffix}"
        assert mounted.reader().get(key) == DATA
        assert [e.size for e in mounted.reader().list(BLOBS)] == [len(DATA)]
        move(mounted.store(), key, "hot")
        assert mounted.hot(key).read_bytes() == DATA
        mounted.close()

    def test_another_host_may_have_the_mount_elsewhere(self, mounted, store, tmp_path):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        os.rename(mounted.cold, tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailableError):
            mounted.reader().get(key)
        mounted.elsewhere = bindings_of(str(mounted.root), {"hdd": str(tmp_path / "elsewhere")})
        from regvault.storage.local_cold import ColdStore

        there = ColdStore(mounted.root, mounted.elsewhere, blobs=BLOBS)
        assert there.get(key) == DATA
        there.close()


class TestAMountThatIsAway:
    @pytest.fixture(params=["no directory", "empty directory", "another mount", "torn file"])
    def away(self, request, mounted, tmp_path):
        store = mounted.store()
        key = mounted.push(DATA)
        move(store, key, "hdd")
        store.close()
        mounted._open.remove(store)
        os.rename(mounted.cold, tmp_path / "unmounted")
        if request.param != "no directory":
            mounted.cold.mkdir()
        if request.param == "another mount":
            (mounted.cold / "regvault-cold.json").write_text(
                json.dumps({"format": 1, "name": "hdd", "id": "0" * 32})
            )
        if request.param == "torn file":
            (mounted.cold / "regvault-cold.json").write_text("torn")
        return key

    def test_its_blobs_are_unavailable_and_never_missing(self, mounted, away, tmp_path):
        fan, name = away.rsplit("/", 2)[0], away.split("/")[-2]
        for store in (mounted.reader(), mounted.store()):
            for look in (
                lambda s: s.head(away), lambda s: s.get(away), lambda s: s.placement(away),
                lambda s: list(s.list(BLOBS)), lambda s: list(s.list_classes()),
                lambda s: s.stat_children(fan, "data", [name]),
                lambda s: s.read_children(fan, "data", [name], limit=4),
            ):  # fmt: skip
                with pytest.raises(StoreUnavailableError, match="is away"):
                    look(store)
        store = mounted.store()
        with pytest.raises(StoreUnavailableError):
            store.reap()
        other = mounted.push(b"other")
        lines = mounted.journal()
        with pytest.raises(StoreUnavailableError):
            move(store, other, "hdd")
        assert mounted.journal() == lines
        assert not mounted.hot(other).is_symlink()
        shutil.rmtree(mounted.cold, ignore_errors=True)
        os.rename(tmp_path / "unmounted", mounted.cold)
        assert store.get(away) == DATA  # it is back, also for who was at work meanwhile

    def test_a_restore_may_write_over_its_links(self, mounted, away):
        store = mounted.store(away_is_missing=True)
        fan, name = away.rsplit("/", 2)[0], away.split("/")[-2]
        with pytest.raises(ObjectNotFoundError):
            store.head(away)
        assert store.stat_children(fan, "data", [name]) == [(name, -1, 0, 0)]
        store.put(away, DATA)
        assert not mounted.hot(away).is_symlink()


class TestLinksThatAreNotOurs:
    """What is in a registry's directory is hostile: nothing in it leads a reader out of it."""

    def texts(self, mounted, key, tmp_path):
        suffix = key.removeprefix(BLOBS)
        other = "sha256/" + "ab/" + "ab" * 32 + "/data"
        return [
            "/etc/passwd",
            str(tmp_path / "unbound" / "blobs" / suffix),
            f"{mounted.cold}/blobs/{other}",
            f"{mounted.cold}/blobs/../blobs/{suffix}",
            f"{mounted.cold}//blobs/{suffix}",
            f"{mounted.cold}/blobs/{suffix}/",
            f"{mounted.cold}/../hdd/blobs/{suffix}",
            os.path.relpath(mounted.cold_file(key), mounted.hot(key).parent),
            "data",
            "../../..",
        ]

    def test_none_of_them_is_followed(self, mounted, tmp_path):
        key = mounted.push(DATA)
        file = mounted.cold_file(key)
        file.parent.mkdir(parents=True)
        file.write_bytes(DATA)
        shutil.copytree(mounted.cold / "blobs", tmp_path / "unbound" / "blobs")
        fan, name = key.rsplit("/", 2)[0], key.split("/")[-2]
        for text in self.texts(mounted, key, tmp_path):
            mounted.hot(key).unlink()
            mounted.hot(key).symlink_to(text)
            reader = mounted.reader()
            for look in (
                lambda r=reader: r.get(key), lambda r=reader: r.head(key),
                lambda r=reader: list(r.list(BLOBS)),
                lambda r=reader: r.stat_children(fan, "data", [name]),
            ):  # fmt: skip
                with pytest.raises(StoreError, match="is a link to") as caught:
                    look()
                assert not isinstance(caught.value, ObjectNotFoundError), text
            target = mounted.store()
            assert target.stat_children(fan, "data", [name]) == [(name, -1, 0, 0)], text
            with pytest.raises(ObjectNotFoundError):
                move_blindly(target, key, "hdd")
            mounted.hot(key).unlink()
            mounted.hot(key).symlink_to(mounted.cold_file(key))
            assert reader.get(key) == DATA

    def test_no_link_is_followed_below_a_cold_mount(self, mounted, store, tmp_path):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        (tmp_path / "secret").write_bytes(DATA)
        mounted.cold_file(key).unlink()
        mounted.cold_file(key).symlink_to(tmp_path / "secret")
        for look in (store.get, store.head):
            with pytest.raises(StoreError):
                look(key)
        shutil.move(mounted.cold_file(key).parent, tmp_path / "away")
        (tmp_path / "away" / "data").unlink()
        (tmp_path / "away" / "data").write_bytes(DATA)
        mounted.cold_file(key).parent.symlink_to(tmp_path / "away")
        for look in (store.get, store.head):
            with pytest.raises(StoreError):
                look(key)

    def test_nothing_is_written_through_a_link_in_a_parent(self, mounted, store, tmp_path):
        key = mounted.push(DATA)
        outside = tmp_path / "outside"
        shutil.move(mounted.hot(key).parent, outside)
        mounted.hot(key).parent.symlink_to(outside)
        following = mounted.store(follow_symlinks=True, writable=False)
        for each in (store, following):
            with pytest.raises(StoreError, match="symbolic link"):
                move_blindly(each, key, "hdd", each is following)
        assert (outside / "data").read_bytes() == DATA
        assert not (outside / "data").is_symlink()
        assert mounted.reader().get(key) == DATA  # a registry reads through such a one

    def test_a_binding_counts_only_with_the_same_id_at_both_ends(self, mounted, store, tmp_path):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        (tmp_path / "victim").mkdir()
        shutil.copytree(mounted.cold / "blobs", tmp_path / "victim" / "blobs")
        file = mounted.root / "regvault-cold.json"
        body = json.loads(file.read_text())
        body["roots"][0]["path"] = str(tmp_path / "victim")
        file.write_text(json.dumps(body))
        with pytest.raises(StoreUnavailableError):
            mounted.reader().get(key)

    @pytest.mark.parametrize(
        "change",
        [
            {"path": "relative"}, {"seen": "/a/../b"}, {"name": "hot"}, {"name": "a/b"},
            {"id": "x"}, {"path": 5}, {"seen": "/"}, {"name": ""},
        ],
    )  # fmt: skip
    def test_a_binding_that_regvault_did_not_write_is_an_error(self, mounted, change):
        file = mounted.root / "regvault-cold.json"
        body = json.loads(file.read_text())
        body["roots"][0] |= change
        file.write_text(json.dumps(body))
        with pytest.raises(StoreError, match="does not say"):
            bindings_of(str(mounted.root))

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', "\xff", " " * 100_000])
    def test_nor_is_a_file_of_something_else(self, mounted, text):
        (mounted.root / "regvault-cold.json").write_text(text)
        with pytest.raises(StoreError, match="does not say"):
            bindings_of(str(mounted.root))
        (mounted.root / "regvault-cold.json").unlink()
        (mounted.root / "regvault-cold.json").symlink_to("/etc/passwd")
        with pytest.raises(StoreError):
            bindings_of(str(mounted.root))


def move_blindly(store, key, where, known=False):
    if known:
        move(store, key, where)
    from regvault.model.classes import Placement
    from regvault.model.store import Entry

    store.change_class(key, where, expected=Placement(Entry(key, len(DATA), "", 0), "hot"))


class TestReaping:
    def later(self, monkeypatch, seconds):
        real = time.time
        monkeypatch.setattr(cold_journal.time, "time", lambda: real() + seconds)

    def test_what_the_registry_collected_goes_after_a_day(self, mounted, store, monkeypatch):
        key, kept = mounted.push(DATA), mounted.push(b"kept")
        for each in (key, kept):
            move(store, each, "hdd")
        shutil.rmtree(mounted.hot(key).parent)
        for _ in range(2):
            found = store.reap()
            assert (found.removed, found.waiting, found.linked) == (0, 1, 1)
        self.later(monkeypatch, DAY + 1)
        found = store.reap()
        assert (found.removed, found.removed_bytes) == (1, len(DATA))
        assert (found.linked, found.linked_bytes) == (1, 4)
        assert not mounted.cold_file(key).parent.exists()
        assert store.get(kept) == b"kept"
        assert store.reap().removed == 0

    def test_at_once_where_that_is_asked_for(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        shutil.rmtree(mounted.hot(key).parent)
        assert store.reap(orphaned_for_s=0).removed == 1
        assert not mounted.cold_file(key).exists()

    def test_a_link_that_comes_back_in_time_keeps_its_file(self, mounted, store, monkeypatch):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        text = os.readlink(mounted.hot(key))
        mounted.hot(key).unlink()
        assert store.reap().waiting == 1
        mounted.hot(key).symlink_to(text)  # the registry's directory was restored, say
        self.later(monkeypatch, 5 * DAY)
        assert store.reap().linked == 1
        assert store.get(key) == DATA
        mounted.hot(key).unlink()
        assert store.reap().waiting == 1, "the day began anew"

    def test_what_was_moved_back_stays_for_who_looked_at_the_link_before(
        self, mounted, store, monkeypatch
    ):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        move(store, key, "hot")
        assert store.reap().waiting == 1
        assert mounted.cold_file(key).exists()
        self.later(monkeypatch, 601)
        assert store.reap().removed == 1
        assert not mounted.cold_file(key).exists()
        assert store.get(key) == DATA

    def test_what_a_push_put_in_its_place_is_proven_first(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        mounted.hot(key).unlink()
        mounted.hot(key).write_bytes(b"x" + DATA[1:])
        assert store.reap(orphaned_for_s=0).kept == 1
        assert mounted.cold_file(key).read_bytes() == DATA, "the only good bytes are gone"
        mounted.hot(key).write_bytes(DATA)
        assert store.reap(orphaned_for_s=0).removed == 1

    def test_a_link_under_another_path_is_no_reason_to_delete(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        text = os.readlink(mounted.hot(key))
        mounted.hot(key).unlink()
        mounted.hot(key).symlink_to(f"/another{text}")
        assert store.reap(orphaned_for_s=0, left_for_s=0).kept == 1
        assert mounted.cold_file(key).exists()

    def test_what_the_journal_does_not_know_is_never_deleted(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        shutil.rmtree(mounted.hot(key).parent)
        (mounted.root / "regvault-cold-hdd.journal").unlink()
        assert store.reap(orphaned_for_s=0) == (0,) * 7
        assert mounted.cold_file(key).exists()

    def test_a_registry_that_is_away_loses_nothing(self, mounted, store):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        shutil.rmtree(mounted.root / "docker")
        with pytest.raises(StoreError, match="no blobs"):
            store.reap(orphaned_for_s=0)
        assert mounted.cold_file(key).exists()

    def test_files_of_moves_that_were_killed_go(self, mounted, store):
        key, other = mounted.push(DATA), mounted.push(b"other")
        journal = store.journals["hdd"]
        digest = store.digest(key)
        journal.write("begin", digest, len(DATA))
        left = mounted.cold_file(key).parent / ".regvault-1.tmp"
        left.parent.mkdir(parents=True)
        left.write_bytes(DATA[:1000])
        link = mounted.hot(key).parent / ".regvault-2.tmp"
        link.symlink_to(mounted.cold_file(key))
        move(store, other, "hdd")
        journal.write("leaving", store.digest(other), 5)
        half = mounted.hot(other).parent / ".regvault-3.tmp"
        half.write_bytes(b"ot")
        store.reap()
        assert not left.exists()
        assert not link.is_symlink()
        assert half.exists(), "a restore may be writing it"
        os.utime(half)
        reaped = mounted.store()
        import regvault.storage.cold_reap as module

        before, module._LEFT_AFTER_S = module._LEFT_AFTER_S, -1.0
        try:
            reaped.reap()
        finally:
            module._LEFT_AFTER_S = before
        assert not half.exists()
        assert store.get(other) == b"other"


class TestTheJournal:
    def test_a_torn_line_costs_that_line_only(self, mounted, store):
        one, two = mounted.push(b"one"), mounted.push(b"two")
        move(store, one, "hdd")
        path = mounted.root / "regvault-cold-hdd.journal"
        path.write_bytes(path.read_bytes() + b'{"at":17,"step":"gone","dige')
        move(store, two, "hdd")
        found = store.reap()
        assert (found.linked, found.damaged_lines) == (2, 1)

    def test_a_damaged_line_says_nothing(self, mounted, store):
        key = mounted.push(b"one")
        move(store, key, "hdd")
        path = mounted.root / "regvault-cold-hdd.journal"
        lines = path.read_bytes()
        path.write_bytes(lines.replace(b'"size":3', b'"size":4'))
        shutil.rmtree(mounted.hot(key).parent)
        found = store.reap(orphaned_for_s=0)
        assert (found.damaged_lines, found.removed) == (2, 0)
        assert mounted.cold_file(key).exists()

    def test_a_line_that_found_no_room_does_not_spoil_the_next(self, mounted, store, monkeypatch):
        one, two = mounted.push(b"one"), mounted.push(b"two")
        journal = store.journals["hdd"]
        real = os.write

        def half(fd, data):
            if b'"step"' in bytes(data[:40]):
                real(fd, data[:20])
                raise OSError(errno.ENOSPC, "full")
            return real(fd, data)

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(StoreFullError):
            move(store, one, "hdd")
        monkeypatch.setattr(os, "write", real)
        move(store, two, "hdd")
        assert [r.digest for r in journal.fold()] == [store.digest(two)]
        assert journal.fold().damaged == 1

    def test_it_is_written_anew_when_most_of_it_is_of_the_past(self, mounted, store, monkeypatch):
        monkeypatch.setattr(cold_journal, "_LARGE", 1000)
        keys = [mounted.push(os.urandom(10)) for _ in range(10)]
        for key in keys:
            move(store, key, "hdd")
        for key in keys[1:]:
            move(store, key, "hot")
        assert len(mounted.journal()) == 38
        store.reap(left_for_s=0)
        assert len(mounted.journal()) == 1
        assert store.reap().linked == 1
        move(store, keys[0], "hot")
        assert len(mounted.journal()) == 3


class TestBinding:
    @pytest.fixture
    def place(self, tmp_path):
        (tmp_path / "registry" / BLOBS).mkdir(parents=True)
        (tmp_path / "hdd").mkdir()
        return str(tmp_path / "registry"), str(tmp_path / "hdd")

    def test_both_ends_know_it_and_it_can_be_done_again(self, place):
        root, cold = place
        bound = bind(root, "hdd", cold, "/seen", same_disk=True)
        assert bindings_of(root) == (bound,)
        assert (bound.name, bound.path, bound.seen) == ("hdd", cold, "/seen")
        assert bind(root, "hdd", cold, "/seen", same_disk=True) == bound

    def test_one_that_was_killed_is_completed(self, place):
        root, cold = place
        bound = bind(root, "hdd", cold, same_disk=True)
        os.unlink(os.path.join(cold, "regvault-cold.json"))
        assert bind(root, "hdd", cold, same_disk=True) == bound

    def test_what_cannot_be_a_cold_mount_is_refused(self, place, tmp_path):
        root, cold = place
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_bytes(b"")
        (tmp_path / "link").symlink_to(root)
        for error, words in (
            (RefusedError, ("hdd", cold)),  # on one file system
            (RefusedError, ("hdd", str(tmp_path / "full"))),
            (RefusedError, ("hdd", root)),
            (RefusedError, ("hdd", f"{root}/docker")),
            (RefusedError, ("hdd", str(tmp_path / "link" / "docker"))),
            (RefusedError, ("hdd", str(tmp_path))),
            (UsageError, ("hdd", "relative")),
            (UsageError, ("hdd", f"{cold}/../hdd")),
            (UsageError, ("hdd", cold, "seen")),
            (UsageError, ("hot", cold)),
            (UsageError, ("a/b", cold)),
            (StoreMissingError, ("hdd", str(tmp_path / "none"))),
        ):
            with pytest.raises(error):
                bind(root, *words, same_disk=words != ("hdd", cold))
        assert bindings_of(root) == ()
        assert os.listdir(cold) == []

    def test_a_mount_belongs_to_one_registry(self, place, tmp_path):
        root, cold = place
        bind(root, "hdd", cold, same_disk=True)
        (tmp_path / "other").mkdir()
        with pytest.raises(RefusedError, match="already"):
            bind(str(tmp_path / "other"), "hdd", cold, same_disk=True)
        with pytest.raises(RefusedError, match="already"):
            bind(root, "hdd", cold, "/elsewhere", same_disk=True)
        with pytest.raises(RefusedError):
            bind(root, "hdd2", cold, same_disk=True)

    def test_only_an_empty_one_is_taken_away(self, mounted, store):
        root = str(mounted.root)
        key = mounted.push(DATA)
        move(store, key, "hdd")
        with pytest.raises(RefusedError, match="holds 1"):
            unbind(root, "hdd")
        move(store, key, "hot")
        store.reap(left_for_s=0)
        unbind(root, "hdd")
        assert bindings_of(root) == ()
        assert not (mounted.root / "regvault-cold.json").exists()
        with pytest.raises(ObjectNotFoundError):
            unbind(root, "hdd")
        assert os.listdir(mounted.cold) == []
        bind(root, "hdd", str(mounted.cold), same_disk=True)

    def test_one_that_is_lost_is_taken_away_unseen(self, mounted, store, tmp_path):
        key = mounted.push(DATA)
        move(store, key, "hdd")
        os.rename(mounted.cold, tmp_path / "lost")
        with pytest.raises(StoreUnavailableError):
            unbind(str(mounted.root), "hdd")
        unbind(str(mounted.root), "hdd", lost=True)
        assert bindings_of(str(mounted.root)) == ()
