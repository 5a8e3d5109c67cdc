"""The benchmarks of planning run: figures of one that does not are figures of something older."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "scripts/bench"


@pytest.mark.parametrize(("name", "what"), [("tier_plan", "blobs"), ("tier_plan_vault", "objects")])
def test_a_benchmark_of_planning_plans(name, what):
    done = subprocess.run(
        [sys.executable, BENCH / f"{name}.py", "3000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told[what] >= 3000
    assert 0 < told["moves"] < told[what]
