"""`regvault find`: where a digest or a tag is, over all snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.commands.ls import short
from regvault.cli.group import command
from regvault.cli.options import vault_at_option, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.find import FoundDigest, FoundTag, Range
    from regvault.ops.find_uses import Occurrence

_USERS_SHOWN = 3


@command(
    "find",
    examples=[
        ("Where did a tag point, and until when?", "regvault find team/app:1.0"),
        ("Which images need a layer?", "regvault find sha256:0f428d5bc..."),
        ("The beginning of a digest will do", "regvault find 0f428d5bc"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("what", metavar="DIGEST|REPO:TAG|REPO@DIGEST")
@vault_option
@vault_at_option
@click.option("--registry", metavar="NAME", help="Only in snapshots of this registry.")
@click.pass_obj
def find(
    app: App,
    what: str,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    registry: str | None,
) -> int:
    """Find a digest in all snapshots, or where a tag pointed over time.

    A digest is shown with the snapshots and repositories that have it, as what (manifest, layer,
    config), with tags, the indexes that list it, the images that need it, and where its bytes lie
    in the vault. 8 hex digits are enough where no other digest begins so.
    """
    from regvault.assemble import open_vault
    from regvault.ops.find import find_digest, find_tag
    from regvault.policy.references import parse_wanted

    wanted = parse_wanted(what)
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at))
    found: FoundDigest | FoundTag
    with app.progress() as progress:
        progress.phase("Searching")
        if isinstance(wanted, str):
            found = find_digest(opened, wanted, registry=registry, cache_base=app.cache_base())
        elif wanted.digest is not None:
            found = find_digest(
                opened,
                wanted.digest,
                registry=registry,
                repository=wanted.repository,
                cache_base=app.cache_base(),
            )
        else:
            found = find_tag(opened, wanted, registry=registry)
    app.console.document(found.to_json())
    from regvault.ops.find import FoundTag as Tag

    if isinstance(found, Tag):
        _show_tag(app, found)
    else:
        _show_digest(app, found)
    for name in found.damaged:
        app.console.warn(
            f"the root of {name} cannot be read, and was not searched",
            hint="See all that is wrong with: regvault verify",
        )
    return found.exit_code()


def _snapshots(where: Range) -> str:
    if where.first == where.last:
        return f"{where.registry}@{where.first}"
    return f"{where.registry}@{where.first} to {where.last}"


def _show_tag(app: App, found: FoundTag) -> None:
    app.console.table(
        ("snapshots", "from", "to", "digest"),
        [
            (
                _snapshots(where),
                app.console.time(where.since),
                app.console.time(where.until),
                digest or "? (its link was damaged at the source)",
            )
            for where, digest in found.ranges
        ],
    )


def _show_digest(app: App, found: FoundDigest) -> None:
    console = app.console
    size = "not in the vault" if found.size is None else fmt.size(found.size)
    console.say(f"{found.digest}  {size}")
    console.say()
    if found.occurrences:
        console.table(
            ("snapshots", "repository", "as", "tags", "belongs to"),
            [
                (_snapshots(where), what.repository, _what(what), _tags(what), _users(what))
                for where, what in found.occurrences
            ],
        )
    else:
        console.say("No snapshot names it.")
    if found.places:
        console.say()
        console.table(
            ("object", "offset", "length", "proven by", ""),
            [
                (
                    place.key,
                    place.offset,
                    place.length,
                    place.proof,
                    None if there else "not there",
                )
                for place, there in found.places
            ],
            align="lrrll",
        )


def _what(what: Occurrence) -> str:
    notes = [] if what.held or what.what == "missing" else ["not held"]
    notes += what.damage
    return what.what + (f" ({', '.join(notes)})" if notes else "")


def _tags(what: Occurrence) -> str:
    former = [f"({tag})" for tag in what.former_tags]
    return ", ".join([*what.tags, *former])


def _users(what: Occurrence) -> str:
    users = [*what.indexes, *what.images]
    count = len(what.indexes) + what.image_count
    shown = ", ".join(short(digest) for digest in users[:_USERS_SHOWN])
    return shown + (f" and {count - _USERS_SHOWN} more" if count > _USERS_SHOWN else "")
