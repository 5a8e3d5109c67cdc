"""Purge does not believe the catalog about what else lies in an object (invariant 11)."""

from __future__ import annotations

import time

import pytest
from world import World, digest_of, noise

from regvault.errors import NotFoundError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.purge import plan_purge, purge
from regvault.storage.memory import MemoryStore
from regvault.vault.keys import new_run_id, parse_segment_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.recover import members_of, tells_all
from regvault.vault.segment import Segment, write_segment

SMALL = [noise(2000 + size, "small", size) for size in range(4)]
SECRET = digest_of(SMALL[1])


@pytest.fixture
def made() -> World:
    store = MemoryStore("vault")
    store.clock_ns = time.time_ns()
    world = World(store=store)
    for number, layer in enumerate(SMALL):
        world.push.image(f"app-{number}", "v1", layers=(layer,))
    world.snapshot()
    return world


def retell(made: World, keep) -> None:
    """Write the catalog anew with some of its lines: who does that needs no key."""
    for key in made.keys("catalog/"):
        lines = list(Segment(made.store, parse_segment_key(key)).read())
        made.store.delete(key)
        write_segment(
            made.store, sorted(filter(keep, lines)), level=0, run=new_run_id(), supersedes=[]
        )


def _says_that_nothing_else_is_there(line: bytes) -> bool:
    return b"packs/" not in line or SECRET.encode() in line


def _hides_it(line: bytes) -> bool:
    return SECRET.encode() not in line


def _hides_all(_: bytes) -> bool:
    return False


@pytest.mark.parametrize("keep", [_says_that_nothing_else_is_there, _hides_it, _hides_all])
def test_a_wrong_catalog_neither_costs_a_neighbour_nor_hides_the_content(made, keep):
    day = made.restored(1)
    retell(made, keep)
    vault = made.vault()
    plan = plan_purge(vault, [SECRET], progress=NO_PROGRESS)
    assert len(plan.rewritten) == 1
    purge(vault, plan, progress=NO_PROGRESS, threads=1)
    left = made.restored(1)
    tags = [key for key in day if key.endswith("/current/link") and "app-1/" not in key]
    assert set(tags) <= left.keys()
    for number, layer in enumerate(SMALL):
        there = any(data == layer for data in left.values())
        assert there == (digest_of(layer) != SECRET), number
    assert {problem.what for problem in made.verify().report.problems} <= {"uncatalogued"}


def test_what_is_nowhere_is_looked_for_everywhere_before_that_is_said(made):
    with pytest.raises(NotFoundError):
        plan_purge(made.vault(), [digest_of(b"never")], progress=NO_PROGRESS)


@pytest.mark.parametrize("prefix", ["packs/", "meta/"])
def test_a_catalog_that_leaves_a_member_out_leaves_a_hole(made, prefix):
    """Of a meta object: a frame, since its members have one place."""
    (key,) = made.keys(prefix)
    ref = ObjectRef(key, made.store.head(key).size, "")
    places = members_of(made.store, ref)
    assert tells_all(places, ref)
    assert not tells_all([], ref)
    for name in {place.offset for place in places}:
        assert not tells_all([place for place in places if place.offset != name], ref)
