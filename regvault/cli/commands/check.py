"""`regvault check`: 3-2-1-1-0 over all copies, and RPO."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import DURATION, LOCATION, endpoint_option, identity_option
from regvault.errors import NotFoundError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.ops.check import CheckResult
    from regvault.ops.check.report import CheckedCopy, CheckedRegistry
    from regvault.policy.rule321 import Rule

_AMOUNT = click.IntRange(0, 100_000)
_TITLES = {
    "copies": "copies",
    "media": "media",
    "offsite": "offsite",
    "immutable": "immutable",
    "errors": "errors",
    "rpo": "RPO",
}


@command(
    "check",
    examples=[
        ("All that the configuration names, from cron, with evidence", "regvault check --record"),
        (
            "Without a configuration",
            "regvault check fs:/var/lib/registry --vault /backup/vault --vault s3://offsite/vault",
        ),
        ("Two copies will do", "regvault check production --copies 2 --offsite 0 --immutable 0"),
        ("For monitoring", "regvault check --json | jq .met"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 6, 10, 12),
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=LOCATION)
@click.option(
    "--vault",
    "vaults",
    metavar="VAULT",
    type=LOCATION,
    multiple=True,
    help="A vault to look at; may be repeated. Else all of the configuration, else "
    "$REGVAULT_VAULT.",
)
@click.option("--copies", metavar="N", type=_AMOUNT, help="Ask for N copies (3).")
@click.option("--media", metavar="N", type=_AMOUNT, help="In N failure domains (2).")
@click.option("--offsite", metavar="N", type=_AMOUNT, help="N of them offsite (1).")
@click.option("--immutable", metavar="N", type=_AMOUNT, help="N immutable or offline (1).")
@click.option("--errors", metavar="N", type=_AMOUNT, help="Let N errors pass (0).")
@click.option(
    "--max-age",
    metavar="DURATION",
    type=DURATION,
    help="How old the newest snapshot in a vault may be (26h).",
)
@click.option(
    "--max-behind",
    metavar="DURATION",
    type=DURATION,
    help="How much older than the newest of all vaults (26h).",
)
@click.option(
    "--verify-max-age",
    metavar="DURATION",
    type=DURATION,
    help="How long ago all metadata may have been verified (8d).",
)
@click.option(
    "--verify-data-max-age",
    metavar="DURATION",
    type=DURATION,
    help="How long ago all data may have been verified (35d).",
)
@click.option("--record", is_flag=True, help="Leave the report in each vault, as evidence.")
@endpoint_option
@identity_option
@click.pass_obj
def check(
    app: App,
    /,
    sources: tuple[str, ...],
    vaults: tuple[str, ...],
    record: bool,
    endpoint_url: str | None,
    **thresholds: Any,
) -> int:
    """Check that enough copies exist, apart, young and proven: 3-2-1-1-0, and RPO.

    3 copies, the live registry at SOURCE being one; in 2 failure domains; 1 offsite; 1 immutable or
    offline; 0 errors; and no newest snapshot older than allowed. Evidence is what the registry and
    the vaults say now; what only the configuration says is shown as declared, and is a miss where
    evidence says otherwise. Whose snapshots a sealed vault has, an identity tells.

    Without SOURCE, all registries of the configuration; without those, all that the vaults have. A
    miss is exit code 3, as is a place that cannot be reached; a damaged vault is 4. Nothing is
    written without --record.
    """
    from datetime import UTC, datetime

    from regvault.assemble.subjects import registry_to_check, vault_to_check
    from regvault.ops.check import check as judge
    from regvault.ops.check import record as leave

    registries = _registries(app, sources, endpoint_url)
    places = _vaults(app, vaults, endpoint_url)
    if not registries and not places:
        raise NotFoundError(
            "there is nothing to check: no registry and no vault is named",
            hint="Name them: regvault check SOURCE --vault VAULT, or in regvault.yaml.",
        )
    with app.progress() as progress:
        result = judge(
            [vault_to_check(place) for place in places],
            [registry_to_check(place) for place in registries],
            _rule(app, thresholds),
            now=datetime.now(UTC),
            progress=progress,
        )
        if record:
            leave(result, progress=progress)
    app.console.document(result.to_json())
    _show(app, result)
    return result.exit_code()


def _registries(
    app: App, sources: tuple[str, ...], endpoint_url: str | None
) -> list[RegistryPlace]:
    from regvault.model.location import Role

    names = dict.fromkeys(sources) or (app.config.registry_places if app.config else ())
    found = [app.registry(name, Role.SOURCE, endpoint_url=endpoint_url) for name in names]
    return list({(place.location, place.name): place for place in found}.values())


def _vaults(app: App, vaults: tuple[str, ...], endpoint_url: str | None) -> list[VaultPlace]:
    names = list(dict.fromkeys(vaults) or (app.config.vault_places if app.config else ()))
    if not names and (named := os.environ.get("REGVAULT_VAULT")):
        names = [named]
    found = [app.vault(name, endpoint_url=endpoint_url) for name in names]
    # One place under two names of the configuration stays: the rule says what is wrong with that.
    return list({(place.location, place.name): place for place in found}.values())


def _rule(app: App, given: dict[str, Any]) -> Rule:
    """Return the rule: what the command line asks for, else the configuration, else 3-2-1-1-0."""
    from dataclasses import replace

    from regvault.policy.rule321 import Rule

    fields = {
        "max_age": "max_age_s",
        "max_behind": "max_behind_s",
        "verify_max_age": "verify_metadata_s",
        "verify_data_max_age": "verify_data_s",
    }
    changes = {fields.get(k, k): value for k, value in given.items() if value is not None}
    return replace(app.config.rule if app.config else Rule(), **changes)


def _show(app: App, result: CheckResult) -> None:
    say = app.console.say
    for number, registry in enumerate(result.registries):
        if number:
            say()
        missed = sum(not verdict.met for verdict in registry.verdicts)
        total = len(registry.verdicts)
        say(f"Registry {registry.name}: {f'{missed} of {total} missed' if missed else 'all met'}")
        say()
        _copies(app, registry)
        say()
        _verdicts(app, registry)
        for note in registry.notes:
            say(f"Note: {note}.")
    for note in result.notes:
        say(f"Note: {note}.")
    for location, key in result.records.items():
        app.console.note(f"recorded in {location} as {key}")


def _copies(app: App, registry: CheckedRegistry) -> None:
    first = ("copy", "kind", "domain", "newest", "age", "state")
    header = (*first, "verified", "all data read", "locked", "offsite")
    app.console.table(header, [_row(copy) for copy in registry.copies])
    for copy in registry.copies:
        if copy.where.remark:
            app.console.say(f"{copy.facts.name}: {copy.where.remark}.")


def _row(copy: CheckedCopy) -> tuple[str, ...]:
    facts, declared = copy.facts, copy.facts.declared
    medium = f"{declared.medium} (declared)" if declared.medium else copy.where.medium
    kind = f"{'registry' if facts.live else 'vault'}{f', {medium}' if medium else ''}"
    domain = f"{declared.domain} (declared)" if declared.domain else copy.where.domain
    age = "-" if facts.age_s is None else fmt.duration(facts.age_s)
    locked = "yes" if facts.lock else "no" if copy.lock else "-"
    locked = "offline (declared)" if declared.offline else locked
    offsite = {None: "-", True: "declared", False: "no"}[declared.offsite]
    live = facts.live or facts.unusable is not None
    return (
        facts.name,
        kind,
        domain or "?",
        facts.newest or "-",
        age,
        _state(copy),
        "-" if live else _since(facts.metadata_age_s),
        "-" if live else _since(facts.data_age_s),
        locked,
        offsite,
    )


def _since(age_s: float | None) -> str:
    return "never" if age_s is None else f"{fmt.duration(age_s)} ago"


def _state(copy: CheckedCopy) -> str:
    facts = copy.facts
    if facts.unusable is not None:
        return facts.unusable.code
    if facts.live:
        return fmt.count(copy.repositories or 0, "repository")
    if any(flaw.damaged for flaw in facts.flaws):
        return "DAMAGED"
    return ", ".join(dict.fromkeys(flaw.code for flaw in facts.flaws)) or "complete"


def _verdicts(app: App, registry: CheckedRegistry) -> None:
    rows = []
    for verdict in registry.verdicts:
        wanted = "" if verdict.part == "rpo" else f"{verdict.wanted:g}"
        met = "met" if verdict.met else "MISSED"
        rows.append((wanted, _TITLES[verdict.part], met, verdict.summary))
        for reason in verdict.reasons:
            rows.append(("", "", "", f"- {reason.message}"))
            rows.append(("", "", "", f"  {reason.hint}"))
    app.console.table((), rows)
