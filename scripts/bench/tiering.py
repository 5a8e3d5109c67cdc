"""What `regvault tier simulate` saves on histories that look like production, seed by seed.

Usage: tiering.py [--seeds 1-20] [--months 24] [--prices NAME] [--out docs/results/tiering.json]

Each history is written as CSV and simulated by the command line, as a user would. Seeds 1 to 20
are for reports; the policy is tuned on 100 to 199.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def simulated(seed: int, months: float, prices: str, work: Path) -> dict[str, Any]:
    """Return what one history comes to."""
    file = work / "trace.csv"
    # In a process of its own: what a child has at most begins with what its parent has.
    maker = [sys.executable, str(ROOT / "scripts/bench/traces.py"), str(seed), str(file), "--stats"]
    made = subprocess.run([*maker, "--months", str(months)], check=True, capture_output=True)
    known = json.loads(made.stdout)
    began = time.perf_counter()
    command = [sys.executable, "-m", "regvault", "tier", "simulate", "--json", "--prices", prices]
    files = ["--trace", str(file), "--sizes", str(file.with_suffix(".sizes"))]
    process = subprocess.Popen([*command, *files], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    document = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return {
        "seed": seed,
        "seconds": round(time.perf_counter() - began, 1),
        "memory_mib": usage.ru_maxrss >> 10,
        "history": known,
        "horizons": [told(each) for each in document["horizons"]],
    }


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one time."""
    ways = {way["name"]: way for way in found["ways"]}
    ours, best = ways["regvault"], ways[found["best_fixed"]]
    return {
        "days": round(found["days"]),
        "hot": ways[found["ways"][0]["name"]]["cost"],
        "ours": ours["cost"],
        "of_hot": ours["of_hot"],
        "of_optimum": ours["of_optimum"],
        "best_fixed": best["name"],
        "of_best_fixed": round(ours["cost"] / best["cost"], 4),
        "slow_share": round(ours["slow_reads"] / found["accesses"], 4),
        "brier": found["calibration"]["brier"],
        "brier_base": found["calibration"]["brier_base"],
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and worst of all histories, for each time."""
    made = []
    for place, first in enumerate(runs[0]["horizons"]):
        rows = [run["horizons"][place] for run in runs]
        made.append(
            {"days": first["days"]}
            | {
                name: {
                    "mean": round(mean(row[name] for row in rows), 4),
                    "worst": max(row[name] for row in rows),
                }
                for name in ("of_hot", "of_optimum", "of_best_fixed", "slow_share")
            }
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="1-20")
    parser.add_argument("--months", type=float, default=24)
    parser.add_argument("--prices", default="aws-us-east-1")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    runs = []
    with tempfile.TemporaryDirectory() as work:
        for seed in range(int(first), int(last or first) + 1):
            runs.append(simulated(seed, given.months, given.prices, Path(work)))
            print(json.dumps({"seed": seed, **runs[-1]["horizons"][0]}), flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "prices": given.prices,
        "summary": summary(runs),
        "most_seconds": max(run["seconds"] for run in runs),
        "most_memory_mib": max(run["memory_mib"] for run in runs),
        "runs": runs,
    }
    print(json.dumps(result["summary"], indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
