"""The receiver of audit events: `POST /events`, `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from regvault.audit.formats import fields
from regvault.audit.intake import bodies_of, body_of, unparsed
from regvault.audit.spool import SpoolFullError
from regvault.model.event import time_text
from regvault.serve.group_commit import GroupCommit
from regvault.serve.metrics import ReceiverMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.registry import Collector
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from regvault.audit.ship import Shipped
    from regvault.audit.spool import Spool

__all__ = ["BODY_CAP", "Readiness", "Receiver"]

BODY_CAP: Final = 8 << 20
"""Bytes of a request that are taken as events; a manifest's notification is below 5 MiB."""

_DRAIN_CAP = 64 << 20
_KEPT = 64 << 10
#: Bytes of a body that is read in a thread of its own, one such at a time; others are answered
#: meanwhile, and the memory that reading takes is that of one.
_LARGE = 256 << 10
_READY_BELOW = 0.9
_FREE_BYTES = 64 << 20


class Readiness(NamedTuple):
    """Whether events should be sent here.

    Attributes:
        ready: they should.
        reasons: why not.
    """

    ready: bool
    reasons: list[str]


class Receiver:
    """An ASGI application that makes events durable before it answers.

    Attributes:
        app: the application.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        token: str | None = None,
        body_cap: int = BODY_CAP,
        shipped: Callable[[], Shipped] | None = None,
        metrics: Iterable[Collector] = (),
    ) -> None:
        """Serve a spool.

        Args:
            spool: where events go.
            token: whoever sends events has to show; None: everybody may who can connect.
            body_cap: bytes of a request that are taken as events.
            shipped: how shipping is going, where this process does it.
            metrics: what else /metrics shows.
        """
        self._spool = spool
        self._token = None if token is None else token.encode()
        self._cap = body_cap
        self._shipped = shipped
        self._commit = GroupCommit(spool)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._metrics = ReceiverMetrics(metrics)
        self._trouble: str | None = None
        routes = [
            Route("/events", _Endpoint(self._events), methods=["POST"]),
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
            Route("/metrics", self._show_metrics),
        ]
        self.app = Starlette(routes=routes)

    async def _events(self, scope: Scope, receive: Receive) -> Response:
        started = time.perf_counter()
        headers = _headers(scope["headers"])
        if not self._authentic(headers):
            self._metrics.answered("unauthorized")
            return PlainTextResponse(
                "a bearer token is needed\n", 401, headers={"WWW-Authenticate": "Bearer"}
            )
        try:
            body, size = await _read(receive, self._cap)
        except fields.NoEventError:
            return Response(status_code=400)  # which nobody is there to read
        now = time_text(time.time_ns())
        if size > _DRAIN_CAP:
            self._metrics.answered("too-large")
            return PlainTextResponse("too large\n", 413, headers={"Connection": "close"})
        if size > self._cap:
            reason = f"a request of {size} bytes; {self._cap} are taken"
            bodies = [body_of(unparsed(body, reason, now, most=_KEPT))]
        elif size > _LARGE:
            loop = asyncio.get_running_loop()
            bodies = await loop.run_in_executor(self._reader, bodies_of, body, headers, now)
        else:
            bodies = bodies_of(body, headers, now)
        try:
            await self._commit.store(bodies)
        except SpoolFullError as error:
            self._trouble = error.message
            self._metrics.answered("full")
            return PlainTextResponse("the spool is full\n", 503, headers={"Retry-After": "5"})
        except OSError as error:
            self._trouble = f"the spool cannot be written: {error.strerror}"
            self._metrics.answered("failed")
            return PlainTextResponse("the spool cannot be written\n", 503)
        self._trouble = None
        self._metrics.stored(bodies, time.perf_counter() - started)
        return Response(status_code=202)

    def _authentic(self, headers: dict[str, str]) -> bool:
        if self._token is None:
            return True
        shown = headers.get("authorization", "").encode("utf-8", "surrogateescape")
        kind, _, value = shown.partition(b" ")
        if kind.lower() == b"basic":
            return hmac.compare_digest(_password(value), self._token)
        return hmac.compare_digest(shown, b"Bearer " + self._token)

    # For machines that look after it

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, _request: Request) -> Response:
        found = await asyncio.get_running_loop().run_in_executor(None, self.readiness)
        return JSONResponse(found._asdict(), 200 if found.ready else 503)

    def readiness(self) -> Readiness:
        """Return whether events should be sent here: red before the spool is full."""
        reasons = []
        if self._trouble is not None:
            reasons.append(self._trouble)
        try:
            usage = self._spool.usage()
            if usage.nbytes >= _READY_BELOW * usage.limit:
                reasons.append(f"the spool has {usage.nbytes} of at most {usage.limit} bytes")
            free = self._spool.free_bytes()
            if free < _FREE_BYTES:
                reasons.append(f"the disk of the spool has {free} bytes left")
        except OSError as error:
            reasons.append(f"the spool cannot be read: {error.strerror}")
        return Readiness(not reasons, reasons)

    async def _show_metrics(self, _request: Request) -> Response:
        usage = await asyncio.get_running_loop().run_in_executor(None, self._spool.usage)
        shipped = self._shipped() if self._shipped else None
        return Response(
            self._metrics.text(usage, shipped),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    async def close(self) -> None:
        """Return once all that was taken is durable."""
        await self._commit.close()
        self._reader.shutdown()


class _Endpoint:
    """What Starlette takes as an application, so that it makes no Request object for each event."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            response = PlainTextResponse("POST\n", 405, headers={"Allow": "POST"})
        else:
            response = await self._answer(scope, receive)
        await response(scope, receive, send)


def _password(credentials: bytes) -> bytes:
    """Return the password of what follows `Basic`, which is all that some senders can show."""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _headers(found: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("utf-8", "surrogateescape")
        for name, value in found
    }


async def _read(receive: Receive, cap: int) -> tuple[bytes, int]:
    """Return as much of a body as may be used, and how long all of it is."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more and size <= _DRAIN_CAP:
        message = await receive()
        if message["type"] != "http.request":
            raise fields.NoEventError("the client went away")
        part = message.get("body", b"")
        if size <= cap:
            parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    return b"".join(parts), size
