"""`regvault tier prices`: what storage costs, and whether that is still so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.tier_options import prices_option, tier_command

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.price_lists import Compared
    from regvault.policy.prices import PriceTable


@tier_command(
    "prices",
    examples=[
        ("What is reckoned with", "regvault tier prices"),
        (
            "Is it still so?",
            "regvault tier prices --list AmazonS3-us-east-1.json",
        ),
    ],
    exit_codes=(0, 1, 2, 3),
)
@prices_option
@click.option(
    "--list",
    "listed",
    metavar="FILE",
    type=click.Path(),
    help="The provider's own price list, to hold the prices against: the offer file of AmazonS3 of "
    "a region (AWS), the items of the Retail Prices API (Azure), or the SKUs of the Cloud Billing "
    "Catalog API (GCS).",
)
@click.pass_obj
def prices(app: App, prices: str, listed: str | None) -> int:
    """Show what storage costs by a price file; hold it against the provider's price list.

    Exit code 3: some prices are others there.
    """
    from regvault.config.price_files import load_prices
    from regvault.config.price_lists import compare_prices

    table = load_prices(prices)
    compared = [] if listed is None else compare_prices(table, listed)
    app.console.document(_document(table, compared))
    say = app.console.say
    say(f"{fmt.inline(table.name)}, of {table.as_of}, in {fmt.inline(table.currency)}")
    app.console.table(
        ["class", "GB-month", "PUT/1k", "GET/1k", "to it/1k", "retrieval/GB", "least days", "thaw"],
        [
            (
                fmt.inline(name),
                f"{each.gb_month:g}",
                f"{each.put_per_1000:g}",
                f"{each.get_per_1000:g}",
                f"{each.transition_per_1000:g}",
                f"{each.retrieval_gb:g}",
                f"{each.min_days:g}",
                ", ".join(f"{fmt.inline(way)} {thaw.hours:g} h" for way, thaw in each.thaw),
            )
            for name, each in table.classes.items()
        ],
        align="lrrrrrrl",
    )
    drifted = [each for each in compared if each.drifted]
    for each in drifted:
        app.console.warn_line(
            f"{fmt.inline(each.storage_class)} {each.field}: {each.ours:g} here, {each.theirs:g} "
            "in the list"
        )
    if listed is not None:
        untold = sum(each.theirs is None for each in compared)
        say(
            f"{fmt.count(len(compared) - untold, 'price')} compared, {len(drifted)} differ; of "
            f"{untold} the list does not tell."
        )
    if drifted:
        app.console.warn(
            "prices have changed",
            hint="Write a file of your own with those of the list, and name it: --prices FILE",
        )
    return 3 if drifted else 0


def _document(table: PriceTable, compared: list[Compared]) -> dict[str, Any]:
    return {
        "name": table.name,
        "provider": table.provider,
        "as_of": table.as_of,
        "currency": table.currency,
        "hot": table.hot,
        "classes": {
            name: {
                **{
                    field: getattr(each, field)
                    for field in each._fields
                    if field not in ("idle", "thaw")
                },
                "idle": [step._asdict() for step in each.idle],
                "thaw": {way: thaw._asdict() for way, thaw in each.thaw},
            }
            for name, each in table.classes.items()
        },
        "compared": [{**each._asdict(), "drifted": each.drifted} for each in compared],
    }
