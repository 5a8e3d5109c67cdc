"""`regvault unlock`: end the leases of the dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import dry_run_option, vault_option, yes_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.unlock import Party


@command(
    "unlock",
    examples=[
        ("Who is at work?", "regvault unlock --dry-run"),
        ("End the leases of the dead", "regvault unlock --yes"),
        ("One whose machine is gone for good", "regvault unlock --run 0193a1b2c3d4e5f601020304"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@vault_option
@click.option(
    "--run",
    "runs",
    metavar="ID",
    multiple=True,
    help="End the lease of this run, though it is not known to be dead; may be repeated.",
)
@dry_run_option
@yes_option
@click.pass_obj
def unlock(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    runs: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> int:
    """End the leases of runs that are dead, and a prune lock that one left.

    It is seldom needed: a snapshot ends a dead one by itself, at once on the host where it ran, and
    15 minutes after its last renewal elsewhere. A reader's claim holds off prune for a day.

    A run that is alive all the same loses nothing that is committed: it stops before it commits.
    """
    from regvault.assemble import open_vault
    from regvault.errors import NotFoundError
    from regvault.ops.unlock import parties
    from regvault.ops.unlock import unlock as execute

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    found = list(parties(opened))
    unknown = set(runs) - {party.run for party in found}
    if unknown:
        raise NotFoundError(
            f"no lease is held by run {', '.join(sorted(unknown))}",
            hint="See who is at work: regvault unlock --dry-run",
        )
    chosen = [party for party in found if (party.run in runs if runs else party.dead)]
    if dry_run or not chosen:
        rows = [party.to_json() for party in found]
        app.console.document({"parties": rows, "ended": [], "dry_run": dry_run})
        _show(app, found)
        if not found:
            app.console.say("Nobody is at work.")
        elif not dry_run:
            app.console.say("None of them is dead.")
        return 0
    _show(app, chosen)
    app.confirm(f"End {fmt.count(len(chosen), 'lease')}?", yes=yes)
    ended = execute(opened, chosen)
    rows = [party.to_json() for party in found]
    app.console.document(
        {"parties": rows, "ended": [party.run for party in ended], "dry_run": False}
    )
    app.console.say(f"{fmt.count(len(ended), 'lease')} ended.")
    if len(ended) < len(chosen):
        app.console.warn("the others were renewed, or given back, meanwhile: they live")
    return 0


def _show(app: App, found: list[Party]) -> None:
    rows = [
        (
            party.run,
            party.role,
            party.registry or "-",
            party.host,
            fmt.duration(party.idle_s),
            "dead" if party.dead else "alive",
        )
        for party in found
    ]
    if rows:
        app.console.table(("run", "role", "registry", "host", "renewed ago", ""), rows)
