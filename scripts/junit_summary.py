"""Print one pytest-style summary line for several runs: junit_summary.py STATUS FILE.xml..."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def summary(status: int, reports: list[Path]) -> str:
    """STATUS is the exit status of it all: a failure that no test shows counts as an error."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for report in reports:
        for suite in ET.parse(report).iter("testsuite"):
            bad = {name: int(suite.get(name, 0)) for name in ("failures", "skipped", "errors")}
            counts["failed"] += bad["failures"]
            counts["skipped"] += bad["skipped"]
            counts["error"] += bad["errors"]
            counts["passed"] += int(suite.get("tests", 0)) - sum(bad.values())
            seconds += float(suite.get("time", 0))
    if status and not counts["failed"] and not counts["error"]:
        counts["error"] = 1
    order = ("failed", "passed", "skipped", "error")
    parts = [f"{counts[name]} {name}" for name in order if counts[name]]
    return f"=== {', '.join(parts) or 'no tests ran'} in {seconds:.1f}s ==="


if __name__ == "__main__":
    print(summary(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
