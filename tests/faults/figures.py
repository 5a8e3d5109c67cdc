"""Counts what the tests tried, for the figures of docs/guarantees.md.

A test calls `tried`. The sums are printed at the end; with FIGURES=FILE they are added to that
file, with the date and the commit.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

_TRIED: Counter[str] = Counter()
_PREFIX = "tried: "


def tried(what: str, count: int = 1) -> None:
    """Count what a test tries; the test fails where something is lost, or not noticed."""
    _TRIED[what] += count


class Figures:
    """A plugin that adds up what all workers tried."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._failing: set[str] = set()

    @pytest.fixture(autouse=True)
    def figures(self, record_property: Any) -> Any:
        _TRIED.clear()
        yield
        for what, count in _TRIED.items():
            record_property(_PREFIX + what, count)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failing.add(report.nodeid)
        if report.when == "teardown":
            for name, count in report.user_properties:
                if name.startswith(_PREFIX):
                    what = name.removeprefix(_PREFIX)
                    self.sums[what] += count
                    self.failed[what] += report.nodeid in self._failing

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.sums:
            return
        terminalreporter.section("tried")
        for what, count in sorted(self.sums.items()):
            terminalreporter.write_line(f"{count:8,} {what}")
        if path := os.environ.get("FIGURES"):
            self._write(Path(path))

    def _write(self, path: Path) -> None:
        found = json.loads(path.read_text()) if path.exists() else {"tried": {}}
        head = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], text=True)
        ran = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": head.strip(),
        }
        for what, count in sorted(self.sums.items()):
            found["tried"][what] = {"count": count, "failed": self.failed[what], **ran}
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def register(config: pytest.Config) -> None:
    """Register the plugin, once."""
    if not config.pluginmanager.has_plugin("figures"):
        config.pluginmanager.register(Figures(), "figures")
