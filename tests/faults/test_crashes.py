"""A crash before or after any operation loses nothing; the same command again converges.

Invariants 1 and 2. Nothing is sampled: each test dies at each of its writes, both ways; `forget`,
which writes little, at each of its reads too.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from figures import tried
from scene import CHANCE, Dying, Scene, contents
from verbs import VERBS, check_and_converge, operations
from world import tree

from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import CrashError, FaultyStore

#: How many operations each verb is to take at least, so that a short cut shows.
LEAST = 300
#: Tests are split so that workers share them; a developer may look at some with EVERY=10.
PARTS = 4
EVERY = int(os.environ.get("EVERY", "1"))


def share(part: int, count: int) -> range:
    """Neighbours, since a crash after one operation is mostly a crash before the next."""
    return range(1 + part * count // PARTS, 1 + (part + 1) * count // PARTS, EVERY)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", VERBS)
def test_a_crash_at_any_operation(name, part):
    verb = VERBS[name]
    count = operations(name, True)
    assert count >= LEAST
    for at in share(part, count):
        for when in ("before", "after"):
            where = (name, at, when)
            tried(f"crashes: {name}")
            scene = verb.before(True).copy()
            CHANCE.begin("first")
            faulty = FaultyStore(scene.store)
            faulty.plan(CrashError, when=when, at=at, verbs=verb.verbs)
            with Dying():
                try:
                    verb.run(scene, faulty)
                except CrashError:
                    pass
                else:
                    assert when == "after", where
                    assert at == count, where
            if not scene.seen.new(name, contents(scene.store)):
                continue  # as the crash before left it
            check_and_converge(verb, scene, where)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_of_a_restore_at_any_write_of_its_target(part):
    CHANCE.begin("first")
    scene = Scene()
    scene.day(1, images=20, large=20)
    scene.take()
    sequence = scene.roots()[-1].name.sequence
    whole = scene.restored(sequence)
    target = FaultyStore(MemoryStore("target"))
    scene.restore(sequence, target, threads=1)
    assert target.operations >= LEAST
    for at in share(part, target.operations):
        for when in ("before", "after"):
            tried("crashes: restore")
            inner = MemoryStore("target")
            faulty = FaultyStore(inner)
            faulty.crash_at(at, when=when)
            with Dying(), suppress(CrashError):
                scene.restore(sequence, faulty, threads=1)
            if not scene.seen.new("target", contents(inner)):
                continue
            # What is there is whole, and a tag is there only with all that it reaches.
            assert all(whole[key] == data for key, data in tree(inner).items()), (at, when)
            scene.restore(sequence, inner, threads=1)
            assert tree(inner) == whole, (at, when)
