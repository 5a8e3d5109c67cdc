"""What the commands make of a registry with cold mounts, whether they are there or not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from world import Pusher, blob_key, noise, tree

from regvault.assemble.cold import bind_cold_mount, open_cold_store, unbind_cold_mount
from regvault.cli import main as main_module
from regvault.config.places import RegistryPlace
from regvault.errors import RefusedError, StoreUnavailableError, UsageError
from regvault.model.location import Role, parse_location
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = tuple(noise(size, "layer", size) for size in (300_000, 1_500_000, 50))


class Registry:
    """A registry on a disk with a cold mount, and a vault."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.root = directory / "registry"
        self.cold = directory / "hdd"
        self.vault = directory / "vault"
        self._capfd = capfd
        self.push = Pusher(LocalStore(str(self.root), create=True))
        self.app = self.push.image("team/app", "1", "latest", layers=LAYERS)
        self.gone = self.push.image("team/gone", "1", layers=(noise(200_000, "gone"),))
        for path in self.root.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        self.cold.mkdir()
        self.place = RegistryPlace(parse_location(f"fs:{self.root}", Role.SOURCE))
        assert self.run("init", str(self.vault))[0] == 0

    def bind(self) -> None:
        bind_cold_mount(self.place, "hdd", str(self.cold), "/seen/by/it", same_disk=True)

    def chill(self) -> list[str]:
        """Move all layers of the images to the cold mount."""
        store = open_cold_store(self.place)
        moved = [d for image in (self.app, self.gone) for d in image.blobs]
        for digest in moved:
            key = blob_key(digest)
            store.change_class(key, "hdd", expected=store.placement(key))
        store.close()
        return moved

    def unmount(self) -> None:
        os.rename(self.cold, self.directory / "unmounted")
        self.cold.mkdir()

    def mount(self) -> None:
        self.cold.rmdir()
        os.rename(self.directory / "unmounted", self.cold)

    def run(self, *words: str) -> tuple[int, str, str]:
        self._capfd.readouterr()
        code = main_module.run(list(words))
        out, err = self._capfd.readouterr()
        print(out, err, file=sys.stderr)
        return code, out, err

    def snapshot(self, *words: str) -> tuple[int, str, str]:
        return self.run("snapshot", f"fs:{self.root}", "--vault", str(self.vault), *words)

    def stored(self) -> set[str]:
        """Objects of the vault that hold bytes of the registry, or its states."""
        kinds = ("blobs", "packs", "meta", "trees")
        return {str(p) for kind in kinds for p in (self.vault / kind).rglob("*") if p.is_file()}

    def restore(self, target: Path, *words: str) -> tuple[int, str, str]:
        to = f"fs:{target}"
        return self.run("restore", "latest", "--vault", str(self.vault), "--to", to, *words)

    def restored(self) -> dict[str, bytes]:
        target = self.directory / "target"
        shutil.rmtree(target, ignore_errors=True)
        assert self.restore(target)[0] == 0
        return tree(LocalStore(str(target)), "docker/")


