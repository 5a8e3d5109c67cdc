"""`init` and `restore` as a person calls them: what they refuse, warn of and leave alone."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from regvault.cli.app import App
from regvault.cli.commands.diff import diff
from regvault.cli.commands.init import init
from regvault.cli.commands.ls import ls
from regvault.cli.commands.restore import restore
from regvault.cli.commands.scan import scan
from regvault.cli.commands.snapshot import snapshot
from regvault.errors import NotFoundError, RefusedError, UsageError, VaultDamagedError
from regvault.ops.sample import build_sample, change_sample
from regvault.storage.local import LocalStore


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A directory with a registry, and a vault of two snapshots of it."""
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    registry = LocalStore(str(tmp_path / "registry"), create=True)
    build_sample(registry, images=6, large=40_000)
    run(init, "./vault")
    take()
    change_sample(registry)
    take()
    return tmp_path


def run(command, *args, code=0, as_json=False):
    result = CliRunner().invoke(
        command, args, obj=App(json=as_json), standalone_mode=False, catch_exceptions=True
    )
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return json.loads(result.stdout) if as_json else result.output


def take(*args, code=0):
    return run(snapshot, "fs:registry", "--vault", "./vault", "--registry", "r", *args, code=code)


def bring(*args, code=0, as_json=False):
    return run(restore, *args, "--vault", "./vault", code=code, as_json=as_json)


def repositories(base):
    return base / "registry/docker/registry/v2/repositories"


class TestInit:
    def test_what_is_left_of_a_vault_is_no_place_for_a_new_one(self, base):
        kept = (base / "vault/vault.json").read_bytes()
        (base / "vault/vault.json").unlink()
        with pytest.raises(VaultDamagedError, match=r"vault\.json is gone"):
            run(ls, "latest", "--vault", "./vault")
        with pytest.raises(RefusedError, match=r"objects of a vault") as caught:
            run(init, "./vault")
        assert "vault.json" in caught.value.hint
        (base / "vault/vault.json").write_bytes(kept)
        assert "library/base" in run(ls, "latest", "--vault", "./vault")

    def test_a_directory_with_something_else_is_refused(self, base):
        (base / "other").mkdir()
        (base / "other/notes.txt").write_bytes(b"mine")
        with pytest.raises(RefusedError, match="something else at"):
            run(init, "./other")

    def test_what_a_killed_init_left_is_nothing(self, base):
        (base / "new/locks").mkdir(parents=True)
        (base / "new/locks/probe-00").write_bytes(b"probe")
        assert "Made vault" in run(init, "./new")

    def test_a_vault_is_not_made_twice(self, base):
        with pytest.raises(RefusedError, match="there is a vault"):
            run(init, "./vault")


class TestWhatIsMeant:
    def test_newer_ones_that_are_passed_over_are_named(self, base):
        shutil.move(repositories(base) / "service", base / "aside")
        assert "held" in take(code=3)
        said = bring("latest", "--to", "fs:out", "--dry-run")
        assert "r@2 is meant; newer, and passed over: r@3 (held)" in said
        assert "passed over" not in bring("2", "--to", "fs:out", "--dry-run")

    def test_a_time_as_it_is_shown_is_a_time(self, base):
        shown = run(ls, "1", "--vault", "./vault").partition("\n")[0].partition(", ")[2]
        assert shown.endswith(" UTC")
        assert "r@" in run(ls, shown, "--vault", "./vault")

    @pytest.mark.parametrize("command", [restore, scan, diff])
    def test_a_misspelled_repository_is_an_error_beside_a_right_one(self, base, command):
        globs = ("--repo", "library/*", "--repo", "librari/*")
        arguments = {
            restore: ("latest", "--to", "fs:out", "--vault", "./vault"),
            scan: ("fs:registry",),
            diff: ("1", "2", "--vault", "./vault"),
        }
        with pytest.raises(NotFoundError, match=r"librari/\*"):
            run(command, *arguments[command], *globs)
        assert not (base / "out").exists()

    def test_a_snapshot_says_so_and_goes_on(self, base):
        said = take("--repo", "library/*", "--repo", "librari/*")
        assert "no repository of " in said
        assert "matches librari/*" in said

    def test_a_digest_must_be_whole(self, base):
        with pytest.raises(UsageError, match="is no digest"):
            bring("latest", "--to", "fs:out", "--digest", "sha256:1234")

    def test_one_name_cannot_become_two(self, base):
        names = ("--rename", "team/app=a/b", "--rename", "team/app=a/c")
        with pytest.raises(UsageError, match="two names"):
            bring("latest", "--to", "fs:out", "--repo", "team/app", *names)


