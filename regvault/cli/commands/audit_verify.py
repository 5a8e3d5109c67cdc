"""`regvault audit verify`: proves archived events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import audit_command, needs_extra
from regvault.cli.options import vault_at_option, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.audit.verify import AuditReport


@audit_command(
    "verify",
    examples=[("All that is archived", "regvault audit verify --vault offsite")],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@vault_option
@vault_at_option
@click.pass_obj
def verify(app: App, vault: str | None, endpoint_url: str | None, vault_at: str | None) -> int:
    """Prove that nothing was taken out of archived events, put in, changed or moved since.

    Every link of every chain is read, and all that is in it. Snapshots and earlier verifications
    say how far chains were: what was cut off at their ends since is named too.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.ops.audit.verify import verify_audit

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at))
    with app.progress() as progress:
        report = verify_audit(opened, progress=progress)
    app.console.document(report.to_json())
    _show(app, report)
    return report.exit_code()


def _show(app: App, report: AuditReport) -> None:
    console = app.console
    chains = fmt.count(len(report.chains), "chain")
    events = fmt.count(report.events, "event")
    console.say(
        f"{chains}, {fmt.count(report.links, 'link')}, {events}, {fmt.size(report.nbytes)}."
    )
    for month in report.erased:
        console.note(f"{month} tells of nobody any more: its key was erased.")
    for gap in report.gaps:
        console.warn_line(gap)
    for found in report.problems:
        console.warn_line(f"{found.key}: {found.what}: {found.detail}")
    if report.problems:
        console.note("Compare with a second copy of the vault.")
    elif not report.gaps:
        console.say("Nothing was taken out, put in, changed or moved.")
