"""`doctor` as a person calls it: what it finds, what it leaves alone, what it ends with."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from world import BASE, World, fill

from regvault.cli.app import App
from regvault.cli.commands.doctor import doctor
from regvault.errors import NotFoundError, UsageError
from regvault.ops.doctor.source import sample_flat, sample_tree
from regvault.policy.doctor.check import CHECKS
from regvault.storage.local import LocalStore
from regvault.vault.keys import new_run_id, root_key
from regvault.vault.lease import Lease
from regvault.vault.vault import Vault


def run(*args, config=None, as_json=True):
    result = CliRunner().invoke(
        doctor, args, obj=App(json=as_json, config_path=config), standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return result.return_value or 0, json.loads(result.stdout) if as_json else result.stdout


def states(document, subject="vault"):
    return {c["id"]: c["state"] for c in document["checks"] if c["subject"] == subject}


def check(document, name):
    (found,) = [c for c in document["checks"] if c["id"] == name]
    return found


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A registry, and a vault with one snapshot of it."""
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    registry = LocalStore(tmp_path / "registry", create=True)
    world = World(registry, LocalStore(tmp_path / "vault", create=True))
    fill(world)
    world.snapshot()
    os.chmod(tmp_path / "vault", 0o700)
    return tmp_path


def contents(base, name="vault"):
    return {
        os.path.relpath(os.path.join(path, file), base)
        for path, _, files in os.walk(base / name)
        for file in files
    }


def test_a_vault_and_its_registry(base):
    before = contents(base)
    code, document = run("fs:registry", "--vault", "./vault")
    vault, source = states(document), states(document, "source")
    # Whatever the tests run on; and both are on one disk here.
    assert set(vault) | set(source) <= set(CHECKS)
    assert vault.pop("file-system") in ("ok", "warning")
    assert vault.pop("space") in ("ok", "warning")
    assert set(vault.values()) == {"ok"}
    assert source == {
        "source-layout": "ok",
        "source-readable": "ok",
        "source-overlap": "ok",
        "second-copy": "warning",
    }
    assert (code, document["status"], document["role"]) == (3, "warning", "any")
    assert document["counts"]["error"] == 0
    assert sum(document["counts"].values()) == len(document["checks"])
    assert contents(base) - before <= {"vault/.regvault-lock"}


def test_what_makes_the_exit_code_can_be_chosen(base):
    code, document = run("fs:registry", "--vault", "./vault", "--fail-on", "error")
    assert (code, document["status"]) == (0, "warning")


def test_every_finding_says_what_to_do(base):
    (base / "vault/vault.json").unlink()
    _, document = run("fs:registry", "--vault", "./vault")
    assert check(document, "vault-format")["state"] == "error"
    for each in document["checks"]:
        assert bool(each["hint"]) is (each["state"] in ("warning", "error")), each
        assert each["found"]


def test_a_source_alone_needs_no_vault(base):
    code, document = run("fs:registry")
    assert code == 0
    assert states(document) == {}
    assert states(document, "source") == {"source-layout": "ok", "source-readable": "ok"}


def test_all_that_the_configuration_has(base):
    (base / "regvault.yaml").write_text(
        "registries: {prod: {location: 'fs:registry'}, gone: {location: 'fs:gone'}}\n"
        "vaults: {one: {location: ./vault}, other: {location: ./other}}\n"
    )
    code, document = run(config="regvault.yaml")
    places = {(c["subject"], os.path.basename(c["location"])) for c in document["checks"]}
    assert places == {
        ("vault", "vault"),
        ("vault", "other"),
        ("source", "registry"),
        ("source", "gone"),
    }
    assert code == 10  # one of the vaults is not there


def test_nothing_named_and_no_configuration_is_wrong_usage(base):
    with pytest.raises(UsageError, match="no vault is named"):
        run()


def test_a_name_that_the_configuration_has_not(base):
    with pytest.raises(NotFoundError):
        run("prod")


@pytest.mark.parametrize("args", [["--role", "king"], ["--fail-on", "never"], ["https://x/y"]])
def test_wrong_words(base, args):
    from click import UsageError as Wrong

    with pytest.raises((Wrong, UsageError)):
        run("--vault", "./vault", *args)


# Vaults that are not there


def test_no_directory(base):
    code, document = run("--vault", "./none")
    assert (code, states(document)) == (10, {"reachable": "error"})
    assert "mounted" in check(document, "reachable")["hint"]
    code, document = run("--vault", "./none/deep", "--new", "--fail-on", "error")
    assert code == 0
    assert states(document)["permission-write"] == "ok"
    assert str(base) in check(document, "permission-write")["found"]
    assert {"space", "inodes", "file-system"} <= set(states(document))
    assert states(document)["create-only"] == "skipped"
    assert not (base / "none").exists()


