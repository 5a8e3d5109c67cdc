"""What `test_suspended.py` and `test_clocks.py` prove on a disk, of a vault on S3.

Invariants 1, 2, 4 and 5, rule 1. Real processes are stopped before one of their requests, or when
it was done and its answer is not looked at yet. The server's clock is that of the trial.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from buckets import OnS3
from figures import tried
from sleepers import (  # noqa: F401 (fixtures)
    JUMPS,
    NAPS,
    READS,
    VAULTS,
    WHOLE,
    nobody_left,
    places,
    sleeping_prune,
    sleeping_reader,
    sleeping_writer,
    small_parts,
    wrong_client,
    wrong_pruner,
)
from suspended import Trial

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What is always tried: the request that makes a root.
COMMIT = ("PUT", "/snapshots/prod")
#: So many requests of each are tried for each nap by default.
SHARE = 1


def trial(root: Path, verb: str) -> Trial:
    return Trial(root, VAULTS.get(verb, "vault"), OnS3)


@lru_cache
def requests(verb: str) -> int:
    """Return how many requests a command makes."""
    with TemporaryDirectory() as root:
        counted = trial(Path(root) / "trial", verb)
        count = counted.operations(getattr(counted, verb))
        counted.remove()
    return count


def stops(verb: str, nap: str, naps: Iterable[str] = NAPS) -> list[dict[str, Any]]:
    """Return where a process is stopped, and whether the thread that renews comes to run last."""
    return [
        {"at": at, "answered": answered, "late": (at + answered) % 4 > 1}
        for at in places(requests(verb), nap, SHARE, naps)
        for answered in ((False, True) if WHOLE else (at % 2 == 1,))
    ]


def commits(nap: str) -> list[dict[str, Any]]:
    """Return how a process is stopped at the request that makes a root."""
    both = WHOLE or nap == "25 hours"
    return [{"at": COMMIT, "answered": way, "late": True} for way in (False, True)[: 1 + both]]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
@pytest.mark.parametrize("verb", ["snapshot", "copy"])
def test_a_writer_that_sleeps_while_others_prune(verb, nap, tmp_path):
    """Whoever wakes up commits what is whole, or nothing."""
    for number, sleep in enumerate(commits(nap) + stops(verb, nap)):
        tried(f"suspended on S3: {verb}")
        sleeping_writer(trial(tmp_path / str(number), verb), verb, nap, **sleep)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
def test_a_prune_that_sleeps_while_others_snapshot(nap, tmp_path):
    """Whoever wakes up deletes nothing that came to be needed meanwhile."""
    for number, sleep in enumerate(stops("prune", nap)):
        tried("suspended on S3: prune")
        sleeping_prune(trial(tmp_path / str(number), "prune"), nap, **sleep)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", READS)
@pytest.mark.parametrize("verb", ["restore", "verify"])
def test_a_reader_that_sleeps_while_others_forget_and_prune(verb, nap, tmp_path):
    """For a day nothing is deleted that it reads; after that it gives nothing that is wrong."""
    for number, sleep in enumerate(stops(verb, nap, READS)):
        tried(f"suspended on S3: {verb}")
        sleeping_reader(trial(tmp_path / str(number), verb), verb, nap, **sleep)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_client_whose_clock_is_not_that_of_the_store(jump_s, tmp_path):
    """A writer's clock jumps while it works, another's is wrong from the beginning."""
    at = requests("snapshot") // 2
    tried("clocks of clients that jump, on S3")
    wrong_client(trial(tmp_path / "trial", "snapshot"), jump_s, at=at)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_pruner_whose_clock_jumps(jump_s, tmp_path):
    """In the middle of a prune: it goes on by the time of the store, or stops."""
    at = requests("prune") // 2
    tried("clocks of clients that jump, on S3")
    wrong_pruner(trial(tmp_path / "trial", "prune"), jump_s, at=at)
