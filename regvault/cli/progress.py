"""How far a verb is: counted by any thread, shown by one.

`advance` is called for every blob by every thread. It adds to numbers that only its own thread
writes, so it needs no lock, and it never looks at a clock: a thread of its own wakes up now and
then, sums up, and shows. On a terminal that is a bar with bytes, rate and time left; elsewhere a
line every 10 seconds; with `--log-format json` a JSON line.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from regvault.cli.text import duration, number, percent, size
from regvault.model.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.cli.app import App
    from regvault.cli.output import Console
    from regvault.model.progress import Progress

__all__ = ["LINE_SECONDS", "Report", "Tracker", "open_progress", "stats"]

#: Between two lines where there is no terminal.
LINE_SECONDS = 10.0
_BAR_SECONDS = 0.2
#: A rate is taken over this time, so that time left neither jumps nor lags.
_RATE_SECONDS = 15.0


class Report(NamedTuple):
    """How far a phase is.

    Attributes:
        phase: its name.
        items, nbytes: done.
        total_items, total_bytes: to do, or None.
        seconds: since it began.
        rate: bytes per second of late.
        left: seconds, or None where it cannot be told.
        done: it has ended.
    """

    phase: str
    items: int
    nbytes: int
    total_items: int | None
    total_bytes: int | None
    seconds: float
    rate: float
    left: float | None
    done: bool


class Renderer(Protocol):
    """Shows reports. Called by one thread at a time."""

    seconds: float

    def show(self, report: Report) -> None:
        """Show how far a phase is; its last report has `done`."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class _Phase:
    """The counters of one phase: a cell for each thread, which no other thread writes."""

    def __init__(self, name: str, items: int | None, nbytes: int | None, now: float) -> None:
        self.name = name
        self.total_items = items
        self.total_bytes = nbytes
        self.begin = now
        self._local = threading.local()
        self._cells: list[list[int]] = []
        self._samples: deque[tuple[float, int, int]] = deque([(now, 0, 0)])

    def add(self, items: int, nbytes: int) -> None:
        try:
            cell: list[int] = self._local.cell
        except AttributeError:
            cell = self._local.cell = [0, 0]
            self._cells.append(cell)
        cell[0] += items
        cell[1] += nbytes

    def report(self, now: float, *, done: bool) -> Report:
        cells = list(self._cells)
        items, nbytes = sum(c[0] for c in cells), sum(c[1] for c in cells)
        samples = self._samples
        samples.append((now, items, nbytes))
        while len(samples) > 2 and now - samples[1][0] > _RATE_SECONDS:
            samples.popleft()
        then, items_then, bytes_then = samples[0]
        span = max(now - then, 1e-6)
        rate = (nbytes - bytes_then) / span
        left = None
        if self.total_bytes is not None and rate > 0:
            left = max(self.total_bytes - nbytes, 0) / rate
        elif self.total_items is not None and items > items_then:
            left = max(self.total_items - items, 0) * span / (items - items_then)
        return Report(
            self.name,
            items,
            nbytes,
            self.total_items,
            self.total_bytes,
            now - self.begin,
            rate,
            left,
            done,
        )


