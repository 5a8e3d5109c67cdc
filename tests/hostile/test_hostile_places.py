"""Invariants 8 and 11: links that lead out of a place, and local caches that say what is not so."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from attacks import WHOLE
from test_hostile_vault import is_clear, settle

from regvault.errors import VaultDamagedError
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

BASE = "docker/registry/v2"


@pytest.fixture
def outside(place):
    """A directory that nothing may touch."""
    found = place.base / "outside"
    found.mkdir()
    (found / "secret").write_text("secret")
    yield found
    assert os.listdir(found) == ["secret"]
    assert (found / "secret").read_text() == "secret"


class TestLinksOutOfAPlace:
    @pytest.mark.parametrize(
        "where",
        [
            "docker",
            f"{BASE}/repositories",
            f"{BASE}/repositories/team",
            f"{BASE}/repositories/team/app/_manifests/tags/1",
            f"{BASE}/blobs/sha256",
        ],
    )
    def test_a_restore_follows_none_at_its_target(self, place, capfd, outside, where):
        path = place.base / "target" / where
        path.parent.mkdir(parents=True)
        path.symlink_to(outside)
        args = ("restore", "1", "--to", "fs:target", "--vault", "./vault")
        ran = place.run(capfd, *args)
        is_clear(args, ran)
        assert ran.code != 0
        assert "link" in ran.err

    @pytest.mark.parametrize("where", ["blobs", "blobs/sha256", "index.json", "oci-layout"])
    def test_nor_in_a_layout(self, place, capfd, outside, where):
        path = place.base / "layout" / where
        path.parent.mkdir(parents=True)
        path.symlink_to(outside / ("secret" if "." in where or "-" in where else ""))
        args = ("restore", "1", "--to", "oci:layout", "--vault", "./vault")
        ran = place.run(capfd, *args)
        is_clear(args, ran)
        assert ran.code != 0

    @pytest.mark.parametrize("where", ["packs", "trees", "catalog", "snapshots/prod", "leases"])
    def test_a_vault_has_none(self, place, capfd, outside, where):
        path = place.base / "vault" / where
        kept = {entry.name for entry in path.iterdir()}
        path.rename(place.base / "moved")
        path.symlink_to(place.base / "moved")
        settle(place)
        for args in (("verify",), ("ls", "1"), ("prune", "--yes"), ("snapshots",)):
            ran = place.run(capfd, *args, "--vault", "./vault")
            is_clear(args, ran)
            assert {entry.name for entry in (place.base / "moved").iterdir()} == kept

    def test_a_document_of_a_vault_is_no_link(self, place, capfd, outside):
        root = place.base / "vault/snapshots/prod/00000001.json"
        root.unlink()
        root.symlink_to(outside / "secret")
        for args in (("ls", "1"), ("verify",)):
            ran = place.run(capfd, *args, "--vault", "./vault")
            is_clear(args, ran)
            assert ran.code != 0
            assert "secret" not in ran.out.replace("outside/secret", "")


@pytest.mark.parametrize("name", [name for name in WHOLE if name.startswith("repository: ")])
def test_object_storage_gets_no_key_of_a_hostile_name(place, name):
    WHOLE[name](place)
    target = MemoryStore("target")
    with pytest.raises(VaultDamagedError):
        place.world.restore(1, target)
    assert not list(target.list())


def _caches(place):
    (directory,) = (place.base / "cache").iterdir()
    return directory


def _resum(path: Path) -> None:
    """Make the checksum beside a file of the cache right, as an attacker does."""
    path.with_name(f"{path.name}.sum").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def _garbage(path):
    path.write_bytes(b"garbage" * 1000)


def _empty(path):
    path.write_bytes(b"")


def _another_schema(path):
    path.unlink()
    with sqlite3.connect(path) as db:
        db.executescript(
            "CREATE TABLE lines (x); CREATE VIEW segments AS SELECT 1; PRAGMA user_version=1"
        )


def _lying_catalog(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE lines SET offset = 1, length = 7, object = 1")


def _mistyped_catalog(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE lines SET offset = 'x', length = x'00ff', size = NULL, proof = 5")


def _escaping_catalog(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE objects SET key = '../../outside/secret' || id")
        db.execute("UPDATE lines SET length = 9223372036854775807, offset = -5")


@pytest.mark.parametrize(
    "poison",
    [_garbage, _empty, _another_schema, _lying_catalog, _mistyped_catalog, _escaping_catalog],
)
class TestPoisonedCatalog:
    """Whatever is in the cache, the outcome is that of a run without it."""

    def test_a_restore_brings_everything(self, place, capfd, outside, poison):
        whole = place.files("registry")
        self.fill(place, capfd)
        poison(_caches(place) / "catalog.sqlite")
        ran = place.run(capfd, "restore", "1", "--to", "fs:again", "--vault", "./vault")
        assert ran.code == 0, ran
        assert place.files("again") == whole

    def test_the_next_snapshot_is_whole(self, place, capfd, outside, poison):
        self.fill(place, capfd)
        poison(_caches(place) / "catalog.sqlite")
        place.world.push.image("team/app", "2", layers=(b"new" * 1000,))
        args = ("snapshot", "fs:registry", "--vault", "./vault", "--registry", "prod")
        ran = place.run(capfd, *args)
        is_clear(args, ran)
        ran = place.run(capfd, "verify", "--read-data", "--vault", "./vault")
        assert ran.code == 0, ran

    def fill(self, place, capfd):
        """Let a command make the cache, and bring it together in one file."""
        ran = place.run(capfd, "restore", "1", "--to", "fs:first", "--vault", "./vault")
        assert ran.code == 0
        with sqlite3.connect(_caches(place) / "catalog.sqlite") as db:
            assert db.execute("SELECT count(*) FROM lines").fetchone()[0] > 3
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode=DELETE")


SNAPSHOT = ("snapshot", "fs:registry", "--vault", "./vault", "--registry", "prod")


class TestPoisonedNeeds:
    """The index of what the newest root needs: bound to that root, with a checksum beside it."""

    @pytest.mark.parametrize("poison", [_garbage, _empty, _another_schema])
    def test_garbage_is_made_anew(self, place, capfd, outside, poison):
        assert place.run(capfd, *SNAPSHOT).code == 0
        path = _caches(place) / "needs-prod.sqlite"
        poison(path)
        _resum(path)
        self.and_goes_on(place, capfd)

    def test_that_of_another_vault_is_not_taken(self, place, capfd, outside):
        assert place.run(capfd, *SNAPSHOT).code == 0
        mine = _caches(place)
        other = place.base / "other"
        shutil.copytree(place.base / "vault", other)
        shutil.rmtree(other)
        for words in (("init", "./other"), (*SNAPSHOT[:3], "./other", *SNAPSHOT[4:])):
            assert place.run(capfd, *words).code == 0
        (theirs,) = (each for each in (place.base / "cache").iterdir() if each != mine)
        for name in ("needs-prod.sqlite", "needs-prod.sqlite.sum", "catalog.sqlite"):
            shutil.copy(theirs / name, mine / name)
        self.and_goes_on(place, capfd)

    def and_goes_on(self, place, capfd):
        place.world.push.image("team/app", "2", layers=(b"new" * 1000,))
        ran = place.run(capfd, *SNAPSHOT)
        is_clear(SNAPSHOT, ran)
        assert ran.code == 0, ran
        ran = place.run(capfd, "verify", "--read-data", "--vault", "./vault")
        assert ran.code == 0, ran
        ran = place.run(capfd, "restore", "latest", "--to", "fs:again", "--vault", "./vault")
        assert ran.code == 0, ran
        assert place.files("again") == place.files("registry")
