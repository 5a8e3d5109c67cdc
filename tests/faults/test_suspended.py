"""A process that is suspended before any operation, and wakes up days later, harms nothing.

Invariants 1, 2 and 4, rule 1. Real processes on a real disk: one is stopped by SIGSTOP, others
prune, snapshot and forget meanwhile, and SIGCONT wakes it.
"""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING

import pytest
from asleep import Process
from figures import tried
from suspended import CODES, DAY, HOUR, Trial
from world import tree

from regvault.storage.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WHOLE = bool(os.environ.get("WHOLE"))
#: Seconds that a process sleeps.
NAPS = {"no time": 0, "25 hours": 25 * HOUR, "8 days": 8 * DAY}


@pytest.fixture(autouse=True)
def small_parts() -> None:
    """Nothing is small, and nothing stands still: these are processes of their own."""


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    yield
    Process.kill_all()


#: So many operations of each are tried by default.
SHARE = 2


#: What is always tried: between the last look of a writer and the moment that its root is there.
COMMIT = ("link", "/snapshots/prod")


def places(count: int, nap: str, naps: Iterable[str] = NAPS) -> list[int]:
    """Return the operations that a process is stopped before: with WHOLE=1 all of them."""
    if WHOLE:
        return list(range(1, count + 1))
    # Others for each nap, and not the very first ones, at which nothing has happened yet.
    every = list(naps)
    step = count / (SHARE * len(every))
    numbers = range(1 + every.index(nap), 1 + SHARE * len(every), len(every))
    return [round(step * number) for number in numbers]


def late(at: int) -> tuple[bool, ...]:
    """Whether the thread that renews a lease comes to run last of all after a nap, or first."""
    return (False, True) if WHOLE else (at % 2 == 1,)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
@pytest.mark.parametrize("verb", ["snapshot", "copy"])
def test_a_writer_that_sleeps_while_others_prune(verb, nap, tmp_path):
    """Whoever wakes up commits what is whole, or nothing."""
    vault = {"snapshot": "vault", "copy": "copy"}[verb]
    counted = Trial(tmp_path / "count", vault)
    count = counted.operations(getattr(counted, verb))
    for at, is_late in [(COMMIT, True), *product(places(count, nap), (False, True))]:
        if isinstance(at, int) and is_late not in late(at):
            continue
        trial = Trial(tmp_path / f"{at if isinstance(at, int) else 'commit'}-{is_late}", vault)
        sleeper, what = trial.sleeper(getattr(trial, verb), at, late=is_late)
        where = (verb, nap, at, is_late, what)
        tried(f"suspended: {verb}")
        trial.time.jump(NAPS[nap])
        at_work = NAPS[nap] == 0 and trial.live("writer")
        pruned = trial.run(trial.prune, "beta")
        assert pruned == (11 if at_work else 6 if trial.locked() else 0), where
        trial.check((where, "asleep"))
        sleeper.wake()
        code = sleeper.ended()
        print(where, pruned, code)
        assert code in CODES, (where, sleeper.said.read_text())
        roots = trial.check((where, "awake"))["prod"]
        assert (roots[-1] > 2) == (code == 0), where
        if verb == "snapshot":
            trial.converge(where)
        trial.remove()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
def test_a_prune_that_sleeps_while_others_snapshot(nap, tmp_path):
    """Whoever wakes up deletes nothing that came to be needed meanwhile."""
    counted = Trial(tmp_path / "count")
    count = counted.operations(counted.prune)
    for at in places(count, nap):
        trial = Trial(tmp_path / str(at))
        sleeper, what = trial.sleeper(trial.prune, at)
        where = (nap, at, what)
        tried("suspended: prune")
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
        roots = trial.check((where, "awake"))["prod"]
        assert (roots[-1] > 2) == (taken == 0), where
        trial.converge(where)
        trial.remove()


#: How long a reader sleeps, and whether its claim still counts.
READS = {"23 hours": 23 * HOUR, "25 hours": 25 * HOUR, "8 days": 8 * DAY}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", READS)
@pytest.mark.parametrize("verb", ["restore", "verify"])
def test_a_reader_that_sleeps_while_others_forget_and_prune(verb, nap, tmp_path):
    """For a day nothing is deleted that it reads; after that it gives nothing that is wrong."""
    counted = Trial(tmp_path / "count", "unforgotten")
    count = counted.operations(getattr(counted, verb))
    for at in places(count, nap, READS):
        trial = Trial(tmp_path / str(at), "unforgotten")
        sleeper, what = trial.sleeper(getattr(trial, verb), at)
        where = (verb, nap, at, what)
        tried(f"suspended: {verb}")
        claimed = trial.live("reader") == 1
        trial.time.jump(READS[nap])
        locked = trial.locked()
        for words in (trial.forget, trial.prune):
            assert trial.run(words, "beta") in ({0, 6} if locked else {0}), where
        trial.check((where, "asleep"))
        sleeper.wake()
        code = sleeper.ended()
        print(where, claimed, code)
        if claimed and READS[nap] < DAY:
            # It may have been about to look whether its root was still there.
            said = sleeper.said.read_text()
            assert code == 0 or "was forgotten just now" in said, (where, said)
        assert code in {0, 4, 5, 6, 10}, (where, sleeper.said.read_text())
        if verb == "restore":
            found = tree(LocalStore(str(trial.root / "target"), create=True))
            wanted = trial.held[1]
            assert found.items() <= wanted.items(), where
            assert code or found == wanted, where
        trial.converge(where)
        trial.remove()
