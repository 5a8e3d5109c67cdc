"""`regvault estimate`: before the first run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import LOCATION, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.estimate import Estimate
    from regvault.vault.vault import Vault


@command(
    "estimate",
    examples=[
        ("Before the first run", "regvault estimate fs:/var/lib/registry"),
        (
            "With the growth that a vault has seen",
            "regvault estimate s3://images --vault s3://backup/registry",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 5, 6, 10, 12),
)
@click.argument("source", type=LOCATION)
@vault_option
@click.option("--registry", metavar="NAME", help="Its permanent name in the vault.")
@click.option(
    "--sample-seconds",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="How long to read blobs, to measure the rate; 0 reads none.",
)
@click.pass_obj
def estimate(
    app: App,
    source: str,
    vault: str | None,
    endpoint_url: str | None,
    registry: str | None,
    sample_seconds: float,
) -> int:
    """Estimate what a first full of the registry at SOURCE stores, takes and costs.

    Reads links and the listing of blobs, and some blobs for a moment to measure how fast this
    machine reads and hashes them. Prices are list prices with their date: check them again.
    """
    from regvault.assemble import open_source, threads_for
    from regvault.config.price_files import DEFAULT_PRICES, load_prices
    from regvault.model.location import Role
    from regvault.ops.estimate import EstimateOptions
    from regvault.ops.estimate import estimate as count

    place = app.registry(source, Role.SOURCE, endpoint_url=endpoint_url)
    options = EstimateOptions(
        load_prices(DEFAULT_PRICES), sample_s=sample_seconds, registry=registry or place.name
    )
    opened = _vault(app, vault, endpoint_url)
    with app.progress() as progress:
        result = count(
            open_source(place, threads=threads_for(place)),
            options,
            progress=progress,
            vault=opened,
        )
    app.console.document(result.to_json())
    _show(app, result)
    return 3 if result.findings.get("unreadable") else 0


def _vault(app: App, vault: str | None, endpoint_url: str | None) -> Vault | None:
    """Open the vault that is named; there may be none yet."""
    from regvault.assemble import open_vault
    from regvault.errors import NotFoundError, StoreMissingError

    if vault is None:
        return None
    try:
        return open_vault(app.vault(vault, endpoint_url=endpoint_url))
    except (NotFoundError, StoreMissingError) as error:
        app.console.note(f"The growth is not known: {error.message}")
        return None


def _show(app: App, result: Estimate) -> None:
    say = app.console.say
    say(f"Registry {result.source}")
    say(
        f"  {fmt.count(result.repositories, 'repository')}, {fmt.count(result.tags, 'tag')}, "
        f"{fmt.count(result.revisions, 'revision')}"
    )
    say(f"  {fmt.count(result.blobs, 'blob')}, {fmt.size(result.nbytes)}, each counted once")
    say(f"    raw     {fmt.number(result.raw)}, {fmt.size(result.raw_bytes)}")
    say(f"    packed  {fmt.number(result.packed)}, {fmt.size(result.packed_bytes)}")
    if result.orphans:
        say(
            f"  not stored: {fmt.count(result.orphans, 'blob')} without a link, "
            f"{fmt.size(result.orphan_bytes)}"
        )
    if result.growth is not None and result.growth_days is not None:
        sign = "-" if result.growth < 0 else "+"
        say(
            f"  growth {sign}{fmt.size(abs(round(result.growth)))} a day, over "
            f"{result.growth_days:.1f} days of snapshots of {result.growth_registry}"
        )
    if result.seconds is None or result.rate is None:
        say("First full: time unknown, nothing was measured")
    else:
        say(
            f"First full: about {fmt.duration(result.seconds)} at {fmt.size(round(result.rate))}/s"
            f" (measured: {fmt.count(result.sampled, 'blob')}, {fmt.size(result.sampled_bytes)} in "
            f"{result.sampled_s:.1f} s, one thread), if the vault takes it as fast"
        )
    prices = result.prices
    say(f"Cost in {prices.currency} ({prices.name}, list prices of {prices.as_of}; check them):")
    app.console.table(
        ("class", "a month", "in a year", "requests of the first full"),
        [
            (
                name,
                fmt.money(cost["month"]),
                "?" if cost["month_in_a_year"] is None else fmt.money(cost["month_in_a_year"]),
                fmt.money(cost["first_full_requests"]),
            )
            for name, cost in result.costs().items()
        ],
        align="lrrr",
    )
    unreadable = result.findings.get("unreadable", 0)
    if unreadable:
        app.console.warn(
            f"{fmt.count(unreadable, 'place')} could not be read, so there is more than this",
            hint="Run it as the registry's own user. See them with: regvault scan SOURCE",
        )
    if result.absent:
        app.console.warn(
            f"{fmt.count(result.absent, 'blob')} that links name: not there",
            hint="See which images they hurt: regvault scan SOURCE",
        )
