"""`regvault tier simulate`: what tiering would have cost, and saved."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import access_rules, ignore_option
from regvault.cli.files import open_lines, write_file
from regvault.cli.options import DAYS, DURATION
from regvault.cli.tier_options import needs_numpy, prices_option, tier_command
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.tier.simulate import Simulation
    from regvault.ops.tier.trace import Trace

#: Of so few blobs nothing is said of how right it was.
_ENOUGH = 100
_DAY_S = 86_400.0


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
    help="Sizes of blobs: CSV or JSON lines of digest, size. What is there and in no line of the "
    "history was there all the time, read by nobody.",
)
@click.option(
    "--horizon",
    metavar="TIME",
    type=DAYS,
    help="How much is looked at, from the first read on, such as 24mo or 90d; else all there is.",
)
@click.option(
    "--min-idle",
    metavar="DURATION",
    type=DURATION,
    default="7d",
    show_default=True,
    help="For how long a blob is idle, at least, before regvault moves it, as with tier plan.",
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
    min_idle: float,
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
    from regvault.ops.tier.lines import read_sizes
    from regvault.ops.tier.simulate import simulate_horizons
    from regvault.ops.tier.trace import LONGEST_DAYS, read_trace

    if horizon is not None and horizon > LONGEST_DAYS:
        raise UsageError("--horizon: more than 20 years are not looked at")
    if html is not None:
        _writable(html, trace, sizes)

    table = load_prices(prices)
    rules = access_rules(ignored)
    known = None
    if sizes is not None:
        with open_lines(sizes, "--sizes") as lines:
            known = read_sizes(lines)
    with open_lines(trace, "--trace") as lines:
        made = read_trace(lines, rules=rules, sizes=known, horizon=horizon)
    found = simulate_horizons(
        made.history, table, families=made.families, days=made.days, min_idle=min_idle / _DAY_S
    )
    app.console.document(
        {
            "prices": {"name": table.name, "as_of": table.as_of, "currency": table.currency},
            "trace": {
                "lines": made.lines,
                "ignored": made.ignored,
                "unreadable": made.unreadable,
                "untimed": made.untimed,
                "unread": made.unread,
                "time_assumed": made.begin is None,
                "assumed_sizes": made.assumed,
            },
            "horizons": [each.to_json() for each in found],
        }
    )
    _show(app, made, found)
    if html is not None:
        from regvault.cli.tier_page import page

        write_file(html, [page(found, _notes(made)).encode()])
        app.console.note(f"Charts are in {html}.")
    return 0


def _writable(path: str, *read: str | None) -> None:
    """Raise UsageError where a page cannot be written, before much is done; nothing is changed."""
    try:
        if os.path.exists(path):
            if not os.path.isfile(path):
                raise UsageError(f"cannot write {path}: it is no file")
            if any(each not in (None, "-") and os.path.samefile(path, str(each)) for each in read):
                raise UsageError(f"--html: {path} is read from")
        with tempfile.TemporaryFile(dir=os.path.dirname(path) or "."):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _notes(made: Trace) -> list[str]:
    """Return what one should know of a history."""
    found = []
    if made.begin is None:
        found.append(f"The lines have no time: they are taken for {made.days:.0f} days.")
    if made.ignored:
        found.append(
            f"{fmt.count(made.ignored, 'line')} of {fmt.number(made.lines)} are no access of a "
            "client: scanners, replication, probes, HEAD, failures, lists."
        )
    if made.untimed:
        found.append(
            f"{fmt.count(made.untimed, 'line')} had no time that can be read, and are left out."
        )
    if made.unreadable:
        found.append(f"{fmt.count(made.unreadable, 'line')} said nothing, and are left out.")
    if made.unread:
        found.append(f"{fmt.count(made.unread, 'blob')} of the sizes are in no line: never read.")
    if made.assumed:
        found.append(f"The sizes of {fmt.count(made.assumed, 'blob')} are assumed: see --sizes.")
    return found


def _times(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole > 0 else ""


def _show(app: App, made: Trace, found: list[Simulation]) -> None:
    from regvault.ops.tier.simulate import OPTIMUM, OURS

    whole = found[0]
    say = app.console.say
    currency = fmt.inline(whole.table.currency)
    say(
        f"{fmt.count(whole.accesses, 'read')} of {fmt.count(whole.blobs, 'blob')} "
        f"({fmt.size(whole.nbytes)}) in {whole.days:.0f} days; prices "
        f"{fmt.inline(whole.table.name)} of {whole.table.as_of}, in {currency}"
    )
    for note in _notes(made):
        app.console.note(note)
    hot, best = whole.ways[0].cost, whole.ways[-1].cost
    app.console.table(
        ["way", "cost", "of hot", "of optimum", "storage", "reads", "moves", "slow", "moved"],
        [
            (
                fmt.inline(way.name),
                fmt.amount(way.cost),
                fmt.percent(way.cost, hot) if hot else "",
                _times(way.cost, best),
                *(
                    "" if part is None else fmt.amount(part)
                    for part in (way.storage, way.reads, way.moves)
                ),
                "" if way.slow_reads is None else fmt.number(way.slow_reads),
                "" if way.moved is None else fmt.number(way.moved),
            )
            for way in whole.ways
        ],
        align="lrrrrrrrr",
    )
    for each in found:
        cost, ours, fixed = each.ways[0].cost, each.cost(OURS), each.best_fixed
        optimum = each.cost(OPTIMUM)
        if not cost or not optimum:
            continue
        say(
            f"In {each.days:.0f} days regvault saves {fmt.percent(cost - ours, cost)} of "
            f"{fmt.amount(cost)} {currency}, and pays {_times(ours, optimum)} times the optimum; "
            f"{fmt.inline(fixed.name)}: {_times(fixed.cost, optimum)} times"
        )
    told = whole.calibration
    if sum(share.asked for share in told.shares) >= _ENOUGH:
        say(
            "How likely a read was within 30 days, it thought with a mean squared error of "
            f"{told.brier:.4f}; to say the same of all, {told.base:.4f}"
        )
