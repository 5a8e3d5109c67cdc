"""A progress bar on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from regvault.cli.progress import stats
from regvault.cli.text import duration, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from regvault.cli.output import Console
    from regvault.cli.progress import Report

__all__ = ["Bar"]


class Bar:
    """One bar for the phase that runs, and a line for each that has ended."""

    def __init__(self, console: Console, seconds: float, terminal: Terminal | None = None) -> None:
        """Take the last line of the terminal; messages go above it.

        Args:
            console: whose messages go above the bar.
            seconds: between two pictures.
            terminal: to write to; None: standard error.
        """
        self.seconds = seconds
        self._console = console
        self._terminal = terminal or Terminal(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[stats]}", markup=False),
            console=self._terminal,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID | None = None
        self._progress.start()
        console.live = self._above

    def show(self, report: Report) -> None:
        """Draw the bar, or the line of what has ended."""
        if report.done:
            if self._task is not None:
                self._progress.remove_task(self._task)
                self._progress.refresh()
                self._task = None
            self._above(f"{report.phase}: {stats(report)}, {duration(report.seconds)}")
            return
        whole = report.total_bytes or report.total_items or None
        done = report.nbytes if report.total_bytes else report.items
        name = printable(report.phase)
        if self._task is None:
            self._task = self._progress.add_task(
                name, total=whole, completed=done, stats=stats(report)
            )
        else:
            self._progress.update(self._task, total=whole, completed=done, stats=stats(report))
            self._progress.refresh()

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._console.live = None
        self._progress.stop()

    def _above(self, line: str) -> None:
        # As text: square brackets in a name are no markup.
        self._terminal.print(Text(printable(line)), soft_wrap=True)
