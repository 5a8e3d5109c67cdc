from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import World, fill

from regvault.ops.sample import build_sample
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries of tests hold still unless a test moves them: nothing is gained by waiting."""
    monkeypatch.setattr("regvault.ops.snapshot.capture.IN_PLACE_S", 0)


@pytest.fixture
def world() -> World:
    """An empty registry and an empty vault, in memory, without a local cache."""
    return World()


@pytest.fixture(params=["memory", "local"])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A sample registry, in memory and on a file system, with a local cache."""
    cache = str(tmp_path / "cache")
    if request.param == "memory":
        made = World(cache=cache)
    else:
        registry = LocalStore(tmp_path / "registry", create=True)
        made = World(registry, LocalStore(tmp_path / "vault", create=True), cache=cache)
    build_sample(made.registry, images=12, large=1 << 14)
    return made


@pytest.fixture
def small(tmp_path: Path) -> World:
    """A few images with a raw blob, a pack, and an index; in memory, with a local cache."""
    made = World(cache=str(tmp_path / "cache"))
    fill(made)
    return made
