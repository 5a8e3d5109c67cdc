"""`regvault tier thaw`: have what a restore needs brought back from archives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.commands.restore import check_digests
from regvault.cli.options import (
    DURATION,
    dry_run_option,
    repo_option,
    threads_option,
    vault_option,
    yes_option,
)
from regvault.cli.thawing import show_thaw, thaw_of
from regvault.cli.tier_options import prices_option, tier_command

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.model.progress import Progress
    from regvault.ops.restore import RestoreOptions, RestorePlan
    from regvault.ops.tier.thaw import ThawPlan, ThawResult
    from regvault.policy.prices import PriceTable
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault


@tier_command(
    "thaw",
    examples=[
        ("All of an old snapshot, for little, by tomorrow", "regvault tier thaw 12 --deadline 24h"),
        (
            "One image, now, and wait for it",
            "regvault tier thaw 12 --repo team/app --tag v1 --way expedited --wait",
        ),
        ("What would it take?", "regvault tier thaw 12 --dry-run"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("snapshot")
@vault_option
@repo_option
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only this tag; repeatable.")
@click.option(
    "--digest", "digests", metavar="DIGEST", multiple=True, help="Only this manifest; repeatable."
)
@click.option("--no-referrers", is_flag=True, help="Without signatures, SBOMs and the like.")
@click.option(
    "--way",
    type=click.Choice(["bulk", "standard", "expedited"]),
    help="How fast, whatever it costs; a class that has no such way takes its next slower one.",
)
@click.option(
    "--deadline",
    metavar="DURATION",
    type=DURATION,
    help="Else the cheapest way that takes no longer, such as 12h; without it the cheapest.",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="For how many days it can be read then.",
)
@click.option("--wait", is_flag=True, help="Return when all of it can be read.")
@click.option(
    "--poll",
    metavar="DURATION",
    type=DURATION,
    default="1m",
    show_default=True,
    help="After how long it is looked for the first time; then ever more seldom, up to 15 minutes.",
)
@prices_option
@dry_run_option
@yes_option
@threads_option
@click.pass_obj
def thaw(
    app: App,
    snapshot: str,
    vault: str | None,
    endpoint_url: str | None,
    repos: tuple[str, ...],
    tags: tuple[str, ...],
    digests: tuple[str, ...],
    no_referrers: bool,
    way: str | None,
    deadline: float | None,
    days: int,
    wait: bool,
    poll: float,
    prices: str,
    dry_run: bool,
    yes: bool,
    threads: int | None,
) -> int:
    """Have brought back what a restore of SNAPSHOT needs, and what lies in an archive.

    Exactly that is asked for, in the order in which a restore reads it; packs come as a whole. Its
    price and the time that it takes are shown before. Done is what is asked for: it is there after
    hours, unless --wait waits for it. Stopped and started again it goes on: the store says what is
    under way. The thawed copies can be read for --days.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.config.price_files import load_prices
    from regvault.ops.claim import claim
    from regvault.ops.restore import RestoreOptions
    from regvault.ops.tier.thaw import execute_thaw, plan_thaw

    check_digests(digests)
    table = load_prices(prices)
    where = app.vault(vault, endpoint_url=endpoint_url)
    count = threads_for(where, asked=threads)
    opened = open_vault(where)
    root = app.snapshot(opened, snapshot)
    options = RestoreOptions(
        globs=repos, tags=tags, digests=digests, referrers=not no_referrers, threads=count
    )
    with app.progress() as progress, claim(opened, [root], progress):
        wanted = _wanted(app, opened, root, options, progress)
        plan = plan_thaw(
            wanted.cold,
            (wanted.objects, wanted.nbytes),
            table,
            way=way,
            deadline_hours=None if deadline is None else deadline / 3600,
            days=days,
        )
        show_thaw(app, plan)
        if dry_run or not plan.cold:
            app.console.document({**plan.to_json(), "dry_run": dry_run})
            if not plan.cold:
                app.console.say(f"All that a restore of {root.name} needs can be read.")
            return 0
        if plan.thawing < len(plan.cold):
            app.confirm(_question(plan, table), yes=yes)
        asker = thaw_of(opened.store, plan, way=way, threads=count, progress=progress, poll_s=poll)
        result = execute_thaw(plan, asker, wait=wait)
    app.console.document({**result.to_json(), "dry_run": False})
    _report(app, result, root)
    return 0


def _wanted(
    app: App, vault: Vault, root: Root, options: RestoreOptions, progress: Progress
) -> RestorePlan:
    """Return what a restore into an empty registry would read."""
    from regvault.ops.restore import Restorer
    from regvault.ops.restore.thawing import NOWHERE
    from regvault.vault.blobs import BlobReader
    from regvault.vault.catalog import Catalog, vault_cache

    catalog = Catalog(vault.store, vault_cache(app.cache_base(), vault.id), vault.seal)
    objects = vault.object_list(root)
    catalog.prepare(16 if options.tags or options.digests else root.counts.blobs)
    reader = BlobReader(vault.store, catalog, objects)
    restorer = Restorer(vault, root, objects, reader, NOWHERE, (), options, progress)
    try:
        plan = restorer.plan()
        restorer.locate(plan)
    finally:
        restorer.close()
        catalog.close()
    return plan


def _question(plan: ThawPlan, table: PriceTable) -> str:
    what = f"Have {fmt.count(len(plan.cold) - plan.thawing, 'object')} thawed"
    if plan.chosen is None:
        return f"{what}, for a price that is not known?"
    return f"{what}, within {plan.chosen.hours:g} h, for {plan.chosen.cost:.2f} {table.currency}?"


def _report(app: App, result: ThawResult, root: Root) -> None:
    say = app.console.say
    before = f", {fmt.number(result.before)} were asked for before" if result.before else ""
    say(f"{fmt.count(result.asked, 'object')} asked for{before}.")
    if result.gone:
        app.console.warn(
            f"{fmt.count(len(result.gone), 'object')} are not there any more, such as "
            f"{result.gone[0]}",
            hint="See what that means: regvault verify --quick",
        )
    if result.done:
        say(f"All that a restore of {root.name} needs can be read.")
        return
    chosen, pending = result.plan.chosen, result.plan.pending_hours
    if result.before:
        say(
            f"What was asked for before takes up to {pending:g} h from then: the store does not "
            "tell in which way that was, and it is not asked again."
        )
    if result.asked:
        within = "" if chosen is None else f" within {math.ceil(chosen.hours * 10) / 10:g} h"
        say(f"What is asked for now can be read{within}, for {fmt.count(result.plan.days, 'day')}.")
    app.console.note("The same command with --wait waits for it; restore --thaw WAY does, too.")
