"""`regvault init`: make a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli.group import command
from regvault.cli.options import DURATION, LOCATION, endpoint_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App


@command(
    "init",
    examples=[
        ("A vault on a disk", "regvault init /backup/vault"),
        ("A vault in a bucket that exists", "regvault init s3://backup/registry"),
        (
            "One that nobody can delete for 30 days",
            "regvault init s3://locked/registry --lock governance --lock-for 30d",
        ),
    ],
    exit_codes=(0, 1, 2, 5, 6, 10, 12),
)
@click.argument("vault", type=LOCATION)
@click.option(
    "--lock",
    metavar="MODE",
    type=click.Choice(["governance", "compliance"]),
    help="Lock every object (Object Lock): `governance` can be lifted by who has that right, "
    "`compliance` by nobody at all.",
)
@click.option(
    "--lock-for",
    metavar="DURATION",
    type=DURATION,
    help="For how long, such as 30d. What snapshots need is locked anew before that is over.",
)
@endpoint_option
@click.pass_obj
def init(
    app: App, vault: str, lock: str | None, lock_for: float | None, endpoint_url: str | None
) -> None:
    """Make a vault, after probing what the store really supports.

    VAULT is a directory, which is made, or s3://BUCKET/PREFIX, where the bucket must exist. The
    store must keep create-only writes apart: 32 of one key at once are tried.

    --lock needs a bucket with Object Lock. Writers then lock whatever they store, and keep it
    locked while a snapshot needs it. A vault that is there already is locked from now on.
    """
    from math import ceil

    from regvault.assemble import create_vault
    from regvault.vault.locks import LockPolicy

    if (lock is None) != (not lock_for):
        raise UsageError(
            "--lock and --lock-for go together",
            hint="Such as: --lock governance --lock-for 30d",
        )
    policy = LockPolicy(lock, ceil(lock_for)) if lock is not None and lock_for else None
    place = app.vault(vault, endpoint_url=endpoint_url)
    identity = create_vault(place, policy)
    locked = None if policy is None else policy._asdict()
    app.console.document(
        {"vault": identity, "location": str(place.location), "format": 1, "lock": locked}
    )
    app.console.say(f"Made vault {identity} at {place.location}.")
    if policy is not None:
        app.console.say(f"What is stored is locked for {_span(policy.seconds)} ({policy.mode}).")
    app.console.note(f"Next: regvault snapshot SOURCE --vault {place.location}")


def _span(seconds: int) -> str:
    from regvault.cli import text as fmt

    return fmt.duration(float(seconds))
