"""The CPU that one listed key costs: LIST of a MinIO on loopback through regvault's own S3 store.

    python scripts/bench/listcost.py --keys 30000 --work DIR

The keys look like a registry's links. Printed are microseconds of CPU a key, of this process alone
(request, signature, parsing), the median of some rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from s3server import Server

from regvault.storage.s3 import S3Store

BUCKET = "listed"
ROUNDS = 5


def fill(server: Server, count: int) -> None:
    """Write small objects under keys like those of layer links."""
    server.create_bucket(BUCKET)
    client = server.client(max_pool_connections=8)

    def put(number: int) -> None:
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        where = f"docker/registry/v2/repositories/team{number // 1000}/app/_layers/sha256"
        client.put_object(Bucket=BUCKET, Key=f"{where}/{digest}/link", Body=b"sha256:" + b"0" * 64)

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, range(count)):
            pass


def us_per_key(work: Path, keys: int) -> float:
    """Return microseconds of CPU a key, the median of the rounds."""
    data = work / "minio"
    shutil.rmtree(data, ignore_errors=True)
    with Server(data, state=work / "state") as server:
        fill(server, keys)
        store = S3Store(
            BUCKET,
            endpoint_url=server.url,
            region=server.region,
            credentials=(server.access, server.secret, None),
        )
        found = []
        for _ in range(ROUNDS):
            began = time.process_time()
            count = sum(1 for _ in store.list(""))
            found.append((time.process_time() - began) / keys * 1e6)
            if count != keys:
                raise RuntimeError(f"LIST showed {count} of {keys} keys")
        store.close()
    shutil.rmtree(data)
    return round(statistics.median(found), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=30_000)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"us_per_key": us_per_key(options.work, options.keys)}))


if __name__ == "__main__":
    main()
