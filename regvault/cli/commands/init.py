"""`regvault init`: make a vault."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from regvault.cli.group import command
from regvault.cli.options import DURATION, LOCATION, endpoint_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.secrets import SecretRef


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
@click.option(
    "--sign-key",
    metavar="REF",
    help="Make it a vault whose snapshots are signed; where the private key is: file:/PATH or "
    "env:NAME. Made by: regvault key generate.",
)
@click.pass_obj
def init(
    app: App,
    vault: str,
    lock: str | None,
    lock_for: float | None,
    endpoint_url: str | None,
    sign_key: str | None,
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
    if sign_key is not None:
        place = replace(place, sign_key=_reference(sign_key))
    identity = create_vault(place, policy)
    locked = None if policy is None else policy._asdict()
    signed = place.sign_key is not None
    app.console.document(
        {
            "vault": identity,
            "location": str(place.location),
            "format": 1,
            "lock": locked,
            "signed": signed,
        }
    )
    app.console.say(f"Made vault {identity} at {place.location}.")
    if policy is not None:
        app.console.say(f"What is stored is locked for {_span(policy.seconds)} ({policy.mode}).")
    if signed:
        app.console.note(
            f"Its snapshots are signed: give the key to whoever takes them ($REGVAULT_SIGN_KEY="
            f"{place.sign_key}), and its public key to whoever reads them ($REGVAULT_TRUSTED_KEYS)."
        )
    app.console.note(f"Next: regvault snapshot SOURCE --vault {place.location}")


def _span(seconds: int) -> str:
    from regvault.cli import text as fmt

    return fmt.duration(float(seconds))


def _reference(text: str) -> SecretRef:
    from regvault.config.secrets import parse_secret_ref

    try:
        return parse_secret_ref(text)
    except ValueError as error:
        raise UsageError(f"--sign-key: {error}", hint="file:/PATH or env:NAME") from None
