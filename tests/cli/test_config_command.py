import json
from pathlib import Path

import pytest

from regvault.cli.main import run

Captured = pytest.CaptureFixture[str]

GOOD = "timezone: Europe/Berlin\nvaults: {disk: {location: /vault}}\n"
BAD = "vaults:\n  disk:\n    location: fs:/x\n    thread: 3\n"


def test_check_says_what_it_read(capsys: Captured) -> None:
    Path("regvault.yaml").write_text(GOOD)
    assert run(["config", "check"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "regvault.yaml is right."
    assert run(["config", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "regvault.yaml",
        "valid": True,
        "timezone": "Europe/Berlin",
        "registries": [],
        "vaults": ["disk"],
        "audit": {},
        "tier": {},
    }


def test_check_says_where_each_error_is(capsys: Captured) -> None:
    Path("other.yaml").write_text(BAD)
    assert run(["--config", "other.yaml", "config", "check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[1].startswith("other.yaml:3:15: vaults.disk.location: ")
    assert lines[2].startswith("other.yaml:4:5: vaults.disk.thread: ")
    assert run(["--config", "other.yaml", "config", "check", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "configuration"
    assert [(p["file"], p["line"], p["column"]) for p in error["problems"]] == [
        ("other.yaml", 3, 15),
        ("other.yaml", 4, 5),
    ]


def test_check_without_a_configuration_is_an_error(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regvault.config.search._FILES", ("regvault.yaml",))
    assert run(["config", "check"]) == 2
    assert "/etc/regvault/regvault.yaml" in capsys.readouterr().err


def test_the_schema_is_json_without_being_asked(capsys: Captured) -> None:
    for args in (["config", "schema"], ["--json", "config", "schema"], ["config", "schema", "-q"]):
        assert run(args) == 0
        assert json.loads(capsys.readouterr().out)["title"] == "regvault.yaml"


def test_the_schema_needs_no_configuration_that_is_right() -> None:
    Path("regvault.yaml").write_text(BAD)
    assert run(["config", "schema"]) == 0
