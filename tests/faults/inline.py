"""Executors that work in their caller's thread, when a result is asked for, so order is certain."""

from __future__ import annotations

import sys
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from regvault.vault.parties import Holding

if TYPE_CHECKING:
    import pytest


class _Task(Future[Any]):
    def __init__(self, work: Any) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        if not self.done() and self.set_running_or_notify_cancel():
            try:
                self.set_result(self._work())
            except BaseException as error:  # noqa: BLE001 - as a pool does
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        self.run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.run()
        return super().exception(timeout)


class Inline(Executor):
    """Takes whatever a ThreadPoolExecutor takes."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._tasks: list[_Task] = []

    def submit(self, work: Any, /, *words: Any, **named: Any) -> Future[Any]:
        self._tasks = [task for task in self._tasks if not task.done()]
        task = _Task(lambda: work(*words, **named))
        self._tasks.append(task)
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for task in self._tasks:
            if cancel_futures:
                task.cancel()
            task.run()


def no_threads(patch: pytest.MonkeyPatch) -> None:
    """Let every module of regvault work without threads, and leases not renew themselves."""
    for name, module in list(sys.modules.items()):
        if name.startswith("regvault.") and "ThreadPoolExecutor" in vars(module):
            patch.setattr(module, "ThreadPoolExecutor", Inline)
    patch.setattr(Holding, "_begin", lambda *_: None)
