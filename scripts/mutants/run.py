"""Breaks each safety rule in turn, in a copy of the package; a named test must fail each time.

What counts is a test that fails: not one that cannot be collected, whose set-up breaks, or that
does not end. Unchanged, all named tests must pass. The result is docs/results/mutants.json.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from table import MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "docs" / "results" / "mutants.json"
TIMEOUT_S = 600
_SHARES = 8


class Ran(NamedTuple):
    """What became of some tests.

    Attributes:
        passed, failed: node ids below `tests/`, without parameters; one that failed for some
            parameters is in both.
        trouble: why nothing can be said, or "".
    """

    passed: set[str]
    failed: set[str]
    trouble: str


class Copy:
    """A copy of the package, which is broken and mended again and again."""

    def __init__(self, base: Path, number: int) -> None:
        self._at = base / f"copy-{number}"
        self.package = self._at / "regvault"
        shutil.copytree(
            ROOT / "regvault", self.package, ignore=shutil.ignore_patterns("__pycache__")
        )
        compileall.compile_dir(self.package, quiet=2)
        found = self._python("-c", "import regvault; print(regvault.__file__)").stdout.strip()
        assert found == str(self.package / "__init__.py"), found

    def broken(self, mutant: Mutant) -> Ran:
        """Run the tests of a mutant."""
        text = mutant.apply(self.package)
        path = self.package / mutant.file
        try:
            compile(path.read_text(), mutant.file, "exec")  # what is no Python says nothing
            # A compiled file is told by the second: the one of the code before might be taken.
            for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                cached.unlink()
            return self.run(mutant.tests)
        finally:
            path.write_text(text)

    def run(self, tests: Iterable[str], *options: str) -> Ran:
        """Run tests against the copy as it is."""
        report = self._at / "report.xml"
        report.unlink(missing_ok=True)
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", f"--junitxml={report}"]
        try:
            done = self._python(*words, *options, *(f"tests/{test}" for test in tests))
        except subprocess.TimeoutExpired:
            return Ran(set(), set(), f"no end after {TIMEOUT_S} s")
        if done.returncode not in (0, 1):
            return Ran(set(), set(), f"pytest ended with {done.returncode}: {done.stdout[-300:]}")
        return read_report(report)

    def _python(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self._at),
            "PYTHONSAFEPATH": "1",  # else the package of the working directory comes first
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "",
            "TMPDIR": str(self._at),
        }
        return subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, timeout=TIMEOUT_S,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def read_report(path: Path) -> Ran:
    """Return what a JUnit report says."""
    passed: set[str] = set()
    failed: set[str] = set()
    for case in ET.parse(path).iter("testcase"):
        test = node_id(case.get("classname", ""), case.get("name", ""))
        failure, error = case.find("failure"), case.find("error")
        if error is not None:
            return Ran(set(), set(), f"{test}: {error.get('message', '')[:200]}")
        if failure is not None and "Timeout" in failure.get("message", ""):
            return Ran(set(), set(), f"{test} did not end")
        if failure is not None:
            failed.add(test)
        elif case.find("skipped") is None:
            passed.add(test)
    return Ran(passed, failed, "")


def node_id(where: str, name: str) -> str:
    """Return the node id of a test from the two names that a report has."""
    parts = where.split(".")[1:]
    files = [part for part in parts if not part.startswith("Test")]
    classes = parts[len(files) :]
    return "::".join(["/".join(files) + ".py", *classes, name.partition("[")[0]])


def plain(test: str) -> str:
    """Return a node id without parameters."""
    return test.partition("[")[0]


def verdict(mutant: Mutant, ran: Ran) -> str:
    """Return "" where each named test failed, else why not."""
    if ran.trouble:
        return ran.trouble
    alive = {plain(test) for test in mutant.tests} - ran.failed
    return f"not noticed by {', '.join(sorted(alive))}" if alive else ""


def chosen(words: list[str]) -> list[Mutant]:
    """Return the mutants whose ids match one of some patterns; all without any."""
    return [m for m in MUTANTS if not words or any(re.search(word, m.id) for word in words)]


def commit() -> str:
    """Return the commit that is checked out, with a `+` where the package or tests differ."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True)
    dirty = subprocess.check_output([*git, "status", "--porcelain", "regvault", "tests"])
    return head.strip() + ("+" if dirty else "")


def try_all(mutants: list[Mutant], parallel: int, base: Path) -> tuple[dict[str, str], str]:
    """Return id -> why a mutant is alive, "" for one that is not; and what fails unchanged."""
    copies: queue.Queue[Copy] = queue.Queue()
    for number in range(parallel):
        copies.put(Copy(base, number))
    done = 0

    def one(mutant: Mutant) -> str:
        nonlocal done
        copy = copies.get()
        started = time.monotonic()
        try:
            found = verdict(mutant, copy.broken(mutant))
        except (ValueError, SyntaxError) as error:
            found = str(error)
        finally:
            copies.put(copy)
        done += 1
        seconds = time.monotonic() - started
        say = f"ALIVE: {found}" if found else "dead"
        print(f"[{done}/{len(mutants)}] {mutant.id}: {say} ({seconds:.0f} s)", flush=True)
        return found

    named = sorted({test for mutant in mutants for test in mutant.tests})
    print(f"Unchanged: {len(named)} tests", flush=True)
    # In shares, since one run of all of them takes longer than a broken one may.
    shares = [named[n::_SHARES] for n in range(min(_SHARES, len(named)))]

    def unchanged(tests: list[str]) -> str:
        copy = copies.get()
        ran = copy.run(tests)
        copies.put(copy)
        missing = {plain(test) for test in tests} - ran.passed
        return ran.trouble or ", ".join(sorted(ran.failed | missing))

    with ThreadPoolExecutor(parallel) as pool:
        if wrong := next(filter(None, pool.map(unchanged, shares)), ""):
            return {}, wrong
        found = list(pool.map(one, mutants))
    return {m.id: why for m, why in zip(mutants, found, strict=True)}, ""


def keep(found: dict[str, str], seconds: float) -> None:
    """Write what was found beside what earlier runs of other mutants found."""
    kept = json.loads(RESULT.read_text())["mutants"] if RESULT.exists() else {}
    ran = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit()}
    kept |= {name: {"alive": why, **ran} for name, why in found.items()}
    known = {mutant.id for mutant in MUTANTS}
    kept = {name: kept[name] for name in sorted(kept) if name in known}
    text = json.dumps({"seconds_of_last_run": round(seconds), "mutants": kept}, indent=1)
    RESULT.write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", help="only those that match")
    parser.add_argument("--parallel", type=int, default=2, help="at work at once (default: 2)")
    parser.add_argument("--list", action="store_true", help="print the ids and what they break")
    arguments = parser.parse_args()
    mutants = chosen(arguments.patterns)
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.id}: {mutant.breaks}")
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="regvault-mutants-") as base:
        found, wrong = try_all(mutants, arguments.parallel, Path(base))
    if wrong:
        print(f"Without any mutant these do not pass: {wrong}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    alive = {name: why for name, why in found.items() if why}
    keep(found, seconds)
    print(f"{len(mutants) - len(alive)} of {len(mutants)} mutants were found out, {seconds:.0f} s")
    for name, why in alive.items():
        print(f"ALIVE {name}: {why}", file=sys.stderr)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
