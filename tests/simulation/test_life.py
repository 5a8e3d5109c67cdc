"""A long life, simulated: short here, 400 days in `make soak`."""

from __future__ import annotations

import os
from functools import lru_cache

import pytest
from figures import tried
from life import Life
from locked_life import LockedLife

from regvault.vault.signing import PublicKey


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Objects of a few bytes, so that a small registry has many of all kinds."""
    from inline import no_threads

    from regvault.vault.pack import MetaWriter, PackWriter

    no_threads(monkeypatch)
    monkeypatch.setattr("regvault.ops.snapshot.capture.IN_PLACE_S", 0)
    monkeypatch.setattr("regvault.ops.snapshot.storer.RAW_BLOB_BYTES", 600)
    monkeypatch.setattr("regvault.vault.tree._MASK", 7)
    monkeypatch.setattr("regvault.vault.pack.FRAME_BYTES", 1000)
    for kind in (PackWriter, MetaWriter):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "limit", 4000)


@pytest.fixture(autouse=True)
def verified_once(monkeypatch):
    """A signature is as right as it was: that of each document is verified once in a life."""
    monkeypatch.setattr(PublicKey, "verifies", lru_cache(maxsize=None)(PublicKey.verifies))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "short"), [("plain", 25), ("sealed", 8), ("locked", 12)])
def test_a_life(kind, short):
    """All invariants at once: every retained snapshot restores, and nothing is left over.

    Where vaults are locked, all that a snapshot reaches is locked every day (invariant 10), and
    what is deleted or overwritten comes back from the past (rule 13).
    """
    seed = int(os.environ.get("LIFE_SEED", "1"))
    days = int(os.environ.get("LIFE_DAYS", short))
    life = LockedLife(seed) if kind == "locked" else Life(seed, sealed=kind == "sealed")
    life.live(days)
    print(f"seed {seed}, {days} days:", dict(sorted(life.counts.items())))
    assert life.counts["snapshot"] == 3 * days
    tried("days of a simulated life", days)
    tried("snapshots of a simulated life that were restored", life.counts["restored"])
