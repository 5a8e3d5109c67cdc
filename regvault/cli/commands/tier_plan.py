"""`regvault tier plan`: what goes to a cheaper class, why, and what that saves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import access_rules, ignore_option
from regvault.cli.files import write_file
from regvault.cli.options import DAYS, DURATION, LOCATION, endpoint_option, threads_option
from regvault.cli.tier_access import access_option, max_lag_option, open_accesses
from regvault.cli.tier_options import needs_numpy, prices_option, tier_command
from regvault.cli.tier_vault import plan_of_vault, show_restores, vault_at, vault_plan_options
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.places import RegistryPlace
    from regvault.ops.tier.contents import Contents
    from regvault.ops.tier.planned import Header, Move, Plan
    from regvault.policy.prices import PriceTable

_DAY_S = 86_400.0
_WEEK = 7.0
_SHOWN = 20


@tier_command(
    "plan",
    examples=[
        (
            "By what the audit stream knows",
            "regvault tier plan s3://registry --access backup --json > plan.jsonl",
        ),
        (
            "By a log of accesses, for a registry on disks with a colder mount",
            "regvault tier plan fs:/var/lib/registry --access accesses.csv --prices disks.toml",
        ),
        (
            "Of a vault, whose newest snapshots come back within half a day, for 40 dollars",
            "regvault tier plan s3://backup --max-restore-hours 12 --max-restore-cost 40",
        ),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("source", type=LOCATION)
@access_option
@prices_option
@click.option(
    "--horizon",
    metavar="TIME",
    type=DAYS,
    default="12mo",
    show_default=True,
    help="Over how long costs are expected.",
)
@click.option(
    "--min-idle",
    metavar="DURATION",
    type=DURATION,
    default="7d",
    show_default=True,
    help="What goes to a colder class is known to be idle for so long, at least.",
)
@max_lag_option
@click.option(
    "--out", metavar="FILE", type=click.Path(), help="Write the plan there, for tier apply."
)
@click.option(
    "--inventory",
    metavar="MANIFEST",
    type=LOCATION,
    help="Take the blobs of an S3 Inventory instead of listing them: its manifest.json, a file or "
    "s3://BUCKET/KEY.",
)
@click.option(
    "--prewarm",
    metavar="FILE",
    type=click.Path(),
    help="Bring back what is likely to be pulled soon, too, and write those images there, one a "
    "line, the likeliest first: for a cache, or a preheater of a P2P network.",
)
@click.option(
    "--prewarm-for",
    metavar="TIME",
    type=DAYS,
    default="3d",
    show_default=True,
    help="How soon, a week at most.",
)
@click.option(
    "--all-hot",
    is_flag=True,
    help="Bring everything back, whatever that costs: before a cold mount is taken away, say.",
)
@vault_plan_options
@ignore_option
@endpoint_option
@threads_option
@click.pass_obj
def plan(
    app: App,
    /,
    source: str,
    access: str | None,
    prices: str,
    horizon: float,
    min_idle: float,
    max_lag: float,
    out: str | None,
    inventory: str | None,
    prewarm: str | None,
    prewarm_for: float,
    all_hot: bool,
    max_restore_hours: float,
    max_restore_cost: float,
    newest: int,
    ignored: tuple[str, ...],
    endpoint_url: str | None,
    threads: int | None,
    **keep: Any,
) -> int:
    """Plan what of SOURCE, a registry or a vault, goes to a cheaper class, and what back.

    Changes nothing. Of a registry only classes that serve at once are chosen from; manifests and
    small blobs stay, and a blob is cold only if all manifests that reach it are. Time of which
    nobody knows what was pulled is no idle time.

    Of a vault, what only old snapshots need goes to archives, until retention drops them. The
    newest ones come back within --max-restore-hours, and for --max-restore-cost.

    With --json the plan is printed, a line for each move; it is what tier apply takes. See
    docs/tiering.md.
    """
    needs_numpy()
    from regvault.config.price_files import load_prices
    from regvault.ops.tier.planned import lines_of

    if prewarm_for > _WEEK:
        raise UsageError("--prewarm-for: more than a week is not foreseen")
    table = load_prices(prices)
    vault = vault_at(app, source, endpoint_url=endpoint_url)
    if vault is not None:
        for flag, given in (("access", access), ("inventory", inventory), ("prewarm", prewarm)):
            if given is not None:
                raise UsageError(f"--{flag} is of registries, and {source} is a vault")
        promise = max_restore_hours, max_restore_cost, newest
        made = plan_of_vault(
            app,
            vault,
            source,
            table,
            horizon=horizon,
            promise=promise,
            keep=keep,
            threads=threads,
        )
    else:
        ahead = None if prewarm is None else prewarm_for
        days = horizon, min_idle / _DAY_S, max_lag / _DAY_S, ahead
        told = access, ignored, inventory, all_hot
        made = _of_registry(app, source, table, days, told, endpoint_url, threads)
    if out is not None:
        write_file(out, lines_of(made))
    if prewarm is not None:
        write_file(prewarm, (f"{image}\n".encode() for image in made.images))
    if app.json:
        for line in lines_of(made):
            app.console.raw(line.decode().removesuffix("\n"))
    show_plan(app, made.header)
    _show_moves(app, made)
    if prewarm is not None:
        app.console.note(f"{fmt.count(len(made.images), 'image')} likely to be pulled: {prewarm}.")
    if out is not None:
        app.console.note(f"The plan is in {out}. Do it: regvault tier apply {out}")
    return 0


def _of_registry(
    app: App,
    source: str,
    table: PriceTable,
    days: tuple[float, float, float, float | None],
    told: tuple[str | None, tuple[str, ...], str | None, bool],
    endpoint_url: str | None,
    asked: int | None,
) -> Plan:
    """Plan the tiering of a registry.

    Args:
        app: of this run.
        source: the registry.
        table: the prices.
        days: the horizon; how long what gets colder is idle; how old what is known may be; how far
            ahead it is looked for what is pulled soon, or None.
        told: who tells of accesses, who is no client, the inventory; whether all comes back.
        endpoint_url: of the registry's storage.
        asked: threads.
    """
    from regvault.assemble import open_source_store, threads_for
    from regvault.assemble.cold import cold_classes
    from regvault.model.location import Role
    from regvault.ops.tier.plan import PlanOptions, plan_registry

    access, ignored, inventory, all_hot = told
    place = app.registry(source, Role.SOURCE, endpoint_url=endpoint_url)
    count = threads_for(place, asked=asked)
    store, registry = open_source_store(place, threads=count)
    table = _of_mounts(table, cold_classes(store, place.location), str(place.location))
    with open_accesses(app, access, access_rules(ignored), endpoint_url=endpoint_url) as accesses:
        contents = None
        if inventory is not None:
            contents = _inventory(app, inventory, place, endpoint_url)
        with app.progress() as progress:
            made = plan_registry(
                registry,
                store,
                accesses,
                PlanOptions(table, *days[:3], access, source, count, days[3], all_hot),
                now_us=time.time_ns() // 1000,
                progress=progress,
                contents=contents,
            )
    registry.close()
    return made


def _of_mounts(table: PriceTable, classes: set[str] | None, location: str) -> PriceTable:
    """Return the prices of the classes that a registry on disks has; of any other one all.

    Raises:
        UsageError: of none of its mounts.
    """
    if classes is None:
        return table
    there = {name: price for name, price in table.classes.items() if name in classes}
    if table.hot not in there or len(there) < 2:
        raise UsageError(
            f"{location} has {', '.join(sorted(classes))}; the prices {table.name} are of "
            f"{', '.join(table.classes)}",
            hint="A price file of one's own says what each costs: --prices FILE (docs/tiering.md)",
        )
    return table._replace(classes=there)


def _inventory(app: App, text: str, place: RegistryPlace, endpoint_url: str | None) -> Contents:
    """Return what an inventory has of a registry. Raises UsageError where it is of another one."""
    from regvault.assemble.inventories import open_inventory
    from regvault.model.location import Kind
    from regvault.ops.tier.contents import contents_of
    from regvault.ops.tier.inventory import Inventory

    found = Inventory(open_inventory(text, place, endpoint_url))
    location = place.location
    if location.kind is not Kind.S3 or found.bucket != location.bucket:
        raise UsageError(
            f"--inventory: it is of the bucket {found.bucket}, and {location} is not in that",
            hint=f"Name that of the registry's own bucket, or leave it out: {location} is listed "
            "then.",
        )
    prefix = f"{location.prefix}/" if location.prefix else ""
    created = app.console.time(found.created_us / 1e6)
    app.console.note(f"The inventory is of {created}; what was pushed since is not in it.")
    return contents_of(found.entries(prefix), ordered=False)


def show_plan(app: App, header: Header) -> None:
    """Show what a plan comes to."""
    say = app.console.say
    currency = fmt.inline(header.prices["currency"])
    access = header.access
    if access["since"]:
        since, until = app.console.time(access["since"]), app.console.time(access["until"])
        say(
            f"Accesses are known from {since} to {until} ({access['known_days']:.0f} days), "
            f"by {fmt.inline(access['source'])}."
        )
    if header.flows:
        app.console.table(
            ["from", "to", _what(header), "size", "saves", "costs"],
            [
                (
                    flow["from"],
                    flow["to"],
                    fmt.number(flow["count"]),
                    fmt.size(flow["bytes"]),
                    fmt.amount(flow["saves"]),
                    fmt.amount(flow["costs"]),
                )
                for flow in header.flows
            ],
            align="llrrrr",
        )
        say(
            f"{fmt.count(header.moves, 'move')}, {fmt.size(header.nbytes)}: storage costs "
            f"{fmt.amount(header.month[1])} instead of {fmt.amount(header.month[0])} {currency} a "
            "month, by "
            f"{fmt.inline(header.prices['name'])} of "
            f"{fmt.inline(header.prices['as_of'])}. The moves cost "
            f"{fmt.amount(header.costs)}; in {header.horizon_days:.0f} days they save "
            f"{fmt.amount(header.saves)} beyond that. To bring all of it back costs "
            f"{fmt.amount(header.back)}"
            + (
                f", and takes {header.back_hours:g} hours."
                if header.kind == "vault"
                else "; it serves at once meanwhile."
            )
        )
    else:
        say("Nothing is to be moved.")
    if header.left:
        app.console.table(
            ["stays, because", _what(header), "size"],
            [
                (reason, fmt.number(left.count), fmt.size(left.nbytes))
                for reason, left in header.left.items()
            ],
            align="lrr",
        )
    show_restores(app, header)
    for note in header.notes:
        app.console.note(fmt.inline(note[:1].upper() + note[1:] + "."))


def _what(header: Header) -> str:
    return "objects" if header.kind == "vault" else "blobs"


def _show_moves(app: App, made: Plan) -> None:
    """Show the moves that save most."""
    import heapq

    best: list[Move] = heapq.nlargest(_SHOWN, made.moves(), key=lambda move: move.saves)
    if not best or app.json:
        return
    app.console.table(
        ["repository", "blob", "size", "from", "to", "saves", "back", "why"],
        [
            (
                fmt.inline(move.repository),
                move.digest[7:19] or move.key.rpartition("/")[2][:12],
                fmt.size(move.size),
                move.source,
                move.target,
                fmt.amount(move.saves),
                fmt.amount(move.back),
                move.why,
            )
            for move in best
        ],
        align="llrllrrl",
    )
    if made.header.moves > len(best):
        app.console.say(f"... and {fmt.count(made.header.moves - len(best), 'move')} more.")
