"""The benchmark: regvault and its peers on the same corpus, in turns.

    python scripts/bench/run.py --quick
    python scripts/bench/run.py --seeds 0 1 2 --rounds 3 --work DIR

The targets: `disk` is registry and vault on disk; `s3` is registry on disk, vault on a MinIO of its
own, restored back to disk; `s3-s3` is the registry in one bucket, the vault in another. Tools that
are not on PATH are shown as missing. Each run is durable at its end: a `sync -f` of where it wrote
is counted for all. Before each run the caches of the operating system are dropped (root), or filled
by reading what the run will read (otherwise), for all tools alike. In the table, `ratio` is the
median of a tool by that of regvault, for the seed where it is worst for regvault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import report
import trash
from corpus import Corpus, cached, image_files, mutate, size_of
from measure import CommandFailedError, measured
from report import SCENARIOS, Sample
from s3server import Server, by_verb
from shape import Spec
from tools import TOOLS, BareList, Command, One, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TARGETS = ("disk", "s3", "s3-s3")
ON_BUCKETS = ("first", "unchanged")  # of the scenarios, those that a registry on S3 is for


class Bench:
    """Runs scenarios and keeps the samples."""

    def __init__(
        self, options: argparse.Namespace, work: Path, tools: Sequence[type[Tool]]
    ) -> None:
        self.options = options
        self.work = work
        self.tools = tools
        self.samples: list[Sample] = []
        self.corpora: list[Corpus] = []

    def seed(self, seed: int) -> None:
        spec = Spec(seed, self.options.images, self.options.bytes)
        say(f"seed {seed}: corpus")
        corpus = cached(self.options.corpora or self.work / "corpora", spec)
        self.corpora.append(corpus)
        say(f"  {corpus.files} files, {corpus.bytes / 1e6:.0f} MB")
        for target in self.options.targets:
            if self.samples:  # of another place, which was removed
                trash.rest()
            with self.place(target) as server:
                Turn(self, corpus, target, server).run()

    @contextlib.contextmanager
    def place(self, target: str) -> Iterator[Server | None]:
        """A directory for all that a target needs, and its server; gone at the end."""
        here = self.work / target
        here.mkdir()
        try:
            if target != "disk":
                with Server(here / "minio", state=here / "state") as server:
                    yield server
            else:
                yield None
        finally:
            shutil.rmtree(here, ignore_errors=True)


class Turn:
    """One seed on one target: every scenario, and in each the tools in turns."""

    def __init__(self, bench: Bench, corpus: Corpus, target: str, server: Server | None) -> None:
        self.bench = bench
        self.options = bench.options
        self.corpus = corpus
        self.target = target
        self.server = server
        self.here = bench.work / target
        self.source = self.here / "source"
        self.out = self.here / "out"
        self.tools = [
            tool(self.here / tool.name.replace(" ", "-"), self.source, server, target == "s3-s3")
            for tool in bench.tools
            if runs_on(tool, target)
        ]
        for tool in self.tools:
            tool.home.mkdir()
        self.broken: set[str] = set()
        self.step = 0

    def run(self) -> None:
        # A copy, since the scenarios change it.
        subprocess.run(["cp", "-r", "--reflink=auto", self.corpus.root, self.source], check=True)
        scenarios = self.options.scenarios
        if self.target == "s3-s3":
            assert self.server is not None
            self.server.upload(self.source)
            scenarios = [name for name in scenarios if name in ON_BUCKETS]
        if "first" not in scenarios:
            for tool in self.tools:
                self.fill(tool)
        for scenario in scenarios:
            for number in range(self.options.rounds):
                if scenario == "changed":
                    self.step += 1
                    mutate(self.source, self.corpus.spec, self.step)
                shift = number % len(self.tools)
                for tool in self.tools[shift:] + self.tools[:shift]:
                    if scenario not in tool.skips and tool.name not in self.broken:
                        self.one_run(scenario, tool, number)

    def fill(self, tool: Tool) -> None:
        """A first full that is not measured, for the scenarios that need one."""
        if "first" in tool.skips:
            return
        try:
            tool.empty()
            command = tool.snapshot()
            tool.quietly(*command.argv, cwd=command.cwd)
        except RuntimeError as error:
            say(f"  {self.target}: {tool.name} FAILED: {error}")
            self.broken.add(tool.name)

    def one_run(self, scenario: str, tool: Tool, number: int) -> None:
        place = (self.corpus.spec.seed, self.target, scenario, tool.name, number)
        try:
            sample = self.measure(scenario, tool, place)
        except (CommandFailedError, RuntimeError) as error:
            say(f"  {self.target} {SCENARIOS[scenario]}: {tool.name} FAILED: {error}")
            sample = Sample(*place, failed=str(error))
            # Without a first snapshot, nothing that follows would mean anything.
            if scenario == "first":
                self.broken.add(tool.name)
        else:
            say(f"  {self.target} {SCENARIOS[scenario]}: {tool.name} {sample.wall:.2f} s")
        self.bench.samples.append(sample)

    def measure(self, scenario: str, tool: Tool, place: tuple[int, str, str, str, int]) -> Sample:
        self.make_room()
        command = self.prepare(scenario, tool)
        self.settle(scenario, tool)
        before = self.usage()
        cost = measured(
            command.argv,
            env=tool.environment(),
            cwd=command.cwd or tool.home,
            durable=self.here,
            log=self.here / f"{tool.name}.log",
        )
        calls = self.usage()
        calls.subtract(before)
        received = calls.pop("received", 0)
        if scenario in ("restore", "one"):
            self.check_restored(scenario, tool)
        return Sample(
            *place,
            wall=cost.wall,
            sync=cost.sync,
            cpu=cost.cpu,
            rss=cost.rss,
            # What a server takes in is written too.
            written=cost.written + received,
            requests=by_verb(calls),
        )

    def make_room(self) -> None:
        """Remove what is over, if a vault and a restore would not fit beside it."""
        if shutil.disk_usage(self.here).free < 4 * self.options.bytes + (1 << 30):
            for tool in self.tools:
                tool.make_room()
            trash.remove(self.here)

    def prepare(self, scenario: str, tool: Tool) -> Command:
        if scenario == "first":
            tool.empty()
        if scenario in ("first", "unchanged", "changed"):
            return tool.snapshot()
        tool.before_reading()
        if scenario == "verify":
            return tool.verify()
        trash.aside(self.out)
        self.out.mkdir()
        if scenario == "restore":
            return tool.restore_all(self.out)
        return tool.restore_one(self.out, self.one())

    def one(self) -> One:
        repository, tag = self.corpus.one
        return One(repository, tag, image_files(self.source, repository, tag))

    def settle(self, scenario: str, tool: Tool) -> None:
        """The same start for all: nothing left to write, and caches as the options say."""
        os.sync()
        if self.options.caches == "dropped":
            trash.DROP_CACHES.write_text("3\n")
            return
        vault = tool.home if self.server is None else self.server.datadir / tool.bucket
        warm(self.source if scenario in ("first", "unchanged", "changed") else vault)

    def usage(self) -> Counter[str]:
        return Counter() if self.server is None else self.server.usage()

    def check_restored(self, scenario: str, tool: Tool) -> None:
        """A fast restore of too little is no restore."""
        if scenario == "one":
            missing = [path for path in self.one().files if not (self.out / path).is_file()]
            if missing:
                raise CommandFailedError(f"not restored: {len(missing)} files, as {missing[0]}")
            return
        # Who skips the changes has what was there before them.
        want = tally(Path(self.corpus.root) if "changed" in tool.skips else self.source)
        have = tally(self.out)
        if have != want:
            raise CommandFailedError(f"restored {have} (files, bytes) of {want}")


def runs_on(tool: type[Tool], target: str) -> bool:
    if target == "s3-s3":
        return tool.from_s3
    return tool is not BareList and (tool.on_s3 or target == "disk")


def tally(top: Path) -> tuple[int, int]:
    """Files and bytes of a registry's storage."""
    files = size = 0
    waiting = [str(top / "docker")]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return files, size


