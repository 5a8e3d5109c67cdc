"""`regvault purge`: remove a content from every snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.locking import say_delayed
from regvault.cli.options import (
    dry_run_option,
    retry_lock_option,
    threads_option,
    vault_option,
    yes_option,
)
from regvault.errors import CredentialError, NotFoundError, UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.find import FoundDigest
    from regvault.ops.purge import PurgePlan, PurgeResult
    from regvault.vault.vault import Vault

#: So many lines of what needs a content are shown.
_SHOWN = 20


@command(
    "purge",
    examples=[
        ("Which images would lose it?", "regvault purge sha256:4bf5... --dry-run"),
        ("A layer with a secret in it", "regvault purge sha256:4bf5... --reason 'leaked key'"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@click.argument("digests", metavar="DIGEST...", nargs=-1, required=True)
@vault_option
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the vault.")
@dry_run_option
@yes_option
@retry_lock_option
@threads_option
@click.pass_obj
def purge(
    app: App,
    digests: tuple[str, ...],
    vault: str | None,
    endpoint_url: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
    retry_lock: float,
    threads: int | None,
) -> int:
    """Remove the content of each DIGEST, a layer, a config or a manifest, from every snapshot.

    For what must not be kept: a secret in a layer, what someone has a right to have erased. No
    snapshot has it any more, and images that need it do not come back by `restore`. All else stays
    as it is, and so do the roots: an amendment in the vault says what was removed, and by whom.

    Remove it from the registry first: the next snapshot stores again what is still there. Other
    copies of the vault need a purge of their own. A bucket that keeps versions keeps the content
    until they expire; one with Object Lock does until the lock ends, and `prune` deletes it then.

    It needs the right to delete. It cannot be undone.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.model.secrecy import conceal
    from regvault.oci.grammar import is_digest
    from regvault.ops.purge import plan_purge
    from regvault.ops.purge import purge as execute

    for digest in digests:
        if not is_digest(digest):
            raise UsageError(
                f"{conceal(digest)!r} is no digest",
                hint="All of sha256:... is needed; whole digests are shown by: regvault ls --long",
            )
    place = app.vault(vault, endpoint_url=endpoint_url)
    opened = open_vault(place)
    with app.progress() as progress:
        plan = plan_purge(opened, digests, progress=progress)
    if plan.nothing_to_do:
        app.console.document({**plan.to_json(), "dry_run": dry_run})
        app.console.say("It was purged before; nothing holds it.")
        return 0
    found = _find(app, opened, plan)
    if dry_run:
        app.console.document({**plan.to_json(), "dry_run": True})
        _show_plan(app, plan, found)
        return 0
    _show_plan(app, plan, found)
    app.confirm("Purge it, from every snapshot and for ever?", yes=yes)
    with app.progress() as progress:
        result = execute(
            opened,
            plan,
            progress=progress,
            threads=threads_for(place, asked=threads),
            reason=reason,
            wait_s=retry_lock,
        )
    app.console.document({**result.to_json(), "dry_run": False})
    _show(app, result)
    return result.exit_code()


def _find(app: App, vault: Vault, plan: PurgePlan) -> list[FoundDigest]:
    """Return where the contents are needed, as far as it can be told."""
    from regvault.ops.find import find_digest

    found = []
    for digest in plan.digests:
        try:
            found.append(find_digest(vault, digest, cache_base=app.cache_base()))
        except NotFoundError:
            continue  # no snapshot needs it: it is left from an interrupted run
        except CredentialError as error:
            app.console.note(f"Where {digest} is needed cannot all be told: {error.message}.")
    return found


def _show_plan(app: App, plan: PurgePlan, found: list[FoundDigest]) -> None:
    console = app.console
    for each in found:
        console.say(f"{each.digest}, {fmt.size(each.size or 0)}, is in:")
        for where, what in each.occurrences[:_SHOWN]:
            tags = f" (:{', :'.join(what.tags)})" if what.tags else ""
            snapshots = f"@{where.first}" + (f" to @{where.last}" if where.snapshots > 1 else "")
            needed = f" of {fmt.count(what.image_count, 'image')}" if what.image_count else ""
            console.say(
                f"  {where.registry}{snapshots}: {what.repository}{tags}, {what.what}{needed}"
            )
        if len(each.occurrences) > _SHOWN:
            console.say(f"  and {len(each.occurrences) - _SHOWN} more repositories")
        console.say(f"  Which images those are: regvault find {each.digest}")
    gone = len(plan.dropped) + len(plan.replaced) + len(plan.leftovers)
    if gone:
        console.say(f"{fmt.count(gone, 'object')} would be deleted.")
    if plan.rewritten:
        nbytes = sum(seen.size for seen in plan.rewritten)
        console.say(
            f"{fmt.count(len(plan.rewritten), 'object')}, {fmt.size(nbytes)}, would be written "
            "anew without it."
        )


def _show(app: App, result: PurgeResult) -> None:
    from regvault.vault.envelope import time_or_none

    console = app.console
    count, nbytes = result.deleted
    console.say(f"Purged. {fmt.count(count, 'object')} deleted, {fmt.size(nbytes)}.")
    if result.locked:
        say_delayed(app, len(result.locked), time_or_none(result.locked_until_ns))
    if result.claimed:
        console.warn(
            f"a restore, a verify or a copy still reads {fmt.count(len(result.claimed), 'object')}",
            hint="Once it is done: regvault prune, or the same command again.",
        )
    console.note(
        "Have you removed it from the registry, and purged other copies of this vault? A bucket "
        "that keeps versions has it until they expire."
    )
