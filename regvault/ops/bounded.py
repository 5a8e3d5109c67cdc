"""Work in a bounded number of threads, with a bounded number of tasks that wait."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["in_order"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def in_order(
    tasks: Iterable[_Task], work: Callable[[_Task], _Result], *, threads: int, name: str
) -> Iterator[_Result]:
    """Yield `work(task)` for each task, in their order; at most four a thread are ahead.

    An exception of one ends all: what has not begun by then is not done.
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix=name) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
