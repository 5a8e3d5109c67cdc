"""Nothing is lost, whoever meets whom, in whatever order, whoever dies or sleeps meanwhile.

Each test goes through all interleavings of some parties that run the real code, within bounds; with
WHOLE=1 through many more. What it finds is printed as a schedule; to see it again:

    REPLAY='reuse: A12 B3 A!' pytest -k replay tests/interleavings
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from actors import HERE
from explorer import Bounds, BrokenPromiseError, Explorer, Left
from figures import tried
from oracle import Oracle
from scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTES, DAY, WEEK = 20 * 60, 25 * 3600, 8 * 86_400

FOUR = "two-writers-two-prunes"
#: What is tried together: how many interruptions, deaths, and sleeps; and how long these are.
_SHORT = [Bounds(Left(1, 0, 0)), Bounds(Left(0, 1, 0)), Bounds(Left(0, 0, 1), (MINUTES,))]
_WHOLE = [
    Bounds(Left(2, 0, 0)),
    Bounds(Left(0, 1, 1), (MINUTES,)),
    Bounds(Left(0, 0, 1), (DAY, WEEK)),
]
SHORT = dict.fromkeys(SCENARIOS, _SHORT) | {
    "reader-forget-prune": [*_SHORT[:2], Bounds(Left(0, 0, 1), (MINUTES, DAY))],
    "copy-into-prune-writer": _SHORT[:2],
    "copy-from-forget-prune": _SHORT[:2],
    FOUR: _SHORT[:1],
}
#: With four parties there are 24 orders to begin with.
WHOLE = dict.fromkeys(SCENARIOS, _WHOLE) | {FOUR: _SHORT[:2]}
BOUNDS = WHOLE if os.environ.get("WHOLE") else SHORT
#: After each so many ends of those that are not alike, a snapshot and a prune must converge.
CONVERGE_EVERY = 10
TRIALS = [
    pytest.param(name, bounds, id=f"{name}-{'-'.join(map(str, bounds.left))}")
    for name, some in BOUNDS.items()
    for bounds in some
]


@contextlib.contextmanager
def explorer_of(name: str) -> Iterator[Explorer]:
    scenario = SCENARIOS[name]()
    parties = scenario.parties()
    oracle = Oracle(scenario, every=CONVERGE_EVERY)
    try:
        yield Explorer(parties, scenario.shelves(), HERE.clock_ns, oracle)
    finally:
        for party in parties:
            party.close()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("name", "bounds"), TRIALS)
def test_no_interleaving_loses_anything(name, bounds):
    """Invariants 1, 2, 3 and 4, rules 1 and 3."""
    with explorer_of(name) as explorer:
        found = explorer.explore(bounds)
    print(name, bounds.left, found, dict(explorer.oracle.outcomes))
    tried(f"interleavings, {name}: states", found.states)
    tried(f"interleavings, {name}: deaths and sleeps", found.deaths + found.sleeps)
    assert found.states > 1000


#: Schedules that lost something once.
LOST = [
    # A prune took the plain key of what a copied root has elsewhere for needed, and kept it.
    ("copy-into-prune-writer", "B65 C46 A68 B17"),
    # It deleted what a reader still read of a copied root that was forgotten.
    ("reader-of-copy-forget-prune", "A18 B14 C110 A3"),
]
REPLAY = [os.environ["REPLAY"].split(": ", 1)] if "REPLAY" in os.environ else []


@pytest.mark.parametrize(("name", "schedule"), [*LOST, *REPLAY])
def test_a_schedule_that_lost_something_can_be_replayed(name, schedule):
    with explorer_of(name) as explorer:
        explorer.replay(schedule)


def _no_claim(patch):
    patch.setattr("regvault.ops.prune.plan.claimed_lists", lambda _vault: [])


def _no_void(patch):
    patch.setattr("regvault.vault.parties.fill_with_void", lambda *_: None)


def _reuse(patch):
    patch.setattr("regvault.vault.writer.ObjectWriter._spoilt", lambda *_: False)
    patch.setattr("regvault.ops.snapshot.lookup.VaultLookup._usable", lambda *_, **__: True)


def _no_lock(patch):
    """Neither of the two that stand behind each other."""
    patch.setattr("regvault.ops.writing.prune_decides", lambda *_: False)
    patch.setattr("regvault.ops.snapshot.commit.refuse_if_condemned_since", lambda *_: None)


@pytest.mark.parametrize(
    ("breaks", "name", "bounds"),
    [
        (_no_claim, "reader-forget-prune", Bounds(Left(1, 0, 0))),
        (_no_void, "reuse", Bounds(Left(0, 0, 1), (MINUTES,))),
        (_reuse, "reuse", Bounds(Left(0, 0, 0))),
        (_no_lock, "reuse", Bounds(Left(2, 0, 0))),
    ],
)
def test_a_broken_rule_is_found_and_its_schedule_replayed(monkeypatch, breaks, name, bounds):
    """The oracle can fail."""
    breaks(monkeypatch)
    with explorer_of(name) as explorer, pytest.raises(BrokenPromiseError) as found:
        explorer.explore(bounds)
    schedule = str(found.value).rpartition("Replay it: ")[2]
    print(breaks.__name__, found.value)
    with explorer_of(name) as explorer, pytest.raises(BrokenPromiseError) as again:
        explorer.replay(schedule)
    assert str(again.value) == str(found.value)
