"""Write the figures and the mutants' table of docs/guarantees.md; check what the page says.

`--check` writes nothing, and fails where the page is not what it would be, names a test that does
not exist, leaves an invariant without a promise whose test cites it, or lacks a rule that a test
cites; and where a mutant's code is not there exactly once, or one was not found out.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent / "mutants"))

from table import EQUIVALENT, GROUPS, MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
RESULTS = ROOT / "docs" / "results"
INVARIANTS = range(1, 13)

_TEST = re.compile(r"`tests/([^`]+?\.py)::([^`]+)`")
_NUMBERS = r"((?:\d+(?:, | and |,\s)?)+)"
_INVARIANT = re.compile(rf"\b[Ii]nvariants?\s+{_NUMBERS}(?![-\d])")
_RULE = re.compile(rf"\b[Rr]ules?\s+{_NUMBERS}(?![-\d])")
_HAS_RULE = re.compile(r"^\| \*\*(\d+)\*\* \|", re.MULTILINE)


# -- what tests there are ------------------------------------------------------------------------


@lru_cache
def module(file: str) -> ast.Module:
    """Return the syntax tree of a file below `tests/`; an empty one where there is none."""
    path = ROOT / "tests" / file
    return ast.parse(path.read_text() if path.exists() else "")


@lru_cache
def classes() -> dict[str, ast.ClassDef]:
    """Return the classes of the tests by name: tests are inherited too."""
    found: dict[str, ast.ClassDef] = {}
    for path in (ROOT / "tests").glob("*/*.py"):
        tree = module(str(path.relative_to(ROOT / "tests")))
        found |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return found


def member(body: list[ast.stmt], name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return a function or a class of a body."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    return None


def inherited(of: ast.ClassDef, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Return what a class has, or those that it is made of."""
    found = member(of.body, name)
    for base in of.bases:
        known = classes().get(base.id) if isinstance(base, ast.Name) else None
        if found is None and known is not None:
            found = inherited(known, name)
    return found


def nodes(test: str) -> list[ast.Module | ast.FunctionDef | ast.ClassDef]:
    """Return a test's module, classes and function; [] where it does not exist."""
    file, *names = test.partition("[")[0].split("::")
    found: list[ast.Module | ast.FunctionDef | ast.ClassDef] = [module(file)]
    for name in names:
        last = found[-1]
        node = inherited(last, name) if isinstance(last, ast.ClassDef) else member(last.body, name)
        if node is None:
            return []
        found.append(node)
    return found if isinstance(found[-1], ast.FunctionDef) else []


def numbers(pattern: re.Pattern[str], text: str) -> set[int]:
    """Return the numbers that a text cites."""
    flat = " ".join(text.split())
    return {int(each) for found in pattern.findall(flat) for each in re.findall(r"\d+", found)}


def cited(test: str, pattern: re.Pattern[str]) -> set[int]:
    """Return what a test cites, in its own docstring or in that of its class or module."""
    return numbers(pattern, "\n".join(ast.get_docstring(node) or "" for node in nodes(test)))


# -- what the page says --------------------------------------------------------------------------


def promises(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each promise with its tests."""
    for part in re.split(r"\n(?=- |\n|#)", text):
        tests = ["::".join(found) for found in _TEST.findall(part)]
        if part.startswith("- ") and tests:
            yield part, tests


def problems(text: str) -> Iterator[str]:
    """Yield what is wrong with the page as it is."""
    proven: set[int] = set()
    for promise, tests in promises(text):
        said = numbers(_INVARIANT, promise)
        for test in tests:
            if not nodes(test):
                yield f"there is no test tests/{test}"
            proven |= said & cited(test, _INVARIANT)
    for number in sorted(set(INVARIANTS) - proven):
        yield f"invariant {number} has no promise with a test that cites it"
    rules = {int(found) for found in _HAS_RULE.findall(text)}
    for number in sorted(numbers(_RULE, text.partition("## Rules")[0]) - rules):
        yield f"rule {number} is cited in docs/guarantees.md, and is not among its rules"
    for path in sorted((ROOT / "tests").glob("**/*.py")):
        for number in sorted(numbers(_RULE, path.read_text()) - rules):
            yield f"rule {number} is cited in {path.relative_to(ROOT)}, and is not in the docs"


def mutant_problems() -> Iterator[str]:
    """Yield what is wrong with the mutants' table and its last result."""
    for mutant in MUTANTS:
        count = (ROOT / "regvault" / mutant.file).read_text().count(mutant.old)
        if count != 1:
            yield f"mutant {mutant.id}: its code is {count} times in {mutant.file}, not once"
        for test in mutant.tests:
            if not nodes(test):
                yield f"mutant {mutant.id}: there is no test tests/{test}"
    for name, found in results("mutants.json")["mutants"].items():
        if found["alive"]:
            yield f"mutant {name} was not found out: {found['alive']}"


# -- what is written into it ---------------------------------------------------------------------


def results(name: str) -> dict[str, dict[str, dict[str, str]]]:
    """Return the last results of a kind."""
    found: dict[str, dict[str, dict[str, str]]] = json.loads((RESULTS / name).read_text())
    return found


def figures() -> list[str]:
    """Return the lines of the figures."""
    lines = ["| Tried | Times | Lost, or not noticed | When | Commit |", "|---|---|---|---|---|"]
    for what, ran in sorted(results("faults.json")["tried"].items()):
        count, failed = int(ran["count"]), int(ran["failed"])
        lines.append(f"| {what} | {count:,} | {failed} | {ran['date']} | {ran['commit']} |")
    return lines


def mutants() -> list[str]:
    """Return the lines of the mutants' tables."""
    found = results("mutants.json")["mutants"]
    tried = [found[mutant.id] for mutant in MUTANTS if mutant.id in found]
    dead = sum(not each["alive"] for each in tried)
    dates = sorted({each["date"] for each in tried})
    commits = ", ".join(sorted({each["commit"] for each in tried}))
    told = f"{len(MUTANTS)} mutants; {dead} were found out in the last runs"
    told += f" ({' to '.join(dates)}, {commits}; `results/mutants.json`), {len(tried) - dead} not."
    lines = [told]
    for group, some in GROUPS.items():
        lines += [
            "",
            f"### {group}",
            "",
            "| | What is broken | In | Noticed by |",
            "|---|---|---|---|",
        ]
        for mutant in some:
            tests = "<br>".join(f"`{test.rpartition('::')[2]}`" for test in mutant.tests)
            breaks = mutant.breaks.replace("|", "\\|")
            state = "" if mutant.id in found else " (not tried yet)"
            lines.append(f"| {mutant.id}{state} | {breaks} | `{mutant.file}` | {tests} |")
    if EQUIVALENT:
        lines += [
            "",
            "### What breaks nothing",
            "",
            "| In | What | Why nothing is lost |",
            "|---|---|---|",
        ]
        lines += [f"| `{file}` | {what} | {why} |" for file, what, why in EQUIVALENT]
    return lines


def written(text: str) -> str:
    """Return the page with its generated parts as they should be."""
    for name, lines in (("figures", figures()), ("mutants", mutants())):
        begin = f"<!-- {name}: written by scripts/guarantees.py -->\n"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}{chr(10).join(lines)}\n{end}{after}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    arguments = parser.parse_args()
    text = PAGE.read_text()
    new = written(text)
    if not arguments.check:
        PAGE.write_text(new)
        return 0
    wrong = [*problems(text), *mutant_problems()]
    if new != text:
        wrong.append("docs/guarantees.md is out of date: run scripts/guarantees.py")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
