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
from explorer import Bounds, Explorer, Left
from figures import tried
from oracle import Oracle
from scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = bool(os.environ.get("WHOLE"))
MINUTES, DAY, WEEK = 20 * 60, 25 * 3600, 8 * 86_400

#: Scenario -> interruptions, deaths, and sleeps, that are tried together; and how long sleeps are.
BOUNDS: dict[str, list[Bounds]] = {
    "two-writers": [Bounds(Left(2, 0, 0)), Bounds(Left(0, 1, 1), (MINUTES,))],
    "two-writers-of-one-registry": [Bounds(Left(2, 0, 0))],
    "reuse": [Bounds(Left(2, 0, 0))],
    "two-prunes": [Bounds(Left(1, 0, 0))],
    "two-writers-two-prunes": [Bounds(Left(0, 1, 0))],
    "forget-prune-writer": [Bounds(Left(1, 0, 0))],
    "reader-forget-prune": [Bounds(Left(1, 0, 0))],
    "copy-into-prune-writer": [Bounds(Left(1, 0, 0))],
    "copy-from-forget-prune": [Bounds(Left(1, 0, 0))],
    "reader-of-copy-forget-prune": [Bounds(Left(1, 0, 0))],
}
TRIALS = [
    pytest.param(name, bounds, id=f"{name}-{'-'.join(map(str, bounds.left))}")
    for name, some in BOUNDS.items()
    for bounds in some
]


@contextlib.contextmanager
def explorer_of(name: str) -> Iterator[Explorer]:
    scenario = SCENARIOS[name]()
    parties = scenario.parties()
    try:
        yield Explorer(parties, scenario.shelves(), HERE.clock_ns, Oracle(scenario))
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
    assert found.states > 1000


#: Schedules that lost something once.
LOST = [
    # A prune took the plain key of what a copied root has elsewhere for needed, and kept it.
    ("copy-into-prune-writer", "B65 C46 A68 B17"),
    # It deleted what a reader still read of a copied root that was forgotten.
    ("reader-of-copy-forget-prune", "A18 B14 C102 A2"),
]
REPLAY = [os.environ["REPLAY"].split(": ", 1)] if "REPLAY" in os.environ else []


@pytest.mark.parametrize(("name", "schedule"), [*LOST, *REPLAY])
def test_a_schedule_that_lost_something_can_be_replayed(name, schedule):
    with explorer_of(name) as explorer:
        explorer.replay(schedule)
