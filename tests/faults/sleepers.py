"""What is tried with a process that sleeps, or whose clock is wrong, wherever its vault is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from asleep import Process
from suspended import CODES, DAY, HOUR, NAME, Trial
from world import tree

from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MINUTE = 60
WHOLE = bool(os.environ.get("WHOLE"))
#: Seconds that a process sleeps.
NAPS = {"no time": 0, "25 hours": 25 * HOUR, "8 days": 8 * DAY}
#: Seconds that a reader sleeps: its claim counts for 24 hours.
READS = {"8 days": 8 * DAY, "25 hours": 25 * HOUR, "23 hours": 23 * HOUR}
#: Seconds that a clock is wrong by.
JUMPS = (6 * MINUTE, 25 * HOUR, -25 * HOUR)
if WHOLE:
    JUMPS += (-6 * MINUTE, 8 * DAY)
#: Which vault of the template a command works in.
VAULTS = {"copy": "copy", "restore": "unforgotten", "verify": "unforgotten"}


@pytest.fixture(autouse=True)
def small_parts() -> None:
    """Nothing is small, and nothing stands still: these are processes of their own."""


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """No process is left behind. (A module has this and `small_parts` by importing them.)"""
    yield
    Process.kill_all()


def places(count: int, nap: str, share: int, naps: Iterable[str] = NAPS) -> list[int]:
    """Return the operations that a process is stopped before: with WHOLE=1 all of them.

    Args:
        count: how many there are.
        nap: how long it sleeps.
        share: how many are wanted.
        naps: all naps: others are tried for each.
    """
    if WHOLE:
        return list(range(1, count + 1))
    # Not the very first ones, at which nothing has happened yet, nor the last ones.
    every = list(naps)
    step = count / (share * len(every))
    numbers = range(1 + every.index(nap), 1 + share * len(every), len(every))
    return [round(step * (number - 0.25)) for number in numbers]


def sleeping_writer(trial: Trial, verb: str, nap: str, **sleep: Any) -> None:
    """Whoever wakes up commits what is whole, or nothing; others prune meanwhile."""
    sleeper, what = trial.sleeper(getattr(trial, verb), **sleep)
    where = (verb, nap, sleep, what)
    trial.time.jump(NAPS[nap])
    at_work = NAPS[nap] == 0 and trial.live("writer")
    pruned = trial.run(trial.prune, "beta")
    assert pruned == (11 if at_work else 6 if trial.locked() else 0), where
    trial.check((where, "asleep"))
    sleeper.wake()
    code = sleeper.ended()
    print(where, pruned, code)
    assert code in CODES, (where, sleeper.said.read_text())
    roots = trial.check((where, "awake"))[NAME]
    assert (roots[-1] > 2) == (code == 0), where
    if verb == "snapshot":
        trial.converge(where)
    trial.remove()


def sleeping_prune(trial: Trial, nap: str, **sleep: Any) -> None:
    """Whoever wakes up deletes nothing that came to be needed by a snapshot meanwhile."""
    sleeper, what = trial.sleeper(trial.prune, **sleep)
    where = (nap, sleep, what)
    trial.time.jump(NAPS[nap])
    taken = trial.run(trial.snapshot, "beta")
    assert taken in ({0, 11} if NAPS[nap] == 0 else {6} if trial.locked() else {0}), where
    pruned = trial.run(trial.prune, "beta")
    assert pruned in CODES, where
    trial.check((where, "asleep"))
    sleeper.wake()
    code = sleeper.ended()
    print(where, taken, pruned, code)
    assert code in CODES, (where, sleeper.said.read_text())
    roots = trial.check((where, "awake"))[NAME]
    assert (roots[-1] > 2) == (taken == 0), where
    trial.converge(where)
    trial.remove()


def sleeping_reader(trial: Trial, verb: str, nap: str, **sleep: Any) -> None:
    """For a day nothing is deleted that it reads; after that it gives nothing that is wrong."""
    sleeper, what = trial.sleeper(getattr(trial, verb), **sleep)
    where = (verb, nap, sleep, what)
    claimed = trial.live("reader") == 1
    trial.time.jump(READS[nap])
    locked = trial.locked()
    for words in (trial.forget, trial.prune):
        assert trial.run(words, "beta") in ({0, 6} if locked else {0}), where
    trial.check((where, "asleep"))
    sleeper.wake()
    code = sleeper.ended()
    print(where, claimed, code)
    said = sleeper.said.read_text()
    if claimed and READS[nap] < DAY:
        # It may have been about to look whether its root was still there.
        assert code == 0 or "was forgotten just now" in said, (where, said)
    if claimed and code == 4:
        assert "ended while it slept" in said, (where, said)
        assert not trial.records("verifications"), where
    assert code in {0, 4, 5, 6, 10}, (where, said)
    if verb == "restore":
        target = LocalStore(str(trial.root / "target"), create=True)
        found = tree(target)
        target.close()
        wanted = trial.held[1]
        assert found.items() <= wanted.items(), where
        assert code or found == wanted, where
    trial.converge(where)
    trial.remove()


def wrong_client(trial: Trial, jump_s: float, **sleep: Any) -> None:
    """A writer's clock jumps while it works, another's is wrong from the beginning."""
    sleeper, what = trial.sleeper(trial.snapshot, skew_s=jump_s, **sleep)
    where = (jump_s, sleep, what)
    trial.time.jump(MINUTE)  # else the other one takes part in the race of who came first
    # By a wrong clock nothing is destroyed, and by a right one nothing that lives.
    assert trial.run(trial.prune, "beta", skew_s=jump_s) == 5, where
    assert trial.run(trial.snapshot, "beta", skew_s=jump_s) == 11, where
    trial.must(trial.snapshot_of("lab"), "beta", skew_s=jump_s)
    assert trial.run(trial.prune, "beta") == 11, where
    assert trial.live("writer") == 1, where
    sleeper.wake()
    assert sleeper.ended() == 0, (where, sleeper.said.read_text())
    assert trial.check(where) == {"lab": [1], NAME: [2, 3]}
    trial.converge(where)
    trial.remove()


def wrong_pruner(trial: Trial, jump_s: float, **sleep: Any) -> None:
    """Its clock jumps in the middle: it goes on by the time of the store, or stops."""
    trial.must(trial.snapshot_of("lab"))
    sleeper, what = trial.sleeper(trial.prune, skew_s=jump_s, **sleep)
    where = (jump_s, sleep, what)
    sleeper.wake()
    assert sleeper.ended() in {0, 5}, (where, sleeper.said.read_text())
    trial.converge(where)
    trial.remove()
