"""`--keep-...`: which snapshots stay, for the commands that go by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli.options import DURATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.cli.app import App
    from regvault.policy.retention import Retention

__all__ = ["KEEP", "given_retention", "keep_options", "policies_of"]

F = TypeVar("F", bound="Callable[..., Any]")

KEEP = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
"""The rules, by the last word of their flags."""


def keep_options(function: F) -> F:
    """Add `--keep-last` and the others, as `keep_last` and so on."""
    decorated = click.option(
        "--keep-within",
        metavar="DURATION",
        type=DURATION,
        help="Keep all that are not older than that, such as 30d, counted from the newest.",
    )(function)
    for period in ("yearly", "monthly", "weekly", "daily", "hourly"):
        name = {"daily": "days"}.get(period, f"{period.removesuffix('ly')}s")
        decorated = click.option(
            f"--keep-{period}",
            metavar="N",
            type=click.IntRange(0),
            help=f"Of N {name}, the newest.",
        )(decorated)
    return click.option(
        "--keep-last", metavar="N", type=click.IntRange(0), help="Keep the newest N."
    )(decorated)


def given_retention(keep: dict[str, Any]) -> Retention:
    """Return the rules that were given: by the names of the parameters, such as `keep_daily`."""
    from datetime import timedelta

    from regvault.policy.retention import Retention

    within = keep.get("keep_within")
    counts = {name: keep.get(f"keep_{name}") or 0 for name in KEEP if name != "within"}
    return Retention(**counts, within=timedelta(seconds=within) if within else None)


def policies_of(
    app: App, names: Iterable[str], given: Retention, of_vault: Retention | None
) -> dict[str, Retention]:
    """Return the rules of those registries that have some.

    Args:
        app: of this run.
        names: of the registries.
        given: on the command line; where they are empty, those of the configuration count.
        of_vault: the configuration's for a vault, where a registry has none of its own.
    """
    if not given.empty:
        return dict.fromkeys(names, given)
    known = app.config.registry_places if app.config is not None else {}
    found = {name: (known[name].retention if name in known else None) or of_vault for name in names}
    return {name: rules for name, rules in found.items() if rules is not None}
