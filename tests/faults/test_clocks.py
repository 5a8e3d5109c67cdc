"""A clock that jumps beside real processes: no live lease is ended, and nothing needed goes.

Invariant 5, rule 1. One process is stopped by SIGSTOP for a moment, so that others surely find it
at work; then a clock jumps. (On S3: `test_suspended_s3.py`.)
"""

from __future__ import annotations

import pytest
from figures import tried
from sleepers import JUMPS, MINUTE, nobody_left, small_parts, wrong_client, wrong_pruner  # noqa: F401 (fixtures)
from suspended import DAY, HOUR, NAME, Trial

#: Shares of its operations after which a process is stopped.
STOPS = (0.4, 0.8)


def stops(trial: Trial, words: tuple[object, ...]) -> list[int]:
    count = trial.operations(words)
    return [int(count * share) for share in STOPS]


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_client_whose_clock_is_not_that_of_the_store(jump_s, tmp_path):
    """A writer's clock jumps while it works, another's is wrong from the beginning."""
    counted = Trial(tmp_path / "count")
    for at in stops(counted, counted.snapshot):
        tried("clocks of clients that jump")
        wrong_client(Trial(tmp_path / str(at)), jump_s, at=at)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_pruner_whose_clock_jumps(jump_s, tmp_path):
    """In the middle of a prune: it goes on by the time of the store, or stops."""
    counted = Trial(tmp_path / "count")
    for at in stops(counted, counted.prune):
        tried("clocks of clients that jump")
        wrong_pruner(Trial(tmp_path / str(at)), jump_s, at=at)


@pytest.mark.parametrize("jump_s", [jump for jump in JUMPS if jump < 2 * DAY])
def test_a_host_whose_clock_is_set(jump_s, tmp_path):
    """The file system's clock is the host's, so by its times a live lease may look days old."""
    counted = Trial(tmp_path / "count")
    for at in stops(counted, counted.snapshot):
        trial = Trial(tmp_path / str(at))
        sleeper, what = trial.sleeper(trial.snapshot, at)
        where = (jump_s, at, what)
        tried("clocks of hosts that jump")
        trial.time.jump(MINUTE)
        trial.time.step(jump_s)
        assert trial.run(trial.snapshot) == 11, where
        assert trial.run(trial.prune) == 11, where
        assert trial.live("writer") == 1, where
        sleeper.wake()
        assert sleeper.ended() == 0, (where, sleeper.said.read_text())
        assert trial.check(where) == {NAME: [2, 3]}
        trial.time.jump(2 * abs(jump_s))
        trial.converge(where)


def test_a_reader_on_a_host_whose_clock_is_set(tmp_path):
    """Its claim is renewed in time, though it looks older than a day."""
    counted = Trial(tmp_path / "count", "unforgotten")
    at = counted.operations(counted.restore) * 2 // 3
    trial = Trial(tmp_path / "trial", "unforgotten")
    sleeper, what = trial.sleeper(trial.restore, at)
    tried("clocks of hosts that jump")
    trial.time.step(25 * HOUR)
    for words in (trial.forget, trial.prune):
        trial.must(words)
    sleeper.wake()
    assert sleeper.ended() == 0, (what, sleeper.said.read_text())


@pytest.mark.parametrize("nap_s", [0, 25 * HOUR])
def test_two_hosts_snapshot_two_registries_and_share_blobs(nap_s, tmp_path):
    """Both reuse what a prune beside them would delete."""
    counted = Trial(tmp_path / "count")
    count = counted.operations(counted.snapshot_of("lab"))
    for share, other in ((0.3, 0.8), (0.8, 0.3), (0.6, 0.6)):
        trial = Trial(tmp_path / f"{share}-{other}")
        tried("suspended: two hosts")
        one, at_one = trial.sleeper(trial.snapshot, int(count * share), host="alpha")
        two, at_two = trial.sleeper(trial.snapshot_of("lab"), int(count * other), host="beta")
        where = (nap_s, at_one, at_two)
        trial.time.jump(nap_s)
        assert trial.run(trial.prune) == (0 if nap_s else 11), where
        one.wake()
        two.wake()
        codes = {one.ended(), two.ended()}
        assert codes <= ({5, 6} if nap_s else {0}), (where, one.said.read_text())
        found = trial.check(where)
        assert found == ({NAME: [2]} if nap_s else {NAME: [2, 3], "lab": [1]}), where
        trial.must(trial.snapshot_of("lab"), "beta")
        trial.converge(where)
