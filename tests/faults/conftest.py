from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The worlds that the tests of the verbs act in, and moto as S3.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "contract"))

import figures
from inline import no_threads
from scene import CHANCE, CLOCK_NS, UPTIME_S


def pytest_configure(config: pytest.Config) -> None:
    figures.register(config)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few bytes, so that a small registry takes hundreds of operations.

    And nothing is left to chance, to the clock, or to threads.
    """
    no_threads(monkeypatch)
    monkeypatch.setattr("secrets.token_hex", CHANCE.token_hex)
    monkeypatch.setattr("time.time_ns", lambda: CLOCK_NS)
    # Leases tell it: without this no two trials would leave the same bytes behind.
    monkeypatch.setattr("regvault.vault.parties.uptime", lambda: UPTIME_S)
    monkeypatch.setattr("regvault.ops.snapshot.capture.IN_PLACE_S", 0)
    monkeypatch.setattr("regvault.ops.snapshot.storer.RAW_BLOB_BYTES", 400)
    monkeypatch.setattr("regvault.vault.tree._MASK", 7)
    monkeypatch.setattr("regvault.vault.pack.FRAME_BYTES", 400)
    from regvault.vault.pack import MetaWriter, PackWriter

    for kind in (PackWriter, MetaWriter):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "limit", 1500)
