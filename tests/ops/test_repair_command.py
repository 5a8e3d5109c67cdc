"""`repair` as a person calls it: what has no remedy is said, with why and what would help."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from world import BASE, World, digest_of, flip, noise

from regvault.cli.app import App
from regvault.cli.commands.repair import repair
from regvault.storage.local import LocalStore

LAYERS = tuple(noise(900 + n, "small", n) for n in range(4))


@pytest.fixture
def made(tmp_path, monkeypatch) -> World:
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "registry" / BASE).mkdir(parents=True)
    store = LocalStore(tmp_path / "vault", create=True)
    world = World(registry=LocalStore(tmp_path / "registry"), store=store)
    world.push.image("app", "1", layers=LAYERS)
    world.snapshot()
    return world


def run(made: World, *args: str, as_json: bool = False) -> tuple[int, str]:
    words = ("--vault", str(made.store.root), "--read-data", *args)
    result = CliRunner().invoke(repair, words, obj=App(json=as_json), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value or 0, result.stdout if as_json else result.output


def spoil(made: World) -> str:
    (key,) = made.keys("packs/")
    made.spoil(key, lambda data: flip(data, data.find(LAYERS[1]) + 5))
    return key


def test_what_has_no_remedy_is_said_with_why_and_what_would_help(made):
    key = spoil(made)
    tree = f"trees/{made.root().repositories.top.digest.partition(':')[2]}.zst"
    made.lose(tree)
    code, out = run(made, "--yes")
    assert code == 4
    assert f"Warning: {tree}: no remedy" in out
    assert f"Warning: {key}: no remedy" in out
    assert out.count("Hint: ") >= 2
    assert "--from" in out
    assert made.keys("packs/") == [key]
    document = json.loads(run(made, "--dry-run", as_json=True)[1])
    assert all(action["why"] for action in document["actions"])


def test_every_problem_is_named_or_counted(made):
    made.lose(*made.keys("trees/"))
    spoil(made)
    document = json.loads(run(made, "--dry-run", as_json=True)[1])
    count, named = document["problem_count"], document["actions"] + document["no_remedy"]
    out = run(made, "--dry-run")[1]
    assert f"The vault has {count} problems." in out
    left = count - len(named)
    assert (f"{left} more problem" in out) == (left > 0)


def test_what_is_lost_is_named_and_goes_with_the_word_alone(made):
    spoil(made)
    code, out = run(made, "--yes")
    assert code == 4
    assert digest_of(LAYERS[1]) in out
    assert "--from" in out
    code, out = run(made, "--yes", "--drop-lost")
    assert code == 0
    assert "1 blob dropped" in out
