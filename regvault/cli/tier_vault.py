"""What `tier plan` and `tier apply` do with a vault, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from regvault.cli import text as fmt
from regvault.cli.options import AMOUNT
from regvault.cli.retention_options import given_retention, keep_options, policies_of
from regvault.cli.tier_rules import rules_move
from regvault.errors import ObjectNotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.cli.app import App
    from regvault.config.places import VaultPlace
    from regvault.ops.tier.apply import Applied, ApplyOptions
    from regvault.ops.tier.planned import Header, Plan, PlanFile
    from regvault.policy.prices import PriceTable

__all__ = ["apply_to_vault", "plan_of_vault", "show_restores", "vault_at", "vault_plan_options"]

F = TypeVar("F", bound="Callable[..., Any]")

_SHOWN = 10


def vault_plan_options(function: F) -> F:
    """Add what a plan of a vault is asked for: the promise, and retention."""
    decorated = keep_options(function)
    decorated = click.option(
        "--newest",
        metavar="N",
        type=click.IntRange(min=1),
        default=7,
        show_default=True,
        help="Of a vault: how many snapshots of each registry are under the promise.",
    )(decorated)
    decorated = click.option(
        "--max-restore-cost",
        metavar="MONEY",
        type=AMOUNT,
        default=0.0,
        show_default=True,
        help="Of a vault: what bringing back all of one of them may cost, by the prices.",
    )(decorated)
    return click.option(
        "--max-restore-hours",
        metavar="HOURS",
        type=AMOUNT,
        default=0.0,
        show_default=True,
        help="Of a vault: within how many hours all of one of the newest snapshots can be read.",
    )(decorated)


def vault_at(app: App, text: str, *, endpoint_url: str | None) -> VaultPlace | None:
    """Return the vault that a person means by a name or a location; None: it is a registry.

    Raises:
        UsageError: it is no location.
        StoreError: it cannot be looked at.
    """
    from regvault.assemble import vault_store
    from regvault.config.places import resolve_vault
    from regvault.model.location import Kind, is_location, parse_location
    from regvault.vault.keys import VAULT_JSON

    if not is_location(text):
        known = app.config
        if known is None or text in known.registry_places or text not in known.vault_places:
            return None
        return resolve_vault(text, known, endpoint_url=endpoint_url)
    kind = parse_location(text, None).kind
    if kind is Kind.FILE:
        return app.vault(text, endpoint_url=endpoint_url)
    if kind is not Kind.S3:
        return None
    place = app.vault(text, endpoint_url=endpoint_url)
    store = vault_store(place)
    try:
        store.head(VAULT_JSON)
    except ObjectNotFoundError:
        return None
    finally:
        store.close()
    return place


def plan_of_vault(
    app: App,
    place: VaultPlace,
    name: str,
    table: PriceTable,
    *,
    horizon: float,
    promise: tuple[float, float, int],
    keep: dict[str, Any],
    threads: int | None,
) -> Plan:
    """Plan the tiering of a vault.

    Args:
        app: of this run.
        place: the vault.
        name: of it, on the command line.
        table: the prices.
        horizon: days that are looked at.
        promise: hours and money that are promised, and of how many of the newest snapshots.
        keep: what was given of retention.
        threads: that LIST; None: the default.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.config.places import endpoint_of
    from regvault.ops.tier.plan_vault import VaultPlanOptions, plan_vault

    opened = open_vault(place)
    names = [opened.title(registry) for registry in opened.registries()]
    options = VaultPlanOptions(
        table,
        horizon,
        *promise,
        policies=policies_of(app, names, given_retention(keep), place.retention),
        timezone=app.timezone,
        place=name,
        endpoint=endpoint_of(place.s3) or "",
        threads=threads_for(place, asked=threads),
    )
    with app.progress() as progress:
        return plan_vault(opened, options, progress=progress)


def apply_to_vault(
    app: App,
    made: PlanFile,
    journal: str,
    options: ApplyOptions,
    *,
    endpoint_url: str | None,
    wait_s: float,
    add_rules: bool,
    agree: Callable[[], bool],
) -> Applied | None:
    """Do what was planned for a vault; None: nobody wants it done.

    Args:
        app: of this run.
        made: the plan.
        journal: path of its journal.
        options: of the moves.
        endpoint_url: of the vault, as given on the command line.
        wait_s: seconds to wait for snapshots that are at work.
        add_rules: to a bucket that keeps versions, where they are missing.
        agree: shows the plan, and asks.

    Raises:
        RefusedError: the plan is for another vault; or its bucket lacks rules.
        UsageError: its store has no classes.
    """
    from regvault.assemble import open_vault
    from regvault.model.classes import ClassedStore
    from regvault.ops.tier.apply import apply as execute
    from regvault.ops.tier.apply_vault import guarded
    from regvault.ops.tier.cold import DATA
    from regvault.ops.tier.journal import Journal

    header = made.header
    opened = open_vault(
        app.vault(header.place, endpoint_url=endpoint_url or header.endpoint or None)
    )
    store = opened.store
    if store.location != header.location:
        raise RefusedError(
            f"{made.path} is for {header.location}, and {header.place} is {store.location} now",
            hint="Make a new plan: regvault tier plan",
        )
    if not isinstance(store, ClassedStore):
        raise UsageError(f"{store.location} has no storage classes")
    if not agree():
        return None
    options = replace(options, by_rules=rules_move(app, store, header, DATA, add=add_rules))
    done = Journal(journal, header.id)
    try:
        with (
            app.progress() as progress,
            guarded(
                opened,
                header,
                made.moves,
                timezone=app.timezone,
                wait_s=wait_s,
                threads=options.threads,
                progress=progress,
            ) as must_stay,
        ):
            progress.phase("Moving")
            return execute(made.moves(), store, done, options, is_used=must_stay, progress=progress)
    finally:
        done.close()


def show_restores(app: App, header: Header) -> None:
    """Show what bringing back the newest snapshots takes, before and after."""
    promise = header.promise
    if promise is None or not header.restore:
        return
    currency = fmt.inline(header.prices["currency"])
    rows = [
        (
            each["snapshot"],
            fmt.size(each["bytes"]),
            *(f"{hours:g} h" for hours in each["hours"]),
            *(f"{cost:.2f}" for cost in each["cost"]),
            "" if each["kept"] else "broken",
        )
        for each in header.restore
        if each["newest"] or not each["kept"]
    ]
    app.console.table(
        ["to restore", "data", "now", "then", "now", "then", ""], rows[:_SHOWN], align="lrrrrrl"
    )
    app.console.say(
        f"Promised of each of the newest {promise['newest']}: all of it can be read within "
        f"{promise['hours']:g} hours, for {promise['cost']:g} {currency} at most."
    )
