"""Options of the commands that watch a spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli.options import DURATION, PERCENT
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.signals.watching import Watching
    from regvault.audit.spool import Spool
    from regvault.cli.app import App

__all__ = ["registry_options", "signal_options", "watching_of"]

F = TypeVar("F", bound="Callable[..., Any]")


def registry_options(function: F) -> F:
    """Add `--registry-metrics` and `--registry-endpoint`."""
    decorated = click.option(
        "--registry-endpoint",
        metavar="NAME",
        help="The endpoint of the registry's notifications that comes here; else the only one, or "
        "`regvault`.",
    )(function)
    return click.option(
        "--registry-metrics",
        metavar="URL",
        multiple=True,
        help="The debug server of a registry (its http.debug.addr): what it counted is compared "
        "with what came here; may be repeated.",
    )(decorated)


def signal_options(function: F) -> F:
    """Add the bounds of signals, and the options of registries."""
    options = [
        click.option(
            "--auth-failures",
            metavar="PERCENT",
            type=PERCENT,
            default="1%",
            show_default=True,
            help="Of requests, how many may fail to authenticate.",
        ),
        click.option(
            "--pull-p95",
            metavar="MS",
            type=click.FloatRange(1),
            default=500.0,
            show_default=True,
            help="Milliseconds that 95 of 100 pulls may take.",
        ),
        click.option(
            "--min-requests",
            metavar="N",
            type=click.IntRange(1),
            default=100,
            show_default=True,
            help="So many requests within five minutes, before either counts.",
        ),
        click.option(
            "--mass-deletion",
            metavar="N",
            type=click.IntRange(2),
            default=50,
            show_default=True,
            help="So many deletions within ten minutes are a signal.",
        ),
        click.option(
            "--learning",
            metavar="DURATION",
            type=DURATION,
            default="7d",
            show_default=True,
            help="How long nobody and no network counts as new, from the first event on.",
        ),
        registry_options,
        click.option(
            "--registry-interval",
            metavar="DURATION",
            type=DURATION,
            default="1m",
            show_default=True,
            help="How often the counters of registries are read.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def watching_of(
    app: App, spool: Spool, options: dict[str, Any], *, wanted: bool = True
) -> Watching | None:
    """Return what the options ask for; None where it is nothing.

    Args:
        app: that reports what goes wrong.
        spool: to watch.
        options: those of `signal_options`, by their names.
        wanted: signals are asked for.

    Raises:
        UsageError: what is given does not fit together.
    """
    from regvault.audit.gaps.counters import check_url
    from regvault.audit.signals.settings import Thresholds
    from regvault.audit.signals.watching import Watching

    registries = [check_url(url) for url in options["registry_metrics"]]
    if not wanted:
        if registries:
            raise UsageError("--registry-metrics needs --signals", hint="Give both.")
        return None
    if options["registry_interval"] < 1:
        raise UsageError("--registry-interval: a second at least", hint="One is 1m.")
    thresholds = Thresholds(
        auth_failures=options["auth_failures"] / 100,
        auth_requests=options["min_requests"],
        pull_ms=options["pull_p95"],
        pulls=options["min_requests"],
        deletions=options["mass_deletion"],
        learning_s=options["learning"],
    )
    return Watching(
        spool,
        thresholds,
        registries=registries,
        endpoint=options["registry_endpoint"],
        interval_s=options["registry_interval"],
        report=app.console.warn_line,
    )
