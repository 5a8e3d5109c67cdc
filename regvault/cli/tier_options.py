"""Options that the tier commands share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli.configured import ConfiguredCommand
from regvault.cli.group import command
from regvault.config.price_files import DEFAULT_PRICES
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["needs_numpy", "prices_option", "tier_command"]

F = TypeVar("F", bound="Callable[..., Any]")


class TierCommand(ConfiguredCommand):
    """A command that takes what it is not told from the section `tier` of the configuration."""

    section = "tier"


tier_command = partial(command, cls=TierCommand)
"""Decorator: as `command`, for the commands of `regvault tier`."""


def prices_option(function: F) -> F:
    """Add `--prices`, as `prices`: a name, or a file."""
    return click.option(
        "--prices",
        metavar="NAME|FILE",
        default=DEFAULT_PRICES,
        show_default=True,
        help="What storage costs: aws-us-east-1, azure-eastus-lrs, gcs-us-east1, or one's own "
        ".toml file.",
    )(function)


def needs_numpy() -> None:
    """Raise UsageError where the extra `tiering` is not installed."""
    from importlib.util import find_spec

    if find_spec("numpy") is None:
        raise UsageError(
            "the tier commands need numpy",
            hint="Install regvault with its extra: pip install 'regvault[tiering]'",
        )
