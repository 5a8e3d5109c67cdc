"""`regvault ls`: look into a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import vault_at_option, vault_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.cli.app import App
    from regvault.ops.listing import ImageRow
    from regvault.ops.listing_image import ImageNode, ImageTree
    from regvault.ops.opened import Opened

_SHORT = 12


@command(
    "ls",
    examples=[
        ("Repositories of the newest snapshot", "regvault ls"),
        (
            "Tags of one repository, as they were three days ago",
            "regvault ls '3 days ago' team/app",
        ),
        ("With sizes, and revisions that have no tag", "regvault ls -l --all team/app"),
        ("An image: platforms, layers, signatures", "regvault ls prod@12 team/app:1.0"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("arguments", nargs=-1, metavar="[SNAPSHOT] [REPO[:TAG]|REPO@DIGEST]")
@vault_option
@vault_at_option
@click.option("-l", "--long", is_flag=True, help="Whole digests, and the bytes of each image.")
@click.option("--all", "everything", is_flag=True, help="Also revisions that have no tag.")
@click.pass_obj
def ls(
    app: App,
    arguments: tuple[str, ...],
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    long: bool,
    everything: bool,
) -> int:
    """List what is in a snapshot: repositories, tags of one, or one image.

    SNAPSHOT is [REGISTRY@]latest, [REGISTRY@]SEQ or [REGISTRY@]TIME; without one, latest. What
    reads as one of these is a snapshot, anything else a repository; a repository with such a name
    comes after the snapshot: `regvault ls latest 2026`. A digest may be short (8 hex digits or
    more).

    Marks: dangling (the tag points to nothing), unreadable (nobody knows where it pointed), missing
    (the snapshot does not hold the manifest), damaged (the source lacked what the image needs).
    """
    from regvault.assemble import open_vault
    from regvault.ops.listing import list_images, list_repositories
    from regvault.ops.listing_image import show_image
    from regvault.ops.opened import Opened
    from regvault.policy.references import parse_ls_arguments

    selector, reference = parse_ls_arguments(arguments)
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at))
    root = app.snapshot(opened, selector)
    with Opened(opened, root, cache_base=app.cache_base()) as view:
        app.console.note(f"Snapshot {root.name}, {app.console.time(root.started)}")
        if reference is None:
            repositories = list_repositories(view)
            if app.json:
                app.console.lines(repositories, show=str, to_json=lambda row: row.to_json())
                return 0
            app.console.table(
                ("repository", "tags", "revisions", "size", ""),
                [
                    (
                        row.name,
                        fmt.number(row.tags),
                        fmt.number(row.revisions),
                        fmt.size(row.nbytes),
                        f"{fmt.count(row.missing, 'blob')} missing" if row.missing else None,
                    )
                    for row in repositories
                ],
                align="lrrrl",
            )
        elif reference.tag is None and reference.digest is None:
            images = list_images(view, reference.repository, long=long, everything=everything)
            if app.json:
                app.console.lines(images, show=str, to_json=lambda row: row.to_json())
                return 0
            _show_images(app, images, long=long)
        else:
            tree = show_image(view, reference)
            app.console.document({"snapshot": str(root.name), **tree.to_json()})
            _show_tree(app, view, tree, long=long)
    return 0


def short(digest: str, *, long: bool = False) -> str:
    """Return a digest as people are shown it."""
    algorithm, _, digits = digest.partition(":")
    return digest if long or not digits else f"{algorithm}:{digits[:_SHORT]}"


def _show_images(app: App, images: Iterator[ImageRow], *, long: bool) -> None:
    header = ["tag", "digest", "type", "manifest", *(["image"] if long else []), "marks"]
    rows = []
    for row in images:
        size = None if row.size is None else fmt.size(row.size)
        total = [] if row.nbytes is None else [fmt.size(row.nbytes)]
        name = row.tag if row.tag is not None else f"({row.role})"
        marks = ", ".join(row.marks)
        digest = short(row.digest, long=long) or "?"
        rows.append([name, digest, row.media_type, size, *total, marks])
    app.console.table(header, rows, align="lllrrl" if long else "lllrl")


def _show_tree(app: App, view: Opened, tree: ImageTree, *, long: bool) -> None:
    console = app.console
    console.say(f"{tree.repository}@{tree.root.digest}")
    console.say(f"Snapshot:  {view.root.name}")
    console.say(f"Tags:      {', '.join(tree.tags) or 'none'}")
    console.say(f"Image:     {fmt.size(tree.nbytes)} with all platforms")
    if tree.marks:
        console.say(f"Marks:     {', '.join(tree.marks)}")
    console.say()
    header = ("", "platform", "digest", "size", "type", "")
    rows = [_row(node, depth, long=long) for node, depth in _walk(tree.root, 0)]
    console.table(header, rows, align="lllrll")
    if tree.referrers:
        console.say()
        console.say("Refers to it:")
        console.table(
            ("digest", "type", "size", "tags", "subject"),
            [
                (
                    short(each.node.digest, long=long),
                    each.node.artifact_type or each.node.media_type,
                    None if each.node.size is None else fmt.size(each.node.size),
                    ", ".join(each.tags) or None,
                    short(each.subject, long=long),
                )
                for each in tree.referrers
            ],
            align="llrll",
        )
    former = [(digest, held) for digest, held in tree.history if digest != tree.root.digest]
    if former:
        console.say()
        console.say(f"{tree.tag} has also pointed to (see when: regvault find REPO:TAG):")
        for digest, held in former:
            console.say(f"  {short(digest, long=long)}{'' if held else '  (not held)'}")


def _walk(node: ImageNode, depth: int) -> Iterator[tuple[ImageNode, int]]:
    yield node, depth
    for child in node.children:
        yield from _walk(child, depth + 1)


def _row(node: ImageNode, depth: int, *, long: bool) -> tuple[object, ...]:
    notes = []
    if not node.held:
        notes.append("not distributed" if node.foreign else "missing")
    if node.repeated:
        notes.append("as above")
    return (
        f"{'  ' * depth}{node.kind}",
        node.platform or None,
        short(node.digest, long=long),
        None if node.size is None else fmt.size(node.size),
        node.artifact_type or node.media_type,
        ", ".join(notes) or None,
    )
