"""`regvault copy`: the snapshots of one vault, in others too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.locking import keep_locked
from regvault.cli.options import (
    LOCATION,
    dry_run_option,
    endpoint_option,
    retry_lock_option,
    transfer_options,
)

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.places import VaultPlace
    from regvault.ops.copy import CopyResult
    from regvault.ops.copy.result import Copied
    from regvault.vault.vault import Vault

#: Contents that are named.
_SHOWN = 5


@command(
    "copy",
    examples=[
        (
            "Every day, after the snapshot, to another place",
            "regvault copy --from /backup/vault --to s3://offsite/vault",
        ),
        ("To two places, and read once", "regvault copy --from main --to offsite --to cold"),
        ("What is missing there?", "regvault copy --from main --to offsite --dry-run"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@click.option(
    "--from",
    "source",
    metavar="VAULT",
    type=LOCATION,
    envvar="REGVAULT_VAULT",
    show_envvar=True,
    help="The vault to copy. May be left out where the configuration has only one.",
)
@click.option(
    "--to",
    "targets",
    metavar="VAULT",
    type=LOCATION,
    multiple=True,
    required=True,
    help="The vault to copy to, made by `regvault init`; may be repeated.",
)
@click.option(
    "--registry",
    "registries",
    metavar="NAME",
    multiple=True,
    help="Only snapshots of this registry; may be repeated. Else of all.",
)
@dry_run_option
@endpoint_option
@retry_lock_option
@transfer_options
@click.pass_obj
def copy(
    app: App,
    source: str | None,
    targets: tuple[str, ...],
    registries: tuple[str, ...],
    dry_run: bool,
    endpoint_url: str | None,
    retry_lock: float,
    threads: int | None,
    limit_upload: float | None,
    limit_download: float | None,
) -> int:
    """Copy what other vaults lack of this vault's snapshots; each byte is proven.

    Snapshots keep their number, their bytes and their place in the chain. Only what is missing is
    read, once for all targets; from one bucket to another of the same server it does not pass
    through this machine. An interrupted copy goes on where it was. What a target has forgotten by
    its own rules is not copied again. A registry that is fed by copies takes no snapshots itself.

    Archived events come along, unless --registry is given, and a month that was erased is erased
    there too.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.ops.audit.copying import copy_audit
    from regvault.ops.copy import CopyOptions
    from regvault.ops.copy import copy as execute

    place = app.vault(source, endpoint_url=endpoint_url)
    others = [app.vault(text, endpoint_url=endpoint_url) for text in targets]

    def opened(where: VaultPlace) -> Vault:
        return open_vault(where, limit_upload=limit_upload, limit_download=limit_download)

    options = CopyOptions(
        registries=tuple(dict.fromkeys(registries)),
        dry_run=dry_run,
        threads=threads_for(place, *others, asked=threads),
        wait_s=retry_lock,
        cache_base=app.cache_base(),
    )
    vault, copies = opened(place), [opened(other) for other in others]
    with app.progress() as progress:
        result = execute(vault, copies, options, progress=progress)
        if not registries:
            for each, target in zip(copies, result.targets, strict=True):
                target.audit = copy_audit(vault, each, dry_run=dry_run, progress=progress)
    failed = 0
    if not dry_run:
        for each, target in zip(copies, result.targets, strict=True):
            target.locks, wrong = keep_locked(app, each, threads=options.threads)
            failed = max(failed, wrong)
    app.console.document(result.to_json())
    _show(app, result)
    return result.exit_code() or failed


def _show_audit(app: App, target: Copied, would: str) -> None:
    audit = target.audit
    if audit is None:
        return
    if audit.links:
        what = f"{fmt.count(audit.events, 'archived event')}, {fmt.size(audit.nbytes)}"
        app.console.say(f"{would} {what} to {target.target}.")
    for month in audit.erased:
        app.console.note(f"{month} was erased, and is now in {target.target} too.")
    for problem in audit.problems:
        app.console.warn(
            f"archived events are not copied: {problem}", hint="See: regvault audit verify"
        )


def _show(app: App, result: CopyResult) -> None:
    would = "Would copy" if result.dry_run else "Copied"
    for target in result.targets:
        stored = f"{fmt.count(target.objects, 'object')}, {fmt.size(target.nbytes)}"
        _show_audit(app, target, would)
        if not target.snapshots and not target.objects:
            more = target.audit is not None and (target.audit.links or target.audit.problems)
            what = "all snapshots" if more else "all of it"
            app.console.say(f"{target.target} has {what}.")
            continue
        what = fmt.count(len(target.snapshots), "snapshot")
        app.console.say(f"{would} {what} to {target.target}: {stored}.")
        if target.healed:
            app.console.say(f"  {fmt.count(target.healed, 'object')} that it had lost, too.")
        if target.returned:
            app.console.warn(
                f"{fmt.count(len(target.returned), 'content')} that {target.target} was purged of "
                f"came again: {', '.join(sorted(target.returned)[:_SHOWN])}",
                hint="The vault that was copied still has them. Purge them there first, and then "
                "in the copy once more: regvault purge DIGEST --vault VAULT",
            )
    if result.problems:
        app.console.table(
            ("snapshot", "why it is not copied"),
            [(problem.snapshot, problem.detail) for problem in result.problems],
        )
        app.console.warn(
            "the vault that was to be copied is damaged; all that is whole was copied",
            hint="See all of it with: regvault verify. Once it is mended, copy again.",
        )
