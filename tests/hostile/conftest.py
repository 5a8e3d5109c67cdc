from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The worlds that the tests of the verbs act in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ops"))

from forge import Place


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regvault.ops.snapshot.capture.IN_PLACE_S", 0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A registry and a vault with one snapshot of it, on a file system, for the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path)
