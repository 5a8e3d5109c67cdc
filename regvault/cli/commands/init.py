"""`regvault init`: make a vault."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import (
    DURATION,
    LOCATION,
    endpoint_option,
    identity_option,
    secret_ref,
)
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.vault.create import Sealing
    from regvault.vault.locks import LockPolicy
    from regvault.vault.signing import Keys

#: A lock of so many seconds or less ends before most people notice anything: a week.
_SHORT_LOCK = 7 * 86_400


@command(
    "init",
    examples=[
        ("A vault on a disk", "regvault init /backup/vault"),
        ("A vault in a bucket that exists", "regvault init s3://backup/registry"),
        (
            "One that only the holder of another key can read",
            "regvault init /backup/vault --recipient age1... --identity file:/etc/regvault/age.txt",
        ),
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
@click.option(
    "--recipient",
    "recipients",
    metavar="R",
    multiple=True,
    help="Seal it to this age recipient (age1...), who alone can read what is in it; may be "
    "repeated. The host that takes snapshots needs an identity of its own: --identity.",
)
@click.option(
    "--sealed-as",
    metavar="VAULT",
    type=LOCATION,
    help="Seal it as this other vault is, whose snapshots can then be copied to it.",
)
@identity_option
@click.pass_obj
def init(
    app: App,
    vault: str,
    lock: str | None,
    lock_for: float | None,
    endpoint_url: str | None,
    sign_key: str | None,
    recipients: tuple[str, ...],
    sealed_as: str | None,
) -> None:
    """Make a vault, after probing what the store really supports.

    VAULT is a directory, which is made, or s3://BUCKET/PREFIX, where the bucket must exist. The
    store must keep create-only writes apart: 32 of one key at once are tried.

    --lock needs a bucket with Object Lock. Writers then lock whatever they store, and keep it
    locked while a snapshot needs it. A vault that is there already is locked from now on.

    --recipient makes a sealed vault: layers, manifests and configs are encrypted to the recipients,
    and the host that stores them cannot read them. Names, tags and digests are hidden from the
    store; the identity that is given here finds what is there already, and no more.
    """
    from math import ceil

    from regvault.assemble import create_vault
    from regvault.assemble.keys import keys_of
    from regvault.vault.locks import LockPolicy

    if (lock is None) != (not lock_for):
        raise UsageError(
            "--lock and --lock-for go together",
            hint="Such as: --lock governance --lock-for 30d",
        )
    policy = LockPolicy(lock, ceil(lock_for)) if lock is not None and lock_for else None
    place = app.vault(vault, endpoint_url=endpoint_url)
    if sign_key is not None:
        place = replace(place, sign_key=secret_ref("--sign-key", sign_key))
    sealing = _sealing(app, recipients, sealed_as)
    keys = keys_of(place)
    public = None if keys.signer is None else str(keys.signer.public)
    identity = create_vault(place, keys, lock=policy, sealing=sealing)
    locked = None if policy is None else policy._asdict()
    app.console.document(
        {
            "vault": identity,
            "location": str(place.location),
            "format": 1,
            "lock": locked,
            "signed": public is not None,
            "public_key": public,
            "sealed": sealing is not None,
            "recipients": list(sealing.recipients) if sealing is not None else [],
        }
    )
    app.console.say(f"Made vault {identity} at {place.location}.")
    if policy is not None:
        _say_lock(app, policy)
    if public is not None:
        app.console.say(f"Its snapshots are signed; for trusted_keys of who reads them: {public}")
        app.console.note(
            f"Give the private key to whoever takes snapshots ($REGVAULT_SIGN_KEY={place.sign_key}"
            "), and the public one to whoever reads them ($REGVAULT_TRUSTED_KEYS)."
        )
    if sealing is not None and recipients:
        _say_sealing(app, sealing, keys)
    if sealing is None and keys.identities:
        app.console.warn(
            "an identity is given, and the vault is not sealed: snapshots with it are refused",
            hint="For a sealed vault remove this one, and name who may restore: --recipient "
            "age1...; for a plain one leave --identity, or $REGVAULT_IDENTITY, away.",
        )
    app.console.note(f"Next: regvault snapshot SOURCE --vault {place.location}")


def _say_lock(app: App, policy: LockPolicy) -> None:
    span = fmt.duration(float(policy.seconds))
    app.console.say(f"What is stored is locked for {span} ({policy.mode}).")
    if policy.seconds <= _SHORT_LOCK:
        app.console.warn(
            f"{span} protect little: what someone overwrites or deletes may be gone for good "
            "before anybody notices",
            hint="The time must be longer than it takes you to notice; 30d are a good beginning. "
            "How a vault is locked does not change: make another one (docs/immutability.md).",
        )


def _say_sealing(app: App, sealing: Sealing, keys: Keys) -> None:
    app.console.say(f"It is sealed to {fmt.count(len(sealing.recipients), 'recipient')}.")
    app.console.note(
        "Keep each recipient's identity apart from the vault and from this host: without one "
        "nothing can be restored. To take snapshots, give the identity that you gave here."
    )
    # The first is that of the host that takes snapshots.
    writer = keys.identities[0].public
    if writer in sealing.recipients:
        app.console.warn(
            f"the identity of this host is that of a recipient, {writer}: this host can read "
            "everything, and so can whoever takes it over",
            hint="Make another vault, with an identity of the host's own: regvault key generate "
            "--identity FILE, and --identity file:FILE beside --recipient (docs/sealed.md).",
        )


def _sealing(app: App, recipients: tuple[str, ...], sealed_as: str | None) -> Sealing | None:
    """Return to whom the vault is sealed; None: to nobody.

    Raises:
        UsageError: one of them is no recipient, or both ways to say it are used.
    """
    from regvault.assemble import open_vault
    from regvault.vault.age import parse_recipient
    from regvault.vault.create import Sealing

    if sealed_as is not None:
        if recipients:
            raise UsageError(
                "--recipient and --sealed-as do not go together",
                hint="A copy has the recipients of its original: leave --recipient out.",
            )
        origin = open_vault(app.vault(sealed_as))
        if origin.sealing_key is None:
            raise UsageError(
                f"{origin.store.location} is not sealed", hint="Leave --sealed-as out."
            )
        return Sealing(copy_of=origin)
    if not recipients:
        return None
    return Sealing(tuple(dict.fromkeys(map(parse_recipient, recipients))))