class TestTagsThatMoved:
    @pytest.fixture
    def moved(self, base):
        """A live registry in which team/app/tools:latest is another image than in snapshot 1."""
        bring("2", "--to", "fs:live")
        link = base / "live/docker/registry/v2/repositories/team/app/tools/_manifests/tags/latest"
        before = (link / "current/link").read_bytes()
        others = sorted(path.name for path in (link.parent.parent / "revisions/sha256").iterdir())
        other = next(name for name in others if name.encode() not in before)
        (link / "current/link").write_bytes(b"sha256:" + other.encode())
        return link / "current/link", before

    def test_one_that_was_asked_for_and_left_alone_is_no_success(self, base, moved):
        only = ("--repo", "team/app/tools", "--tag", "latest")
        found = bring("2", "--to", "fs:live", *only, code=3, as_json=True)
        assert [each["tag"] for each in found["tags_moved"]] == ["latest"]
        assert moved[0].read_bytes() != moved[1]

    def test_all_may_be_restored_around_it(self, base, moved):
        said = bring("2", "--to", "fs:live")
        assert "1 tag of the target point" in said

    def test_a_dry_run_tells_which_would_be_moved_back(self, base, moved):
        back = ("--overwrite", "tags")
        planned = bring("2", "--to", "fs:live", *back, "--dry-run", as_json=True)
        assert [each["tag"] for each in planned["tags_moved"]] == ["latest"]
        assert moved[0].read_bytes() != moved[1]
        done = bring("2", "--to", "fs:live", *back, as_json=True)
        assert [each["tag"] for each in done["tags_moved_back"]] == ["latest"]
        assert done["tags_moved"] == []
        assert moved[0].read_bytes() == moved[1]


class TestLayouts:
    def names(self, base):
        index = json.loads((base / "layout/index.json").read_bytes())
        return {
            each["digest"]: each.get("annotations", {}).get("org.opencontainers.image.ref.name")
            for each in index["manifests"]
        }

    def test_an_image_that_loses_its_name_stays_in_the_index(self, base):
        for repository in ("team/app/tools", "library/base"):
            only = ("--repo", repository, "--tag", "latest", "--overwrite", "tags")
            bring("2", "--to", "oci:layout", *only)
        names = list(self.names(base).values())
        assert names.count("latest") == 1
        assert None in names

    def test_the_same_export_again_writes_no_blob(self, base):
        first = bring("2", "--to", "oci:layout", as_json=True)
        before = self.names(base)
        again = bring("2", "--to", "oci:layout", as_json=True)
        assert first["blobs_written"] > 0
        assert (again["blobs_written"], again["blobs_kept"]) == (0, first["blobs_written"])
        assert self.names(base) == before


class TestNothingIsLeft:
    @pytest.mark.parametrize("target", ["fs:out", "oci:out"])
    def test_a_restore_of_nothing_makes_no_directory(self, base, target):
        with pytest.raises(NotFoundError):
            bring("latest", "--to", target, "--repo", "nosuch")
        bring("latest", "--to", target, "--dry-run")
        assert not (base / "out").exists()

    def test_a_dry_run_knows_what_will_not_come_back(self, base):
        blobs = base / "registry/docker/registry/v2/blobs/sha256"
        largest = max(blobs.glob("*/*/data"), key=os.path.getsize)
        shutil.rmtree(base / "vault")
        shutil.rmtree(base / "cache")
        largest.unlink()
        run(init, "./vault")
        take(code=3)
        assert "cannot be restored" in bring("1", "--to", "fs:out", "--dry-run", code=3)

    def test_a_dry_run_of_a_snapshot_says_that_it_would_be_held(self, base):
        shutil.rmtree(repositories(base) / "service")
        assert "would be held" in take("--dry-run")
