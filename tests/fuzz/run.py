"""Fuzz the targets with a coverage-guided fuzzer, or replay what one found.

    make fuzz [FUZZ_SECONDS=20] [FUZZ_TARGET=root]
    python tests/fuzz/run.py replay TARGET FILE...

Each target runs in a process of its own (libFuzzer ends at the first failure). Corpora grow in
`fuzz-out/corpus/`; what fails is kept in `fuzz-out/failures/`, and belongs into
`tests/fuzz/regressions/TARGET/` once it is understood: `make test` replays what lies there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
#: Seconds and MiB that one input may take: none of them is larger than a few KiB.
TIMEOUT_S = 10
MEMORY_MIB = 2048
MAX_INPUT = 8192


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=["fuzz", "replay", "one"])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-out"))
    options = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    if options.verb == "replay":
        return replay(options.words[0], options.words[1:])
    if options.verb == "one":
        return one(options.words[0], options.words[1:])
    return fuzz(options)


def replay(name: str, files: list[str]) -> int:
    """Call a target with files; the exception that one of them meets is not caught."""
    from targets import TARGETS

    for file in files:
        accepted = TARGETS[name].run(Path(file).read_bytes())
        print(f"{file}: {'accepted' if accepted else 'refused'}")
    return 0


def one(name: str, words: list[str]) -> int:
    """Be the process that fuzzes one target; `words` are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(include=["regvault"]):
        from mutations import mutated
        from targets import TARGETS
    run = TARGETS[name].run

    def call(data: bytes) -> None:
        run(data)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(bytes(data), chance)[:max_size]

    atheris.Setup([sys.argv[0], *words], call, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def fuzz(options: argparse.Namespace) -> int:
    """Fuzz some targets, or all; return 1 where one of them failed."""
    from targets import TARGETS

    names = options.words or sorted(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        print(f"error: no such target: {', '.join(unknown)}; known: {', '.join(sorted(TARGETS))}")
        return 2
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda name: _fuzz_one(name, options), names))
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "seconds_each": options.seconds,
        "targets": dict(zip(names, results, strict=True)),
    }
    (options.out / "fuzz.json").write_text(json.dumps(report, indent=2) + "\n")
    return int(any(result["failures"] for result in results))


def _fuzz_one(name: str, options: argparse.Namespace) -> dict[str, object]:
    from targets import TARGETS

    corpus, failures = options.out / "corpus" / name, options.out / "failures" / name
    corpus.mkdir(parents=True, exist_ok=True)
    failures.mkdir(parents=True, exist_ok=True)
    known = {file.name for file in failures.iterdir()}
    for data in TARGETS[name].seeds():
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = [
        str(corpus),
        f"-artifact_prefix={failures}/",
        f"-max_total_time={options.seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={MAX_INPUT}",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [sys.executable, __file__, "one", name, "--", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    runs = re.search(r"stat::number_of_executed_units: (\d+)", output)
    features = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    found = sorted({file.name for file in failures.iterdir()} - known)
    if done.returncode and not found:
        print(output[-4000:])
        found = [f"exit code {done.returncode}"]
    for file in found:
        print(output[-3000:])
        print(f"{name}: FAILED. Replay: python tests/fuzz/run.py replay {name} {failures}/{file}")
    count = int(runs[1]) if runs else 0
    coverage = int(features[-1][0]) if features else 0
    print(f"{name}: {count} executions, coverage {coverage}, {len(found)} failures", flush=True)
    return {"executions": count, "coverage": coverage, "failures": found}


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
