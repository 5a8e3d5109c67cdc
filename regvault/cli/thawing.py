"""What `restore` and `tier thaw` say of what lies in archives, and how they ask for it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from regvault.cli import text as fmt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App
    from regvault.errors import ObjectArchivedError
    from regvault.model.progress import Progress
    from regvault.model.store import ObjectStore
    from regvault.ops.restore import RestorePlan
    from regvault.ops.tier.thaw import Thaw, ThawPlan
    from regvault.policy.prices import PriceTable

__all__ = ["refused", "show_thaw", "thaw_command", "thaw_of", "thaw_prices"]

DEFAULT_WAY = "standard"
"""The way that is asked for where no price says which is the cheapest."""


def thaw_prices(app: App) -> PriceTable:
    """Return the prices of the configuration, else those that come along."""
    from regvault.config.price_files import DEFAULT_PRICES, load_prices

    tier = app.config.tier if app.config is not None else None
    found = tier.value("thaw", "prices") if tier is not None else None
    return load_prices(found or DEFAULT_PRICES)


def thaw_command(
    snapshot: str,
    vault: str,
    *,
    endpoint_url: str | None = None,
    repos: Iterable[str] = (),
    tags: Iterable[str] = (),
    digests: Iterable[str] = (),
    no_referrers: bool = False,
) -> str:
    """Return the command that thaws what a restore needs, to be pasted."""
    words = ["regvault", "tier", "thaw", snapshot, "--vault", vault]
    if endpoint_url is not None:
        words += ["--endpoint-url", endpoint_url]
    for flag, values in (("--repo", repos), ("--tag", tags), ("--digest", digests)):
        for value in values:
            words += [flag, value]
    if no_referrers:
        words.append("--no-referrers")
    return shlex.join(words)


def refused(plan: RestorePlan, command: str) -> ObjectArchivedError:
    """Return what ends a restore that needs what is archived, with the command that helps."""
    from regvault.ops.restore.thawing import refusal

    error = refusal(plan.cold)
    error.message = (
        f"{fmt.count(len(plan.cold), 'object')} "
        f"({fmt.size(sum(each.size for each in plan.cold))}) that it needs: in an archive; "
        "nothing was restored"
    )
    error.hint = f"Thaw first: {command} --wait. Or let the restore do it: --thaw WAY"
    return error


def thaw_of(
    store: ObjectStore,
    plan: ThawPlan,
    *,
    way: str | None,
    threads: int,
    progress: Progress,
    poll_s: float = 60.0,
) -> Thaw:
    """Return what asks for objects, in the way that was chosen.

    Args:
        store: the vault's.
        plan: of the thaw.
        way: that was asked for by its name; None: the cheapest one, as far as that is known.
        threads: that ask.
        progress: is told how far it is.
        poll_s: seconds until it is looked at for the first time.
    """
    from regvault.ops.tier.thaw import Thaw

    return Thaw(
        store,
        chosen={} if plan.chosen is None else plan.chosen.ways,
        way=way or DEFAULT_WAY,
        days=plan.days,
        threads=threads,
        progress=progress,
        poll_s=poll_s,
    )


def show_thaw(app: App, plan: ThawPlan) -> None:
    """Show what has to be thawed, and what each way takes."""
    console = app.console
    if not plan.cold:
        return
    classes = ", ".join(sorted({each.storage_class for each in plan.cold}))
    console.say(
        f"{fmt.count(len(plan.cold), 'object')} ({fmt.size(plan.nbytes)}) of "
        f"{fmt.number(plan.needed)} in {fmt.inline(classes)} to be thawed"
        + (f"; {fmt.number(plan.thawing)} are asked for already." if plan.thawing else ".")
    )
    if plan.unknown:
        console.note(
            f"The prices say nothing of how {', '.join(plan.unknown)} is thawed: give others "
            "(--prices, or tier.prices of the configuration)."
        )
    if plan.offers:
        chosen = None if plan.chosen is None else plan.chosen.ways
        rows = list(plan.offers.items())
        if plan.chosen is not None and all(offer.ways != chosen for _, offer in rows):
            rows.append(("cheapest", plan.chosen))  # of each class another one
        taken = next((way for way, offer in rows if offer.ways == chosen), "")
        console.table(
            ["way", "hours", plan.currency, ""],
            [
                (way, f"{offer.hours:g}", f"{offer.cost:.2f}", "taken" if way == taken else "")
                for way, offer in rows
            ],
            align="lrrl",
        )
