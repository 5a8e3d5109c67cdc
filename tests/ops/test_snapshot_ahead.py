"""What processes read ahead of a first snapshot changes nothing of it but its time."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from world import (
    World,
    blob_key,
    current_key,
    history_key,
    layer_key,
    noise,
    revision_key,
    tree,
)

from regvault.ops.sample import build_sample
from regvault.registry.gather import GatheredSurvey
from regvault.registry.reader import DistributionSource
from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # who runs the tests has some


@pytest.fixture
def hurt(tmp_path: Path) -> LocalStore:
    """A registry with each kind of damage, and whole images beside them."""
    registry = LocalStore(tmp_path / "registry", create=True)
    build_sample(registry, images=12, large=1 << 14)
    push = World(registry).push
    a, b, c, d, e = (push.image("hurt", f"v{n}", layers=(noise(900, n),)) for n in range(5))
    registry.delete(blob_key(a.digest))  # a manifest that is missing, one that is damaged,
    push.write(blob_key(b.digest), b"{}")
    registry.delete(blob_key(c.blobs[0]))  # a config that is missing, one that is damaged,
    push.write(blob_key(d.blobs[0]), d.data)
    push.write(blob_key(e.blobs[1]), b"not it")  # a layer,
    push.write(layer_key("hurt", a.blobs[1]), b"")  # links of all kinds
    push.write(revision_key("hurt", e.digest), b"sha256:0")
    push.write(current_key("hurt", "v3"), b"")
    push.write(history_key("hurt", "v4", d.digest), b"")
    push.manifest("hurt", b'{"no": "manifest"', "broken")
    push.index("hurt", "part", children=(a, c))
    return registry


def lines(world: World) -> list[bytes]:
    root = world.root()
    objects = world.vault().object_list(root)
    trees = [world.vault().tree("repositories", root.repositories, objects)]
    if root.damage is not None:
        trees.append(world.vault().tree("damage", root.damage, objects))
    return [line for each in trees for line in each.lines()]


def test_the_snapshot_is_the_same(hurt: LocalStore, monkeypatch):
    plain, ahead = World(hurt), World(hurt)
    plain.snapshot()
    used = []
    links = GatheredSurvey.links
    monkeypatch.setattr(
        GatheredSurvey, "links", lambda self: used.append(self.repository) or links(self)
    )
    source = ahead.source()
    source._threads = 2
    source.look_ahead()
    assert source._ahead.working
    result = ahead.snapshot(source=source)
    assert set(used) == set(DistributionSource(hurt, kind="x").repositories())
    assert ahead.root().damage is not None
    assert ahead.root().counts == plain.root().counts
    assert lines(ahead) == lines(plain)
    assert result.exit_code() == 3
    ahead.verified()
    both = [world.restore()[1] for world in (ahead, plain)]
    assert tree(both[0]) == tree(both[1])


def test_a_registry_that_changes_meanwhile(hurt: LocalStore):
    """Deleted, pushed and collected after it was read ahead: what is stored is whole."""
    world = World(hurt)
    gone = world.push.image("busy", "gone", layers=(noise(900, "gone"),))
    source = world.source()
    source._threads = 2
    source.look_ahead()
    surveys = source.surveys()

    def later(*_, **__):
        for survey in surveys:
            if survey.repository == "busy":
                for key in (
                    current_key("busy", "gone"),
                    history_key("busy", "gone", gone.digest),
                    revision_key("busy", gone.digest),
                    blob_key(gone.digest),
                    blob_key(gone.blobs[1]),
                ):
                    hurt.delete(key)
                world.push.image("busy", "new", layers=(noise(900, "new"),))
            yield survey

    source.surveys = later
    world.snapshot(source=source)
    restored = tree(world.restore()[1])
    assert current_key("busy", "new") in restored
    assert current_key("busy", "gone") not in restored
    live = {key: data for key, data in tree(hurt).items() if "/busy/" in key}
    del live[layer_key("busy", gone.blobs[1])]  # it holds nothing any more
    assert live.items() <= restored.items()
