"""LIST in parallel by ranges of keys, in order, with bounded memory."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from regvault.registry.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from regvault.model.store import Entry, ObjectStore

__all__ = ["Split", "list_in_order"]

_CHUNK = 1000
_QUEUED_CHUNKS = 8
# A listing shorter than this is not worth splitting: it takes four requests.
_SERIAL_KEYS = 4000


class Split(NamedTuple):
    """Where what is left of a listing may be split.

    Attributes:
        bounds: between the ranges, ASCII; none of them is itself a key.
        whole: whether each key that is left begins with one of them. Then each is listed by itself,
            which some servers do much faster than to go on after a key.
    """

    bounds: list[str]
    whole: bool = False


class _Range(NamedTuple):
    prefix: str
    after: str
    before: str  # "": to the end
    handover: Handover


def list_in_order(
    store: ObjectStore,
    prefix: str,
    *,
    threads: int,
    split: Callable[[str], Split],
    serial_keys: int = _SERIAL_KEYS,
) -> Generator[list[Entry], None, None]:
    """Yield all objects below `prefix` in byte order of their keys, a thousand at a time.

    The first few thousand are listed as they come. If there are more, the rest is split into
    ranges, which `threads` threads list ahead, at most 8,000 keys each.

    Args:
        store: what is listed.
        prefix: of the keys.
        threads: how many LISTs run at once.
        split: given the last key so far, returns how the rest is split. Called once, and may ask
            the store.
        serial_keys: how many keys are listed before that.

    Raises:
        StoreError: a LIST failed. Nothing after it is yielded.
    """
    head = store.list(prefix)
    chunk: list[Entry] = []
    last, total = "", 0
    for entry in head:
        chunk.append(entry)
        if len(chunk) >= _CHUNK:
            total += len(chunk)
            last = entry.key
            yield chunk
            chunk = []
            if total >= serial_keys and threads > 1:
                break
    else:
        if chunk:
            yield chunk
        return
    yield from _rest(store, prefix, last, threads, split)


def _rest(
    store: ObjectStore, prefix: str, last: str, threads: int, split: Callable[[str], Split]
) -> Iterator[list[Entry]]:
    stop = threading.Event()
    ranges = _ranges(prefix, last, split(last), stop)
    waiting: queue.SimpleQueue[_Range] = queue.SimpleQueue()
    for one in ranges:
        waiting.put(one)

    def work() -> None:
        while not stop.is_set():
            try:
                one = waiting.get_nowait()
            except queue.Empty:
                return
            _list_range(store, one)

    # Ranges are begun in order, so the one that is waited for is always at work.
    workers = [
        threading.Thread(target=work, name="regvault-list", daemon=True)
        for _ in range(min(threads, len(ranges)))
    ]
    for worker in workers:
        worker.start()
    try:
        for one in ranges:
            yield from one.handover.chunks()
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _ranges(prefix: str, last: str, split: Split, stop: threading.Event) -> list[_Range]:
    """Return what is left as ranges, in order, each with the longest prefix that all of it has."""
    bounds = sorted({bound for bound in split.bounds if bound > last})
    ranges = []
    for after, before in zip([last, *bounds], [*bounds, ""], strict=True):
        if split.whole and after != last:
            found = after, "", ""
        else:
            found = (_common(after, before) if before else prefix), after, before
        ranges.append(_Range(*found, Handover(_QUEUED_CHUNKS, stop)))
    return ranges


def _common(one: str, other: str) -> str:
    """Return how two strings begin; what sorts between them begins so too."""
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(one, other, key=len) if length is None else one[:length]


def _list_range(store: ObjectStore, one: _Range) -> None:
    put = one.handover.put
    chunk: list[Entry] = []
    try:
        for entry in store.list(one.prefix, after=one.after):
            if one.before and entry.key >= one.before:
                break
            chunk.append(entry)
            if len(chunk) >= _CHUNK:
                if not put(chunk):
                    return
                chunk = []
        if chunk:
            put(chunk)
        put(None)
    except BaseException as error:  # noqa: BLE001 - raised again by the consumer, in its thread
        put(error)
