"""Which weeks had what comes now: counted by hand."""

import random

import numpy as np
import pytest

from regvault.policy.tiering.foresight import WEEKS, weekly


def by_hand(ago, days, known):
    weeks = min(WEEKS, int(known // 7))
    hits = sum(
        any(7 * week - days < each <= 7 * week for each in ago) for week in range(1, weeks + 1)
    )
    return (hits + 0.5) / (weeks + 1) if hits else 0.0


@pytest.mark.parametrize("days", [1, 2.5, 3, 7])
@pytest.mark.parametrize("known", [3, 10, 40, 400])
def test_it_is_as_by_hand(days, known):
    dice = random.Random(f"{days} {known}")
    reads = [
        sorted(round(dice.uniform(0, 80), 2) for _ in range(dice.randrange(12))) for _ in range(200)
    ]
    reads[0] = [7.0, 14.0, 7.0 - days, 14.0 - days]  # at the very edge
    owners = np.repeat(np.arange(200), [len(each) for each in reads])
    ago = np.array([each for some in reads for each in some])
    found = weekly(owners, ago, 200, days, known)
    assert found.tolist() == pytest.approx([by_hand(each, days, known) for each in reads])
