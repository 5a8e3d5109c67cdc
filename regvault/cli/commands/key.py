"""`regvault key`: keys that sign a vault's snapshots."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from regvault.cli.group import LazyCommand, command, group
from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App

_HERE = "regvault.cli.commands.key"
_SIGNED = "regvault.cli.commands.key_signed"
_SEALED = "regvault.cli.commands.key_sealed"


@group(
    "key",
    {
        "generate": LazyCommand(
            f"{_HERE}:generate",
            "Make a key pair to sign snapshots with, or to open a sealed vault with.",
        ),
        "list": LazyCommand(
            f"{_SIGNED}:list_",
            "Show who signed the snapshots of the vault, and who can open it, if it is sealed.",
        ),
        "countersign": LazyCommand(
            f"{_SIGNED}:countersign_", "Sign everything that a trusted key has signed."
        ),
        "add-recipient": LazyCommand(
            f"{_SEALED}:add_recipient", "Seal what is written from now on to one more recipient."
        ),
        "remove-recipient": LazyCommand(
            f"{_SEALED}:remove_recipient", "Seal nothing more to a recipient."
        ),
        "rotate": LazyCommand(
            f"{_SEALED}:rotate",
            "Give the host that takes snapshots of a sealed vault a new identity.",
        ),
    },
)
def key() -> None:
    """Keys that sign a vault's snapshots, and keys that a sealed vault is opened with."""


@command(
    "generate",
    examples=[
        ("A key to sign with", "regvault key generate /etc/regvault/sign.pem"),
        ("A key to open a sealed vault with", "regvault key generate --identity vault-key.txt"),
        (
            "A vault whose snapshots it signs",
            "regvault init /backup/vault --sign-key file:/etc/regvault/sign.pem",
        ),
    ],
    exit_codes=(0, 1, 2, 12),
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--identity",
    is_flag=True,
    help="Make an age identity, that opens a sealed vault, in place of a key to sign with.",
)
@click.pass_obj
def generate(app: App, file: str, identity: bool) -> None:
    """Make a key pair to sign snapshots with, or to open a sealed vault with.

    With --identity, FILE is what age-keygen writes, and the recipient is shown that goes with it:
    for `init --recipient`. Keep it apart from the vault and from the host that takes snapshots:
    without it nothing can be restored.

    Else the private Ed25519 key is written to FILE, which must not exist; the public one is shown.
    FILE is PKCS#8 PEM, readable by its owner alone. Who has it can sign snapshots. Keep a copy of
    it apart from the vault: without it no new snapshot can be signed; old ones can be read all the
    same.
    """
    from regvault.vault.signing import SigningKey

    if identity:
        _generate_identity(app, file)
        return
    made = SigningKey.generate()
    write_secret(file, made.to_pem())
    app.console.document({"file": file, "public": str(made.public), "id": made.public.id})
    app.console.say(str(made.public))
    app.console.note(f"Key {made.public.id}; the private one is in {file}.")


def _generate_identity(app: App, file: str) -> None:
    from regvault.vault.age import Identity, identities_text

    made = Identity.generate()
    write_secret(file, identities_text([made]))
    app.console.document({"file": file, "recipient": made.public})
    app.console.say(made.public)
    app.console.note(f"The identity is in {file}; who has it can open what is sealed to it.")


def write_secret(file: str, text: str) -> None:
    """Write a new file that its owner alone can read. Raises UsageError where that fails."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot make {file}: {error.strerror}",
            hint="Name a file that does not exist, in a directory that does.",
        ) from error
    with os.fdopen(handle, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
