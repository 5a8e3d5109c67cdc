"""`regvault repair`: mend a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import (
    LOCATION,
    dry_run_option,
    retry_lock_option,
    transfer_options,
    vault_option,
    yes_option,
)
from regvault.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.repair import RepairPlan, RepairResult, Spare

#: So many lines of one kind are shown.
_SHOWN = 50


@command(
    "repair",
    examples=[
        ("What is wrong, and what can be done?", "regvault repair --read-data --dry-run"),
        (
            "After someone has deleted the vault, in a bucket with versioning",
            "regvault repair --vault-at '3 hours ago'",
        ),
        (
            "From the registry, and a copy of the vault",
            "regvault repair --read-data --from fs:/var/lib/registry --from s3://offsite/vault",
        ),
        ("Give up what nobody has any more", "regvault repair --read-data --drop-lost"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 11, 12),
)
@vault_option
@click.option(
    "--from",
    "spares",
    metavar="WHERE",
    type=LOCATION,
    multiple=True,
    help="Where good bytes may be: another vault, or a live registry; may be repeated, the best "
    "first.",
)
@click.option(
    "--read-data",
    is_flag=True,
    help="Look for damage in every layer too; else in metadata, and where `verify` found some.",
)
@click.option(
    "--drop-lost",
    is_flag=True,
    help="Take what nobody has any more out of the snapshots that need it, for ever.",
)
@click.option(
    "--vault-at",
    metavar="TIME",
    help="Bring back what was deleted or overwritten since then, such as '3 hours ago', from the "
    "versions that the vault's bucket keeps.",
)
@dry_run_option
@yes_option
@retry_lock_option
@transfer_options
@click.pass_obj
def repair(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    spares: tuple[str, ...],
    read_data: bool,
    drop_lost: bool,
    vault_at: str | None,
    dry_run: bool,
    yes: bool,
    retry_lock: float,
    threads: int | None,
    limit_upload: float | None,
    limit_download: float | None,
) -> int:
    """Mend what is damaged or missing in the vault, and prove it.

    It verifies the vault, looks for good bytes in the vault itself, in other vaults and in live
    registries, and writes only what it has proven. Objects get their own bytes back, so that old
    snapshots are whole again. Roots come back from a copy of the vault. The catalog is written anew
    from what lies in the objects. What cannot be made byte for byte moves to a new object, and an
    amendment in the vault says so; no root is rewritten.

    With --vault-at it also takes what the vault itself was then, after someone has deleted or
    overwritten it: first roots and records, then the objects that they need. What is good stays as
    it is, whatever it was then, and what was condemned stays gone.

    Without --drop-lost nothing is given up: what nobody has today may turn up tomorrow. At the end
    it verifies again; exit code 4 means that something is still damaged.
    """
    from regvault.assemble import open_vault, recover_vault, threads_for
    from regvault.ops.repair import VaultSpare, plan_repair
    from regvault.ops.repair import repair as execute
    from regvault.ops.verify import VerifyOptions
    from regvault.ops.verify.data import Sample
    from regvault.vault.downgrade import refuse_downgrade
    from regvault.vault.vault import Vault

    place = app.vault(vault, endpoint_url=endpoint_url, at=vault_at)
    count = threads_for(place, asked=threads)
    past = []
    if vault_at is None:
        opened = open_vault(place, limit_upload=limit_upload, limit_download=limit_download)
    else:
        recovered, was = recover_vault(
            place, limit_upload=limit_upload, limit_download=limit_download
        )
        opened = Vault(recovered)
        past = [VaultSpare(was, f"the vault at {vault_at}")]
    refuse_downgrade(opened)
    options = VerifyOptions(read_data=Sample() if read_data else None, threads=count)
    sources = [*past, *(_spare(app, text, endpoint_url, count, opened.id) for text in spares)]
    with app.progress() as progress:
        plan = plan_repair(opened, sources, options=options, drop_lost=drop_lost, progress=progress)
    if dry_run or plan.nothing_to_do:
        app.console.document({**plan.to_json(), "dry_run": dry_run})
        _show_plan(app, plan)
        return 4 if plan.problems or plan.documents else 0
    _show_plan(app, plan)
    app.confirm("Mend the vault so?", yes=yes)
    with app.progress() as progress:
        result = execute(
            opened, plan, sources, options=options, progress=progress, wait_s=retry_lock
        )
    app.console.document({**result.to_json(), "dry_run": False})
    _show(app, result)
    return result.exit_code()


def _spare(app: App, text: str, endpoint_url: str | None, threads: int, vault: str) -> Spare:
    """Open a vault or a registry, whichever is there."""
    from regvault.assemble import open_source, open_vault
    from regvault.model.location import Role
    from regvault.ops.repair import RegistrySpare, VaultSpare

    if not text.startswith("fs:"):
        try:
            other = open_vault(app.vault(text, endpoint_url=endpoint_url))
        except (NotFoundError, UsageError):
            if text.startswith(("/", "./", "../", "file:")):
                raise
        else:
            if other.id == vault:
                raise UsageError(
                    f"--from {text}: that is the vault itself",
                    hint="Name a copy of it, or the registry.",
                )
            return VaultSpare(other)
    source = open_source(
        app.registry(text, Role.SOURCE, endpoint_url=endpoint_url), threads=threads
    )
    source.check()
    return RegistrySpare(source)


_HOW = {
    "fetch": "copied again",
    "store": "stored again",
    "rebuild": "made again from its members",
    "gather": "made again from what snapshots need",
    "drop": "some of it is lost",
    "none": "no remedy",
}


def _show_plan(app: App, plan: RepairPlan) -> None:
    console = app.console
    if not plan.problems and not plan.documents:
        console.say("The vault is whole.")
        return
    if plan.documents:
        count = fmt.count(len(plan.documents), "document")
        console.say(f"{count} of the vault (roots, records, lists) come back as they were.")
    console.say(f"The vault has {fmt.count(plan.problems, 'problem')}.")
    if plan.actions:
        console.table(
            ("object", "problem", "remedy", "from"),
            [
                (a.ref.key, a.problem, _HOW[a.how], ", ".join(a.sources) or "-")
                for a in plan.actions[:_SHOWN]
            ],
        )
    for line in fmt.first((), len(plan.actions) - _SHOWN, 0):
        console.say(line)
    for lost in plan.roots[:_SHOWN]:
        console.say(f"Snapshot {lost.name}: its root is put back, from {lost.source}")
    if plan.catalog:
        console.say("The catalog is written anew.")
    beyond = sorted({digest for action in plan.actions for digest in action.lost})
    if beyond:
        console.warn(
            f"{fmt.count(len(beyond), 'blob')} that snapshots need, nobody has: "
            + ", ".join(beyond[:5]),
            hint="Name more places with --from. With --drop-lost they are taken out of the "
            "snapshots that need them."
            if not plan.lost_allowed
            else "They are taken out of the snapshots that need them.",
        )
    for key, what, detail in plan.others[:_SHOWN]:
        console.warn(f"{key}: {what}, {detail}", hint=_hint(key))


def _hint(key: str) -> str | None:
    """Say what may help where `repair` does not."""
    if key.startswith("snapshots/"):
        return "A copy of this vault may have it: --from VAULT."
    if key.startswith(("leases/", "locks/")):
        return "See who is at work: regvault unlock --dry-run"
    return "Nothing else depends on it. Keep it for the record, or delete it by hand."


def _show(app: App, result: RepairResult) -> None:
    console = app.console
    done = [f"{fmt.count(len(result.mended), 'object')} mended"]
    if result.documents:
        done.insert(0, f"{fmt.count(len(result.documents), 'document')} put back")
    if result.replaced:
        done.append(f"{len(result.replaced)} replaced")
    if result.roots:
        done.append(f"{fmt.count(len(result.roots), 'root')} put back")
    if result.segment:
        done.append("the catalog written anew")
    console.say(", ".join(done) + ".")
    if result.dropped:
        console.say(f"{fmt.count(len(result.dropped), 'blob')} dropped from all snapshots.")
    for key, why in result.failed[:_SHOWN]:
        console.warn(f"{key} is not mended: {why}")
    after = result.after
    if after is not None and after.report.count:
        console.warn(
            f"the vault still has {fmt.count(after.report.count, 'problem')}",
            hint="See them: regvault verify. More places to look: --from.",
        )
    elif after is not None:
        what = "1 snapshot is" if after.snapshots == 1 else f"{after.snapshots} snapshots are"
        console.say(f"{what} whole ({after.depth}).")
