"""Runs the registry's own garbage collection, as a child that is waited for whatever happens."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ended", "parse_command", "run_command"]

#: So long it is given to end after SIGTERM.
TERM_WITHIN_S = 60.0
#: So long its last output is waited for, which a child of its own may keep open.
_OUTPUT_WITHIN_S = 5.0
_LINE_BYTES = 4096


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        status: its exit code; negative: the signal that ended it.
        seconds: how long it took.
        timed_out: it was ended, since it took too long.
    """

    status: int
    seconds: float
    timed_out: bool

    @property
    def good(self) -> bool:
        """Whether it says that it did what it is for."""
        return self.status == 0 and not self.timed_out

    def __str__(self) -> str:
        """Return that for people."""
        if self.timed_out:
            return f"it took longer than {self.seconds:.0f} s, and was ended"
        if self.status < 0:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-self.status).name}"
        return f"it ended with exit code {self.status}"


def parse_command(text: str, *, here: bool = True) -> list[str]:
    """Split a command into words, as a shell would; nothing else of a shell is done.

    Args:
        text: as typed.
        here: it is to be run on this machine, so its program must be there.

    Raises:
        UsageError: it is none, or its program is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--collect: {error}", hint="Close the quotes.") from None
    if not words:
        raise UsageError(
            "--collect: no command is given",
            hint="For example --collect 'registry garbage-collect /etc/distribution/config.yml'",
        )
    if here and shutil.which(words[0]) is None:
        raise UsageError(
            f"--collect: there is no program {words[0]}",
            hint="No shell is run: pipes and variables need `sh -c '...'`. Where the registry is "
            "in a container: docker exec NAME registry garbage-collect CONFIG",
        )
    return words


def run_command(
    words: list[str], *, say: Callable[[str], None], timeout_s: float | None = None
) -> Ended:
    """Run a command to its end, and pass on what it says.

    It has a session of its own, so that a Ctrl-C meets it as a SIGTERM of ours and not halfway.

    Args:
        words: program and arguments.
        say: is told each line of its output, from another thread.
        timeout_s: seconds after which it is ended; None: never.

    Raises:
        UsageError: it cannot be started.
    """
    began = time.monotonic()
    process: subprocess.Popen[bytes] | None = None
    reading: threading.Thread | None = None
    timed_out = False
    try:
        process = _started(words)
        reading = threading.Thread(
            target=_pass_on, args=(process, say), name="collect", daemon=True
        )
        reading.start()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            _terminate(process)
    except BaseException:
        # Of a signal to us: what is half done is to be over before anyone looks at it.
        if process is not None:
            _terminate(process)
        raise
    finally:
        if reading is not None and reading.ident is not None:
            reading.join(_OUTPUT_WITHIN_S)
    return Ended(process.returncode, time.monotonic() - began, timed_out)


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 (what the user asked for, without a shell)
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"--collect: cannot run {words[0]}: {error.strerror}") from error


def _pass_on(process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(OSError, ValueError):
        while line := process.stdout.readline(_LINE_BYTES):
            say(line.decode("utf-8", "replace").rstrip("\r\n"))


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """End it and its children: by SIGTERM, and where that does not suffice by SIGKILL."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERM_WITHIN_S)
            return
