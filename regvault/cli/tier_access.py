"""`--access`: who tells of accesses. A vault with archived events, its statistics, or a history."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli.options import DURATION
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.cli.app import App
    from regvault.ops.tier.accesses import Accesses
    from regvault.policy.access import AccessRules

__all__ = ["access_option", "max_lag_option", "open_accesses"]

F = TypeVar("F", bound="Callable[..., Any]")

_FILES = (".csv", ".json", ".jsonl", ".log", ".sqlite", ".txt")
_SQLITE = b"SQLite format 3\x00"


def access_option(function: F) -> F:
    """Add `--access`, as `access`."""
    return click.option(
        "--access",
        metavar="DB|VAULT|FILE",
        help="Who tells what was pulled: a vault with archived audit events, the file of access "
        "statistics (access-*.sqlite) of one, or a history in CSV or JSON lines, as tier "
        "simulate takes it. Without it tier apply asks who told for the plan, and for tier plan "
        "nothing is cold.",
    )(function)


def max_lag_option(function: F) -> F:
    """Add `--max-lag`, as `max_lag`: seconds."""
    return click.option(
        "--max-lag",
        metavar="DURATION",
        type=DURATION,
        default="2d",
        show_default=True,
        help="Where what is known of accesses ends so long ago, nothing goes to a colder class.",
    )(function)


@contextlib.contextmanager
def open_accesses(
    app: App, text: str | None, rules: AccessRules, *, endpoint_url: str | None = None
) -> Iterator[Accesses]:
    """Give what is known of accesses.

    Args:
        app: of this run.
        text: of `--access`; None: nobody tells.
        rules: who is no client whose pulls count.
        endpoint_url: of a vault, as given on the command line.

    Raises:
        UsageError: it tells nothing.
        RegvaultError: it cannot be read.
    """
    from regvault.ops.tier.accesses import NothingKnown

    if text is None:
        yield NothingKnown()
    elif text == "-" or os.path.isfile(text):
        if text != "-" and _is_database(text):
            with _of_database(text) as found:
                yield found
        else:
            yield _of_history(text, rules)
    elif text.endswith(_FILES) and not os.path.isdir(text):
        raise UsageError(f"cannot read {text}: there is no such file")
    else:
        with _of_vault(app, text, rules, endpoint_url) as found:
            yield found


def _is_database(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _of_history(path: str, rules: AccessRules) -> Accesses:
    from regvault.cli.files import open_lines
    from regvault.ops.tier.accesses import TraceAccesses
    from regvault.ops.tier.trace import read_accesses

    with open_lines(path, "--access") as lines:
        reads = read_accesses(lines, rules=rules)
    found = TraceAccesses(reads, time.time_ns() // 1000)
    if not found.coverage.end:
        raise UsageError(
            f"--access: nothing in {path} is a read whose time is told",
            hint="Each line needs a time, and a GET of something: docs/tiering.md, The history.",
        )
    return found


@contextlib.contextmanager
def _of_database(path: str) -> Iterator[Accesses]:
    """Give what a file of access statistics knows; it is copied, and stays as it is."""
    from regvault.ops.audit.access.statistics import view_of_file
    from regvault.ops.tier.accesses import ViewAccesses

    with tempfile.TemporaryDirectory(prefix="regvault-access-") as aside:
        try:
            shutil.copyfile(path, os.path.join(aside, "access-copy.sqlite"))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        with view_of_file(aside, "copy") as view:
            found = ViewAccesses(view, {})
            if not found.coverage.end:
                raise UsageError(
                    f"--access: {path} does not say for which time it tells what happened",
                    hint="The statistics of a vault are access-*.sqlite in its local cache; or "
                    "name the vault itself.",
                )
            yield found


@contextlib.contextmanager
def _of_vault(
    app: App, text: str, rules: AccessRules, endpoint_url: str | None
) -> Iterator[Accesses]:
    from regvault.assemble import open_vault
    from regvault.cli.audit_options import needs_extra
    from regvault.ops.audit.access.open_tags import named_by_snapshots
    from regvault.ops.audit.access.statistics import AccessStatistics
    from regvault.ops.tier.accesses import ViewAccesses
    from regvault.vault.catalog import vault_cache

    needs_extra("cryptography")
    vault = open_vault(app.vault(text, endpoint_url=endpoint_url))
    cache = vault_cache(app.cache_base(), vault.id)
    statistics = AccessStatistics(vault, rules, cache=cache, say=app.console.note)
    try:
        with app.progress() as progress:
            done = statistics.bring_up_to_date(progress=progress)
        for key, why in done.damaged.items():
            app.console.warn_line(f"{key}: {why}", hint="See: regvault audit verify")
        with statistics.view() as view:
            yield ViewAccesses(view, named_by_snapshots(vault, view))
    finally:
        statistics.close()
