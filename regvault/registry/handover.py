"""Chunks of a LIST on their way from the thread that lists to the one that wants them."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from regvault.model.store import Entry

__all__ = ["Handover"]

_LOOKS_EVERY_S = 0.2


class Handover:
    """A bounded queue of chunks that ends with None, or with the error of who filled it.

    Args:
        size: so many chunks are ahead at most.
        stop: set when nobody wants them any more.
    """

    def __init__(self, size: int, stop: threading.Event) -> None:
        self._stop = stop
        self._queue: queue.Queue[list[Entry] | BaseException | None] = queue.Queue(size)

    def put(self, item: list[Entry] | BaseException | None) -> bool:
        """Hand over a chunk, the end or an error, once there is room; False: nobody wants it."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_LOOKS_EVERY_S)
            except queue.Full:
                continue
            return True
        return False

    def chunks(self) -> Iterator[list[Entry]]:
        """Yield the chunks as they come. Raises the error that was put, in this thread."""
        while (got := self._queue.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
