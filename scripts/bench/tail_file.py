"""Lines a second that `regvault audit tail` takes from a file into a durable spool.

    python scripts/bench/tail_file.py [--lines 500000] [--format nginx] [--work DIR] [--rounds 3]

The lines are those of tail_parse.py: an access log of a busy registry, with repositories, tags,
digests and addresses that change. Each round is one process that reads one file into a new spool,
on the disk of --work. Printed are lines a second of real time and of CPU time, from the start of
the process to its end, and the CPU seconds of it, user and system.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tail_parse import CASES, Request


def write(path: Path, label: str, count: int) -> None:
    make = CASES[label][1]
    chance = random.Random(1)
    digests = [f"sha256:{chance.getrandbits(256):064x}" for _ in range(20_000)]
    with path.open("w") as file:
        for number in range(count):
            file.write(f"{make(Request(chance, number, digests))}\n")


def run(path: Path, spool: Path, form: str) -> tuple[float, float, float]:
    """Return seconds: real, user, system."""
    command = [sys.executable, "-m", "regvault", "audit", "tail", "--json", "--spool", str(spool)]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, "--format", form, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    assert process.returncode == 0, said
    return took, usage.ru_utime, usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=500_000)
    parser.add_argument("--format", default="nginx", help="one of tail_parse.py's cases")
    parser.add_argument("--as", dest="form", help="--format of the command; else that of the case")
    parser.add_argument("--work", default=None, help="a directory on the disk to measure")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=args.work))
    try:
        path = work / "access.log"
        write(path, args.format, args.lines)
        for _ in range(args.rounds):
            spool = work / "spool"
            took, user, system = run(path, spool, args.form or CASES[args.format][0])
            cpu = user + system
            print(
                f"{args.format}: {args.lines / took:,.0f} lines/s, {args.lines / cpu:,.0f} for a "
                f"second of CPU; {took:.2f} s, CPU {user:.2f} + {system:.2f} s, "
                f"{path.stat().st_size / took / 1e6:.0f} MB/s read"
            )
            shutil.rmtree(spool)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
