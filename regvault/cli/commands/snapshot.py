"""`regvault snapshot`: one full snapshot of a registry."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.locking import keep_locked
from regvault.cli.options import (
    LOCATION,
    dry_run_option,
    repo_option,
    retry_lock_option,
    transfer_options,
    vault_option,
)

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.model.registry import Finding
    from regvault.ops.snapshot import SnapshotResult
    from regvault.policy.damage import Rank

#: Lines of each kind that are shown.
_SHOWN = 20


@command(
    "snapshot",
    examples=[
        (
            "Every day, from cron",
            "regvault -q snapshot fs:/var/lib/registry --vault s3://backup/registry",
        ),
        ("What would it read and store?", "regvault snapshot fs:/var/lib/registry --dry-run"),
        (
            "Read one team's, inherit the rest",
            "regvault snapshot prod --repo 'team/**'",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@click.argument("source", type=LOCATION)
@vault_option
@click.option(
    "--registry",
    metavar="NAME",
    help="The registry's permanent name in the vault. Else the one that was last read from this "
    "place, or at the first run a name made from it.",
)
@repo_option
@dry_run_option
@click.option(
    "--fail-on",
    type=click.Choice(["new", "any"]),
    help="Whether only new damage at the source makes exit code 3 (the default), or any.",
)
@retry_lock_option
@transfer_options
@click.pass_obj
def snapshot(
    app: App,
    source: str,
    vault: str | None,
    endpoint_url: str | None,
    registry: str | None,
    repos: tuple[str, ...],
    dry_run: bool,
    fail_on: str | None,
    retry_lock: float,
    threads: int | None,
    limit_upload: float | None,
    limit_download: float | None,
) -> int:
    """Take one full snapshot of the registry at SOURCE.

    SOURCE is fs:/PATH (the directory that holds docker/), s3://BUCKET/PREFIX, or a name of the
    configuration. Only what changed is read and stored, and what the vault has lost is stored
    again. It is safe while the registry takes pushes, deletes and garbage collection.

    --repo reads the repositories that match, and inherits the others from the newest snapshot.
    """
    from regvault.assemble import open_source, open_vault, threads_for
    from regvault.errors import UsageError
    from regvault.model.location import Role
    from regvault.ops.snapshot import SnapshotOptions
    from regvault.ops.snapshot import snapshot as take

    place = app.registry(source, Role.SOURCE, endpoint_url=endpoint_url)
    where = app.vault(vault, endpoint_url=endpoint_url)
    count = threads_for(place, where, asked=threads)
    options = SnapshotOptions(
        registry=registry or place.name,
        globs=repos or place.repos,
        threads=count,
        dry_run=dry_run,
        fail_on=fail_on or place.fail_on,
        wait_s=retry_lock,
    )
    try:
        source_opened = open_source(place, threads=count)
    except UsageError:
        open_vault(where, beside=place)  # which says it better where the two are swapped
        raise
    with closing(source_opened) as live:
        if not options.globs:
            live.look_ahead()
        opened = open_vault(
            where, beside=place, limit_upload=limit_upload, limit_download=limit_download
        )
        with app.progress() as progress:
            result = take(opened, live, options, progress=progress, cache_base=app.cache_base())
    locks, failed = (None, 0) if dry_run else keep_locked(app, opened, threads=count)
    app.console.document({**result.to_json(), "locks": locks})
    _show(app, result, str(where.location))
    return result.exit_code() or failed


def _show(app: App, result: SnapshotResult, vault: str) -> None:
    console = app.console
    root = result.root
    read = f"{fmt.count(result.read, 'repository')} read, {result.inherited} unchanged"
    if result.removed:
        read += f", {result.removed} gone"
    size = fmt.size(result.stored_bytes)
    if root is None:
        console.say(f"Would store {fmt.count(result.stored, 'blob')}, {size} ({read}).")
    else:
        console.say(
            f"Snapshot {root.name}: {fmt.count(root.counts.repositories, 'repository')}, "
            f"{fmt.count(root.counts.tags, 'tag')}, {fmt.size(root.counts.nbytes)}."
        )
        console.say(f"{read[0].upper()}{read[1:]}; {fmt.count(result.stored, 'new blob')}, {size}.")
    if result.lost:
        console.warn(
            f"the vault had lost {fmt.count(len(result.lost), 'object')}; what the registry still "
            "has of them is stored again",
            hint="See whether older snapshots are whole: regvault verify",
        )
    if result.archived and root is not None:
        console.warn(
            f"snapshot {root.name} needs {fmt.count(result.archived, 'object')} "
            f"({fmt.size(result.archived_bytes)}) that lie in an archive: it is outside the "
            "promise of how fast it restores until they are thawed",
            hint="The registry does not have their content any more, or was not read. See what it "
            f"takes: regvault tier thaw {root.name} --vault {vault} --dry-run",
        )
    ranks = {str(rank): count for rank, count in result.ranks.items()}
    if ranks["new"] or ranks["known"]:
        new = fmt.count(ranks["new"], "new finding")
        console.warn(
            f"the source is damaged: {new}, {ranks['known']} known",
            hint="All that could be read is in the snapshot. See them with --json, or with: "
            "regvault scan SOURCE --read-data",
        )
        lines = (_line(*each) for each in result.findings if str(each[0]) != "notice")
        for line in fmt.first(lines, ranks["new"] + ranks["known"], _SHOWN):
            console.note(line)
    if result.unreadable:
        console.warn(
            "something at the source could not be read; the snapshot is not complete",
            hint="See the findings 'unreadable' with --json; mend it, and run this again.",
        )
    if result.would_hold is not None:
        console.warn(
            f"the snapshot would be held: {result.would_hold}",
            hint="It would be stored, and not be `latest` until it is confirmed.",
        )
    if root is not None and root.held is not None:
        console.warn(
            f"snapshot {root.name} is held: {root.held['reason']}",
            hint=f"If that is right: regvault confirm {root.name} --vault {vault}. Until then it "
            "is not `latest`.",
        )


def _line(rank: Rank, finding: Finding) -> str:
    image = f" ({finding.image})" if finding.image else ""
    return f"  {rank}: {finding.repository}{image}: {finding.kind} {finding.subject}"