def test_where_init_would_fail_is_said_before(base):
    """All was "ok" where init could not make the directory."""
    (base / "closed").mkdir(mode=0o555)
    done = subprocess.run(
        [sys.executable, "-m", "regvault", "doctor", "--vault", "./closed/v", "--new", "--json"],
        cwd=base, preexec_fn=without_rights_of_root if os.geteuid() == 0 else None,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 12, done.stderr
    found = check(json.loads(done.stdout), "permission-write")
    assert found["state"] == "error"
    assert str(base / "closed") in found["found"]


@pytest.mark.parametrize("place", ["./file", "./file/below"])
def test_a_file_in_the_way_of_a_new_vault_is_found(base, place):
    (base / "file").write_text("x")
    code, document = run("--vault", place, "--new")
    assert (code, states(document)) == (10, {"reachable": "error"})
    assert "is not a directory" in check(document, "reachable")["found"]


@pytest.mark.parametrize(
    ("args", "state"),
    [
        (("fs:registry", "--vault", "./vault"), "warning"),
        (("fs:registry", "--vault", "./none/deep", "--new"), "warning"),
        (("fs:registry", "--vault", "./none"), "skipped"),  # a mount may be missing
        (("fs:none", "--vault", "./vault"), "skipped"),
        (("fs:registry", "--vault", "s3://bucket/vault"), "ok"),
    ],
)
def test_what_a_new_vault_shares_with_its_source(base, monkeypatch, args, state):
    """It was called a second copy before init, and none after it."""
    monkeypatch.setattr("regvault.ops.doctor.run.examine_vault", lambda *_: ())
    _, document = run(*args)
    assert states(document, "source")["second-copy"] == state


def test_an_empty_directory_may_be_a_disk_that_is_not_mounted_so_nothing_is_written(base):
    (base / "empty").mkdir(mode=0o700)
    code, document = run("--vault", "./empty")
    assert code == 10
    assert check(document, "vault-format")["state"] == "error"
    assert states(document)["create-only"] == "skipped"
    assert os.listdir(base / "empty") == []


def test_an_empty_directory_is_probed_before_init(base):
    (base / "empty").mkdir(mode=0o700)
    code, document = run("--vault", "./empty", "--new", "--fail-on", "error")
    assert (code, states(document)["create-only"]) == (0, "ok")
    assert contents(base, "empty") <= {"empty/.regvault-lock"}


@pytest.mark.parametrize("args", [[], ["--new"]])
def test_nothing_is_written_into_something_else(base, args):
    (base / "other").mkdir()
    (base / "other/file").write_text("x")
    for name in ("other", "registry"):
        before = contents(base, name)
        code, document = run("--vault", f"./{name}", *args)
        assert code == 10
        assert check(document, "vault-format")["state"] == "error"
        assert check(document, "permission-write")["state"] == "skipped"
        assert contents(base, name) == before


# Vaults that cannot be written


def test_no_write_writes_nothing(base):
    before = {
        p: os.stat(base / p).st_mtime_ns
        for p in (*contents(base), "vault", "vault/leases", "vault/locks")
    }
    code, document = run("--vault", "./vault", "--no-write", "--fail-on", "error")
    assert code == 0
    assert states(document)["create-only"] == states(document)["permission-write"] == "skipped"
    assert {p: os.stat(base / p).st_mtime_ns for p in before} == before


class ReadOnly(LocalStore):
    def __init__(self, root, **options):
        super().__init__(root, **{**options, "writable": False})


def test_a_vault_that_can_only_be_read(base, monkeypatch):
    monkeypatch.setattr("regvault.storage.local.LocalStore", ReadOnly)
    expected = {"any": ("warning", 3), "writer": ("error", 12), "reader": ("ok", 0)}
    for role, (state, code) in expected.items():
        found, document = run("--vault", "./vault", "--role", role)
        assert check(document, "permission-write")["state"] == state
        assert states(document)["snapshots"] == "ok"
        assert states(document)["compare-and-swap"] == "skipped"
        if states(document)["space"] == states(document)["file-system"] == "ok":
            assert found == code


# Vaults that are hurt


def test_a_damaged_vault_json_is_exit_code_4_and_nothing_is_written(base):
    (base / "vault/vault.json").write_text("{}")
    before = contents(base)
    code, document = run("--vault", "./vault")
    assert (code, check(document, "vault-format")["state"]) == (4, "error")
    assert contents(base) == before


def test_a_damaged_newest_root_is_exit_code_4(base):
    root = base / "vault" / root_key("prod", 1)
    root.write_bytes(root.read_bytes().replace(b"prod", b"dorp", 1))
    code, document = run("--vault", "./vault")
    assert (code, check(document, "snapshots")["state"]) == (4, "error")
    assert states(document)["create-only"] == "ok"  # the rest is looked at all the same


def test_a_vault_of_a_newer_regvault_is_refused(base):
    from regvault.vault.envelope import write_document

    body = json.loads((base / "vault/vault.json").read_bytes().splitlines()[0])
    newer, _ = write_document({**body, "format": 2})
    (base / "vault/vault.json").write_bytes(newer)
    code, document = run("--vault", "./vault")
    assert (code, check(document, "vault-format")["state"]) == (5, "error")


def test_the_lease_of_a_dead_run_is_told(base, monkeypatch):
    monkeypatch.setattr("regvault.vault.parties.uptime", lambda: None)  # the files' times count
    store = LocalStore(base / "vault")
    vault = Vault(store)
    dead, alive = new_run_id(), new_run_id()
    lease = Lease(store, vault.id, dead, role="reader")
    lease._stop.set()
    old = time.time() - 2 * 86400
    os.utime(base / f"vault/leases/{dead}.json", (old, old))
    with Lease(store, vault.id, alive, role="reader"):
        found = check(run("--vault", "./vault")[1], "leases")
    assert found["state"] == "warning"
    assert dead in found["found"]
    assert alive not in found["found"]
    assert "unlock" in found["hint"]


def test_a_clock_that_is_wrong(base, monkeypatch):
    real = LocalStore.now_ns
    monkeypatch.setattr(LocalStore, "now_ns", lambda store: real(store) + 400 * 10**9)
    code, document = run("--vault", "./vault", "--fail-on", "error")
    assert (code, check(document, "clock")["state"]) == (3, "error")
    assert "400 s ahead" in check(document, "clock")["found"]


# Sources


def test_a_vault_inside_the_registry_is_an_error(base):
    code, document = run("fs:registry", "--vault", "./registry/docker", "--new")
    assert check(document, "source-overlap")["state"] == "error"
    assert code == 10


@pytest.mark.parametrize(("source", "code"), [("fs:none", 10), ("fs:empty", 10), ("fs:vault", 3)])
def test_what_is_no_registry(base, source, code):
    (base / "empty").mkdir()
    found, document = run(source)
    assert found == code
    assert states(document, "source") == {"source-layout": "error", "source-readable": "skipped"}


def without_rights_of_root() -> None:
    """Make root a user like any other, after the next exec: bounding set, capabilities(7)."""
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user are needed, so root")
def test_files_and_directories_of_another_user_are_found(base):
    root = base / "registry" / BASE
    (blob, *_) = sorted(root.glob("blobs/*/*/*/data"))
    links = next(root.glob("repositories/*/_layers"))
    for path, mode in ((blob, 0o600), (links, 0o700)):
        os.chown(path, 65534, 65534)
        os.chmod(path, mode)
    done = subprocess.run(
        [sys.executable, "-m", "regvault", "doctor", "fs:registry", "--json"],
        cwd=base, preexec_fn=without_rights_of_root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    found = check(json.loads(done.stdout), "source-readable")
    assert found["state"] == "error"
    assert found["found"].startswith("2 cannot be read (all of it")
    for path in (blob, links):
        assert str(path.relative_to(base / "registry")) in found["found"]


def test_a_sample_has_an_end(base):
    store = LocalStore(base / "registry", follow_symlinks=True)
    whole = sample_tree(store)
    assert whole.whole
    assert whole.failed == 0
    part = sample_tree(store, at_most=20)
    assert not part.whole
    assert part.directories + part.files < 20 + 60
    assert not sample_tree(store, seconds=0).whole


def test_uploads_in_flight_are_not_looked_at(base):
    before = sample_tree(LocalStore(base / "registry"))
    upload = base / "registry" / BASE / "repositories/app/_uploads/1"
    upload.mkdir(parents=True)
    (upload / "data").write_bytes(b"x")
    assert sample_tree(LocalStore(base / "registry")) == before


def test_object_storage_is_sampled_by_listing(small):
    found = sample_flat(small.registry)
    assert found.files > 5
    assert found.failed == 0

    def refuse(key, **_):
        from regvault.errors import StoreAccessError

        raise StoreAccessError(f"cannot read {key!r}")

    small.registry.get = refuse
    assert sample_flat(small.registry).failed == found.files


# What people see


def test_people_see_findings_and_what_to_do(base):
    code, shown = run("fs:registry", "--vault", "./vault", "--no-write", as_json=False)
    assert code == 3
    lines = shown.splitlines()
    assert lines[0] == f"Vault {base}/vault"
    assert any(line.startswith("  WARNING  second-copy") for line in lines)
    assert any("-> Keep the vault elsewhere" in line for line in lines)
    skipped = [line for line in lines if line.startswith("  skipped")]
    assert len(skipped) <= 3  # many for one reason, on one line
    assert "skipped, so not known." in lines[-1]
    assert max(len(line) for line in lines if str(base) not in line) <= 110


def test_names_of_others_cannot_steer_a_terminal(base):
    (base / "odd").mkdir()
    (base / "odd/a\x1b[2Jb").write_text("x")
    _, shown = run("--vault", "./odd", as_json=False)
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown
