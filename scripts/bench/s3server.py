"""A MinIO of the benchmark's own, on loopback, that also says how it was used."""

from __future__ import annotations

import os
import re
import shutil
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "services"))

from programs import MissingProgramError, program
from servers import MinIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

SOURCE_BUCKET = "live"
SOURCE_PREFIX = "registry"

COUNTER = re.compile(r'^minio_api_requests_total\{.*?name="(\w+)".*\} (\S+)$', re.MULTILINE)
RECEIVED = re.compile(r"^minio_api_requests_traffic_received_bytes\{.*\} (\S+)$", re.MULTILINE)

VERBS = {
    "PutObject": "PUT",
    "PutObjectPart": "PUT",
    "NewMultipartUpload": "POST",
    "CompleteMultipartUpload": "POST",
    "CopyObject": "COPY",
    "GetObject": "GET",
    "HeadObject": "HEAD",
    "ListObjectsV1": "LIST",
    "ListObjectsV2": "LIST",
    "ListObjectVersions": "LIST",
    "DeleteObject": "DELETE",
    "DeleteMultipleObjects": "DELETE",
}


class Server(MinIO):
    """MinIO that shows its request counters."""

    @staticmethod
    def executable() -> str | None:
        """The pinned one if it is installed, else the one on PATH, else None."""
        try:
            return str(program("minio"))
        except MissingProgramError:
            return shutil.which("minio")

    def command(self) -> Sequence[str | Path]:
        found = self.executable()
        assert found is not None
        return [found, "server", "--address", self.host, self.datadir.resolve()]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "MINIO_PROMETHEUS_AUTH_TYPE": "public"}

    def usage(self) -> Counter[str]:
        """Requests by the API's names, and `received`: bytes taken in, all since the start."""
        # Version 3 of the metrics is live; version 2 answers from a cache.
        url = f"{self.url}/minio/metrics/v3/api/requests"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            text = answer.read().decode()
        counts = Counter({name: int(float(value)) for name, value in COUNTER.findall(text)})
        counts["received"] = sum(int(float(value)) for value in RECEIVED.findall(text))
        return counts

    def upload(self, top: Path) -> None:
        """Make the bucket of the live registry, with all files below a directory."""
        self.create_bucket(SOURCE_BUCKET)
        client = self.client(max_pool_connections=8)

        def put(path: str) -> None:
            with open(path, "rb") as file:
                key = f"{SOURCE_PREFIX}/{os.path.relpath(path, top)}"
                client.put_object(Bucket=SOURCE_BUCKET, Key=key, Body=file.read())

        paths = [f"{where}/{name}" for where, _, names in os.walk(top) for name in names]
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(put, paths):
                pass

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with everything in it."""
        client = self.client()

        def force(params: dict[str, Any], **_: object) -> None:
            params["headers"]["x-minio-force-delete"] = "true"

        client.meta.events.register("before-call.s3.DeleteBucket", force)
        client.delete_bucket(Bucket=name)


def by_verb(calls: Mapping[str, int]) -> dict[str, int]:
    """Requests by verb; what has none here keeps its own name."""
    verbs: Counter[str] = Counter()
    for name, count in calls.items():
        if count:
            verbs[VERBS.get(name, name)] += count
    return dict(sorted(verbs.items()))