@pytest.fixture
def registry(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Registry(tmp_path, capfd)


def test_a_snapshot_stores_nothing_anew_of_what_became_cold(registry):
    assert registry.snapshot()[0] == 0
    before, stored = registry.restored(), registry.stored()
    registry.bind()
    registry.chill()
    assert (registry.root / blob_key(registry.app.blobs[1])).is_symlink()
    assert registry.snapshot()[0] == 0
    assert registry.stored() == stored
    code, out, _ = registry.run(
        "diff", "1", "2", "--vault", str(registry.vault), "--exit-code", "--json"
    )
    assert code == 0, out
    assert registry.restored() == before


def test_the_first_snapshot_reads_what_is_cold(registry, tmp_path):
    registry.bind()
    registry.chill()
    assert registry.snapshot()[0] == 0
    restored = registry.restored()
    for digest, data in zip(registry.app.blobs[1:], LAYERS, strict=True):
        assert restored[blob_key(digest)] == data
    code, out, _ = registry.run("scan", f"fs:{registry.root}", "--read-data", "--json")
    assert code == 0, out
    code, out, _ = registry.run("estimate", f"fs:{registry.root}", "--json")
    assert code == 0, out
    assert json.loads(out)["bytes"] > sum(map(len, LAYERS)), out


def test_a_mount_that_is_away_is_unavailable_and_nothing_is_missing(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    stored = registry.stored()
    registry.chill()
    registry.unmount()
    source = f"fs:{registry.root}"
    # What is known already need not be read again.
    assert registry.snapshot()[0] == 0
    for words in (
        ("scan", source), ("scan", source, "--read-data"), ("estimate", source),
        ("diff", source, "latest", "--vault", str(registry.vault)),
    ):  # fmt: skip
        code, out, err = registry.run(*words)
        assert "missing" not in (out + err).lower().replace("is-missing", ""), words
        assert code == 6 or words[0] == "diff", (words, code, err)
        assert code == 0 or "is away" in err, (words, err)
    assert registry.stored() == stored
    registry.mount()
    assert registry.snapshot()[0] == 0
    assert registry.stored() == stored
    assert registry.run("scan", source)[0] == 0


def test_a_first_snapshot_with_the_mount_away_is_not_taken_for_damage(registry):
    registry.bind()
    registry.chill()
    registry.unmount()
    code, out, _ = registry.snapshot("--json")
    assert code == 3
    findings = {f["kind"] for f in json.loads(out)["findings"]}
    assert findings == {"unreadable"}, out
    assert not json.loads(out)["complete"]
    registry.mount()
    assert registry.snapshot()[0] == 0
    code, out, _ = registry.run("verify", "--vault", str(registry.vault), "--read-data")
    assert code == 0


def test_an_image_on_cold_layers_that_are_known_is_captured_while_the_mount_is_away(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    registry.chill()
    registry.unmount()
    write = registry.push.write

    def as_a_registry(key: str, data: bytes) -> None:
        if not (registry.root / key).is_symlink():
            write(key, data)

    registry.push.write = as_a_registry
    registry.push.image("team/new", "1", layers=(*LAYERS, noise(1000, "new")))
    code, out, _ = registry.snapshot("--json")
    print(code, out, file=sys.stderr)
    assert code == 0, out
    registry.mount()
    assert registry.snapshot()[0] == 0


def test_a_lost_mount_is_restored_from_the_vault(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    before = registry.restored()
    moved = registry.chill()
    shutil.rmtree(registry.cold)
    code, _, _ = registry.run(
        "restore", "latest", "--vault", str(registry.vault), "--to", f"fs:{registry.root}"
    )
    assert code == 0
    for digest in moved:
        path = registry.root / blob_key(digest)
        assert not path.is_symlink()
        assert path.read_bytes() == before[blob_key(digest)]
    with pytest.raises(StoreUnavailableError):
        unbind_cold_mount(registry.place, "hdd")
    unbind_cold_mount(registry.place, "hdd", lost=True)
    assert registry.snapshot()[0] == 0
    assert registry.run("scan", f"fs:{registry.root}", "--read-data")[0] == 0
    assert registry.restored() == before


def test_a_restore_into_it_leaves_good_cold_blobs_where_they_are(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    moved = registry.chill()
    rotten, gone = (registry.cold / "blobs" / blob_key(d).split("/blobs/")[1] for d in moved[1:3])
    rotten.write_bytes(b"x" + rotten.read_bytes()[1:])
    gone.unlink()
    code, out, _ = registry.run(
        "restore", "latest", "--vault", str(registry.vault), "--to", f"fs:{registry.root}", "--json"
    )
    assert code == 0, out
    hot = [digest for digest in moved if not (registry.root / blob_key(digest)).is_symlink()]
    assert hot == moved[1:3]
    assert registry.run("scan", f"fs:{registry.root}", "--read-data")[0] == 0
    store = open_cold_store(registry.place)
    assert store.reap(orphaned_for_s=0).linked == len(moved) - 2
    store.close()


def test_damage_in_a_cold_mount_that_is_there_is_found_and_mended(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    moved = registry.chill()
    gone = registry.cold / "blobs" / blob_key(moved[2]).split("/blobs/")[1]
    gone.unlink()
    assert registry.run("scan", f"fs:{registry.root}")[0] == 3
    assert registry.restore(registry.root)[0] == 0
    assert registry.run("scan", f"fs:{registry.root}", "--read-data")[0] == 0


def test_the_configuration_says_where_the_mount_is_on_this_host(registry):
    registry.bind()
    registry.chill()
    os.rename(registry.cold, registry.directory / "elsewhere")
    config = registry.directory / "regvault.yaml"
    config.write_text(
        f"registries:\n  prod:\n    location: fs:{registry.root}\n    cold:\n      hdd: elsewhere\n"
        f"vaults:\n  main:\n    location: {registry.vault}\n"
    )
    assert registry.snapshot("--registry", "prod")[0] == 0  # it is of the configuration too
    assert registry.run("snapshot", "prod")[0] == 0
    assert registry.run("scan", "prod", "--read-data")[0] == 0


def test_a_binding_that_cannot_be_read_ends_a_run_before_it_calls_anything_missing(registry):
    registry.bind()
    registry.chill()
    (registry.root / "regvault-cold.json").write_text("{")
    code, _, err = registry.snapshot()
    assert code == 1
    assert "regvault-cold.json" in err
    code, _, err = registry.run(
        "restore", "latest", "--vault", str(registry.vault), "--to", f"fs:{registry.root}"
    )
    assert code != 0


def test_what_cannot_be_bound(registry):
    for path, error in (
        (registry.root / "hdd", UsageError),
        (registry.vault / "hdd", UsageError),
        (registry.vault, RefusedError),
        (registry.directory, RefusedError),
    ):
        path.mkdir(exist_ok=True)
        with pytest.raises(error):
            bind_cold_mount(registry.place, "hdd", str(path), same_disk=True)
    with pytest.raises(RefusedError, match="file system of the registry"):
        bind_cold_mount(registry.place, "hdd", str(registry.cold))
    empty = registry.directory / "empty"
    empty.mkdir()
    for location in (f"fs:{empty}", "s3://bucket/prefix"):
        with pytest.raises(UsageError):
            bind_cold_mount(
                RegistryPlace(parse_location(location, Role.SOURCE)), "hdd", str(registry.cold)
            )
    with pytest.raises(UsageError, match="no cold mount"):
        open_cold_store(registry.place)


def test_mount_and_unmount_as_a_user_types_them(registry):
    source, cold = f"fs:{registry.root}", str(registry.cold)
    assert registry.run("tier", "mount", source, "--json")[1] == '{"mounts": []}\n'
    for words, code in (
        (("hdd",), 2),
        (("--seen", "/cold"), 2),
        (("hdd", cold), 5),  # on one file system
        (("hot", cold, "--same-disk"), 2),
        (("hdd", str(registry.vault), "--same-disk"), 5),
        (("hdd", f"{cold}/none", "--same-disk"), 10),
    ):
        found, _, err = registry.run("tier", "mount", source, *words)
        assert found == code, (words, err)
    code, _, err = registry.run("tier", "mount", source, "hdd", cold)
    assert "--same-disk" in err
    code, out, _ = registry.run(
        "tier", "mount", source, "hdd", cold, "--seen", "/cold", "--same-disk", "--json"
    )
    assert code == 0
    mount = {"name": "hdd", "path": cold, "seen": "/cold", "problem": None, "blobs": 0, "bytes": 0}
    assert json.loads(out) == {"mounts": [mount]}
    moved = registry.chill()
    code, out, _ = registry.run("tier", "mount", source)
    assert f"{len(moved)} blobs" in out
    assert "seen at /cold" in out
    assert registry.run("tier", "unmount", source, "hdd")[0] == 5
    assert registry.run("tier", "unmount", source, "nfs")[0] == 10
    registry.unmount()
    code, out, err = registry.run("tier", "mount", source)
    assert (code, "is away" in err) == (0, True)
    assert registry.run("tier", "unmount", source, "hdd")[0] == 6
    assert registry.run("tier", "unmount", source, "hdd", "--lost")[0] == 2
    assert registry.run("tier", "unmount", source, "hdd", "--lost", "--yes")[0] == 0
    assert registry.run("tier", "mount", source, "--json")[1] == '{"mounts": []}\n'


def test_links_into_a_mount_that_was_taken_away_are_replaced_by_a_restore(registry):
    registry.bind()
    assert registry.snapshot()[0] == 0
    before = registry.restored()
    moved = registry.chill()
    unbind_cold_mount(registry.place, "hdd", lost=True)
    assert registry.restore(registry.root)[0] == 0
    for digest in moved:
        assert not (registry.root / blob_key(digest)).is_symlink()
    assert registry.run("scan", f"fs:{registry.root}", "--read-data")[0] == 0
    assert registry.restored() == before
