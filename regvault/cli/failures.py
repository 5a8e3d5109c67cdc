"""What ends a command, as a message, a hint and an exit code."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from regvault.cli.interrupt import Interrupted
from regvault.errors import RegvaultError, UsageError
from regvault.model.location import redact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App

__all__ = ["Failure", "failures_of", "report", "worst_exit_code"]

_PRECEDENCE = (130, 143, 4, 5, 12, 11, 6, 3, 1)


class Failure(NamedTuple):
    """One thing that ended a command.

    Attributes:
        exit_code: of the command.
        code: a stable word for machines.
        message: what failed, on what.
        hint: what to do next, or None.
        details: more for machines.
    """

    exit_code: int
    code: str
    message: str
    hint: str | None
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the error object."""
        hint = None if self.hint is None else redact(self.hint)
        return {"code": self.code, "message": redact(self.message), "hint": hint, **self.details}


def worst_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code of a command to which several apply; 0 of none.

    An interruption comes first, then 4, 5, 12, 11, 6, 3, 1, then any other failure.
    """
    found = set(codes)
    for code in _PRECEDENCE:
        if code in found:
            return code
    return max(found, default=0)


def failures_of(error: BaseException) -> list[Failure]:
    """Return what an exception means: several for a group, worst first."""
    if isinstance(error, BaseExceptionGroup):
        found = [failure for part in error.exceptions for failure in failures_of(part)]
        worst = worst_exit_code(failure.exit_code for failure in found)
        return sorted(found, key=lambda failure: failure.exit_code != worst)
    return [_failure(error)]


def report(app: App, error: BaseException) -> int:
    """Print what ended a command; return its exit code."""
    if isinstance(error, Interrupted) and app.follows and not app.json:
        app.console.note(f"Stopped by {signal.Signals(error.signum).name}.")
        return error.exit_code
    if app.verbose and any(failure.code == "unexpected" for failure in failures_of(error)):
        import traceback

        app.console.detail("".join(traceback.format_exception(error)).rstrip())
    found = failures_of(error)
    first, others = found[0], found[1:]
    fields = first.to_json()
    if others and app.json:
        fields["others"] = [failure.to_json() for failure in others]
    app.console.error(fields)
    if not app.json:
        for failure in others:
            app.console.error(failure.to_json())
    return first.exit_code


def _failure(error: BaseException) -> Failure:
    if isinstance(error, RegvaultError):
        details = getattr(error, "details", None)
        return Failure(error.exit_code, error.code, error.message, error.hint, details or {})
    if isinstance(error, Interrupted):
        return Failure(
            error.exit_code,
            "interrupted",
            str(error),
            "What was committed is committed. The same command again goes on from there.",
            {},
        )
    if isinstance(error, KeyboardInterrupt):
        return _failure(Interrupted(2))
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, MemoryError):
        return Failure(1, "out-of-memory", "out of memory", "Try again with fewer --threads.", {})
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(
        1,
        "unexpected",
        f"unexpected {text}",
        "This should not happen. Run it again with -v to see where, and report that.",
        {},
    )


def _usage(error: click.ClickException) -> Failure:
    """Return what click says about a command line, with its suggestions as the hint."""
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "regvault"
    hint = f"Try '{path} --help'."
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}"
        if error.possibilities:
            close = " or ".join(error.possibilities)
            hint = f"Did you mean {close}? {hint}"
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    return Failure(UsageError.exit_code, UsageError.code, message, hint, {})
