"""A registry's collection with faults at every step: no image is lost, and no loss is passed over.

Nothing is sampled: each test fails at each of its requests.
"""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
from collecting import Collector, Trial, all_blobs, delete, fill_with_garbage, needed
from figures import tried
from scene import CHANCE, Dying, Scene
from verbs import ALL
from world import blob_key, tree

from regvault.errors import (
    RegvaultError,
    StoreAccessError,
    StoreUnavailableError,
)
from regvault.storage.wrappers import CountingStore, CrashError, FaultyStore

ERRORS = {"refused": StoreAccessError("denied"), "away": StoreUnavailableError("away")}


@pytest.fixture(scope="module")
def template():
    CHANCE.begin("before")
    made = Scene()
    made.digests = fill_with_garbage(made)
    return made


@pytest.fixture
def scene(template):
    """A registry with garbage, and a vault that has all that it needs."""
    if not template.keys("snapshots/"):
        template.take()
    return lambda: _again(template)


def _again(template):
    made = template.copy()
    made.digests = copy.copy(template.digests)
    made.garbage = all_blobs(made.registry) - needed(made.registry, untagged=False)[0]
    return made


def collected(made, collector, *, registry=None, vault=None):
    """Run it, with stores that stand before the scene's own."""
    collector.takes(made.registry, made.garbage & all_blobs(made.registry))
    trial = Trial(made, allow_fresh=True)
    trial.look(registry, vault)
    try:
        return trial.run()
    finally:
        trial.plan.close()


def requests(made, collector, which):
    """How many requests it takes of one of the stores."""
    counting = CountingStore(made.registry if which == "registry" else made.store, record=True)
    collected(made, collector, **{which: counting})
    return _asked(counting)


def _asked(counting):
    return sum(verb in ALL for verb, _ in counting.calls)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["vault", "registry"])
def test_a_crash_at_any_request_loses_nothing_and_the_same_command_converges(
    scene, monkeypatch, which
):
    collector = Collector(monkeypatch)
    count = requests(scene(), collector, which)
    assert count > 30
    for at in range(1, count + 1):
        made = scene()
        wanted, _ = needed(made.registry, untagged=False)
        CHANCE.begin("first")
        faulty = FaultyStore(made.registry if which == "registry" else made.store)
        faulty.plan(CrashError, at=at, verbs=ALL)
        tried("crashes: tier gc")
        with Dying(), suppress(CrashError):
            collected(made, collector, **{which: faulty})
        assert faulty.crashed, at
        assert wanted <= all_blobs(made.registry), at
        CHANCE.begin("second")
        # What was held is free at once: its holder is seen dead.
        made.take()
        result = collected(made, collector)
        assert result.exit_code() == 0, at
        assert all_blobs(made.registry) == wanted, at
        made.check(at)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("lost", ["blob", "link", "tag"])
def test_no_error_of_any_look_lets_a_loss_pass(scene, monkeypatch, error, lost):
    """Invariant 9, rule 16: what could not be looked at is not taken for whole."""
    collector = Collector(monkeypatch)
    made = scene()
    key = _key(made, lost)

    def run(made, store):
        trial = Trial(made, allow_fresh=True)
        trial.look(store)
        # All of the garbage goes too: else what is left of it would be reason enough not to end
        # with 0.
        keys = [key, *map(blob_key, made.garbage)]
        collector.do = lambda: [delete(made.registry, each) for each in keys]
        try:
            return trial.run()
        finally:
            trial.plan.close()

    counting = CountingStore(made.registry, record=True)
    result = run(made, counting)
    assert (result.exit_code(), result.proof.left) == (3, 0)
    for at in range(1, _asked(counting) + 1):
        made = scene()
        faulty = FaultyStore(made.registry)
        faulty.plan(ERRORS[error], at=at, verbs=ALL)
        tried("errors: tier gc")
        collector.runs = 0
        try:
            code = run(made, faulty).exit_code()
        except RegvaultError as failure:
            code = failure.exit_code
        assert code != 0, at
        assert collector.runs == (key not in tree(made.registry)), at


def _key(made, lost):
    if lost == "blob":
        return blob_key(made.digests["child layer"])
    keys = [key for key in tree(made.registry) if "/app/_manifests/" in key]
    end = "current/link" if lost == "tag" else made.digests["child"].partition(":")[2] + "/link"
    return next(key for key in keys if key.endswith(end))


@pytest.mark.timeout(900)
def test_an_error_of_the_vault_at_any_request_is_no_success_unless_all_is_proven(
    scene, monkeypatch
):
    """The vault is only asked: what fails there keeps it from beginning, or changes nothing."""
    collector = Collector(monkeypatch)
    count = requests(scene(), collector, "vault")
    for at in range(1, count + 1):
        made = scene()
        wanted, _ = needed(made.registry, untagged=False)
        faulty = FaultyStore(made.store)
        faulty.plan(StoreUnavailableError("away"), at=at, verbs=ALL)
        collector.runs = 0
        try:
            result = collected(made, collector, vault=faulty)
        except RegvaultError as failure:
            code, begun = failure.exit_code, collector.runs
        else:
            code, begun = 0, 0
            assert result.exit_code() == 0, at
            assert result.proof.blobs == len(wanted), at
        assert code in (0, 4, 6), at
        assert not begun, at
        assert wanted <= all_blobs(made.registry), at
