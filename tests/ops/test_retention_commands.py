"""`forget`, `prune`, `pin` and `unlock` as a person calls them, on a vault on disk."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from click.testing import CliRunner
from world import BASE, Pusher, noise

from regvault.cli.app import App
from regvault.cli.commands.forget import forget
from regvault.cli.commands.init import init
from regvault.cli.commands.pin import pin
from regvault.cli.commands.prune import prune
from regvault.cli.commands.snapshot import snapshot
from regvault.cli.commands.unlock import unlock
from regvault.cli.commands.verify import verify
from regvault.errors import LeaseHeldError, NotFoundError, RefusedError, UsageError
from regvault.storage.local import LocalStore
from regvault.vault.keys import new_run_id
from regvault.vault.lease import Lease
from regvault.vault.vault import Vault

DAYS = 12


def run(command, *args, code=0, as_json=False, config=None):
    result = CliRunner().invoke(
        command,
        args,
        obj=App(json=as_json, config_path=config),
        standalone_mode=False,
        catch_exceptions=True,
    )
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return json.loads(result.stdout) if as_json else result.output


def age(base, days):
    """Make all of the vault so many days older."""
    for path, _, names in os.walk(base / "vault"):
        for name in names:
            file = os.path.join(path, name)
            status = os.stat(file)
            moved = status.st_mtime_ns - int(days * 86_400e9)
            os.utime(file, ns=(moved, moved))


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A registry, and a vault with a snapshot of each of twelve days."""
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REGVAULT_VAULT", "./vault")
    monkeypatch.delenv("REGVAULT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    push = Pusher(LocalStore(str(tmp_path / "registry"), create=True))
    run(init, "./vault")
    for day in range(DAYS):
        age(tmp_path, 1)
        shutil.rmtree(tmp_path / f"registry/{BASE}/repositories/app", ignore_errors=True)
        push.image("app", "latest", layers=(noise(1 << 20, day),))
        push.image("web", f"v{day}", layers=(noise(90, day),))
        run(snapshot, "fs:registry", "--registry", "prod")
    return tmp_path


def left(base):
    vault = Vault(LocalStore(str(base / "vault")))
    return [root.name.sequence for root in vault.roots("prod")][::-1]


class TestForget:
    def test_without_rules_it_refuses(self, base):
        with pytest.raises(UsageError, match="nothing says which snapshots of prod") as error:
            run(forget)
        assert "--keep-daily" in error.value.hint

    def test_looks_before_it_does(self, base):
        told = run(forget, "--keep-last", "1", "--dry-run")
        assert "Would forget 5 snapshots, and keep 7." in told
        assert left(base) == list(range(1, DAYS + 1))
        found = run(forget, "--keep-last", "1", "--dry-run", as_json=True)
        assert found["dry_run"] is True
        assert [each["keep"] for each in found["snapshots"]] == [False] * 5 + [True] * 7
        assert found["snapshots"][-1]["reasons"][:2] == ["last 1", "newest"]

    def test_asks(self, base):
        with pytest.raises(UsageError, match="nobody can be asked"):
            run(forget, "--keep-last", "1")
        assert "5 snapshots forgotten." in run(forget, "--keep-last", "1", "--yes")
        assert left(base) == list(range(6, DAYS + 1))
        assert "nothing to forget" in run(forget, "--keep-last", "1", "--yes")

    def test_rules_of_the_configuration(self, base):
        config = base / "regvault.yaml"
        config.write_text(
            "registries:\n  prod:\n    location: fs:./registry\n    retention: {last: 9}\n"
            "  test:\n    location: fs:./test\n"
            "vaults:\n  main:\n    location: ./vault\n    retention: {daily: 2, within: 1h}\n"
        )
        found = run(forget, "--yes", as_json=True, config=str(config))
        assert found["policy"] == {"prod": {"last": 9}}
        assert found["forgotten"] == ["prod@1", "prod@2", "prod@3"]

    def test_by_name(self, base):
        run(forget, "prod@2", "4", "--yes")
        assert left(base) == [1, 3, *range(5, DAYS + 1)]
        with pytest.raises(NotFoundError, match="was forgotten"):
            run(forget, "prod@2", "--yes")
        with pytest.raises(RefusedError, match="newest"):
            run(forget, "latest", "--yes")
        with pytest.raises(UsageError, match="rules are given too"):
            run(forget, "prod@5", "--keep-last", "3")

    def test_a_registry_that_is_not_there(self, base):
        with pytest.raises(NotFoundError, match="no registry 'other'"):
            run(forget, "--registry", "other", "--keep-last", "1")


class TestPin:
    def test_pins_and_takes_away(self, base):
        assert "prod@1 is pinned." in run(pin, "1", "--reason", "audit")
        assert "pinned already" in run(pin, "1")
        run(forget, "--keep-last", "1", "--yes")
        assert left(base)[0] == 1
        with pytest.raises(RefusedError, match="pinned"):
            run(forget, "1", "--yes")
        found = run(pin, "1", "--remove", as_json=True)
        assert found == {"snapshot": "prod@1", "pinned": False, "changed": True}
        assert "not pinned anyway" in run(pin, "1", "--remove")
        run(forget, "--keep-last", "1", "--yes")
        assert left(base)[0] == 6


class TestPrune:
    def test_after_forget_what_only_they_needed_goes(self, base):
        run(forget, "--keep-last", "1", "--yes")
        found = run(prune, "--dry-run", as_json=True)
        assert found["condemn"]["objects"] > 5
        assert found["condemn"]["bytes"] > 4 << 20
        with pytest.raises(UsageError, match="nobody can be asked"):
            run(prune)
        before = sum(len(names) for _, _, names in os.walk(base / "vault"))
        done = run(prune, "--yes", as_json=True)
        assert done["deleted"] == done["condemned"] == found["condemn"]
        after = sum(len(names) for _, _, names in os.walk(base / "vault"))
        assert after == before - done["deleted"]["objects"] + 2  # the list and the lock
        run(verify, "--read-data")
        run(snapshot, "fs:registry", "--registry", "prod")
        run(verify, "--read-data")
        assert "Every object is needed" in run(prune, "--yes")

    def test_a_snapshot_that_is_at_work(self, base, monkeypatch):
        run(forget, "--keep-last", "1", "--yes")
        store = LocalStore(str(base / "vault"))
        with Lease(store, Vault(store).id, new_run_id(), role="writer", registry="prod"):
            # It began after most of what may go was written, so that there is something to decide.
            with pytest.raises(LeaseHeldError, match="a snapshot of prod is at work") as error:
                run(prune, "--yes")
            assert "--retry-lock" in error.value.hint
        assert "deleted" in run(prune, "--yes")


class TestUnlock:
    def test_nobody(self, base):
        assert "Nobody is at work" in run(unlock)

    def test_the_living_are_left_alone(self, base):
        store = LocalStore(str(base / "vault"))
        name = new_run_id()
        with Lease(store, Vault(store).id, name, role="writer", registry="prod") as lease:
            assert "None of them is dead" in run(unlock, "--yes")
            found = run(unlock, "--dry-run", as_json=True)["parties"]
            assert [(p["run"], p["role"], p["dead"]) for p in found] == [(name, "writer", False)]
            lease.renew(slot="snapshots/prod/00000013.json")
            assert run(unlock, "--run", name, "--yes", as_json=True)["ended"] == [name]
            with pytest.raises(RefusedError):
                lease.renew()
        run(snapshot, "fs:registry", "--registry", "prod")
        assert left(base)[-1] == 14
        with pytest.raises(NotFoundError, match="no lease is held"):
            run(unlock, "--run", name)

    def test_the_dead_are_ended(self, base, monkeypatch):
        monkeypatch.setattr("regvault.vault.parties.uptime", lambda: None)  # files' times count
        store = LocalStore(str(base / "vault"))
        lease = Lease(store, Vault(store).id, new_run_id(), role="writer", registry="prod")
        moved = time.time_ns() - 16 * 60 * 10**9
        os.utime(base / "vault" / lease.key, ns=(moved, moved))
        assert "1 lease ended" in run(unlock, "--yes")
        assert "Nobody is at work" in run(unlock)
