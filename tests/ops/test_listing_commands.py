"""The commands that look inside, as a person and as a script call them."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner
from looking import Lab

from regvault.cli.app import App
from regvault.cli.commands.confirm import confirm
from regvault.cli.commands.diff import diff
from regvault.cli.commands.estimate import estimate
from regvault.cli.commands.find import find
from regvault.cli.commands.info import info
from regvault.cli.commands.ls import ls
from regvault.cli.commands.snapshots import snapshots
from regvault.errors import NotFoundError, UsageError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.sample import build_sample, change_sample
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.registry.reader import DistributionSource
from regvault.storage.local import LocalStore
from regvault.vault.create import create_vault
from regvault.vault.keys import root_key
from regvault.vault.vault import Vault


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A registry and a vault on disk: prod@1, prod@2, and prod@3, which is held."""
    base = tmp_path_factory.mktemp("places")
    os.environ["REGVAULT_CACHE"] = str(base / "cache")
    registry = LocalStore(str(base / "registry"), create=True)
    build_sample(registry, images=6, large=40_000)
    store = LocalStore(str(base / "vault"), create=True)
    create_vault(store)

    def take():
        source = DistributionSource(registry, kind="distribution-fs")
        options = SnapshotOptions(registry="prod")
        snapshot(Vault(store), source, options, progress=NO_PROGRESS, cache_base=None)

    take()
    change_sample(registry)
    take()
    below = base / "registry/docker/registry/v2/repositories"
    shutil.move(below / "service", base / "aside")
    take()
    shutil.move(base / "aside", below / "service")
    yield base
    del os.environ["REGVAULT_CACHE"]


def run(command, *args, as_json=False, vault=None, **app):
    more = [] if vault is None else ["--vault", str(vault)]
    result = CliRunner().invoke(
        command, [*args, *more], obj=App(json=as_json, **app), standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def documents(command, *args, **more):
    code, text = run(command, *args, as_json=True, **more)
    return code, [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def vault(places):
    return places / "vault"


def test_snapshots(vault):
    code, text = run(snapshots, vault=vault)
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == [
        "snapshot", "prod@1", "prod@2", "prod@3",
    ]  # fmt: skip
    assert "held" in text
    code, rows = documents(snapshots, vault=vault)
    assert [row["state"] for row in rows] == ["complete", "complete", "held"]


def test_a_damaged_snapshot_is_listed_and_ends_in_4(vault, tmp_path):
    broken = tmp_path / "vault"
    shutil.copytree(vault, broken)
    (broken / root_key("prod", 1)).write_bytes(b"{}")
    code, rows = documents(snapshots, vault=broken)
    assert (code, rows[0]["state"], len(rows)) == (4, "damaged", 3)
    with pytest.raises(VaultDamagedError):
        run(ls, "1", vault=broken)
    code, (document,) = documents(info, vault=broken)
    assert (code, document["status"]) == (4, "error")


def test_ls(vault):
    _, text = run(ls, vault=vault)
    assert "team/app/tools" in text
    _, rows = documents(ls, vault=vault)
    assert any(row["repository"] == "team/app" for row in rows)
    _, text = run(ls, "1", "team/app", "--all", vault=vault)
    assert "(child)" in text
    _, rows = documents(ls, "team/app", "-l", vault=vault)
    assert all(row["bytes"] for row in rows)
    _, text = run(ls, "team/app:latest", vault=vault)
    assert "linux/arm64/v8" in text
    assert "application/spdx+json" in text
    _, (document,) = documents(ls, "latest", "team/app/tools:bundle", vault=vault)
    assert document["snapshot"] == "prod@2"
    assert document["image"]["children"][0]["kind"] == "index"
    with pytest.raises(NotFoundError):
        run(ls, "nothing/here", vault=vault)
    with pytest.raises(UsageError):
        run(ls, "Not A Name", vault=vault)


def test_diff(places, vault):
    code, text = run(diff, "1", "2", vault=vault)
    assert code == 0
    assert "+ :1.3" in text
    code, (document,) = documents(diff, "1", "2", "--exit-code", vault=vault)
    assert (code, document["totals"]["tags_moved"]) == (1, 1)
    code, text = run(diff, "latest", f"fs:{places}/registry", "--exit-code", vault=vault)
    assert code == 0
    assert "do not differ" in text
    # Two live registries need no vault.
    code, (document,) = documents(diff, f"fs:{places}/registry", f"fs:{places}/registry")
    assert not document["differs"]
    code, (document,) = documents(diff, "1", "2", "--repo", "library/*", vault=vault)
    assert not document["differs"]


def test_find(vault):
    _, text = run(find, "team/app:v1", vault=vault)
    assert "prod@1" in text
    _, (document,) = documents(find, "team/app/tools:latest", vault=vault)
    digest = document["ranges"][0]["digest"]
    _, text = run(find, digest[7:19], vault=vault)
    assert digest in text
    assert "meta/" in text
    _, (document,) = documents(find, f"team/app/tools@{digest[7:19]}", vault=vault)
    assert {each["repository"] for each in document["occurrences"]} == {"team/app/tools"}


def test_info(vault):
    code, text = run(info, vault=vault)
    assert code == 0
    assert "Registry prod: warning" in text
    assert "regvault confirm prod@3" in text
    code, (document,) = documents(info, vault=vault)
    assert document["registries"][0]["restorable"]["count"] == 2


def test_estimate(places, vault):
    location = f"fs:{places}/registry"
    code, text = run(estimate, location, "--sample-seconds", "0.1")
    assert code == 0
    assert "STANDARD_IA" in text
    assert "list prices of 2026" in text
    # There need be no vault yet: that is what it is for.
    _, (document,) = documents(estimate, location, vault=places / "none")
    assert document["growth"] is None
    assert document["bytes_per_second"] > 0


def test_confirm(vault, tmp_path):
    copy = tmp_path / "vault"
    shutil.copytree(vault, copy)
    _, (plan,) = documents(confirm, "3", "--dry-run", vault=copy)
    assert (plan["dry_run"], plan["confirmed"]) == (True, False)
    assert not (copy / "records").exists()
    with pytest.raises(UsageError):  # nobody can be asked
        run(confirm, "3", vault=copy)
    code, text = run(confirm, "3", "--yes", "--reason", "cleaned", vault=copy)
    assert code == 0
    assert "prod@3 is confirmed" in text
    code, (document,) = documents(confirm, "3", "--yes", vault=copy)
    assert (code, document["confirmed"], document["record"]) == (0, True, None)
    _, rows = documents(snapshots, vault=copy)
    assert rows[-1]["state"] == "confirmed"


def test_every_command_has_help_examples_and_exit_codes():
    for command in (snapshots, ls, diff, find, info, estimate, confirm):
        text = CliRunner().invoke(command, ["--help"], obj=App()).stdout
        assert "Examples:" in text
        assert "Exit codes:" in text
        assert max(map(len, text.splitlines())) <= 100


def test_hostile_text_from_a_vault_cannot_steer_a_terminal(tmp_path):
    lab = Lab()
    lab.registry._name = "\x1b]0;owned\x07"
    lab.snapshot()
    lab.delete("/repositories/service/")
    store = LocalStore(str(tmp_path / "vault"), create=True)
    lab.snapshot()
    for entry in lab.store.list():
        store.put(entry.key, lab.store.get(entry.key))
    for command, *args in ((snapshots,), (info,), (ls,), (confirm, "2", "--dry-run")):
        assert "\x1b" not in run(command, *args, vault=tmp_path / "vault")[1]
