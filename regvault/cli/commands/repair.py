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
    from regvault.vault.identity import Identity

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
    help="Take what nobody has any more out of the snapshots that need it, for ever; give up "
    "snapshots whose roots nobody has.",
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
    overwritten it: first roots and records, then the objects that they need. What was
    written since then stays, such as newer snapshots, and what was condemned or forgotten stays
    gone; what is never overwritten by right, such as a root by a void, comes back as it was.

    A vault.json that is lost, or that of another vault, is made again of what the snapshots say; in
    a signed vault that needs the key to sign with.

    Without --drop-lost nothing is given up: what nobody has today may turn up tomorrow. With it, a
    snapshot whose root nobody has counts as forgotten: what only it needed goes with the next
    prune. But nothing is given up that a place may have which cannot be asked just now, that cannot
    be opened with the identities that were given, or that a snapshot may need which cannot be read.
    At the end it verifies again; exit code 4 means that something is still damaged.
    """
    from regvault.assemble import threads_for
    from regvault.assemble.mending import open_to_repair, recover_vault
    from regvault.ops.repair import VaultSpare, plan_repair
    from regvault.ops.repair import repair as execute
    from regvault.ops.verify import VerifyOptions
    from regvault.ops.verify.data import Sample
    from regvault.vault.downgrade import refuse_downgrade

    place = app.vault(vault, endpoint_url=endpoint_url, at=vault_at)
    count = threads_for(place, asked=threads)
    past = []
    if vault_at is None:
        opened, made_again = open_to_repair(
            place, limit_upload=limit_upload, limit_download=limit_download
        )
        _show_identity(app, made_again)
    else:
        opened, was = recover_vault(place, limit_upload=limit_upload, limit_download=limit_download)
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
    "add": "blobs that no object has come in",
    "drop": "some of it is lost",
    "none": "no remedy",
}


def _show_identity(app: App, made_again: Identity | None) -> None:
    """Say what `vault.json` is made again of."""
    if made_again is not None:
        words = ["sealed"] * (made_again.sealing_key is not None) + ["signed"] * made_again.signed
        app.console.say(
            f"vault.json is made again, as the snapshots say: vault {made_again.id}"
            + "".join(f", {word}" for word in words)
            + f"; its oldest snapshot is of {app.console.time(made_again.created)}."
        )


def _show_plan(app: App, plan: RepairPlan) -> None:
    console = app.console
    if not plan.problems and not plan.documents:
        console.say("The vault is whole.")
        _show_rest(app, plan)
        return
    if plan.documents:
        count = fmt.count(len(plan.documents), "document")
        console.say(f"Put back: {count} of the vault itself (roots, records, lists, vault.json).")
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
        what = (
            "it was forgotten, and its stub is made again" if lost.stub else "its root is put back"
        )
        console.say(f"Snapshot {lost.name}: {what}, from {lost.source}")
    _show_given_up(app, plan)
    if plan.strangers:
        count = fmt.count(len(plan.strangers), "document")
        console.say(f"Removed: {count} of another vault (leases, records).")
    if plan.catalog:
        console.say("The catalog is written anew: it is damaged, or tells too little.")
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
    _show_rest(app, plan)


def _show_given_up(app: App, plan: RepairPlan) -> None:
    """Tell of the roots that nobody has, and what it means to give them up."""
    if not plan.given_up:
        return
    names = ", ".join(str(lost.name) for lost in plan.given_up[:5])
    more = ", ..." if len(plan.given_up) > 5 else ""
    meaning = (
        "given up for ever: they cannot be restored any more, and what only they needed goes with "
        "the next prune."
    )
    app.console.warn(
        f"{fmt.count(len(plan.given_up), 'snapshot')} whose roots are lost, and no place has them: "
        f"{names}{more}",
        hint=f"They are {meaning}"
        if plan.lost_allowed
        else "Name a copy of this vault with --from; a `regvault copy` from another vault is fed "
        f"again by that. With --drop-lost they are {meaning}",
    )


def _show_rest(app: App, plan: RepairPlan) -> None:
    """Tell of what has no remedy, and why, and of what there is besides."""
    console = app.console
    hopeless = [action for action in plan.actions if action.how == "none"]
    for action in hopeless[:_SHOWN]:
        console.warn(f"{action.ref.key}: no remedy, {action.why}", hint=action.hint)
    for key, what, detail in plan.others[:_SHOWN]:
        console.warn(f"{key}: {what}, {detail}", hint=_hint(key, what))
    for line in fmt.first((), len(plan.others) - _SHOWN, 0):
        console.say(line)
    if plan.following:
        more = fmt.count(plan.following, "more problem")
        console.say(f"{more} of the vault may follow from these; see all: regvault verify")


def _hint(key: str, what: str) -> str | None:
    """Say what may help where `repair` does not."""
    from regvault.oci.grammar import is_digest
    from regvault.ops.repair.remedies import MORE_PLACES
    from regvault.vault.keys import is_object_key

    if what == "unconfirmed":
        return "If nobody meant to, it can be read as it was: regvault restore --vault-at TIME"
    if what == "untrusted":
        return "See whose signatures count: regvault key list"
    if is_digest(key) or is_object_key(key):
        return MORE_PLACES
    if key.startswith("snapshots/"):
        return (
            "A copy of this vault may have it: --from VAULT. Where no snapshot of the registry is "
            "left, take one; then --drop-lost gives up what is lost."
        )
    if key.startswith(("leases/", "locks/")):
        return (
            "Nobody can tell whose it is. If no regvault is at work in this vault, on any host, "
            "delete it by hand."
        )
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
    if result.removed:
        done.append(f"{fmt.count(len(result.removed), 'document')} of another vault removed")
    console.say(", ".join(done) + ".")
    if result.given_up:
        console.say(f"{fmt.count(len(result.given_up), 'snapshot')} given up.")
    if result.dropped:
        console.say(f"{fmt.count(len(result.dropped), 'blob')} dropped from all snapshots.")
    if result.claimed:
        count = fmt.count(len(result.claimed), "replaced object")
        console.say(f"Kept until whoever reads it is done, for prune to delete: {count}.")
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