def warm(top: Path) -> None:
    buffer = bytearray(1 << 20)
    for directory, _, names in os.walk(top):
        for name in names:
            with contextlib.suppress(OSError), open(f"{directory}/{name}", "rb", 0) as file:
                while file.readinto(buffer):
                    pass


def can_drop_caches() -> bool:
    return os.access(trash.DROP_CACHES, os.W_OK)


def space_needed(options: argparse.Namespace, tools: Sequence[type[Tool]]) -> int:
    """Corpus, source, one vault a tool and one restore; on S3 caches of about a vault too."""
    vaults = max(
        sum(1 if target == "disk" else 2 for tool in tools if runs_on(tool, target))
        for target in options.targets
    )
    corpora = 0 if options.corpora else len(options.seeds)
    # Small files take whole blocks: about a quarter more.
    return int(options.bytes * 1.25 * (corpora + vaults + 2)) + (1 << 30)


def found_tools(options: argparse.Namespace) -> tuple[list[type[Tool]], dict[str, str]]:
    """The tools to run, and what each that was asked for says of its version."""
    tools, versions = [], {}
    for name in options.tools:
        version = TOOLS[name].version()
        versions[name] = version or "missing"
        if version is not None:
            tools.append(TOOLS[name])
    return tools, versions


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def stop(message: str) -> NoReturn:
    say(f"error: {message}")
    raise SystemExit(2)


