"""Medians, ratios and what was to be reached: from samples to a table and to JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OURS = "regvault"
FLOOR = "cp+sha256sum"
LISTING = "bare LIST"
SCENARIOS = {
    "first": "first full",
    "unchanged": "nothing changed",
    "changed": "1 % changed",
    "restore": "restore all",
    "one": "restore one image",
    "verify": "verify with data",
}


@dataclass(frozen=True)
class Sample:
    """One run of one tool; `failed` says why it has no numbers."""

    seed: int
    target: str
    scenario: str
    tool: str
    round: int
    wall: float = 0.0
    sync: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    written: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    failed: str = ""


class Row(NamedTuple):
    """One tool in one scenario, over all seeds and rounds.

    Attributes:
        wall: median over the seeds of the medians over the rounds.
        ratio: this tool's median by ours, for the seed where that is worst for us.
    """

    target: str
    scenario: str
    tool: str
    wall: float
    lowest: float
    highest: float
    cpu: float
    rss: int
    written: int
    requests: dict[str, int]
    ratio: float | None
    failed: str


class Goal(NamedTuple):
    """How many times faster than a tool ("" for the fastest peer) a scenario is to be."""

    target: str
    scenario: str
    than: str
    times: float


GOALS = (
    Goal("disk", "first", "", 2.0),
    Goal("s3", "first", "", 1.5),
    Goal("disk", "unchanged", "restic", 15.0),
    Goal("disk", "unchanged", "rclone", 6.0),
    Goal("s3", "unchanged", "", 10.0),
    Goal("disk", "changed", "restic", 8.0),
    Goal("disk", "restore", FLOOR, 1 / 1.1),
    Goal("s3", "restore", "", 1.0),
    Goal("disk", "verify", "restic", 1.5),
    Goal("s3-s3", "first", "rclone", 1.0),
    Goal("s3-s3", "unchanged", LISTING, 1 / 1.5),
)
MEMORY_GOAL = 200 << 20


def summarise(samples: Sequence[Sample]) -> list[Row]:
    places = dict.fromkeys((each.target, each.scenario) for each in samples)
    rows: list[Row] = []
    for target, scenario in places:
        here = [each for each in samples if (each.target, each.scenario) == (target, scenario)]
        ours = _medians(each for each in here if each.tool == OURS)
        rows += [
            _row([each for each in here if each.tool == tool], ours)
            for tool in dict.fromkeys(each.tool for each in here)
        ]
    return rows


def _medians(samples: Iterable[Sample]) -> dict[int, float]:
    """Median of the rounds, by seed."""
    walls: dict[int, list[float]] = {}
    for each in samples:
        if not each.failed:
            walls.setdefault(each.seed, []).append(each.wall)
    return {seed: median(values) for seed, values in walls.items()}


def _row(samples: Sequence[Sample], ours: dict[int, float]) -> Row:
    first = samples[0]
    good = [each for each in samples if not each.failed]
    failed = next((each.failed for each in samples if each.failed), "")
    if not good:
        return Row(*_place(first), 0, 0, 0, 0, 0, 0, {}, None, failed)
    medians = _medians(good)
    common = medians.keys() & ours.keys()
    names = dict.fromkeys(name for each in good for name in each.requests)
    return Row(
        *_place(first),
        wall=median(medians.values()),
        lowest=min(each.wall for each in good),
        highest=max(each.wall for each in good),
        cpu=median(each.cpu for each in good),
        rss=max(each.rss for each in good),
        written=int(median(each.written for each in good)),
        requests={name: int(median(each.requests.get(name, 0) for each in good)) for name in names},
        ratio=min((medians[seed] / ours[seed] for seed in common), default=None),
        failed=failed,
    )


def _place(sample: Sample) -> tuple[str, str, str]:
    return sample.target, sample.scenario, sample.tool


def judged(rows: Sequence[Row], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Each goal that could be measured, and whether it is reached."""
    verdicts: list[dict[str, Any]] = []
    for goal in GOALS:
        peers = [
            row
            for row in rows
            if (row.target, row.scenario) == (goal.target, goal.scenario)
            and row.ratio is not None
            and (row.tool == goal.than if goal.than else row.tool not in (OURS, FLOOR, LISTING))
        ]
        if peers:
            worst = min(peers, key=lambda row: row.ratio or 0)
            name = f"{goal.target}: {SCENARIOS[goal.scenario]}, against {worst.tool}"
            name += "" if goal.than else " (the fastest peer)"
            reached = (worst.ratio or 0) >= goal.times
            verdicts.append(
                {"goal": name, "times": goal.times, "measured": worst.ratio, "reached": reached}
            )
    peak = max((each.rss for each in samples if each.tool == OURS), default=0)
    if peak:
        name = f"peak memory of {OURS}, MiB, below"
        verdict = {"goal": name, "times": MEMORY_GOAL >> 20, "measured": peak / (1 << 20)}
        verdicts.append({**verdict, "reached": peak < MEMORY_GOAL})
    return verdicts


def table(rows: Sequence[Row]) -> str:
    lines = []
    for target, scenario in dict.fromkeys((row.target, row.scenario) for row in rows):
        lines.append(f"\n{target}: {SCENARIOS[scenario]}")
        lines.append(
            f"  {'tool':<14}{'wall s':>9}{'lowest':>9}{'highest':>9}{'CPU s':>9}"
            f"{'peak MiB':>10}{'written MB':>12}{'ratio':>8}  requests"
        )
        here = [row for row in rows if (row.target, row.scenario) == (target, scenario)]
        for row in sorted(here, key=lambda row: (row.wall == 0, row.wall)):
            if not row.wall:
                lines.append(f"  {row.tool:<14}  failed: {row.failed.splitlines()[0]}")
                continue
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            verbs = " ".join(f"{verb}:{count}" for verb, count in row.requests.items())
            lines.append(
                f"  {row.tool:<14}{row.wall:>9.2f}{row.lowest:>9.2f}{row.highest:>9.2f}"
                f"{row.cpu:>9.2f}{row.rss / (1 << 20):>10.0f}{row.written / 1e6:>12.1f}"
                f"{ratio:>8}  {verbs}{'  (failed once)' if row.failed else ''}"
            )
    return "\n".join(lines)


def goals_table(verdicts: Sequence[dict[str, Any]]) -> str:
    lines = ["\nto reach (the worst of the medians of all seeds):"]
    for each in verdicts:
        word = "reached" if each["reached"] else "MISSED"
        lines.append(
            f"  {word:<8} {each['goal']:<60} {each['measured']:8.2f}  (goal {each['times']:.2f})"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that names the machine."""
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def as_json(samples: Sequence[Sample], rows: Sequence[Row], more: dict[str, Any]) -> dict[str, Any]:
    return {
        **more,
        "machine": machine(),
        "summary": [row._asdict() for row in rows],
        "goals": judged(rows, samples),
        "samples": [asdict(each) for each in samples],
    }
