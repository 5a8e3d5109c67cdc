"""`regvault snapshots`: what snapshots there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import vault_at_option, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.listing import SnapshotRow


@command(
    "snapshots",
    examples=[
        ("All snapshots of all registries", "regvault snapshots --vault s3://backup/registry"),
        ("For a script, one JSON object a line", "regvault snapshots --registry prod --json"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@vault_option
@vault_at_option
@click.option("--registry", metavar="NAME", help="Only those of this registry.")
@click.pass_obj
def snapshots(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    registry: str | None,
) -> int:
    """List the snapshots in the vault, the newest of each registry last.

    State is complete, incomplete (something at the source was unreadable), held (the source had
    shrunk: see `regvault confirm`), confirmed (it was held), or damaged (its root cannot be read);
    and pinned, where `regvault pin` keeps it.
    Damage counts what was missing or wrong at the source: see `regvault ls SNAPSHOT`.
    """
    from regvault.assemble import open_vault
    from regvault.ops.listing import list_snapshots

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at))
    rows = list(list_snapshots(opened, registry))
    if app.json:
        app.console.lines(rows, show=str, to_json=lambda row: row.to_json())
    elif rows:
        app.console.table(
            ("snapshot", "started", "took", "state", "damage", "repositories", "tags", "size"),
            [_cells(app, row, names=opened.seal.opens_names) for row in rows],
            align="llllrrrr",
        )
    else:
        app.console.note("There is no snapshot yet.")
    others = sum(1 for row in rows if row.slot.root is not None and not row.slot.root.opened)
    if others and opened.seal.opens_names:
        app.console.note(
            f"{fmt.count(others, 'snapshot')} sealed to others: what is in them does not open with "
            "the identities that were given. See to whom the vault is sealed: regvault key list"
        )
    errors = [row.slot.error for row in rows if row.slot.error is not None]
    for error in errors:
        app.console.warn(error.message, hint="See all that is wrong with: regvault verify")
    return 4 if errors else 0


def _cells(app: App, row: SnapshotRow, *, names: bool) -> tuple[object, ...]:
    """Return a row; `names`: an identity was given that opens names."""
    root = row.slot.root
    if root is None:
        return (row.slot.name, None, None, row.state)
    took = None if row.seconds is None else fmt.duration(row.seconds)
    others = ["sealed to others"] if names and not root.opened else []
    state = [row.state, *(["pinned"] if row.pinned else []), *others]
    return (
        root.name,
        app.console.time(root.started),
        took,
        ", ".join(state),
        fmt.number(root.damage.entries if root.damage is not None else 0) if root.opened else None,
        fmt.number(root.counts.repositories),
        fmt.number(root.counts.tags),
        fmt.size(root.counts.nbytes),
    )
