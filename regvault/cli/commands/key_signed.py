"""`regvault key`, of signed vaults: who signed what, and the signature of one more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import vault_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.cli.app import App
    from regvault.ops.keys import KeyUse
    from regvault.vault.signing import PublicKey, SigningKey


@command(
    "list",
    examples=[("Who signed what?", "regvault key list --vault /backup/vault")],
    exit_codes=(0, 1, 2, 4, 6, 10, 12),
)
@vault_option
@click.pass_obj
def list_(app: App, vault: str | None, endpoint_url: str | None) -> int:
    """Show who signed the snapshots of the vault, and who can open it, if it is sealed.

    Each key is shown with what it signed, and whether it is trusted; and the public keys that are
    known here: of the key that this host signs with, and those that are trusted.

    Which ones are says trusted_keys of the configuration, or $REGVAULT_TRUSTED_KEYS; where neither
    does, everything is taken.
    """
    from regvault.assemble import open_vault
    from regvault.assemble.keys import signing_keys
    from regvault.cli.commands.key_sealed import say_sealing
    from regvault.ops.keys import describe_sealing, list_keys

    place = app.vault(vault, endpoint_url=endpoint_url)
    keys = signing_keys(place)
    # Whoever signed it: that is what is asked.
    opened = open_vault(replace(place, sign_key=None, trusted_keys=()))
    own = [keys.signer.public] if keys.signer is not None and opened.id.signed else []
    trusted = tuple(dict.fromkeys((*keys.trusted, *own)))
    uses = list_keys(opened, trusted)
    sealing = None if opened.sealing_key is None else describe_sealing(opened)
    app.console.document(
        {
            "sign_key": None if keys.signer is None else str(keys.signer.public),
            "trusted_keys": [str(public) for public in trusted],
            "keys": [use.to_json() for use in uses],
            "sealing": sealing,
        }
    )
    _say_public(app, keys.signer, trusted)
    _say_uses(app, uses, trusting=bool(trusted))
    if sealing is not None:
        say_sealing(app, sealing)
    return _say_wrong(app, uses, trusting=bool(trusted))


def _say_public(app: App, signer: SigningKey | None, trusted: Sequence[PublicKey]) -> None:
    rows = []
    for public in dict.fromkeys((*([signer.public] if signer is not None else []), *trusted)):
        signs = signer is not None and public == signer.public
        words = ["signs what is written from here"] if signs else []
        words += ["trusted"] if public in trusted else []
        rows.append((str(public), public.id, ", ".join(words)))
    if rows:
        app.console.table(("public key", "key", "here"), rows)
        app.console.say()


def _say_uses(app: App, uses: Sequence[KeyUse], *, trusting: bool) -> None:
    rows: list[tuple[object, ...]] = []
    for use in uses:
        who = use.key or "(not signed)"
        state = ("trusted" if use.trusted else "NOT TRUSTED") if trusting else "-"
        if use.vault:
            rows.append((who, state, "vault.json", ""))
        for registry, first, last, count in use.snapshots:
            which = f"{registry}@{first}" + (f" to {last}" if count > 1 else "")
            rows.append((who, state, which, count))
    if rows:
        app.console.table(("key", "trusted", "snapshots", "count"), rows, align="lllr")
    else:
        app.console.note("Nothing is signed, and there is no snapshot yet.")


def _say_wrong(app: App, uses: Sequence[KeyUse], *, trusting: bool) -> int:
    """Warn of what is wrong with signatures; return the exit code."""
    wrong = [slot for use in uses for slot in use.wrong]
    if wrong:
        app.console.warn(
            f"{fmt.count(len(wrong), 'signature')} is wrong: {', '.join(wrong[:5])}",
            hint="Someone altered them. See what else: regvault verify",
        )
    untrusted = trusting and not any(use.vault and use.trusted for use in uses)
    if untrusted:
        app.console.warn(
            "no trusted key has signed vault.json: every other command refuses this vault",
            hint="Trust the key that signed it, after comparing it with what who signs has noted.",
        )
    return 4 if wrong or untrusted else 0


@command(
    "countersign",
    examples=[
        (
            "The old key was stolen",
            "REGVAULT_SIGN_KEY=file:new.pem regvault key countersign --vault /backup/vault",
        ),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@vault_option
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would be signed.")
@click.pass_obj
def countersign_(app: App, vault: str | None, endpoint_url: str | None, dry_run: bool) -> int:
    """Sign everything that a trusted key has signed.

    The signature of this host's key (sign_key) comes beside those that are there. After it who
    trusts this key alone reads the whole vault, so the old one can be taken out of trusted_keys
    everywhere. Until then both must be trusted. What no trusted key has signed is left as it is,
    and named (exit code 4).

    What is countersigned is vouched for. Where the old key was stolen, see first that nothing was
    forged with it: docs/keys.md.
    """
    from regvault.assemble import open_vault
    from regvault.ops.countersign import countersign

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    with app.progress() as progress:
        result = countersign(opened, dry_run=dry_run, progress=progress)
    app.console.document(result.to_json())
    verb = "Would sign" if dry_run else "Signed"
    app.console.say(
        f"{verb} {fmt.count(len(result.signed), 'object')} with key {result.key}; "
        f"{fmt.number(result.already)} had its signature, or need none."
    )
    for key, why in result.refused:
        app.console.warn(why, hint=None if key in why else key)
    return result.exit_code()
