"""Memory and time of registries of very many images, in synthetic object storage.

    python scripts/bench/million.py --images 100000 --images 1000000 --work DIR

Each size runs in a process of its own: a first full, and a run with no change, into a vault on
disk. Printed are wall, CPU without the adapter's own, and peak memory; and, for what a LIST of a
real server costs, CPU with that of each listed key put in, measured on a MinIO on loopback in the
same run (`listcost.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from listcost import us_per_key
from synthetic import Synthetic

PHASES = ("index", "first", "unchanged")
LISTED_KEYS = 30_000


def one(images: int, seed: int, work: Path, phase: str) -> None:
    """Run one phase in this process, and print what it took."""
    from regvault.model.progress import NO_PROGRESS
    from regvault.ops.snapshot import SnapshotOptions, snapshot
    from regvault.registry.reader import DistributionSource
    from regvault.storage.local import LocalStore
    from regvault.vault.create import create_vault
    from regvault.vault.vault import Vault

    store = Synthetic(images, seed, f"{work}/index-{images}-{seed}.sqlite")
    if phase == "index":
        store.build_index()
        return
    vault = LocalStore(work / f"vault-{images}", create=True)
    if phase == "first":
        create_vault(vault)
    began, cpu = time.perf_counter(), time.process_time()
    result = snapshot(
        Vault(vault),
        DistributionSource(store, kind="distribution-s3", threads=4),
        SnapshotOptions(registry="synthetic", threads=4),
        progress=NO_PROGRESS,
        cache_base=f"{work}/cache-{images}",
    )
    assert result.root is not None
    row = {
        "images": images,
        "phase": phase,
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - cpu - store.own_s, 2),
        "adapter_cpu_s": round(store.own_s, 2),
        "keys_listed": store.listed,
        "peak_mib": round(peak_kib() / 1024, 1),
        "repositories_read": result.read,
        "blobs_stored": result.stored,
        "revisions": result.root.counts.revisions,
    }
    print(json.dumps(row))


def peak_kib() -> int:
    """Return the most memory that this program had. (`ru_maxrss` knows what was before exec.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def apart(images: int, seed: int, work: Path, phase: str) -> dict[str, Any] | None:
    """Run one phase in a process of its own; return its row, None where it has none."""
    words = ["--images", str(images), "--seed", str(seed), "--work", str(work), "--phase", phase]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    row: dict[str, Any] | None = json.loads(done.stdout) if done.stdout else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, action="append", help="100000 and 1000000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if options.phase:
        one(options.images[0], options.seed, work, options.phase)
        return
    cost = us_per_key(work / "listcost", LISTED_KEYS)
    print(f"LIST: {cost} us of CPU a key", flush=True)
    rows = []
    for images in options.images or [100_000, 1_000_000]:
        for phase in PHASES:
            row = apart(images, options.seed, work, phase)
            if row is None:
                continue
            row["cpu_with_list_s"] = round(row["cpu_s"] + row["keys_listed"] * cost / 1e6, 2)
            rows.append(row)
            print(json.dumps(row), flush=True)
        for name in (f"vault-{images}", f"cache-{images}"):
            shutil.rmtree(work / name)
    if options.out:
        result = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "us_per_listed_key": cost,
            "rows": rows,
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
