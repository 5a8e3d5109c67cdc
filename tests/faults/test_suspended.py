"""A process that is suspended before any operation, and wakes up days later, harms nothing.

Invariants 1, 2 and 4, rule 1. Real processes on a real disk: one is stopped by SIGSTOP, others
prune, snapshot and forget meanwhile, and SIGCONT wakes it. (On S3: `test_suspended_s3.py`.)
"""

from __future__ import annotations

from itertools import product

import pytest
from figures import tried
from sleepers import (  # noqa: F401 (fixtures)
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
)
from suspended import Trial

#: So many operations of each are tried by default.
SHARE = 2


#: What is always tried: between the last look of a writer and the moment that its root is there.
COMMIT = ("link", "/snapshots/prod")


def late(at: int) -> tuple[bool, ...]:
    """Whether the thread that renews a lease comes to run last of all after a nap, or first."""
    return (False, True) if WHOLE else (at % 2 == 1,)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
@pytest.mark.parametrize("verb", ["snapshot", "copy"])
def test_a_writer_that_sleeps_while_others_prune(verb, nap, tmp_path):
    """Whoever wakes up commits what is whole, or nothing."""
    vault = VAULTS.get(verb, "vault")
    counted = Trial(tmp_path / "count", vault)
    count = counted.operations(getattr(counted, verb))
    for at, is_late in [(COMMIT, True), *product(places(count, nap, SHARE), (False, True))]:
        if isinstance(at, int) and is_late not in late(at):
            continue
        root = tmp_path / f"{at if isinstance(at, int) else 'commit'}-{is_late}"
        tried(f"suspended: {verb}")
        sleeping_writer(Trial(root, vault), verb, nap, at=at, late=is_late)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", NAPS)
def test_a_prune_that_sleeps_while_others_snapshot(nap, tmp_path):
    """Whoever wakes up deletes nothing that came to be needed meanwhile."""
    counted = Trial(tmp_path / "count")
    for at in places(counted.operations(counted.prune), nap, SHARE):
        tried("suspended: prune")
        sleeping_prune(Trial(tmp_path / str(at)), nap, at=at)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nap", READS)
@pytest.mark.parametrize("verb", ["restore", "verify"])
def test_a_reader_that_sleeps_while_others_forget_and_prune(verb, nap, tmp_path):
    """For a day nothing is deleted that it reads; after that it gives nothing that is wrong."""
    counted = Trial(tmp_path / "count", VAULTS[verb])
    count = counted.operations(getattr(counted, verb))
    for at in places(count, nap, SHARE, READS):
        tried(f"suspended: {verb}")
        sleeping_reader(Trial(tmp_path / str(at), VAULTS[verb]), verb, nap, at=at)