def parse() -> argparse.Namespace:
    default = Spec()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=None, help="corpora to run on (0 1 2)")
    add("--rounds", type=int, default=None, help="runs of each tool in each scenario (3)")
    add("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    add("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="where vaults are")
    add("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    add("--images", type=int, default=None, help=f"images in a corpus ({default.images})")
    add("--bytes", type=size_of, default=None, help="its size, as 500M or 2.4G (2.4G)")
    add("--quick", action="store_true", help="one small corpus, one round: does it work at all?")
    add("--caches", choices=("dropped", "warm"), default=None, help="before each run")
    add("--work", type=Path, help="where to work (a temporary directory); emptied at the end")
    add("--corpora", type=Path, help="where to keep corpora for the next time")
    add("--out", type=Path, default=Path("bench-out/bench.json"), help="%(default)s")
    options = parser.parse_args()
    small = options.quick
    options.seeds = options.seeds or ([0] if small else [0, 1, 2])
    options.rounds = options.rounds or (1 if small else 3)
    options.images = options.images or (200 if small else default.images)
    options.bytes = options.bytes or (96_000_000 if small else default.bytes)
    options.scenarios = [name for name in SCENARIOS if name in options.scenarios]
    if options.caches is None:
        options.caches = "dropped" if can_drop_caches() else "warm"
    elif options.caches == "dropped" and not can_drop_caches():
        parser.error("only root can drop the caches: use --caches warm")
    return options


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tools, versions = found_tools(options)
    if options.targets != ["disk"] and Server.executable() is None:
        options.targets = [each for each in options.targets if each == "disk"]
        versions["minio"] = "missing"
        say("no MinIO: the targets on S3 are left out (scripts/services/install.sh minio)")
    for name, version in versions.items():
        say(f"{name}: {version}")
    if not tools or not options.targets:
        stop("nothing to run")
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="regvault-bench-", dir=options.work))
    bench = Bench(options, work, tools)
    try:
        need, free = space_needed(options, tools), shutil.disk_usage(work).free
        if free < need:
            stop(
                f"{need >> 20} MiB are needed in {work.parent}, {free >> 20} MiB are free (--work)"
            )
        for seed in options.seeds:
            bench.seed(seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if bench.samples:
            finish(bench, versions)
    return 1 if any(each.failed for each in bench.samples) else 0


def finish(bench: Bench, versions: dict[str, str]) -> None:
    """Print the table and write the file; also of a run that was cut short."""
    options = bench.options
    rows = report.summarise(bench.samples)
    settings = {
        name: getattr(options, name) for name in ("seeds", "rounds", "images", "bytes", "caches")
    }
    corpora = [{**asdict(each), "root": ""} for each in bench.corpora]
    more = {"versions": versions, "settings": settings, "corpora": corpora}
    result = report.as_json(bench.samples, rows, more)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"caches {options.caches}, {options.rounds} rounds, seeds {options.seeds}")
    print(report.table(rows))
    if result["goals"]:
        print(report.goals_table(result["goals"]))
    print(f"\n{options.out}")


if __name__ == "__main__":
    sys.exit(main())
