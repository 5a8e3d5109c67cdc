"""The console: results on standard output, everything else on standard error.

With `--json` standard output holds one JSON document, or JSON lines, and nothing else. All text
for people is made printable, since names in it are hostile input. No private key is printed,
wherever it comes from: a secret that was put into the wrong place is in a log then.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from regvault.cli import text as fmt
from regvault.errors import RegvaultError
from regvault.model.location import redact
from regvault.model.secrecy import conceal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TextIO

    from regvault.cli.app import App

__all__ = ["Console", "dumps"]


def dumps(value: Any) -> str:
    """Return `value` as JSON on one line, in ASCII, so that any terminal and any name will do."""
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "), default=_plain)


class Console:
    """Prints for people or for machines, as the global options ask.

    Attributes:
        closed: nobody reads standard output any more (`regvault ls | head`); what is still to be
            printed may be left out.
    """

    def __init__(self, app: App) -> None:
        """Take the global options; streams are looked up when they are written to."""
        self._app = app
        self.closed = False
        #: Where messages go while a progress bar is on the terminal.
        self.live: Callable[[str], None] | None = None

    # Results

    def say(self, text: str = "") -> None:
        """Print a result for people; nothing with `--json`."""
        if not self._app.json:
            self._out(fmt.printable(text))

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[object]], *, align: str = ""
    ) -> None:
        """Print a table for people: `align` has `l` or `r` for each column."""
        if not self._app.json:
            for line in fmt.table(header, rows, align=align):
                self._out(line)

    def document(self, value: Any) -> None:
        """Print the one JSON document of a command; nothing without `--json`."""
        if self._app.json:
            self._out(dumps(value))

    def raw(self, text: str) -> None:
        """Print text that is a machine's, with and without `--json`."""
        self._out(text)

    def lines(
        self, values: Iterable[Any], *, show: Callable[[Any], str], to_json: Callable[[Any], Any]
    ) -> int:
        """Print a list of any length as it comes, as JSON lines or as `show` has it.

        Returns:
            how many were printed; it stops where nobody reads any more.
        """
        count = 0
        for value in values:
            self._out(dumps(to_json(value)) if self._app.json else fmt.printable(show(value)))
            count += 1
            if self.closed:
                break
        return count

    # Messages

    def note(self, message: str) -> None:
        """Say something on standard error; nothing with `-q`."""
        if not self._app.quiet:
            self._message("note", message, None)

    def detail(self, message: str) -> None:
        """Say something that only `-v` asks for."""
        if self._app.verbose:
            self._message("detail", message, None)

    def warn(self, message: str, *, hint: str | None = None) -> None:
        """Say something that a person should look at, even with `-q`."""
        self._message("warning", message, hint)

    def warn_line(self, message: str, *, hint: str | None = None) -> None:
        """Warn in the words of something outside, such as a broker: in one line, whatever it says.

        See `text.inline`.
        """
        self._message("warning", fmt.inline(message), hint)

    def error(self, fields: dict[str, Any]) -> None:
        """Print what ended the command: `code`, `message`, `hint`, and more for machines."""
        if self._app.json:
            self._out(dumps({"error": fields}))
        if self._app.log_format == "json" or not self._app.json or self.closed:
            self._message("error", fields["message"], fields["hint"], fields)

    def event(self, fields: dict[str, Any]) -> None:
        """Write one JSON line of the log to standard error."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._err(dumps({"time": now, **fields}))

    # Values

    def time(self, moment: datetime | str | float) -> str:
        """Return a time as people read it, in the configured timezone: `2026-11-20 03:00 UTC`."""
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        elif not isinstance(moment, datetime):
            moment = datetime.fromtimestamp(moment, UTC)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        local = moment.astimezone(self._app.timezone)
        # The names of other zones are not unique, and could not be given back as a TIME.
        return local.strftime("%Y-%m-%d %H:%M:%S " + ("%z" if local.utcoffset() else "UTC"))

    def _message(
        self, kind: str, message: str, hint: str | None, fields: dict[str, Any] | None = None
    ) -> None:
        if self._app.log_format == "json":
            hint = None if hint is None else redact(hint)
            self.event({"type": kind, "message": redact(message), "hint": hint, **(fields or {})})
            return
        label = "" if kind in {"note", "detail"} else f"{kind.capitalize()}: "
        self._err(fmt.printable(redact(f"{label}{message}")))
        if hint is not None:
            self._err(fmt.printable(redact(f"Hint: {hint}")))

    def _out(self, line: str) -> None:
        if self.closed:
            return
        try:
            sys.stdout.write(f"{conceal(line)}\n")
        except OSError as error:
            self.lost(error)

    def lost(self, error: OSError) -> None:
        """Print nothing more: a reader that has seen enough is no failure, a full disk is.

        Raises:
            RegvaultError: standard output cannot be written.
        """
        self.closed = True
        give_up(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise RegvaultError(
                f"cannot write to standard output: {error.strerror}",
                hint="The command itself has not failed; its result could not be printed.",
            ) from error

    def _err(self, line: str) -> None:
        line = conceal(line)
        if self.live is not None:
            self.live(line)
            return
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except OSError:  # a log that nobody reads, or a full disk below it, ends no backup
            give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Let everything that is still written to a stream whose reader has gone go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    except (OSError, ValueError):  # not a real file, in a test
        pass
    finally:
        os.close(null)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        raise TypeError("bytes do not go into JSON")
    return str(value)
