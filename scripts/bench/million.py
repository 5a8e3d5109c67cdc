"""Memory and time of registries of very many images, in synthetic object storage.

    python scripts/bench/million.py --images 100000 --images 1000000 --work DIR

Each size runs in a process of its own: a first full, and a run with no change, into a vault on
disk. Printed are wall, CPU without the adapter's own, and peak memory; for the run with no change
also CPU with `--us-per-key` for each listed key (what a LIST of a real server costs: measure it
with scripts/bench/listcost.py) put in.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from synthetic import Synthetic


def one(images, seed, work, phase):
    from regvault.model.progress import NO_PROGRESS
    from regvault.ops.snapshot import SnapshotOptions, snapshot
    from regvault.registry.reader import DistributionSource
    from regvault.storage.local import LocalStore
    from regvault.vault.vault import Vault, create_vault

    store = Synthetic(images, seed, f"{work}/index-{images}-{seed}.sqlite")
    if phase == "index":
        store.build_index()
        return
    vault = LocalStore(f"{work}/vault-{images}", create=True)
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
    print(
        json.dumps(
            {
                "images": images,
                "phase": phase,
                "wall_s": round(time.perf_counter() - began, 2),
                "cpu_s": round(time.process_time() - cpu - store.own_s, 2),
                "adapter_cpu_s": round(store.own_s, 2),
                "keys_listed": store.listed,
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "repositories_read": result.read,
                "blobs_stored": result.stored,
                "revisions": result.root.counts.revisions,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", required=True)
    parser.add_argument("--phase", choices=["index", "first", "unchanged"])
    parser.add_argument("--us-per-key", type=float, default=12.0)
    parser.add_argument("--out")
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    if options.phase:
        one(options.images[0], options.seed, options.work, options.phase)
        return
    rows = []
    for images in options.images or [100_000, 1_000_000]:
        for phase in ("index", "first", "unchanged"):
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--images",
                    str(images),
                    "--seed",
                    str(options.seed),
                    "--work",
                    options.work,
                    "--phase",
                    phase,
                ],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            if phase == "index":
                continue
            row = json.loads(done.stdout)
            row["cpu_with_list_s"] = round(
                row["cpu_s"] + row["keys_listed"] * options.us_per_key / 1e6, 2
            )
            rows.append(row)
            print(json.dumps(row), flush=True)
        shutil.rmtree(f"{options.work}/vault-{images}")
        shutil.rmtree(f"{options.work}/cache-{images}")
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
