"""`regvault tier simulate`: what tiering would have cost, and saved."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import IO, TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import access_rules, ignore_option
from regvault.cli.options import DAYS
from regvault.cli.tier_options import needs_numpy, prices_option, tier_command
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.cli.app import App
    from regvault.ops.tier.simulate import Simulation
    from regvault.ops.tier.trace import Trace


@tier_command(
    "simulate",
    examples=[
        ("Over a history of two years", "regvault tier simulate --trace accesses.csv"),
        (
            "Over what is archived of audit events",
            "regvault audit query --vault backup --json | regvault tier simulate --trace -",
        ),
        (
            "With the prices of another provider, as a page with charts",
            "regvault tier simulate --trace accesses.csv --prices gcs-us-east1 --html report.html",
        ),
    ],
    exit_codes=(0, 1, 2),
)
@click.option(
    "--trace",
    metavar="FILE",
    required=True,
    type=click.Path(),
    help="The history: CSV with a header, or JSON lines, with any of time, client, method, uri, "
    "status, bytes, useragent; events of `regvault audit query --json` too. `-`: standard input.",
)
@click.option(
    "--sizes",
    metavar="FILE",
    type=click.Path(),
    help="Sizes of blobs that the history does not tell: CSV or JSON lines of digest, size.",
)
@click.option(
    "--horizon",
    metavar="TIME",
    type=DAYS,
    help="How much is looked at, from the first read on, such as 24mo or 90d; else all.",
)
@prices_option
@ignore_option
@click.option(
    "--html", metavar="FILE", type=click.Path(), help="Write a page with charts there, too."
)
@click.pass_obj
def simulate(
    app: App,
    trace: str,
    sizes: str | None,
    horizon: float | None,
    prices: str,
    ignored: tuple[str, ...],
    html: str | None,
) -> int:
    """Replay a history of accesses, and show what ways of tiering would have cost.

    Each blob begins in the hot class, or with its push; only classes that serve at once are chosen
    from. Shown are fixed rules, a cache of a fixed size, what regvault would have done, which
    learns only from what came before, and the optimum of one who knows all that comes. The first
    3 and 12 months are shown beside. Reads of scanners, replication and probes do not count.
    """
    needs_numpy()
    from regvault.config.price_files import load_prices
    from regvault.ops.tier.simulate import simulate_horizons
    from regvault.ops.tier.trace import read_sizes, read_trace

    table = load_prices(prices)
    rules = access_rules(ignored)
    known = None
    if sizes is not None:
        with _lines(sizes) as lines:
            known = read_sizes(lines)
    with _lines(trace) as lines:
        made = read_trace(lines, rules=rules, sizes=known, horizon=horizon)
    if html is not None:
        _writable(html)
    found = simulate_horizons(made.history, table, families=made.families, days=made.days)
    app.console.document(
        {
            "prices": {"name": table.name, "as_of": table.as_of, "currency": table.currency},
            "trace": {
                "lines": made.lines,
                "ignored": made.ignored,
                "unreadable": made.unreadable,
                "assumed_sizes": made.assumed,
            },
            "horizons": [each.to_json() for each in found],
        }
    )
    _show(app, made, found)
    if html is not None:
        from regvault.cli.tier_page import page

        with open(html, "w", encoding="utf-8") as file:
            file.write(page(found))
        app.console.note(f"Charts are in {html}.")
    return 0


@contextlib.contextmanager
def _lines(path: str) -> Iterator[IO[str]]:
    """Open a file of text; `-` is standard input. Raises UsageError."""
    if path == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        yield sys.stdin
        return
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _writable(path: str) -> None:
    """Raise UsageError where a file cannot be written, before much is done."""
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _show(app: App, made: Trace, found: list[Simulation]) -> None:
    from regvault.ops.tier.simulate import OPTIMUM, OURS

    whole = found[0]
    say = app.console.say
    currency = whole.table.currency
    say(
        f"{fmt.number(whole.accesses)} reads of {fmt.number(whole.blobs)} blobs "
        f"({fmt.size(whole.nbytes)}) in {whole.days:.0f} days; prices {whole.table.name} of "
        f"{whole.table.as_of}, in {currency}"
    )
    if made.assumed:
        app.console.note(f"The sizes of {fmt.number(made.assumed)} blobs are assumed: see --sizes.")
    if made.unreadable:
        app.console.note(f"{fmt.number(made.unreadable)} lines say nothing, and are left out.")
    hot, best = whole.ways[0].cost, whole.ways[-1].cost
    app.console.table(
        ["way", "cost", "of hot", "of optimum", "storage", "reads", "moves", "slow", "moved"],
        [
            (
                way.name,
                f"{way.cost:.2f}",
                fmt.percent(way.cost, hot),
                f"{way.cost / best:.2f}" if best else "",
                *("" if part is None else f"{part:.2f}" for part in (way.storage, way.reads)),
                "" if way.moves is None else f"{way.moves:.2f}",
                "" if way.slow_reads is None else fmt.number(way.slow_reads),
                "" if way.moved is None else fmt.number(way.moved),
            )
            for way in whole.ways
        ],
        align="lrrrrrrrr",
    )
    for each in found:
        cost, ours, fixed = each.ways[0].cost, each.cost(OURS), each.best_fixed
        optimum = each.cost(OPTIMUM) or 1.0
        say(
            f"In {each.days:.0f} days regvault saves {fmt.percent(cost - ours, cost)} of "
            f"{cost:.2f} {currency}, and pays {ours / optimum:.2f} times the optimum; "
            f"{fixed.name}: {fixed.cost / optimum:.2f} times"
        )
    told = whole.calibration
    say(
        f"Of reads within 30 days: squared error {told.brier:.4f}; {told.base:.4f} of one who "
        "always says the mean"
    )
