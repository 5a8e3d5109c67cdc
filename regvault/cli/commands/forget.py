"""`regvault forget`: drop snapshots, by rules or by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import dry_run_option, vault_option, yes_option
from regvault.cli.retention_options import given_retention, keep_options, policies_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regvault.cli.app import App
    from regvault.ops.forget import ForgetPlan
    from regvault.policy.retention import Retention
    from regvault.vault.vault import Vault


@command(
    "forget",
    examples=[
        (
            "Two weeks of days, a year of months",
            "regvault forget --keep-daily 14 --keep-monthly 12 --dry-run",
        ),
        ("By the rules of the configuration, from cron", "regvault forget --yes"),
        ("One that was a mistake", "regvault forget prod@12"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("snapshots", metavar="[SNAPSHOT]...", nargs=-1)
@vault_option
@click.option(
    "--registry",
    "registries",
    metavar="NAME",
    multiple=True,
    help="Only snapshots of this registry; may be repeated. Else of all.",
)
@keep_options
@dry_run_option
@yes_option
@click.pass_obj
def forget(
    app: App,
    /,
    snapshots: tuple[str, ...],
    vault: str | None,
    endpoint_url: str | None,
    registries: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    **keep: Any,
) -> int:
    """Drop snapshots, by rules or by name.

    Rules are given by --keep-..., else by `retention` of the configuration; without any it refuses.
    Each keeps some, and what none keeps is dropped. Only complete snapshots count that are not
    held. Days, weeks, months and years are those of the configured timezone, times are the store's.

    Whatever the rules say, these stay: the newest complete snapshot, the first one of each of the
    last 7 days, and what is pinned or held.

    The objects of dropped snapshots stay in the vault until `regvault prune` deletes them.
    """
    from regvault.assemble import open_vault
    from regvault.errors import UsageError
    from regvault.ops.forget import forget as execute
    from regvault.ops.forget import plan_forget, plan_forget_named

    given = given_retention(keep)
    if snapshots and (not given.empty or registries):
        raise UsageError(
            "snapshots are named, and rules are given too", hint="Give the one or the other."
        )
    place = app.vault(vault, endpoint_url=endpoint_url)
    opened = open_vault(place)
    if snapshots:
        plan = plan_forget_named(opened, [app.snapshot(opened, text) for text in snapshots])
    else:
        names = registries or [opened.title(name) for name in opened.registries()]
        policies = _policies(app, names, given, place.retention)
        plan = plan_forget(opened, policies, timezone=app.timezone)
    doomed = plan.doomed
    if dry_run or not doomed:
        app.console.document({**plan.to_json(), "forgotten": [], "record": None, "dry_run": True})
        _show(app, plan)
        app.console.say(_would(plan) if dry_run else "There is nothing to forget.")
        return 0
    _show(app, plan)
    app.confirm(f"Forget {fmt.count(len(doomed), 'snapshot')}?", yes=yes)
    with app.progress() as progress:
        result = execute(opened, plan, progress=progress)
    until = _locked_until(opened, plan)
    app.console.document({**result.to_json(), "locked_until": until, "dry_run": False})
    app.console.say(f"{fmt.count(len(result.forgotten), 'snapshot')} forgotten.")
    app.console.note(
        f"What only they needed is deleted by: regvault prune --vault {place.location}"
    )
    if until is not None:
        app.console.note(f"Locks keep that from being deleted before {app.console.time(until)}.")
    return 0


def _locked_until(vault: Vault, plan: ForgetPlan) -> str | None:
    """Return until when what the forgotten snapshots needed is locked, as far as is known."""
    from regvault.ops.locking import lock_state
    from regvault.vault.envelope import time_or_none

    state = lock_state(vault)
    if state is None:
        return None
    return time_or_none(state.until_ns(verdict.root.name.key for verdict in plan.doomed))


def _would(plan: ForgetPlan) -> str:
    keeps = len(plan.verdicts) - len(plan.doomed)
    return f"Would forget {fmt.count(len(plan.doomed), 'snapshot')}, and keep {keeps}."


def _policies(
    app: App, names: tuple[str, ...] | list[str], given: Retention, of_vault: Retention | None
) -> Mapping[str, Retention]:
    """Return the rules of each registry.

    Raises:
        UsageError: there are none.
    """
    from regvault.errors import UsageError

    found = policies_of(app, names, given, of_vault)
    for name in names:
        if name not in found:
            raise UsageError(
                f"nothing says which snapshots of {name} to keep",
                hint="Give rules, such as --keep-daily 14 --keep-monthly 12, or write them into "
                "`retention` of the configuration.",
            )
    return found


def _show(app: App, plan: ForgetPlan) -> None:
    rows = [
        (
            verdict.root.name,
            app.console.time(verdict.root.started),
            "keep" if verdict.keep else "forget",
            ", ".join(verdict.reasons),
        )
        for verdict in plan.verdicts
    ]
    if rows:
        app.console.table(("snapshot", "started", "", "why"), rows, align="llll")
