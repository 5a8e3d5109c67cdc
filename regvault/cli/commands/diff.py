"""`regvault diff`: what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.commands.ls import short
from regvault.cli.group import command
from regvault.cli.options import repo_option, vault_at_option, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.diff import DiffResult, RepositoryChange
    from regvault.ops.diff_sides import Side
    from regvault.vault.vault import Vault

_MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}


@command(
    "diff",
    examples=[
        ("What did yesterday's snapshot not have yet?", "regvault diff yesterday latest"),
        ("What was pushed since?", "regvault diff latest fs:/var/lib/registry"),
        (
            "Has the restored registry the same tags and links?",
            "regvault diff 12 fs:/srv/restored --exit-code",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@click.argument("a")
@click.argument("b")
@vault_option
@vault_at_option
@repo_option
@click.option("--exit-code", is_flag=True, help="End with 1 if they differ.")
@click.pass_obj
def diff(
    app: App,
    a: str,
    b: str,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    repos: tuple[str, ...],
    exit_code: bool,
) -> int:
    """Show how B differs from A: repositories, tags, revisions, bytes.

    A and B are snapshots ([REGISTRY@]latest, SEQ or TIME) or live registries (fs:/PATH,
    s3://BUCKET/PREFIX, or a name of the configuration). Of a live registry only links are read, so
    that a blob is gone or damaged does not show: see `scan`. New bytes are those of blobs that
    nothing in A holds. Without --repo, only repositories that the configuration names are compared.
    """
    from regvault.ops.diff import check_globs
    from regvault.ops.diff import diff as compare

    opened: list[Vault] = []
    with app.progress() as progress:
        progress.phase("Comparing")
        configured: list[str] = []
        old, new = (
            _side(app, text, vault, endpoint_url, vault_at, opened, configured) for text in (a, b)
        )
        check_globs(old, new, repos)
        result = compare(old, new, globs=repos or tuple(configured))
    app.console.document(result.to_json())
    _show(app, result)
    return result.exit_code(asked=exit_code)


def _side(
    app: App,
    text: str,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    opened: list[Vault],
    configured: list[str],
) -> Side:
    """Open one side; `configured` gets the repositories that the configuration has of it."""
    from regvault.assemble import open_source, open_vault, threads_for
    from regvault.model.location import Role
    from regvault.ops.diff_sides import LiveSide, SnapshotSide
    from regvault.ops.opened import Opened
    from regvault.policy.selectors import is_selector

    if not is_selector(text):
        place = app.registry(text, Role.SOURCE, endpoint_url=endpoint_url)
        configured.extend(place.repos)
        return LiveSide(open_source(place, threads=threads_for(place)))
    if not opened:
        opened.append(open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at)))
    root = app.snapshot(opened[0], text)
    return SnapshotSide(Opened(opened[0], root, cache_base=app.cache_base()))


def _show(app: App, result: DiffResult) -> None:
    console = app.console
    for each in result.repositories:
        console.say(f"{_MARKS[each.change]} {each.name}{_summary(each)}")
        for tag in each.tags:
            old = None if tag.old is None else short(tag.old) or "?"
            new = None if tag.new is None else short(tag.new) or "?"
            where = f"{old} -> {new}" if old and new else old or new
            console.say(f"    {_MARKS[tag.change]} :{tag.tag}  {where}")
        for digest in each.lost:
            console.say(f"    ! {short(digest)} is held by A only")
        for digest in each.recovered:
            console.say(f"    ! {short(digest)} is held by B only")
    totals = result.totals()
    if result.differs:
        console.say(
            f"{result.a} -> {result.b}: "
            f"repositories +{totals['repositories_added']} -{totals['repositories_removed']} "
            f"~{totals['repositories_changed']}, "
            f"tags +{totals['tags_added']} -{totals['tags_removed']} ~{totals['tags_moved']}, "
            f"revisions +{totals['revisions_added']} -{totals['revisions_removed']}, "
            f"{fmt.size(result.bytes_added)} new."
        )
    else:
        console.say(f"{result.a} and {result.b} do not differ.")
    for name in result.unreadable:
        console.warn(
            f"{name} could not be read, and was not compared",
            hint="See why with: regvault scan SOURCE",
        )


def _summary(each: RepositoryChange) -> str:
    parts = []
    if each.revisions_added or each.revisions_removed:
        parts.append(f"revisions +{len(each.revisions_added)} -{len(each.revisions_removed)}")
    if each.blobs_added or each.blobs_removed:
        parts.append(f"blobs +{each.blobs_added} -{each.blobs_removed}")
    if each.bytes_added:
        parts.append(fmt.size(each.bytes_added))
    if each.history and not each.tags:
        parts.append("history of tags")
    return f"  ({', '.join(parts)})" if parts else ""
