from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The worlds that the tests of the verbs act in, and their ways to break things.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "faults"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ops"))

import figures
from actors import nothing_by_chance


def pytest_configure(config: pytest.Config) -> None:
    figures.register(config)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few bytes, and nothing left to chance, to the clock, or to threads."""
    import regvault.ops.snapshot.run  # noqa: F401 - so that its pools are known

    nothing_by_chance(monkeypatch)
    monkeypatch.setattr("regvault.ops.snapshot.capture.IN_PLACE_S", 0)
    monkeypatch.setattr("regvault.ops.snapshot.storer.RAW_BLOB_BYTES", 400)
    monkeypatch.setattr("regvault.vault.needs._Filter.BITS", 1 << 12)