class Tracker:
    """Implements `regvault.model.progress.Progress`."""

    def __init__(
        self, console: Console, renderer: Renderer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the thread that shows.

        Args:
            console: for notes and warnings.
            renderer: what shows.
            clock: in seconds.
        """
        self._console = console
        self._renderer = renderer
        self._clock = clock
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._phase: _Phase | None = None
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def phase(
        self, name: str, *, total_items: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Begin a phase, and end the one before."""
        with self._lock:
            now = self._clock()
            if self._phase is not None:
                self._show(self._phase.report(now, done=True))
            self._phase = _Phase(name, total_items, total_bytes, now)
            self._show(self._phase.report(now, done=False))

    def advance(self, items: int = 0, nbytes: int = 0) -> None:
        """Count work done in this phase."""
        phase = self._phase
        if phase is not None:
            phase.add(items, nbytes)

    def total(self, *, items: int | None = None, nbytes: int | None = None) -> None:
        """Set or correct the totals of this phase."""
        with self._lock:
            if self._phase is not None:
                if items is not None:
                    self._phase.total_items = items
                if nbytes is not None:
                    self._phase.total_bytes = nbytes

    def note(self, message: str) -> None:
        """Say something worth a line of its own."""
        with self._lock:
            self._console.note(message)

    def warn(self, message: str, *, hint: str | None = None) -> None:
        """Say something that a person should look at."""
        with self._lock:
            self._console.warn(message, hint=hint)

    def close(self) -> None:
        """End the last phase, and stop showing."""
        self._ended.set()
        self._thread.join(timeout=5)
        with self._lock:
            if self._phase is not None:
                self._show(self._phase.report(self._clock(), done=True))
                self._phase = None
            with suppress(OSError):
                self._renderer.close()

    def _show(self, report: Report) -> None:
        # A terminal that has gone away, or a full disk below the log, must not end a backup.
        with suppress(OSError):
            self._renderer.show(report)

    def _run(self) -> None:
        while not self._ended.wait(self._renderer.seconds):
            with self._lock:
                if self._phase is not None and not self._ended.is_set():
                    self._show(self._phase.report(self._clock(), done=False))


class _Quiet(Silent):
    """With `-q`: warnings, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, message: str, *, hint: str | None = None) -> None:
        self._console.warn(message, hint=hint)


class _Lines:
    """A line at intervals; a phase shorter than one is not worth any."""

    def __init__(self, console: Console, seconds: float = LINE_SECONDS) -> None:
        self.seconds = seconds
        self._console = console

    def show(self, report: Report) -> None:
        if report.seconds >= self.seconds / 2:
            end = f", done in {duration(report.seconds)}" if report.done else ""
            self._console.note(f"{report.phase}: {stats(report)}{end}")

    def close(self) -> None:
        pass


class _Json:
    """A JSON line when a phase begins and ends, and at intervals."""

    def __init__(self, console: Console, seconds: float = LINE_SECONDS) -> None:
        self.seconds = seconds
        self._console = console

    def show(self, report: Report) -> None:
        self._console.event(
            {
                "type": "progress",
                "phase": report.phase,
                "items": report.items,
                "total_items": report.total_items,
                "bytes": report.nbytes,
                "total_bytes": report.total_bytes,
                "seconds": round(report.seconds, 3),
                "bytes_per_second": round(report.rate),
                "seconds_left": None if report.left is None else round(report.left, 1),
                "done": report.done,
            }
        )

    def close(self) -> None:
        pass


@contextmanager
def open_progress(app: App) -> Iterator[Progress]:
    """Yield the progress that fits the options and the terminal."""
    console = app.console
    if app.quiet:
        yield _Quiet(console)
        return
    renderer: Renderer
    if app.log_format == "json":
        renderer = _Json(console)
    elif _is_terminal():
        from regvault.cli.bar import Bar

        renderer = Bar(console, _BAR_SECONDS)
    else:
        renderer = _Lines(console)
    tracker = Tracker(console, renderer)
    try:
        yield tracker
    finally:
        tracker.close()


def stats(report: Report) -> str:
    """Return the numbers of a report for people, without the name of its phase."""
    parts = []
    if report.items or report.total_items is not None:
        of = "" if report.total_items is None else f" of {number(report.total_items)}"
        parts.append(f"{number(report.items)}{of}")
    if report.nbytes or report.total_bytes:
        of = "" if report.total_bytes is None else f" of {size(report.total_bytes)}"
        parts.append(f"{size(report.nbytes)}{of}")
        rate = report.nbytes / report.seconds if report.done and report.seconds else report.rate
        parts.append(f"{size(round(rate))}/s")
    if report.total_bytes and not report.done:
        parts.insert(0, percent(report.nbytes, report.total_bytes))
    elif report.total_items and not report.done:
        parts.insert(0, percent(report.items, report.total_items))
    if report.left is not None and not report.done:
        parts.append(f"{duration(report.left)} left")
    return ", ".join(parts) or "at work"


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
