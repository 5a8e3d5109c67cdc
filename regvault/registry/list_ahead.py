"""A LIST that begins before anyone asks for it, in a thread, ahead by a bounded number of keys.

Against object storage a snapshot waits for two servers: the registry's, which lists for seconds,
and the vault's, which is opened meanwhile.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from regvault.registry.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from regvault.model.store import Entry

__all__ = ["ListAhead"]

_CHUNKS_AHEAD = 64
# Who ends it does not wait longer for a request that is under way: its server may be the trouble.
_ENDS_WITHIN_S = 2.0


class ListAhead:
    """Chunks of a LIST, taken once.

    Attributes:
        began_ns: when, in nanoseconds since the epoch.
        started_ns: the same by the store's clock; known once there is a chunk.

    Args:
        chunks: makes the LIST.
        now: asks the store for its time. Both run in the thread.
    """

    def __init__(
        self, chunks: Callable[[], Generator[list[Entry], None, None]], now: Callable[[], int]
    ) -> None:
        self.began_ns = time.time_ns()
        self.started_ns = 0
        self._chunks = chunks
        self._now = now
        self._stop = threading.Event()
        self._handover = Handover(_CHUNKS_AHEAD, self._stop)
        self._thread = threading.Thread(target=self._work, name="regvault-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.started_ns = self._now()
            with closing(self._chunks()) as chunks:
                for chunk in chunks:
                    if not self._handover.put(chunk):
                        return
            self._handover.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer, in its thread
            self._handover.put(error)

    def chunks(self) -> Iterator[list[Entry]]:
        """Yield the chunks. Raises what the LIST raises."""
        try:
            yield from self._handover.chunks()
        finally:
            self.close()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(_ENDS_WITHIN_S)
