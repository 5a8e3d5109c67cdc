"""`regvault tier` and a vault, as a person calls it: shown, asked, done, thawed, restored."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "ops"))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "ops", "tier"))

from shelved import Shelved
from world import tree

from regvault import assemble
from regvault.cli.main import run
from regvault.storage.memory import MemoryStore


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A vault in a store with classes, that the command line finds in a bucket."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    made = Shelved()
    made.age(4)
    made.store.close = lambda: None
    monkeypatch.setattr(assemble, "vault_store", lambda *_, **__: made.store)
    return made


def ask(capsys, *args, code=0):
    """Run with --json; return the document, or the lines."""
    found = run([*args, "--json"])
    out, err = capsys.readouterr()
    assert found == code, out + err
    lines = [json.loads(line) for line in out.splitlines()] if "\n{" in out else None
    return lines or json.loads(out)


VAULT = "s3://backup/vault"


def test_from_a_plan_to_a_restore(world, capsys):
    lines = ask(capsys, "tier", "plan", VAULT, "--newest", "1", "--out", "plan.jsonl")
    assert (lines[0]["plan"]["kind"], lines[-1]["end"]["moves"]) == ("vault", 3)
    assert lines[0]["plan"]["restore"][0]["kept"] is True
    assert run(["tier", "plan", VAULT, "--newest", "1"]) == 0
    shown = capsys.readouterr()
    assert "prod@4" in shown.out
    assert "DEEP_ARCHIVE" in shown.out
    assert ask(capsys, "tier", "apply", "plan.jsonl", "--dry-run")["dry_run"] is True
    assert set(world.shelf().values()) == {"STANDARD"}
    assert run(["tier", "apply", "plan.jsonl"]) == 2  # nobody can be asked
    capsys.readouterr()
    assert ask(capsys, "tier", "apply", "plan.jsonl", "--yes")["moved"] == 3

    target = "fs:./back"
    dry = ask(capsys, "restore", "1", "--vault", VAULT, "--to", target, "--dry-run")
    assert dry["thaw"]["objects"] == 1
    assert dry["thaw"]["ways"]["bulk"]["hours"] == 48
    assert run(["restore", "1", "--vault", VAULT, "--to", target]) == 6
    said = capsys.readouterr().err
    assert "regvault tier thaw prod@1 --vault s3://backup/vault" in said
    assert not os.path.exists("back")

    thaw = ["tier", "thaw", "prod@1", "--vault", VAULT]
    assert ask(capsys, *thaw, "--dry-run")["chosen"]["ways"] == {"DEEP_ARCHIVE": "bulk"}
    assert world.store.requests == []
    assert run([*thaw, "--deadline", "2h", "--yes"]) == 2
    assert "12 hours" in capsys.readouterr().err
    assert run(thaw) == 2  # nobody can be asked
    capsys.readouterr()
    done = ask(capsys, *thaw, "--deadline", "12h", "--days", "3", "--yes")
    assert (done["asked"], done["done"]) == (1, False)
    assert [request[1:] for request in world.store.requests] == [("standard", 3)]
    # Once more asks for nothing twice, and needs nobody's leave.
    again = ask(capsys, *thaw)
    assert (again["asked"], again["before"]) == (0, 1)
    assert run(["restore", "1", "--vault", VAULT, "--to", target]) == 6
    capsys.readouterr()
    world.store.finish_thaws()
    assert ask(capsys, *thaw, "--wait", "--poll", "1s")["objects"] == 0
    found = ask(capsys, "restore", "1", "--vault", VAULT, "--to", target)
    assert found["blobs_written"] > 0
    assert tree(world.restore(1, MemoryStore("t"))[1])


def test_a_restore_that_thaws_what_it_needs(world, capsys, monkeypatch):
    world.archive(*(world.needs(1) - world.needs()))
    waits = []

    def sleep(_, seconds):
        waits.append(seconds)
        if len(waits) == 3:
            world.store.finish_thaws()

    monkeypatch.setattr("regvault.ops.tier.thaw.Thaw._wait", sleep)
    found = ask(
        capsys, "restore", "1", "--vault", VAULT, "--to", "fs:./back", "--thaw", "expedited"
    )
    assert found["blobs_written"] > 0
    assert {way for _, way, _ in world.store.requests} == {"expedited"}
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_what_a_snapshot_that_is_outside_the_promise_is_told(world, capsys):
    keys = world.needs()
    world.archive(*keys)
    for entry in list(world.registry.list("docker/registry/v2/blobs/")):
        if entry.size > 1 << 20:
            world.registry.delete(entry.key)
    done = world.snapshot()
    assert done.archived >= 1
    assert done.to_json()["archived"]["outside_promise"]["objects"] == done.archived


def test_the_configuration_says_what_is_promised(world, capsys):
    del world
    with open("regvault.yaml", "w") as file:
        file.write("tier:\n  plan: {newest: 2}\n  thaw: {days: 2, way: standard}\n")
    header = ask(capsys, "tier", "plan", VAULT)[0]["plan"]
    assert header["promise"]["newest"] == 2


def test_retention_decides_how_long_it_pays(world, capsys):
    del world
    soon = ask(capsys, "tier", "plan", VAULT, "--newest", "1", "--keep-within", "4d")
    assert soon[-1]["end"]["moves"] == 0
    with open("regvault.yaml", "w") as file:
        file.write(
            "vaults:\n  backup:\n    location: s3://backup/vault\n    retention: {within: 4d}\n"
        )
    named = ask(capsys, "tier", "plan", "backup", "--newest", "1")
    assert named[-1]["end"]["moves"] == 0
    header = named[0]["plan"]
    assert header["promise"]["policies"] == {"prod": {"within_seconds": 4 * 86_400}}
    assert run(["tier", "plan", VAULT, "--access", "x"]) == 2


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "much"])
def test_a_promise_is_an_amount(world, capsys, amount):
    for option in ("--max-restore-hours", "--max-restore-cost"):
        assert run(["tier", "plan", "s3://b/v", option, amount]) == 2
        assert option in capsys.readouterr().err
