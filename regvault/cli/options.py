"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.config import units
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from regvault.config.secrets import SecretRef

    _Number = click.ParamType[float]
    _Text = click.ParamType[str]
else:  # click before 8.5 knows no parameters of types
    _Number = _Text = click.ParamType

__all__ = [
    "AMOUNT",
    "DURATION",
    "LOCATION",
    "PERCENT",
    "RATE",
    "SIZE",
    "dry_run_option",
    "endpoint_option",
    "identity_option",
    "repo_option",
    "retry_lock_option",
    "secret_ref",
    "threads_option",
    "transfer_options",
    "vault_at_option",
    "vault_option",
    "yes_option",
]

F = TypeVar("F", bound="Callable[..., Any]")


class _Parsed(_Number):
    """A value that a function reads, which raises ValueError with a message for people."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value) if isinstance(value, float) else int(value)
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Amount(click.FloatRange):
    """A number of zero or more; no infinity, and none that is no number."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no amount", param, ctx)
        return found


class _Location(_Text):
    """A name of the configuration or a location; completed as a path, which is quick."""

    name = "location"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


SIZE = _Parsed("size", units.parse_size)
RATE = _Parsed("rate", units.parse_rate)
DURATION = _Parsed("duration", units.parse_duration)
PERCENT = _Parsed("percent", units.parse_percent)
DAYS = _Parsed("time", units.parse_days)
LOCATION = _Location()
AMOUNT = _Amount(min=0)


def vault_option(function: F) -> F:
    """Add `--vault`, and `--endpoint-url` for one on S3, as `vault` and `endpoint_url`."""
    decorated = click.option(
        "--vault",
        metavar="VAULT",
        type=LOCATION,
        envvar="REGVAULT_VAULT",
        show_envvar=True,
        help="The vault: its name in the configuration, a directory, or s3://BUCKET/PREFIX. "
        "May be left out where the configuration has only one.",
    )(function)
    return endpoint_option(identity_option(decorated))


def identity_option(function: F) -> F:
    """Add `--identity`; `App.vault` takes it."""

    def keep(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.obj.identity = secret_ref("--identity", value)

    return click.option(
        "--identity",
        metavar="REF",
        expose_value=False,
        callback=keep,
        help="Where the age identities are that open a sealed vault: file:/PATH or env:NAME; else "
        "as configured, or $REGVAULT_IDENTITY.",
    )(function)


def secret_ref(option: str, text: str) -> SecretRef:
    """Return the reference to a secret that an option was given. Raises UsageError."""
    from regvault.config.secrets import parse_secret_ref
    from regvault.errors import UsageError

    try:
        return parse_secret_ref(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint="file:/PATH or env:NAME") from None


def vault_at_option(function: F) -> F:
    """Add `--vault-at` as `vault_at`."""
    return click.option(
        "--vault-at",
        metavar="TIME",
        help="Read the vault as it was then, such as '3 hours ago', from the versions that its "
        "bucket keeps: after someone has deleted or overwritten it.",
    )(function)


def endpoint_option(function: F) -> F:
    """Add `--endpoint-url` as `endpoint_url`."""

    def check(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        from regvault.model.location import endpoint_problem

        problem = None if value is None else endpoint_problem(value)
        if problem is not None:
            raise UsageError(f"--endpoint-url: {problem[0]}", hint=problem[1])
        return value

    return click.option(
        "--endpoint-url",
        metavar="URL",
        callback=check,
        help="The S3 endpoint; else as configured, $AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL.",
    )(function)


def threads_option(function: F) -> F:
    """Add `--threads` as `threads`; None is the configured or the default number."""
    return click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(1, 256),
        help="How many threads work at once.",
    )(function)


def transfer_options(function: F) -> F:
    """Add `--threads`, `--limit-upload` and `--limit-download`; limits are bytes per second."""
    decorated = click.option(
        "--limit-download",
        metavar="RATE",
        type=RATE,
        help="Read at most this much per second, such as 10MiB.",
    )(function)
    decorated = click.option(
        "--limit-upload",
        metavar="RATE",
        type=RATE,
        help="Write at most this much per second, such as 10MiB.",
    )(decorated)
    return threads_option(decorated)


def _globs(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from regvault.oci.grammar import InvalidNameError, glob_matcher

    try:
        glob_matcher(value)
    except InvalidNameError as error:
        raise click.BadParameter(str(error)) from None
    return value


def repo_option(function: F) -> F:
    """Add `--repo GLOB`, any number of times, as `repos`."""
    return click.option(
        "--repo",
        "repos",
        metavar="GLOB",
        multiple=True,
        callback=_globs,
        help="Only repositories that match, such as 'team/*' or 'team/**'; may be repeated.",
    )(function)


def dry_run_option(function: F) -> F:
    """Add `--dry-run` as `dry_run`."""
    return click.option(
        "--dry-run", is_flag=True, help="Print what would be done, and do nothing."
    )(function)


def yes_option(function: F) -> F:
    """Add `--yes` as `yes`."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(function)


def retry_lock_option(function: F) -> F:
    """Add `--retry-lock` as `retry_lock`, in seconds."""
    return click.option(
        "--retry-lock",
        metavar="DURATION",
        type=DURATION,
        default=0.0,
        help="How long to wait for another writer, such as 5m.",
    )(function)
