"""`regvault confirm`: accept a held snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import dry_run_option, vault_option, yes_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.confirm import ConfirmPlan


@command(
    "confirm",
    examples=[
        ("What would be accepted?", "regvault confirm prod@13 --dry-run"),
        ("The clean-up was meant", "regvault confirm prod@13 --reason 'old builds removed'"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("snapshot")
@vault_option
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the vault.")
@dry_run_option
@yes_option
@click.pass_obj
def confirm(
    app: App,
    snapshot: str,
    vault: str | None,
    endpoint_url: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
) -> int:
    """Accept SNAPSHOT, which is held because the source had shrunk.

    From then on it counts like any other: it may be `latest`, the next ones are compared with it,
    and retention counts it. SNAPSHOT is [REGISTRY@]SEQ, as the warning named it.
    """
    from regvault.assemble import open_vault
    from regvault.ops.confirm import confirm as accept
    from regvault.ops.confirm import plan_confirm, who

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    root = app.snapshot(opened, snapshot)
    plan = plan_confirm(opened, root)
    if dry_run:
        app.console.document({**plan.to_json(), "dry_run": True})
        _show(app, plan)
        return 0
    if plan.needed:
        _show(app, plan)
        app.confirm(f"Accept {root.name} as it is?", yes=yes)
    result = accept(opened, plan, by=who(), reason=reason)
    app.console.document({**result.to_json(), "dry_run": False})
    if result.record is None:
        app.console.say(f"{root.name} is confirmed already.")
    else:
        app.console.say(f"{root.name} is confirmed.")
    return 0


def _show(app: App, plan: ConfirmPlan) -> None:
    held = plan.root.held or {}
    app.console.say(f"{plan.root.name} is held: {held.get('reason', '')}")
    if not plan.needed:
        app.console.say("It is confirmed already.")
    before = plan.before.counts.to_json() if plan.before else {}
    against = str(plan.before.name) if plan.before else "before"
    rows = []
    for name, count in plan.root.counts.to_json().items():
        show = fmt.size if name == "bytes" else fmt.number
        rows.append((name, show(before[name]) if name in before else "?", show(count)))
    app.console.table(("", against, str(plan.root.name)), rows, align="lrr")
