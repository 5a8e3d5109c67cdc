"""Runs one command and says what it cost: time, CPU, peak memory, bytes written.

The measuring is done by this file as a small process of its own (`python -I measure.py ...`):
a peak that a command inherits from a large parent would not be its own, and the clock starts after
the measuring interpreter has.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SAMPLE_EVERY = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        wall: seconds until its result is durable: `sync -f` at the end is counted for all.
        sync: of these, that sync.
        cpu: seconds, user and system, of the command and everything it started.
        rss: peak bytes resident, all its processes together; never less than the few MiB of the
            process that started it, which is how the kernel counts.
        written: bytes handed to disks, by the command itself (not by a server).
        status: its exit code.
    """

    wall: float
    sync: float
    cpu: float
    rss: int
    written: int
    status: int


class CommandFailedError(RuntimeError):
    """A measured command ended with something else than 0."""


def measured(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, durable: Path, log: Path
) -> Cost:
    """Run a command; its output goes to the log, whose end is in the error if it fails."""
    launcher = [sys.executable, "-I", __file__, str(durable), *argv]
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(argv)}\n".encode())
        output.flush()
        began = output.tell()
        reader, writer = os.pipe()
        process = subprocess.Popen(
            launcher,
            env={**env, "BENCH_RESULT_FD": str(writer)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
        )
        os.close(writer)
        with os.fdopen(reader) as result:
            said = result.read()
        process.wait()
    if not said:
        raise CommandFailedError(f"could not run {argv[0]}:\n{_tail(log, began)}")
    cost = Cost(**json.loads(said))
    if cost.status != 0:
        raise CommandFailedError(
            f"{' '.join(argv)}\nended with {cost.status}:\n{_tail(log, began)}"
        )
    return cost


def _tail(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - 3000))
        return file.read().decode(errors="replace")


# --- below: in the small process ---


def resident(pid: int) -> int:
    """Bytes that a process and everything below it hold now."""
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{each}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1]) * PAGE
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children", encoding="ascii") as file:
                    waiting += map(int, file.read().split())
    return total


def bytes_written(pid: int) -> int:
    """What an ended process, not yet waited for, and its children have written."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/io", encoding="ascii") as file:
        for line in file:
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    return -1


def launch(durable: str, argv: list[str]) -> Cost:
    peak = 0
    over = threading.Event()

    def sample(pid: int) -> None:
        nonlocal peak
        while not over.wait(SAMPLE_EVERY):
            peak = max(peak, resident(pid))

    began = time.perf_counter()
    process = subprocess.Popen(argv)
    sampler = threading.Thread(target=sample, args=(process.pid,))
    sampler.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    written = bytes_written(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.perf_counter()
    subprocess.run(["sync", "-f", durable], check=True)
    durable_at = time.perf_counter()
    over.set()
    sampler.join()
    return Cost(
        wall=durable_at - began,
        sync=durable_at - ended,
        cpu=usage.ru_utime + usage.ru_stime,
        rss=max(peak, usage.ru_maxrss * 1024),
        written=written,
        status=os.waitstatus_to_exitcode(status),
    )


if __name__ == "__main__":
    result = int(os.environ.pop("BENCH_RESULT_FD"))
    os.set_inheritable(result, False)
    cost_now = launch(sys.argv[1], sys.argv[2:])
    with os.fdopen(result, "w") as out:
        json.dump(cost_now.__dict__, out)
