"""`regvault key`, of sealed vaults: to whom they are sealed from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli.group import command
from regvault.cli.options import vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App

_EXIT_CODES = (0, 1, 2, 4, 5, 6, 10, 12)

_despite_damage_option = click.option(
    "--despite-damage",
    is_flag=True,
    help="Begin from the newest key record that can be read, though a later one is damaged or gone:"
    " see that nobody remains who was removed by that.",
)


@command(
    "add-recipient",
    examples=[
        (
            "One more who can restore",
            "regvault key add-recipient age1... --identity file:/etc/regvault/age.txt",
        ),
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("recipient")
@_despite_damage_option
@vault_option
@click.pass_obj
def add_recipient(
    app: App, recipient: str, despite_damage: bool, vault: str | None, endpoint_url: str | None
) -> None:
    """Seal what is written from now on to one more recipient.

    RECIPIENT is age1..., as `regvault key generate --identity` shows it. It opens what is stored
    from now on, and not what is there already: a snapshot that reuses older objects needs an older
    identity as well.
    """
    from regvault.vault.age import parse_recipient

    _change(app, vault, endpoint_url, despite_damage, add=[parse_recipient(recipient)])


@command(
    "remove-recipient",
    examples=[
        (
            "Somebody left",
            "regvault key remove-recipient age1... --identity file:/etc/regvault/age.txt",
        ),
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("recipient")
@_despite_damage_option
@vault_option
@click.pass_obj
def remove_recipient(
    app: App, recipient: str, despite_damage: bool, vault: str | None, endpoint_url: str | None
) -> None:
    """Seal nothing more to a recipient.

    It opens still what is there already. To take that away too, begin a new vault.
    """
    from regvault.vault.age import parse_recipient

    _change(app, vault, endpoint_url, despite_damage, remove=[parse_recipient(recipient)])


@command(
    "rotate",
    examples=[
        (
            "A new key for the host",
            "regvault key rotate new.txt --identity file:/etc/regvault/age.txt",
        ),
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("file", type=click.Path(dir_okay=False))
@_despite_damage_option
@vault_option
@click.pass_obj
def rotate(
    app: App, file: str, despite_damage: bool, vault: str | None, endpoint_url: str | None
) -> None:
    """Give the host that takes snapshots of a sealed vault a new identity.

    FILE, which must not exist, gets the new identity, and after it those that were given: what is
    stored is sealed to them. Put it in the place of the old file. A key to sign with is rotated by
    the configuration: `sign_key` names the new one, `trusted_keys` both.
    """
    from regvault.assemble import open_vault
    from regvault.cli.commands.key import write_secret
    from regvault.ops.keys import rotate_writer
    from regvault.vault.age import Identity, identities_text
    from regvault.vault.current_keys import require_current_keys

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    opened.seal.name("")  # refuses before a file is made
    if not despite_damage:
        require_current_keys(opened)
    made = Identity.generate()
    write_secret(file, identities_text([made, *opened.id.keys.identities]))
    rotate_writer(opened, made.public, despite_damage=despite_damage)
    app.console.document({"file": file, "writer": made.public})
    app.console.say(f"Snapshots are taken as {made.public} from now on.")
    app.console.note(f"Use {file} in place of the identity that was given.")


def _change(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    despite_damage: bool,
    *,
    add: list[str] | None = None,
    remove: list[str] | None = None,
) -> None:
    from regvault.assemble import open_vault
    from regvault.ops.keys import change_recipients, describe_sealing

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    change_recipients(opened, add=add or [], remove=remove or [], despite_damage=despite_damage)
    sealing = describe_sealing(opened)
    app.console.document(sealing)
    say_sealing(app, sealing)


def say_sealing(app: App, sealing: dict[str, Any]) -> None:
    """Say to whom a vault is sealed; `sealing`: see `regvault.ops.keys.describe_sealing`."""
    rows = [(each, "opens everything written from now on") for each in sealing["recipients"]]
    rows += [(each, "opens what was written before") for each in sealing["before"]]
    if sealing["writer"] is not None:
        reads = sealing["writer"] in (*sealing["recipients"], *sealing["before"])
        opens = "and is a recipient too" if reads else "opens names only"
        rows.append((sealing["writer"], f"takes snapshots; {opens}"))
    app.console.table(("key", "what it opens"), rows)
