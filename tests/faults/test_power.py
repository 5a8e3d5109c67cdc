"""The power is cut at any moment, and anything that was not synced may be gone.

Invariants 1 and 2. At every call that changes a file: nothing lost, all lost; where the
most is at stake, just before each sync, each change alone and each pair; and 1,000 subsets by seed.
Whatever the disk shows then, every snapshot restores, and the same command again converges.
"""

from __future__ import annotations

import random
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from disk import Disk
from figures import tried
from ondisk import fill, memory_of, opened
from scene import CHANCE, Dying
from verbs import VERBS, check_and_converge, first_day
from world import tree

from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from disk import Moment
    from scene import Scene

SUBSETS = 1000
SHARES = 4


def losses(moments: Sequence[Moment]) -> Iterator[tuple[Moment, tuple[int, ...]]]:
    """Yield moments, and what of their pending changes is lost."""
    for number, moment in enumerate(moments):
        everything = tuple(range(len(moment.pending)))
        yield moment, ()
        yield moment, everything
        later = moments[number + 1].pending if number + 1 < len(moments) else ()
        if len(later) < len(everything):
            for one in everything:
                yield moment, (one,)
            for pair in combinations(everything, 2):
                yield moment, pair
    dice = random.Random(7)
    for _ in range(SUBSETS):
        moment = dice.choice(moments)
        share = dice.random()
        yield moment, tuple(at for at in range(len(moment.pending)) if dice.random() < share)


def states(moments: Sequence[Moment]) -> Iterator[tuple[object, dict[str, bytes]]]:
    """Yield each state of the disk once, with how it came about."""
    seen = set()
    for moment, lost in losses(moments):
        files = moment.after(lost)
        state = hash(tuple(sorted(files.items())))
        if state not in seen:
            seen.add(state)
            yield (moment.what, [moment.pending[at] for at in lost]), files


def recorded(scene: Scene, name: str, root: Path) -> list[Moment]:
    fill(root, scene.store)
    with pytest.MonkeyPatch.context() as patch, Dying():
        store = opened(root, patch)
        disk = Disk(root, patch)
        VERBS[name].run(scene, store)
        store.close()
    return disk.moments


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", VERBS)
def test_the_vault_after_the_power_was_cut(name, share, tmp_path):
    verb = VERBS[name]
    before = verb.before(False)
    scene = before.copy()
    CHANCE.begin("first")
    moments = recorded(scene, name, tmp_path)
    held = scene.held
    # The verb did what it is for, on this disk as well.
    done = scene.copy()
    clock = before.store.clock_ns
    done.store = memory_of("vault", moments[-1].after(()), clock_ns=clock)
    verb.again(done, "undisturbed")
    for number, (where, files) in enumerate(states(moments)):
        if number % SHARES != share:
            continue
        tried("power cuts")
        scene = before.copy()
        scene.held = dict(held)
        scene.store = memory_of("vault", files, clock_ns=clock)
        CHANCE.begin("between")
        check_and_converge(verb, scene, where)


@pytest.mark.timeout(1200)
def test_a_restored_registry_after_the_power_was_cut(tmp_path):
    scene = first_day(False).copy()
    CHANCE.begin("first")
    scene.take()
    sequence = scene.roots()[-1].name.sequence
    whole = scene.restored(sequence)
    with pytest.MonkeyPatch.context() as patch:
        target = LocalStore(str(tmp_path))
        disk = Disk(tmp_path, patch)
        scene.restore(sequence, target, threads=1)
        target.close()
    for where, files in states(disk.moments):
        tried("power cuts")
        inner = memory_of("target", files)
        # A tag is there only with all that it reaches, and with its right content.
        for key, data in files.items():
            # (Of the link itself the bytes may be lost: then nobody takes it for one.)
            if key.endswith("/current/link") and data.strip(b"\0"):
                assert data == whole[key], where
        CHANCE.begin("second")
        scene.restore(sequence, inner, threads=1)
        assert tree(inner) == whole, where
