"""SIGINT and SIGTERM end a command cleanly.

The first signal is raised as an exception in the main thread, so that every `finally` and `with`
on the way out runs: a lease is given back, temporary files go. The second one kills.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Interrupted", "interruptible"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asks this process to end. No KeyboardInterrupt: click swallows those.

    Attributes:
        signum: which one.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """The exit code that says so: 130 or 143."""
        return 128 + self.signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` in the main thread at the first SIGINT or SIGTERM; the next one kills.

    A signal that the parent had ignored (`nohup`, a background job) stays ignored. After the
    block a signal kills at once: there is nothing left to end cleanly.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    hook = sys.unraisablehook

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        for number in watched:
            signal.signal(number, signal.SIG_DFL)
        raise Interrupted(signum)

    def on_unraisable(args: sys.UnraisableHookArgs) -> None:
        # The signal came while the main thread was in a destructor or a callback of the garbage
        # collector, where Python drops exceptions: raise it again at the next instruction outside.
        if isinstance(args.exc_value, Interrupted):
            _again(args.exc_value.signum, on_signal)
        elif not _came_too_late(args.exc_value):
            hook(args)

    for number in watched:
        signal.signal(number, on_signal)
    sys.unraisablehook = on_unraisable
    try:
        yield
    finally:
        for number in watched:
            signal.signal(number, signal.SIG_DFL)
        sys.unraisablehook = hook


def _came_too_late(error: BaseException | None) -> bool:
    """Return whether Python says that a second signal came while it delivered the first one."""
    return isinstance(error, OSError) and "ignored due to race condition" in str(error)


def _again(signum: int, handler: Callable[[int, FrameType | None], None]) -> None:
    # The interpreter is still inside the destructor's caller; a moment later it is not.
    def ring(_signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        handler(signum, frame)

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
