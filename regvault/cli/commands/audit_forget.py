"""`regvault audit forget`: archived events whose time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import audit_command, needs_extra
from regvault.cli.options import DURATION, dry_run_option, vault_option, yes_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.audit.forgetting import Plan


@audit_command(
    "forget",
    examples=[
        ("What would go", "regvault audit forget --keep-for 400d --dry-run"),
        ("From cron", "regvault audit forget --keep-for 400d --yes"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.option(
    "--keep-for",
    metavar="DURATION",
    type=DURATION,
    help="How long events are kept from when they came in, such as 400d; 30 days at least.",
)
@vault_option
@dry_run_option
@yes_option
@click.pass_obj
def forget(
    app: App,
    keep_for: float | None,
    vault: str | None,
    endpoint_url: str | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Delete archived events that are older than they are to be kept.

    Segments go as a whole, once the last event in them is old enough. The links of the chain stay,
    and a document, signed where the vault is, says that their segments are not kept any more: so
    the chain proves what is left as before. What no link names goes too, once it is 7 days old:
    segments of runs that were struck down, and indexes that were merged into others.

    It needs the right to delete, which the role that archives should not have. What is locked
    (Object Lock) is only hidden until its lock lapses. Other copies keep theirs.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.ops.audit.forgetting import forget_events, plan_forgetting

    if keep_for is None:
        raise UsageError(
            "how long events are to be kept is not said", hint="One is --keep-for 400d."
        )
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    with app.progress() as progress:
        plan = plan_forgetting(opened, keep_for, progress=progress)
    _show(app, plan)
    if plan.doomed and not dry_run:
        app.confirm(f"Delete {fmt.count(len(plan.doomed), 'object')}?", yes=yes)
        with app.progress() as progress:
            forget_events(opened, plan, progress=progress)
        count, nbytes = plan.deleted
        app.console.say(f"{fmt.count(count, 'object')} deleted, {fmt.size(nbytes)}.")
    app.console.document({**plan.to_json(), "dry_run": dry_run})
    for chain, why in plan.problems.items():
        app.console.warn(f"nothing of chain {chain} goes: {why}", hint="See: regvault audit verify")
    return 4 if plan.problems else 0


def _show(app: App, plan: Plan) -> None:
    if not plan.doomed:
        app.console.say(f"Nothing came in before {plan.before[:10]}, and all is needed.")
        return
    segments = sum(len(chain.segments) for chain in plan.chains)
    garbage = sum(len(chain.garbage) for chain in plan.chains)
    app.console.say(
        f"{fmt.count(plan.events, 'event')} in {fmt.count(segments, 'segment')} came in before "
        f"{plan.before[:10]}."
    )
    if garbage:
        app.console.say(f"{fmt.count(garbage, 'object')} no chain needs.")
