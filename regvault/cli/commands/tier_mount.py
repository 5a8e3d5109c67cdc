"""`regvault tier mount` and `tier unmount`: cheaper disks for a registry on disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import LOCATION, yes_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.assemble.cold import ColdMount
    from regvault.cli.app import App


@command(
    "mount",
    examples=[
        (
            "A disk that the registry sees at the same path",
            "regvault tier mount fs:/var/lib/registry hdd /mnt/hdd/registry",
        ),
        (
            "A registry in a container, which sees it at /cold",
            "regvault tier mount fs:/srv/registry hdd /mnt/hdd/registry --seen /cold",
        ),
        ("Which ones are there?", "regvault tier mount fs:/var/lib/registry"),
    ],
    exit_codes=(0, 1, 2, 5, 6, 10, 12),
)
@click.argument("source", type=LOCATION)
@click.argument("name", required=False)
@click.argument("path", required=False, type=click.Path())
@click.option("--seen", metavar="PATH", help="Where the registry sees it, if not at PATH.")
@click.option(
    "--same-disk", is_flag=True, help="It may be on the file system of the registry: to try things."
)
@click.pass_obj
def mount(
    app: App, source: str, name: str | None, path: str | None, seen: str | None, same_disk: bool
) -> int:
    """Give a registry on disks a cold mount, or list those that it has.

    The directory PATH, which is empty, becomes the storage class NAME of the registry SOURCE:
    regvault tier apply moves blobs there and leaves links, which the registry follows. Every
    command knows it from then on: it is written down beside docker/ of the registry, and in the
    directory. Without NAME and PATH those that there are are listed. See docs/tiering.md.
    """
    from regvault.assemble.cold import bind_cold_mount, cold_mounts
    from regvault.model.location import Role

    place = app.registry(source, Role.SOURCE)
    if name is not None:
        if path is None:
            raise UsageError("PATH is missing", hint="regvault tier mount SOURCE NAME PATH")
        bind_cold_mount(place, name, path, seen, same_disk=same_disk)
    elif seen is not None or same_disk:
        raise UsageError("NAME is missing", hint="regvault tier mount SOURCE NAME PATH")
    _show(app, cold_mounts(place))
    return 0


def _show(app: App, mounts: list[ColdMount]) -> None:
    rows = [
        {
            "name": each.name,
            "path": each.path,
            "seen": each.seen,
            "problem": each.problem or None,
            "blobs": each.blobs,
            "bytes": each.nbytes,
        }
        for each in mounts
    ]
    app.console.document({"mounts": rows})
    for each in mounts:
        elsewhere = f", seen at {fmt.inline(each.seen)}" if each.seen != each.path else ""
        app.console.say(
            f"{each.name}: {fmt.inline(each.path)}{elsewhere}: "
            f"{fmt.count(each.blobs, 'blob')}, {fmt.size(each.nbytes)}"
        )
        if each.problem:
            app.console.warn(each.problem)
    if not mounts:
        app.console.say("There is no cold mount.")


@command(
    "unmount",
    examples=[
        ("Nothing lies there any more", "regvault tier unmount fs:/var/lib/registry hdd"),
        (
            "The disk is lost, and what was there is restored",
            "regvault tier unmount fs:/var/lib/registry hdd --lost",
        ),
    ],
    exit_codes=(0, 1, 2, 5, 6, 10, 12),
)
@click.argument("source", type=LOCATION)
@click.argument("name")
@click.option("--lost", is_flag=True, help="It is gone for ever: links into it lead nowhere.")
@yes_option
@click.pass_obj
def unmount(app: App, source: str, name: str, lost: bool, yes: bool) -> int:
    """Take a cold mount away from a registry, once nothing lies there.

    Nothing is moved: regvault tier apply does that. The directory itself stays.
    """
    from regvault.assemble.cold import unbind_cold_mount
    from regvault.model.location import Role

    place = app.registry(source, Role.SOURCE)
    if lost:
        app.confirm(
            f"Forget {name}, with whatever lies there?",
            yes=yes,
            hint="Restore what was there first; then give --yes. See docs/tiering.md",
        )
    bound = unbind_cold_mount(place, name, lost=lost)
    app.console.document({"name": bound.name, "path": bound.path, "lost": lost})
    app.console.say(f"{bound.name} is no cold mount any more.")
    return 0
