"""An error at any operation, once or for ever, ends a verb with the right error, or not at all.

After it every committed snapshot restores, and the same command again converges. A crash is of the
process; these are of the store: throttled, timed out before or after it did what was asked, out of
space, broken.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from figures import tried
from scene import CHANCE, Dying, contents
from verbs import ALL, VERBS, check_and_converge
from verbs import operations as count_operations

from regvault.errors import (
    RegvaultError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from regvault.storage.wrappers import WRITES, CountingStore, FaultyStore

if TYPE_CHECKING:
    from scene import Scene
    from verbs import Verb

    from regvault.model.store import ObjectStore

EVERY = int(os.environ.get("EVERY", "1"))

#: name -> (error, when it strikes, at which requests, the exit codes that are right for it).
ERRORS = {
    "throttled": (StoreUnavailableError("slow down"), "before", ALL, {6}),
    "answer lost": (StoreUnavailableError("timed out"), "after", WRITES, {6}),
    "cut off": (StoreUnavailableError("reset"), "during", {"put_stream"}, {6}),
    "full": (StoreFullError("no space left"), "before", WRITES, {6}),
    "broken": (StoreError("input/output error"), "before", ALL, {1}),
    "denied": (StoreAccessError("denied"), "before", WRITES, {12}),
}


#: Forget and prune write no streams that could be cut off.
CASES = [
    (name, error)
    for name in VERBS
    for error in ERRORS
    if error != "cut off" or name not in {"forget", "prune"}
]
#: A stream that is cut off once is begun again.
RETRIED = {("copy", "cut off", 1)}


def exit_code(verb: Verb, scene: Scene, store: ObjectStore) -> int:
    try:
        verb.run(scene, store)
    except RegvaultError as error:
        return error.exit_code
    return 0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [1, 1_000_000], ids=["once", "for ever"])
@pytest.mark.parametrize(("name", "error"), CASES)
def test_an_error_at_any_operation(name, error, times):
    verb = VERBS[name]
    fault, when, verbs, codes = ERRORS[error]
    scene = verb.before(False).copy()
    CHANCE.begin("first")
    counting = CountingStore(scene.store)
    verb.run(scene, counting)
    total = sum(counting.counts[each] for each in verbs)
    assert total > 0
    assert count_operations(name, False) > 10
    failed = 0
    for at in range(1, total + 1, EVERY):
        where = (name, error, at, times)
        tried("errors of a store")
        scene = verb.before(False).copy()
        CHANCE.begin("first")
        faulty = FaultyStore(scene.store)
        faulty.plan(fault, when=when, verbs=verbs, at=at, times=times)
        with Dying():
            code = exit_code(verb, scene, faulty)
        assert code in {0, *codes}, where
        failed += code != 0
        if not scene.seen.new(name, "small", contents(scene.store)):
            continue
        check_and_converge(verb, scene, where)
    if (name, error, times) in RETRIED:
        assert not failed
    else:
        assert failed, "an error that nobody notices is swallowed"
