"""The histories that tiering is measured on are what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from regvault.ops.tier.lines import read_sizes
from regvault.ops.tier.trace import read_trace
from regvault.policy.access import AccessRules

FILE = Path(__file__).resolve().parents[3] / "scripts" / "bench" / "traces.py"


@pytest.fixture(scope="module")
def traces():
    spec = importlib.util.spec_from_file_location("traces", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["traces"] = module
    spec.loader.exec_module(module)
    return module


def test_a_seed_is_one_history(traces):
    one, same, other = (traces.make_trace(seed, months=3, scale=0.1) for seed in (100, 100, 101))
    np.testing.assert_array_equal(one.times, same.times)
    np.testing.assert_array_equal(one.objects, same.objects)
    assert one.blobs == same.blobs
    assert len(one.times) != len(other.times)


def test_they_are_shaped_like_real_ones(traces):
    found = traces.facts(traces.make_trace(150, scale=0.3))
    assert 0.6 < found["fetched_once"] < 0.9
    assert found["of_early_never_again"] > 0.85
    assert 0.35 < found["top_tenth_of_gets"] < 0.8
    assert 0.55 < found["below_1_mb"] < 0.75
    assert 0.7 < found["below_10_mb"] < 0.9
    assert found["bytes_idle_6_months"] > 0.6


def test_what_is_written_is_what_is_read(traces, tmp_path):
    made = traces.make_trace(103, months=4, scale=0.1)
    assert made.scanned.any()
    traces.write(made, tmp_path / "trace.csv")
    with (tmp_path / "trace.csv").open() as file:
        sizes = read_sizes((tmp_path / "trace.sizes").read_text().splitlines())
        found = read_trace(file, rules=AccessRules(), sizes=sizes)
    real = ~made.scanned
    assert len(found.history.times) == real.sum()
    assert found.ignored == made.scanned.sum()
    assert found.assumed == 0
    there = np.bincount(made.objects[real], minlength=len(made.blobs))
    assert sorted(found.history.counts[found.history.counts > 0]) == sorted(there[there > 0])
