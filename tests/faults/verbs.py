"""The verbs that faults are tried on: the scene that each begins in, and what it must achieve."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from scene import CHANCE, Scene, contents
from world import tree

from regvault.storage.wrappers import WRITES, CountingStore
from regvault.vault.keys import parse_segment_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.store import ObjectStore

ALL = WRITES | {"get", "open", "head", "list", "list_prefixes"}
DAYS = 80


class Verb(NamedTuple):
    """One verb to die in.

    Attributes:
        before: makes the scene that it begins in, a large one or a small one; to be copied.
        run: runs it against a store that stands before the scene's own; returns nothing.
        again: says what must be true after it ran to its end, at the second try.
        verbs: the requests that it dies at.
    """

    before: Callable[[bool], Scene]
    run: Callable[[Scene, ObjectStore], None]
    again: Callable[[Scene, object], None]
    verbs: frozenset[str] = WRITES


# -- the scenes, each made once ------------------------------------------------------------------


@lru_cache
def first_day(large: bool) -> Scene:
    CHANCE.begin("before")
    scene = Scene()
    for number in range(1, 4 if large else 3):
        scene.day(number, images=18 if large else 1, large=32 if large else 2)
    return scene


@lru_cache
def eighth_day(large: bool) -> Scene:
    """The next snapshot merges segments, and a lot is new."""
    CHANCE.begin("before")
    scene = Scene()
    for number in range(1, 8):
        scene.day(number, images=2 if large else 1, large=2)
        scene.take()
    scene.day(8, images=40 if large else 2, large=120 if large else 2)
    return scene


@lru_cache
def many_days(large: bool) -> Scene:
    """Many small snapshots, to be forgotten."""
    CHANCE.begin("before")
    scene = Scene()
    for number in range(1, DAYS + 1 if large else 7):
        if number > 1:
            scene.remove("app")
        scene.push.image("app", "latest", layers=(b"%d" % number,))
        scene.take()
    return scene


@lru_cache
def after_forget(large: bool) -> Scene:
    """Much that nothing needs any more."""
    CHANCE.begin("before")
    scene = Scene()
    last = 10 if large else 4
    for number in range(1, last + 1):
        if number > 1:
            scene.remove("big")
        scene.day(number, images=6 if large else 2, large=10 if large else 4)
        scene.take()
    scene.forget_named(range(1, last))
    return scene


@lru_cache
def before_copy(large: bool) -> Scene:
    """Two days were copied; two more are to be."""
    CHANCE.begin("before")
    origin = Scene()
    for number in range(1, 3):
        origin.day(number, images=2, large=2)
        origin.take()
    scene = Scene(origin.registry)
    scene.origin = origin.store
    scene.copy_from_origin()
    for number in range(3, 5):
        origin.day(number, images=16 if large else 1, large=90 if large else 2)
        origin.take()
    scene.held = dict(origin.held)
    return scene


# -- the verbs -----------------------------------------------------------------------------------


def snapshot_run(scene: Scene, store: ObjectStore) -> None:
    now = tree(scene.registry)
    expected = max([root.name.sequence for root in scene.roots()], default=0) + 1
    # Whatever slot it takes, that is what it must hold.
    for sequence in range(expected, expected + 4):
        scene.held.setdefault(sequence, now)
    scene.snapshot(store=store, threads=1)


def snapshot_again(scene: Scene, where: object) -> None:
    newest = scene.roots()[-1]
    assert scene.restored(newest.name.sequence).keys() <= tree(scene.registry).keys(), where
    counts = newest.counts
    scene.snapshot(threads=1)
    assert scene.roots()[-1].counts == counts, where
    scene.verified()


def forget_run(scene: Scene, store: ObjectStore) -> None:
    there = [root.name.sequence for root in scene.roots()]
    newest = max(scene.held)
    scene.forget_named([sequence for sequence in there if sequence <= newest - 2], store)


def forget_again(scene: Scene, where: object) -> None:
    newest = max(scene.held)
    assert [root.name.sequence for root in scene.roots()] == [newest - 1, newest], where
    scene.verified()


def prune_run(scene: Scene, store: ObjectStore) -> None:
    scene.prune(store)


def prune_again(scene: Scene, where: object) -> None:
    vault = scene.vault()
    objects = vault.object_list(scene.roots()[-1])
    needed = {ref.key for ref in objects} | {chunk.key for chunk in objects.own_chunks()}
    prefixes = ("blobs/", "packs/", "meta/", "trees/")
    left = {key for key in scene.keys("") if key.startswith(prefixes)}
    assert left == needed, where
    levels = [parse_segment_key(key).level for key in scene.keys("catalog/")]
    assert len(levels) < 8, where
    scene.verified()
    scene.snapshot(threads=1)
    scene.verified()


def copy_run(scene: Scene, store: ObjectStore) -> None:
    scene.copy_from_origin(store)


def copy_again(scene: Scene, where: object) -> None:
    assert [root.name.sequence for root in scene.roots()] == [1, 2, 3, 4], where
    scene.verified()
    before = set(scene.keys(""))
    scene.copy_from_origin()
    new = {key for key in scene.keys("") if key not in before}
    assert all(key.startswith("records/copies/") for key in new), where


VERBS = {
    "first snapshot": Verb(first_day, snapshot_run, snapshot_again),
    "snapshot": Verb(eighth_day, snapshot_run, snapshot_again),
    "forget": Verb(many_days, forget_run, forget_again, ALL),
    "prune": Verb(after_forget, prune_run, prune_again),
    "copy": Verb(before_copy, copy_run, copy_again),
}


def check_and_converge(verb: Verb, scene: Scene, where: object) -> None:
    """Say what must be true after a fault, and after the same command ran again."""
    scene.check(where)
    CHANCE.begin("second")
    verb.run(scene, scene.store)
    if not scene.seen.new("again", verb.again, contents(scene.store)):
        return  # most states converge to the same one
    scene.check_snapshots(where)
    verb.again(scene, where)


@lru_cache
def operations(name: str, large: bool) -> int:
    """Count the operations of a verb that nothing disturbs."""
    verb = VERBS[name]
    scene = verb.before(large).copy()
    CHANCE.begin("first")
    counting = CountingStore(scene.store)
    verb.run(scene, counting)
    return sum(counting.counts[each] for each in verb.verbs)
