"""What an attacker, or rot, does to a vault, a cache or a registry: nothing is swallowed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from world import World, blob_key, current_key, digest_of, flip, noise, tree

from regvault.cli.app import App
from regvault.cli.commands.info import info
from regvault.cli.commands.ls import ls
from regvault.cli.commands.snapshots import snapshots
from regvault.errors import RegvaultError, StoreAccessError, UsageError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.purge import plan_purge, purge
from regvault.ops.snapshot.session import parse_entry
from regvault.storage.local import LocalStore
from regvault.vault.amendments import commit_amendment
from regvault.vault.envelope import write_document
from regvault.vault.keys import new_run_id
from regvault.vault.prune_lock import PruneLock
from regvault.vault.segment import Location, write_segment


@pytest.fixture
def world(tmp_path):
    """A registry of two repositories in memory, a vault of one snapshot, and a cache."""
    made = World(cache=str(tmp_path / "cache"))
    push(made, "team/app", 1)
    push(made, "other", 2)
    assert made.snapshot().exit_code() == 0
    return made


def push(made, repository, seed, *tags):
    return made.push.image(
        repository, *(tags or (f"v{seed}",)), layers=(noise(3000, seed), noise(1 << 20, seed))
    )


def cache_file(made, name):
    (directory,) = os.listdir(made.cache)
    return os.path.join(made.cache, directory, name)


class TestTheCatalogIsNoWitness:
    """Invariant 11: no snapshot depends on it, and verify does not believe it."""

    def test_a_blob_that_a_segment_invents_is_missed(self, world):
        (pack,) = world.keys("packs/")
        layer = noise(1500, "new")
        line = Location(digest_of(layer), pack, 512, 1500, 1500, "regvault").line()
        write_segment(world.store, [line], level=0, run="f" * 24)
        world.push.image("team/app", "bad", layers=(layer,))
        world.snapshot()
        result = world.verify()
        assert result.exit_code() == 4
        assert {(p.key, p.what) for p in result.report.problems} == {(pack, "untrue")}
        assert ("team/app", ":bad", digest_of(layer)) in result.report.images

    def test_an_object_that_a_segment_invents_is_missed(self, world):
        layer = noise(1500, "new")
        nowhere = f"packs/{'0' * 64}.tar"
        line = Location(digest_of(layer), nowhere, 512, 1500, 1500, "regvault").line()
        write_segment(world.store, [line], level=0, run="f" * 24)
        world.push.image("team/app", "good", layers=(layer,))
        assert world.snapshot().exit_code() == 0
        assert world.restored() == tree(world.registry)

    def test_nor_does_a_raw_blob_serve_another_digest(self, world):
        raw = next(key for key in world.keys("blobs/"))
        layer = noise(1 << 20, "new")
        line = Location(digest_of(layer), raw, 0, 1 << 20, 1 << 20, "store").line()
        write_segment(world.store, [line], level=0, run="f" * 24)
        world.push.image("team/app", "good", layers=(layer,))
        assert world.snapshot().exit_code() == 0
        assert world.restored() == tree(world.registry)
        world.verified()

    def test_a_manifest_that_a_segment_invents_is_stored(self, world):
        (meta,) = world.keys("meta/")
        image = push(world, "team/app", 7)
        places = [Location(image.digest, meta, 0, 100, len(image.data), "regvault").line()]
        write_segment(world.store, places, level=0, run="f" * 24)
        assert world.snapshot().exit_code() == 4  # what a line said of the vault is not true
        assert world.restored() == tree(world.registry)

    def test_verify_names_a_blob_that_no_object_of_the_list_holds(self, world):
        layer = noise(3000, 1)
        (pack,) = [key for key in world.keys("packs/") if layer in world.store.get(key)]
        vault, run = world.vault(), new_run_id()
        with PruneLock(world.store, vault.id, run, wait_s=0, say=print) as lock:
            commit_amendment(world.store, vault.id, lock, run, {pack: None}, by="x", reason="")
        problems = world.verify("metadata").report.problems
        assert {p.what for p in problems} == {"closure"}
        assert digest_of(layer) in {p.key for p in problems}


class TestWrongMembers:
    """Invariant 7: a host that was taken over can store anything; its own name proves no member."""

    LAYER = noise(2000, "wrong layer")
    CONFIG = b'{"config": "wrong"}'

    def intruded(self, monkeypatch, data: bytes) -> World:
        """A vault with an object that holds other bytes under the digest of these."""
        made = World()
        push(made, "team/app", 1)
        made.push.image("team/app", "wrong", layers=(self.LAYER,), config=self.CONFIG)
        key = blob_key(digest_of(data))
        made.registry.put(key, flip(made.registry.get(key)))
        with monkeypatch.context() as patch:
            patch.setattr("regvault.ops.snapshot.storer.matches", lambda *_: True)
            assert made.snapshot().exit_code() == 0
        return made

    def test_verify_names_one_of_a_pack(self, monkeypatch):
        made = self.intruded(monkeypatch, self.LAYER)
        result = made.verify()
        assert result.exit_code() == 4
        assert any(digest_of(self.LAYER) in p.detail for p in result.report.problems)

    def test_no_restore_writes_one_of_a_meta_object(self, monkeypatch):
        made = self.intruded(monkeypatch, self.CONFIG)
        result, target = made.restore()
        assert result.exit_code() == 4
        assert blob_key(digest_of(self.CONFIG)) not in tree(target)

    def test_no_purge_moves_one(self, monkeypatch):
        made = self.intruded(monkeypatch, self.LAYER)
        vault = made.vault()
        made.store.clock_ns = time.time_ns()
        plan = plan_purge(vault, [digest_of(noise(3000, 1))], progress=NO_PROGRESS)
        with pytest.raises(VaultDamagedError, match="other bytes"):
            purge(vault, plan, progress=NO_PROGRESS, threads=1)
        assert not made.keys("records/amendments/")


class TestRotIsStoredAnew:
    """Invariant 5: a snapshot refuses for no rot of the vault, and says what it met."""

    def test_of_a_state_that_changed(self, world):
        before = tree(world.registry)
        for seed, key in enumerate(world.keys("trees/"), start=10):
            whole = world.spoil(key, flip)
            push(world, "team/app", seed)
            result = world.snapshot()
            assert result.root is not None
            if result.exit_code() == 4:
                assert any(key in warning for warning in world.progress.warnings)
                assert world.restored() == tree(world.registry)
            else:  # of a repository that nobody looked at: that is for `verify`
                assert world.verify().exit_code() == 4
            world.store.put(key, whole)
        assert world.restored(1) == before

    @pytest.mark.parametrize("cached", [True, False])
    def test_of_a_meta_object_that_is_read(self, world, cached):
        if not cached:
            shutil.rmtree(world.cache)
        (meta,) = world.keys("meta/")
        world.spoil(meta, lambda data: flip(data, 20))
        os.unlink(cache_file(world, "needs-prod.sqlite")) if cached else None
        push(world, "team/app", 3)
        result = world.snapshot()
        assert result.exit_code() == 4
        assert any(meta in warning for warning in world.progress.warnings)
        assert world.restored() == tree(world.registry)
        assert world.snapshot().exit_code() == 0

    def test_a_pack_that_was_cut_off_serves_nobody(self, world):
        (pack,) = world.keys("packs/")
        world.spoil(pack, lambda data: data[:3512])
        other = World(store=world.store, name="other-registry")
        push(other, "team/app", 1)
        assert other.snapshot().exit_code() == 0
        assert other.restored() == tree(other.registry)
        sizes = {entry.key: entry.size for entry in world.store.list("packs/")}
        listed = {ref.key: ref.size for ref in other.vault().object_list(other.root())}
        assert {key: sizes[key] for key in listed if key in sizes} == {
            key: size for key, size in listed.items() if key in sizes
        }
        assert pack not in listed


class TestTheCacheIsNoWitness:
    """Invariant 11: whatever is in it, the outcome is that of a run without it."""

    @pytest.mark.parametrize("name", ["needs-prod.sqlite", "catalog.sqlite"])
    def test_a_flipped_bit_anywhere(self, world, tmp_path, name):
        path = cache_file(world, name)
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(path, "rb") as file:
            good = file.read()
        shutil.copytree(world.cache, tmp_path / "kept")
        before = tree(world.registry)
        for at in range(100, len(good), max(1, len(good) // 25)):
            shutil.rmtree(world.cache)
            shutil.copytree(tmp_path / "kept", world.cache)
            with open(path, "wb") as file:
                file.write(flip(good, at))
            assert world.restored(1) == before
            assert world.verify().exit_code() == 0
            push(world, "team/app", f"{at}", "moves")
            result = world.snapshot()
            assert result.exit_code() == 0, (at, world.progress.warnings)
            assert world.restored() == tree(world.registry)


class TestNamesAreHostile:
    """Invariant 8."""

    @pytest.mark.parametrize("name", ["/tmp/x", "../../x", "a\0b", "", "F" * 32, 7, None])
    def test_the_id_of_a_vault_is_one(self, world, name):
        body = json.loads(world.store.get("vault.json").partition(b"\n")[0])
        world.store.put("vault.json", write_document({**body, "vault": name})[0])
        with pytest.raises(VaultDamagedError):
            world.vault()

    BAD = (None, -1, 1.5, True, "x", [], {}, 10**400, float("inf"))

    def test_no_field_of_a_root_is_believed(self, world):
        key = "snapshots/prod/00000001.json"
        body = json.loads(world.store.get(key).partition(b"\n")[0])
        fields = list(_paths(body))
        assert len(fields) > 30
        for path in fields:
            for bad in self.BAD:
                world.store.put(key, write_document(_spoiled(body, path, bad))[0])
                try:
                    world.verify()
                    world.restore(1, dry_run=True)
                except RegvaultError:
                    pass  # said, by an error of its own: anything else ends this test

    @pytest.mark.parametrize("bad", [None, "x", 10**400, []])
    def test_nor_by_those_who_only_look(self, tmp_path, bad):
        made = World(store=LocalStore(tmp_path / "vault", create=True))
        push(made, "team/app", 1)
        made.snapshot()
        key = "snapshots/prod/00000001.json"
        body = json.loads(made.store.get(key).partition(b"\n")[0])
        for path in _paths(body):
            made.store.put(key, write_document(_spoiled(body, path, bad))[0])
            for command, words in ((snapshots, ()), (info, ()), (ls, ("1",))):
                result = CliRunner().invoke(
                    command,
                    [*words, "--vault", f"{tmp_path}/vault"],
                    obj=App(json=command is info),
                    standalone_mode=False,
                )
                if result.exception is not None:
                    assert isinstance(result.exception, RegvaultError), (path, result.exception)


def _spoiled(body, path, bad):
    """Return a copy of a document with something else in one place."""
    changed = json.loads(json.dumps(body))
    *above, last = path
    part = changed
    for name in above:
        part = part[name]
    part[last] = bad
    return changed


def _paths(part, above=()):
    for name, value in part.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def repositories(made):
    vault, root = made.vault(), made.root()
    tree_of = vault.tree("repositories", root.repositories, vault.object_list(root))
    return [parse_entry(line) for line in tree_of.lines()]


class TestRegistries:
    def test_two_places_are_not_one_registry(self, tmp_path):
        one = World(LocalStore(tmp_path / "reg-a", create=True), name=None)
        push(one, "a", 1)
        assert one.snapshot().exit_code() == 0
        other = World(LocalStore(tmp_path / "reg/a", create=True), one.store, name=None)
        push(other, "b", 2)
        with pytest.raises(UsageError, match="already"):
            other.snapshot()
        assert other.snapshot(registry="other").exit_code() == 0

    def test_a_registry_that_moved_is_said(self, tmp_path, world):
        moved = World(LocalStore(tmp_path / "elsewhere", create=True), world.store)
        push(moved, "a", 1)
        moved.snapshot()
        assert any("was read from memory://registry before" in w for w in moved.progress.warnings)

    @pytest.mark.parametrize("lost", ["packs/", "meta/", "trees/", ""])
    def test_what_is_hidden_stays_though_objects_were_lost(self, tmp_path, lost):
        """Invariant 12: what cannot be read is not gone."""
        registry = LocalStore(tmp_path / "registry", create=True)
        made = World(registry)
        for number, name in enumerate(("team/a", "team/b", "team/sub/c", "solo")):
            push(made, name, number)
        made.snapshot()
        real = registry.scandir

        def refused(prefix):
            if prefix.rstrip("/").endswith("repositories/team"):
                raise StoreAccessError("Permission denied", key=prefix)
            return real(prefix)

        registry.scandir = refused
        if lost:
            made.lose(lost)
        result = made.snapshot()
        assert result.exit_code() in (3, 4)
        names = {entry.name for entry in repositories(made)}
        if lost == "trees/":  # then it is not known what there was
            assert "solo" in names
        else:
            assert {"solo", "team/a", "team/b", "team/sub/c"} <= names
        del registry.scandir
        assert made.snapshot().root.complete
        assert made.restored() == tree(registry)

    def test_a_directory_in_place_of_a_tags_link_is_damage(self, tmp_path):
        made = World(LocalStore(tmp_path / "r", create=True))
        push(made, "team/app", 1)
        link = tmp_path / "r" / current_key("team/app", "v1")
        link.unlink()
        link.mkdir()
        result = made.snapshot()
        assert result.exit_code() == 3
        assert [(str(f.kind), f.subject) for _, f in result.findings] == [("tag-unreadable", ":v1")]

    def test_links_in_a_circle_make_no_repositories(self, tmp_path):
        made = World(LocalStore(tmp_path / "r", create=True, follow_symlinks=True))
        push(made, "team/app", 1)
        below = tmp_path / "r/docker/registry/v2/repositories/team/app"
        for name in ("x", "y"):
            os.symlink(".", below / name)
        os.symlink("..", below / "z")
        began = time.monotonic()
        result = made.snapshot()
        assert result.root.counts.repositories == 1
        assert time.monotonic() - began < 20

    def test_a_manifest_that_no_registry_would_serve_leaves_the_snapshot_complete(self, world):
        data = b"x" * (5 << 20)
        world.push.write(blob_key(digest_of(data)), data)
        world.push.tag("team/app", "huge", digest_of(data))
        world.push.link(
            f"docker/registry/v2/repositories/team/app/_manifests/revisions/sha256/"
            f"{digest_of(data).partition(':')[2]}/link",
            digest_of(data),
        )
        result = world.snapshot()
        assert result.exit_code() == 3
        assert result.root.complete
        assert ("manifest-invalid", digest_of(data)) in {
            (str(f.kind), f.subject) for _, f in result.findings
        }
        assert world.registry.get(current_key("team/app", "huge"))


def test_what_killed_runs_left_is_removed_a_day_later(tmp_path):
    made = World(store=LocalStore(tmp_path / "vault", create=True))
    push(made, "a", 1)
    made.snapshot()
    (directory,) = {os.path.dirname(key) for key in made.keys("packs/")}
    left = [tmp_path / "vault" / directory / ".regvault-1.tmp", tmp_path / "vault/.regvault-2.tmp"]
    for path in left:
        path.write_bytes(b"left")
    made.snapshot()
    assert all(path.exists() for path in left)  # it may be being written
    for path in left:
        os.utime(path, (time.time() - 90_000,) * 2)
    made.snapshot()
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_changes_no_exit_code(tmp_path, closed):
    made = World(
        LocalStore(tmp_path / "registry", create=True), LocalStore(tmp_path / "vault", create=True)
    )
    push(made, "a", 1)
    redirect = {"stdout": ">&-", "stderr": "2>&-"}[closed]
    words = f"snapshot fs:{tmp_path}/registry --vault {tmp_path}/vault"
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m regvault {words} {redirect}"],
        env={**os.environ, "REGVAULT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
