"""Makes what waits at the same moment durable with one sync."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.audit.spool import SpoolFullError

if TYPE_CHECKING:
    from regvault.audit.spool import Spool

__all__ = ["GroupCommit"]

_MOST_BYTES = 4 << 20


class GroupCommit:
    """Appends to a spool for many requests at once.

    While nothing is being written, what comes is written at once. What comes meanwhile is written
    together, next.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._waiting: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._task: asyncio.Task[None] | None = None

    async def store(self, bodies: list[bytes]) -> None:
        """Return once these events are durable.

        Raises:
            OSError: nobody knows whether they are.
            SpoolFullError: they are not; at least one of them.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((bodies, future))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._write())
        await future

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            bodies = [body for part, _ in batch for body in part]
            stored, error = await loop.run_in_executor(self._worker, self._append, bodies)
            end = 0
            for part, future in batch:
                end += len(part)
                if future.done():  # whoever waited has gone
                    continue
                if end <= stored:
                    future.set_result(None)
                else:
                    assert error is not None
                    future.set_exception(error)

    def _take(self) -> list[tuple[list[bytes], asyncio.Future[None]]]:
        nbytes = count = 0
        for part, _ in self._waiting:
            nbytes += sum(map(len, part))
            if nbytes > _MOST_BYTES and count:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _append(self, bodies: list[bytes]) -> tuple[int, Exception | None]:
        """Return how many are durable, from the first, and why the others are not."""
        try:
            self._spool.append(bodies)
        except SpoolFullError as error:
            return error.stored, error
        except Exception as error:  # noqa: BLE001 (each request says it)
            return 0, error
        return len(bodies), None

    async def close(self) -> None:
        """Return once all that waits is written."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self._worker.shutdown()
