"""`regvault init`: make a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli.group import command
from regvault.cli.options import LOCATION, endpoint_option

if TYPE_CHECKING:
    from regvault.cli.app import App


@command(
    "init",
    examples=[
        ("A vault on a disk", "regvault init /backup/vault"),
        ("A vault in a bucket that exists", "regvault init s3://backup/registry"),
    ],
    exit_codes=(0, 1, 2, 5, 6, 10, 12),
)
@click.argument("vault", type=LOCATION)
@endpoint_option
@click.pass_obj
def init(app: App, vault: str, endpoint_url: str | None) -> None:
    """Make a vault, after probing what the store really supports.

    VAULT is a directory, which is made, or s3://BUCKET/PREFIX, where the bucket must exist. The
    store must keep create-only writes apart: 32 of one key at once are tried.
    """
    from regvault.assemble import create_vault

    place = app.vault(vault, endpoint_url=endpoint_url)
    identity = create_vault(place)
    app.console.document({"vault": identity, "location": str(place.location), "format": 1})
    app.console.say(f"Made vault {identity} at {place.location}.")
    app.console.note(f"Next: regvault snapshot SOURCE --vault {place.location}")
