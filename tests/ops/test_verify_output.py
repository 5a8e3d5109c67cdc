"""What `verify` says to people: as much as fits, how much more there is, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import World, noise

from regvault.cli.commands import verify as command
from regvault.cli.main import run
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = World(
        LocalStore(str(tmp_path / "registry"), create=True),
        LocalStore(str(tmp_path / "vault"), create=True),
    )
    layer = noise((1 << 20) + 3, "shared")
    for number in range(9):
        made.push.image(f"app-{number}", "1", layers=(layer, noise(300, number)))
    made.snapshot()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    caught = capsys.readouterr()
    return caught.out + caught.err


def remove(base: Path, part: str) -> None:
    for file in (base / "vault" / part).rglob("*"):
        if file.is_file():
            file.unlink()


def test_a_list_that_is_cut_says_how_much_more_there_is(base, capsys, monkeypatch):
    remove(base, "blobs")
    assert run(["verify", "--vault", "./vault"]) == 4
    whole = said(capsys)
    assert whole.count(" needs sha256:") == 9
    assert "more" not in whole.partition("Warning")[0]
    monkeypatch.setattr(command, "_SHOWN", 4)
    assert run(["verify", "--vault", "./vault"]) == 4
    cut = said(capsys)
    assert cut.count(" needs sha256:") == 4
    assert "and 5 more" in cut


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("blobs", "what is damaged cannot be restored"),
        ("meta", "what is damaged cannot be restored"),
        ("snapshots", "what is damaged cannot be restored"),
        ("catalog", "only the catalog is damaged: every snapshot restores"),
    ],
)
def test_what_is_advised_fits_the_damage(base, capsys, part, words):
    made = base / "vault" / part
    if part == "snapshots":
        (made / "prod" / "00000001.json").write_bytes(b"{}")
    else:
        remove(base, part)
    assert run(["verify", "--vault", "./vault"]) == 4
    found = said(capsys)
    assert words in found
    assert found.count("Warning") == 1


def test_disorder_among_leases_is_no_damage_of_a_snapshot(base, capsys):
    (base / "vault" / "leases" / f"{'0' * 24}.json").write_bytes(b"{}")
    assert run(["verify", "--vault", "./vault"]) == 4
    assert "no snapshot is damaged" in said(capsys)
