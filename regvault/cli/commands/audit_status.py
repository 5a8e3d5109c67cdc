"""`regvault audit status`: how far events are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import audit_command, needs_extra
from regvault.cli.options import vault_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.audit.status import ChainStatus, SpoolStatus


@audit_command(
    "status",
    examples=[
        ("Of a spool, and of the archive", "regvault audit status --spool /var/spool/regvault")
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@click.option(
    "--spool",
    "spools",
    metavar="DIR",
    multiple=True,
    type=click.Path(file_okay=False, exists=True),
    help="A spool to look at; may be repeated.",
)
@vault_option
@click.pass_obj
def status(app: App, spools: tuple[str, ...], vault: str | None, endpoint_url: str | None) -> int:
    """Show how far events are: what waits in spools for whom, how far the archive is.

    It ends with 3 where a spool is damaged or nearly full, with 4 where a chain cannot be read.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.audit.spool import Spool
    from regvault.ops.audit.status import chain_statuses, spool_status

    found = [spool_status(Spool(directory)) for directory in spools]
    chains: list[ChainStatus] = []
    months: dict[str, str | None] = {}
    if vault is not None or (app.config is not None and app.config.vaults):
        chains, months = chain_statuses(open_vault(app.vault(vault, endpoint_url=endpoint_url)))
    elif not spools:
        raise UsageError("nothing to look at is named", hint="Give --spool, --vault, or both.")
    app.console.document(
        {
            "spools": [each.to_json() for each in found],
            "chains": [each.to_json() for each in chains],
            "months": months,
        }
    )
    for spool in found:
        _show_spool(app, spool)
    for chain in chains:
        _show_chain(app, chain)
    if any(chain.problem for chain in chains):
        return 4
    return 3 if any(each.damage or _is_nearly_full(each) for each in found) else 0


def _is_nearly_full(spool: SpoolStatus) -> bool:
    return spool.nbytes >= 0.9 * spool.limit


def _show_spool(app: App, spool: SpoolStatus) -> None:
    console = app.console
    console.say(
        f"Spool {spool.directory} ({spool.spool}): {fmt.size(spool.nbytes)} of "
        f"{fmt.size(spool.limit)}, events {spool.first} to {spool.next - 1}."
    )
    for consumer in spool.consumers:
        console.say(f"  {consumer['name']}: {fmt.count(consumer['lag'], 'event')} to go.")
    if not spool.consumers:
        console.say("  Nobody takes events from it yet.")
    if _is_nearly_full(spool):
        console.warn("it is nearly full", hint="What takes events from it: is it at work?")
    for found in spool.damage:
        what = "cut off" if found["torn"] else "damaged"
        console.warn(
            f"{found['segment']} is {what} at {found['offset']}: {found['length']} bytes after "
            f"number {found['after']}"
        )


def _show_chain(app: App, chain: ChainStatus) -> None:
    console = app.console
    what = ", ".join(f"{name} {value}" for name, value in sorted(chain.stream.items()))
    if chain.problem is not None:
        console.warn(f"chain {chain.chain}: {chain.problem}", hint="See: regvault audit verify")
        return
    when = "never" if chain.received is None else console.time(chain.received)
    links = fmt.count(chain.links, "link")
    console.say(f"Chain {chain.chain} ({what or 'sealed'}): {links}, events up to {when}.")
