"""Work in a bounded number of threads, with a bounded number of tasks that wait."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from regvault.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["again_when_broken", "in_order"]

_TRIES = 3

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def again_when_broken(work: Callable[[], _Result]) -> _Result:
    """Return `work()`, tried again from its beginning when a store broke off.

    A store repeats its own requests; but a stream that passed half through it can only be begun
    again by whoever can open it again.

    Raises:
        StoreUnavailableError: the last of three tries broke off too.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except StoreUnavailableError:
            continue
    return work()


def in_order(
    tasks: Iterable[_Task],
    work: Callable[[_Task], _Result],
    *,
    threads: int,
    name: str,
    first_alone: bool = False,
) -> Iterator[_Result]:
    """Yield `work(task)` for each task, in their order; at most four a thread are ahead.

    An exception of one ends all: what has not begun by then is not done.

    Args:
        tasks: taken as they are needed.
        work: done in the caller's thread where `threads` is 1.
        threads: at work at once.
        name: of the threads.
        first_alone: nothing is ahead of the first result, which often is all that is wanted.
    """
    tasks = iter(tasks)
    for task in tasks if threads == 1 or first_alone else ():
        yield work(task)
        if threads > 1:
            break
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
