"""Vaults of a trial on S3, in buckets of its own: what `vault_places` is on a disk.

The clock of that S3 (moto) is the one of the trial whose bucket is asked for: its `Date`, and the
times of what is written. What was written before a jump keeps its time, and so is older after it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import moto_server
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3 import models
from werkzeug.serving import make_server
from world import tree

from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asleep import Timeline

    from regvault.model.store import ObjectStore

_REGION = "us-east-1"
_moment = threading.local()


class _Handler(MotoRequestHandler):
    """Answers each request at the time of the bucket that it is for."""

    timelines: ClassVar[dict[str, Timeline]] = {}

    def run_wsgi(self) -> None:
        bucket = urlsplit(self.path).path.split("/")[1]
        _moment.ahead_s = self.timelines[bucket].clock_ns() / 1e9
        super().run_wsgi()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + _moment.ahead_s)


def _now() -> datetime:
    """Return the time at which the request of this thread is answered, else the real one."""
    return utcnow() + timedelta(seconds=getattr(_moment, "ahead_s", 0))


@lru_cache
def _serve() -> str:
    """Begin to serve S3 for as long as this process lives; return the URL."""
    moto_server.mend()
    models.utcnow = _now
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_backend_app("s3")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.port}"


@lru_cache
def _contents(source: Path) -> dict[str, bytes]:
    store = LocalStore(str(source))
    found = tree(store)
    store.close()
    return found


class OnS3:
    """Vaults in buckets."""

    _numbers: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, root: Path, timeline: Timeline) -> None:
        self._timeline = timeline
        self._number = next(self._numbers)
        self._buckets: list[str] = []
        self.environment = {
            "AWS_ENDPOINT_URL": _serve(),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_CONFIG_FILE": str(root / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(root / "none"),
        }

    @property
    def _moto(self) -> Any:
        return models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def _bucket(self, name: str) -> str:
        return f"strict-{self._number}-{name}"

    def fill(self, name: str, source: Path) -> str:
        bucket = self._bucket(name)
        self._moto.create_bucket(bucket, _REGION)
        self._buckets.append(bucket)
        _Handler.timelines[bucket] = self._timeline
        for key, data in _contents(source).items():
            self._moto.put_object(bucket, key, data)
        return f"s3://{bucket}"

    @contextmanager
    def copied(self, name: str) -> Iterator[ObjectStore]:
        copy = MemoryStore(name)
        for key, found in list(self._moto.get_bucket(self._bucket(name)).keys.items()):
            copy.put(key, found.value)
        yield copy

    def locked(self, name: str) -> bool:
        del name
        return False  # a server swaps by itself

    def remove(self) -> None:
        for bucket in self._buckets:
            del _Handler.timelines[bucket]
            del self._moto.buckets[bucket]
