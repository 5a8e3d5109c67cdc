"""`regvault pin`: keep a snapshot, whatever retention says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli.group import command
from regvault.cli.options import vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App


@command(
    "pin",
    examples=[
        ("For the auditors", "regvault pin prod@12 --reason 'audit 2026'"),
        ("Not any more", "regvault pin --remove prod@12"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("snapshot")
@vault_option
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the vault.")
@click.option("--remove", is_flag=True, help="Take the pin away.")
@click.pass_obj
def pin(
    app: App,
    snapshot: str,
    vault: str | None,
    endpoint_url: str | None,
    reason: str,
    remove: bool,
) -> int:
    """Keep SNAPSHOT, whatever `forget` is told, until the pin is taken away.

    SNAPSHOT is [REGISTRY@]latest, [REGISTRY@]SEQ or [REGISTRY@]TIME.
    """
    from regvault.assemble import open_vault
    from regvault.ops.pin import pin as keep
    from regvault.ops.pin import unpin

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    root = app.snapshot(opened, snapshot)
    result = unpin(opened, root) if remove else keep(opened, root, reason=reason)
    app.console.document(result.to_json())
    now = "pinned" if result.pinned else "not pinned"
    already = "" if result.changed else " already" if result.pinned else " anyway"
    app.console.say(f"{result.snapshot} is {now}{already}.")
    return 0
