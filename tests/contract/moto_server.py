"""moto as an S3 server on a loopback port, mended where it is further from S3 than others.

- Conditional writes are atomic (moto checks, then writes).
- A wrong `x-amz-checksum-sha256` is refused in buckets whose name begins with "strict".
- A replaced object stays readable for the answers that are read from it (moto closes it).
- Requests can be made to fail: `faults` holds what to do with the next requests.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3 import models, responses

if TYPE_CHECKING:
    from collections.abc import Callable

_put_lock = threading.Lock()
_put_object = responses.S3Response.put_object
_dispatch = responses.S3Response.key_response

BAD_DIGEST = (
    400,
    {},
    "<?xml version='1.0'?><Error><Code>BadDigest</Code><Message>wrong checksum</Message></Error>",
)


def error(status: int, code: str) -> tuple[int, dict[str, str], str]:
    return status, {}, f"<Error><Code>{code}</Code><Message>made by a test</Message></Error>"


class Faults:
    """What to do with the next requests: (method, "before", "after" or "pass", answer)."""

    def __init__(self) -> None:
        self.planned: deque[tuple[str, str, Any]] = deque()
        self.requests: list[str] = []

    def clear(self) -> None:
        self.planned.clear()
        self.requests.clear()

    def take(self, method: str) -> tuple[str, Any] | None:
        self.requests.append(method)
        if self.planned and self.planned[0][0] == method:
            _, when, what = self.planned.popleft()
            return when, what
        return None


faults = Faults()


def _put(self: responses.S3Response) -> Any:
    with _put_lock:
        if self.bucket_name.startswith("strict"):
            promised = self.headers.get("x-amz-checksum-sha256")
            actual = base64.b64encode(hashlib.sha256(self.body or b"").digest()).decode()
            if promised and promised != actual:
                return BAD_DIGEST
        return _put_object(self)


def _key_response(self: responses.S3Response, request: Any, *rest: Any) -> Any:
    fault = faults.take(request.method)
    if fault is not None and fault[0] == "before":
        request.get_data()
        return fault[1]
    answer = _dispatch(self, request, *rest)
    return fault[1] if fault is not None and fault[0] == "after" else answer


def mend() -> None:
    """Bring moto closer to S3, in this process."""
    responses.S3Response.put_object = _put
    responses.S3Response.key_response = _key_response
    models.FakeKey.dispose = lambda _self, _garbage=False: None  # whoever drops it last closes it


def start() -> tuple[str, Callable[[], None]]:
    """Return the URL of a server, and what stops it."""
    mend()
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}", server.stop
