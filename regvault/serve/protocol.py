"""HTTP for senders who may be hostile: nobody holds a connection with a request that never ends."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["REQUEST_S", "limited", "raise_file_limit"]

REQUEST_S: Final = 30.0
"""Seconds that a request may take to come in, with its body: 8 MiB at 2.3 Mbit/s."""

_MOST: Final = 10_000
#: Files that are no connections: of the spool, of Kafka's clients, of logs.
_OTHER_FILES: Final = 64


def raise_file_limit() -> int:
    """Let this process have as many files as it may; return how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a system may allow less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return min(_MOST, max(_OTHER_FILES, soft - _OTHER_FILES))


def limited(seconds: float, connections: int) -> type[HttpToolsProtocol]:
    """Return a protocol that closes what takes too long, and the oldest where there are too many.

    Only connections whose request has not come in yet are closed.

    Args:
        seconds: that a request may take to come in, from the connection or its first byte on.
        connections: that may be open at once.
    """
    # Those whose request has not come in, the oldest first.
    coming: dict[Limited, None] = {}

    class Limited(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()
            if len(self.connections) > connections:
                next(iter(coming))._give_up()  # noqa: SLF001 (another one of this class)

        def connection_lost(self, exc: Exception | None) -> None:
            self._came()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._came()
            self._wait()
            super().on_message_begin()

        def on_message_complete(self) -> None:
            self._came()
            super().on_message_complete()

        def _wait(self) -> None:
            coming[self] = None
            self._deadline = self.loop.call_later(seconds, self._give_up)

        def _came(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
                del coming[self]

        def _give_up(self) -> None:
            self._came()
            self.connections.discard(self)
            self.transport.abort()

    return Limited
