"""`regvault audit status`: how far events are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import audit_command, needs_extra, require_spool
from regvault.cli.options import vault_option, yes_option
from regvault.cli.signal_options import registry_options
from regvault.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.audit.gaps import RegistryStatus
    from regvault.ops.audit.status import ChainStatus, SpoolStatus


@audit_command(
    "status",
    examples=[
        ("Of a spool, and of the archive", "regvault audit status --spool /var/spool/regvault"),
        (
            "And what a registry counted that never came",
            "regvault audit status --spool DIR --registry-metrics http://127.0.0.1:5001",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@click.option(
    "--spool",
    "spools",
    metavar="DIR",
    multiple=True,
    type=click.Path(),
    help="A spool to look at; may be repeated.",
)
@click.option(
    "--drop-consumer",
    metavar="NAME",
    help="Forget one who takes events from the --spool, and keep nothing for it any more; it asks.",
)
@yes_option
@registry_options
@vault_option
@click.pass_obj
def status(
    app: App,
    spools: tuple[str, ...],
    drop_consumer: str | None,
    yes: bool,
    registry_metrics: tuple[str, ...],
    registry_endpoint: str | None,
    vault: str | None,
    endpoint_url: str | None,
) -> int:
    """Show how far events are: what waits in spools for whom, how far the archive is.

    With --registry-metrics it reads what a registry counted, and remembers that in the spool's
    directory. When the registry has started anew since, it is known what never came: that is found
    in its log, where `audit tail` reads it (events that are marked `reconstructed`), or is a `gap`.

    --drop-consumer is for one that will never come back, such as a topic that is not used any more:
    what only it has not taken yet goes.

    It ends with 3 where a spool is damaged or nearly full, where events are missing since less than
    a day, or a registry cannot be asked; with 4 where a chain cannot be read.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.audit.gaps.counters import check_url
    from regvault.audit.spool import Spool
    from regvault.ops.audit.gaps import registry_statuses
    from regvault.ops.audit.status import chain_statuses, spool_status

    for directory in spools:
        require_spool(directory)
    if drop_consumer is not None:
        _drop(app, spools, drop_consumer, yes=yes)
    registries: list[RegistryStatus] = []
    if registry_metrics:
        if len(spools) != 1:
            raise UsageError(
                "--registry-metrics needs one --spool", hint="Name the one that its events go to."
            )
        urls = [check_url(url) for url in registry_metrics]
        registries = registry_statuses(Spool(spools[0]), urls, registry_endpoint)
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
            "registries": [each.to_json() for each in registries],
        }
    )
    for spool in found:
        _show_spool(app, spool)
    for registry in registries:
        _show_registry(app, registry)
    for chain in chains:
        _show_chain(app, chain)
    if any(chain.problem for chain in chains):
        return 4
    if any(each.recent or each.problem for each in registries):
        return 3
    return 3 if any(each.damage or _is_nearly_full(each) for each in found) else 0


def _drop(app: App, spools: tuple[str, ...], name: str, *, yes: bool) -> None:
    from regvault.audit.spool import Spool
    from regvault.audit.spool.cursor import cursors

    if len(spools) != 1:
        raise UsageError("--drop-consumer needs one --spool", hint="Name the one that it reads.")
    (directory,) = spools
    known = {cursor.name: cursor for cursor in cursors(directory)}
    if name not in known:
        raise NotFoundError(
            f"{directory} has no consumer {name!r}",
            hint=f"It has: {', '.join(known)}." if known else "It has none.",
        )
    spool = Spool(directory)
    lag = max(0, spool.usage().next - max(known[name].next, spool.usage().first))
    app.confirm(
        f"Forget {name}, which has not taken {fmt.count(lag, 'event')} of {directory}?",
        yes=yes,
        hint="Stop what takes events by that name, then give --yes.",
    )
    known[name].remove()
    spool.collect()
    app.console.note(f"{name} is forgotten.")


def _is_nearly_full(spool: SpoolStatus) -> bool:
    return spool.nbytes >= 0.9 * spool.limit


def _show_spool(app: App, spool: SpoolStatus) -> None:
    from regvault.audit.spool.cursor import GIVING_WAY

    console = app.console
    console.say(
        f"Spool {fmt.inline(spool.directory)} ({fmt.inline(spool.spool)}): "
        f"{fmt.size(spool.nbytes)} of {fmt.size(spool.limit)}, "
        f"events {spool.first} to {spool.next - 1}."
    )
    for consumer in spool.consumers:
        console.say(
            f"  {fmt.inline(consumer['name'])}: {fmt.count(consumer['lag'], 'event')} to go."
        )
    if all(consumer["name"] in GIVING_WAY for consumer in spool.consumers):
        console.say("  Nobody takes events from it yet.")
    if _is_nearly_full(spool):
        console.warn("it is nearly full", hint="What takes events from it: is it at work?")
    for found in spool.damage:
        what = "cut off" if found["torn"] else "damaged"
        console.warn(
            f"{found['segment']} is {what} at {found['offset']}: {found['length']} bytes after "
            f"number {found['after']}"
        )


def _show_registry(app: App, registry: RegistryStatus) -> None:
    console = app.console
    if registry.problem is not None:
        console.warn_line(registry.problem, hint="Events of it that wait are not known meanwhile.")
    else:
        console.say(
            f"Registry {fmt.inline(registry.url)}: {fmt.count(registry.events, 'notification')}, "
            f"{registry.delivered} delivered, {registry.waiting} waiting in its memory; "
            f"{registry.here} here."
        )
    for gap in registry.gaps:
        span = f"{console.time(gap['from'])} to {console.time(gap['to'])}" if gap["from"] else ""
        what = f"  Restarted {console.time(gap['to'])}: "
        if gap["missing"] is None:
            console.say(f"{what}whether notifications were waiting is not known ({span}).")
            continue
        console.say(
            f"{what}{fmt.count(gap['reconstructed'], 'event')} reconstructed from logs, "
            f"{gap['missing']} missing ({span})."
        )
        if gap["missing"]:
            console.warn(
                f"{fmt.count(gap['missing'], 'event')} of {registry.url} never came",
                hint="Read the registry's log of that time: regvault audit tail",
            )


def _show_chain(app: App, chain: ChainStatus) -> None:
    console = app.console
    what = ", ".join(fmt.inline(f"{name} {value}") for name, value in sorted(chain.stream.items()))
    if chain.problem is not None:
        console.warn_line(
            f"chain {chain.chain}: {chain.problem}", hint="See: regvault audit verify"
        )
        return
    when = "never" if chain.received is None else console.time(chain.received)
    links = fmt.count(chain.links, "link")
    console.say(f"Chain {chain.chain} ({what or 'sealed'}): {links}, events up to {when}.")
