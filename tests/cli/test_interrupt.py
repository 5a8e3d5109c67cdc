"""Signals that come together end a command cleanly, and say nothing of Python's own trouble."""

from __future__ import annotations

import signal
import sys

import pytest

from regvault.cli.interrupt import Interrupted, interruptible


def test_a_second_signal_at_the_same_moment_is_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both wait while a library is at work, and Python finds the second without its handler."""
    both = {signal.SIGINT, signal.SIGTERM}

    def together() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        for _ in range(1000):
            pass

    before = {number: signal.getsignal(number) for number in both}
    hook = sys.unraisablehook
    sys.unraisablehook = sys.__unraisablehook__
    try:
        with pytest.raises(Interrupted), interruptible():
            together()
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "race condition" not in capsys.readouterr().err
