"""`regvault prune`: delete what no snapshot needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.locking import keep_locked, say_delayed
from regvault.cli.options import (
    dry_run_option,
    retry_lock_option,
    threads_option,
    vault_option,
    yes_option,
)

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.prune import PrunePlan, PruneResult


@command(
    "prune",
    examples=[
        ("What would go?", "regvault prune --dry-run"),
        ("After `forget`, from cron", "regvault prune --yes --retry-lock 1h"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@vault_option
@dry_run_option
@yes_option
@retry_lock_option
@threads_option
@click.pass_obj
def prune(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    dry_run: bool,
    yes: bool,
    retry_lock: float,
    threads: int | None,
) -> int:
    """Delete what no snapshot needs, after `forget` has dropped some.

    What is to go is decided while no snapshot is at work, which takes minutes at most, and written
    down as condemned: no snapshot uses it any more. Then it is deleted, while snapshots may run.

    What is younger than a day stays, what a restore or a verify reads stays until it is done, and
    what an interrupted snapshot has stored stays for 7 days. Where it cannot be known for certain
    what is needed, nothing is deleted.

    It needs the right to delete, which the role that takes snapshots should not have. What is
    locked (Object Lock) stays until its lock lapses, and is then deleted by the next prune. Locks
    of what snapshots need are extended where that is due.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.ops.prune import plan_prune
    from regvault.ops.prune import prune as execute

    place = app.vault(vault, endpoint_url=endpoint_url)
    count = threads_for(place, asked=threads)
    opened = open_vault(place)
    with app.progress() as progress:
        plan = plan_prune(opened, progress=progress, threads=count)
    try:
        if dry_run or not (plan.candidates.count or plan.leftovers.count):
            locks, failed = (None, 0) if dry_run else keep_locked(app, opened, threads=count)
            app.console.document({**plan.to_json(), "locks": locks, "dry_run": True})
            _show_plan(app, plan)
            return 4 if plan.needed else failed
        _show_plan(app, plan)
        total = plan.candidates.count + plan.leftovers.count
        app.confirm(f"Delete {fmt.count(total, 'object')}?", yes=yes)
        with app.progress() as progress:
            result = execute(opened, plan, progress=progress, threads=count, wait_s=retry_lock)
        locks, failed = keep_locked(app, opened, threads=count)
        app.console.document({**result.to_json(), "locks": locks, "dry_run": False})
        _show(app, result)
        return result.exit_code() or failed
    finally:
        plan.close()


def _show_plan(app: App, plan: PrunePlan) -> None:
    console = app.console
    if plan.candidates.count:
        count = fmt.count(plan.candidates.count, "object")
        console.say(f"{count}, {fmt.size(plan.candidates.nbytes)}, no snapshot needs any more.")
    else:
        console.say("Every object is needed, or too young to tell.")
    if plan.leftovers.count:
        count = fmt.count(plan.leftovers.count, "object")
        console.say(f"{count}, {fmt.size(plan.leftovers.nbytes)}, were condemned before.")
    young, nbytes = plan.kept_young
    if young:
        console.note(
            f"{fmt.count(young, 'object')}, {fmt.size(nbytes)}, nothing needs yet, or any more; "
            "younger than a day, or of a snapshot that was interrupted, they stay."
        )
    _warn_needed(app, plan)


def _warn_needed(app: App, plan: PrunePlan) -> None:
    if plan.needed:
        app.console.warn(
            f"{fmt.count(len(plan.needed), 'object')} that snapshots need were condemned; they "
            f"stay: {', '.join(plan.needed[:5])}",
            hint="Someone forged a condemned list, or this is a bug: keep a copy of condemned/, "
            "and compare the vault with a second copy.",
        )


def _show(app: App, result: PruneResult) -> None:
    from regvault.vault.envelope import time_or_none

    count, nbytes = result.deleted
    app.console.say(f"{fmt.count(count, 'object')} deleted, {fmt.size(nbytes)}.")
    if result.locked:
        say_delayed(app, len(result.locked), time_or_none(result.locked_until_ns))
    _warn_needed(app, result.plan)
