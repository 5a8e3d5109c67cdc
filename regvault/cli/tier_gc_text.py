"""What `regvault tier gc` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.cli import text as fmt

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.tier.garbage import GarbagePlan, GarbageResult

__all__ = ["show_plan", "show_result"]

_SHOWN = 20


def show_plan(app: App, plan: GarbagePlan) -> None:
    """Print what would go, and what is to be known of it."""
    console, census = app.console, plan.census
    needed, unneeded = census.totals(kept=True), plan.unneeded
    console.say(
        f"{fmt.count(census.repositories, 'repository')}, {fmt.count(census.tags, 'tag')}, "
        f"{fmt.count(census.stay, 'manifest')} need {fmt.count(needed[0], 'blob')}, "
        f"{fmt.size(needed[1])}."
    )
    prices = plan.options.prices
    console.say(
        f"Nothing needs {fmt.count(unneeded[0], 'blob')}, {fmt.size(unneeded[1])}: "
        f"{fmt.money(plan.saved)} {fmt.inline(prices.currency)} a month in "
        f"{fmt.inline(prices.hot)} ({fmt.inline(prices.name)}, {fmt.inline(prices.as_of)})."
    )
    if unneeded[0] and not app.quiet:
        rows = [(digest, fmt.size(size)) for digest, size in census.largest(_SHOWN)]
        console.table(("blob", "size"), rows, align="lr")
        if unneeded[0] > _SHOWN:
            console.say(f"  and {fmt.number(unneeded[0] - _SHOWN)} smaller ones: see --json")
    if census.go:
        console.say(f"{fmt.count(census.go, 'manifest')} that no tag reaches would go, too.")
        lines = (f"  {name}@{digest}" for name, digest in plan.going())
        for line in fmt.first(lines, census.go, _SHOWN):
            console.note(line)
    if plan.backing is not None and plan.backing.kept is not None:
        kept, kept_bytes = plan.backing.kept, plan.backing.kept_bytes or 0
        console.say(
            f"Of what goes, snapshots keep {fmt.count(kept, 'blob')}, {fmt.size(kept_bytes)}; "
            f"{fmt.count(unneeded[0] - kept, 'blob')}, {fmt.size(unneeded[1] - kept_bytes)}, will "
            "be nowhere."
        )
    absent = census.absent()
    if absent:
        console.note(
            f"{fmt.count(absent, 'blob')} that images need: not there already, whatever is "
            "collected. See them: regvault scan SOURCE"
        )
    if plan.stale:
        console.note(
            f"{fmt.count(plan.stale, 'upload')} broke off; garbage collection leaves them."
        )
    if plan.options.allow_fresh and (plan.in_flight or plan.fresh):
        console.warn(
            f"{fmt.count(len(plan.in_flight), 'upload')} in flight, and "
            f"{fmt.count(plan.fresh, 'fresh blob')}: what is being pushed will be taken"
        )


def show_result(app: App, result: GarbageResult) -> None:
    """Print what came of it, and what is to be done."""
    console, proof, plan = app.console, result.proof, result.plan
    console.say(
        f"Freed {fmt.count(proof.freed, 'blob')}, {fmt.size(proof.freed_bytes)}; still there: "
        f"{fmt.count(proof.left, 'blob')}, {fmt.size(proof.left_bytes)}."
    )
    if plan.census.go:
        console.say(f"{fmt.count(proof.revisions_gone, 'manifest')} without a tag went.")
    if proof.changes:
        console.warn(
            f"{fmt.count(proof.changes, 'thing')} changed meanwhile: somebody pushes",
            hint="Garbage collection takes what is being pushed: push it again.",
        )
        lines = (f"  {name}: {what}" for name, what in proof.changed)
        for line in fmt.first(lines, proof.changes, _SHOWN):
            console.note(line)
    if proof.left:
        console.warn(
            f"{fmt.count(proof.left, 'blob')} that nothing needs: still there",
            hint="Does COMMAND collect this registry? Its output says what it did.",
        )
    if not proof.loss_count:
        console.say(
            f"Proven: all {fmt.count(proof.blobs, 'blob')} that images need and had are there, "
            f"{fmt.size(proof.nbytes)}; every link and tag is as it was."
        )
    else:
        _show_losses(app, result)
    console.note(
        "Restart the registry, or have it forget what it caches: it may say still that "
        "it has what is gone."
    )


def _show_losses(app: App, result: GarbageResult) -> None:
    console, proof = app.console, result.proof
    console.warn(f"images lost {fmt.count(proof.loss_count, 'thing')} that they need")
    images = [f"{hurt.repository}{image}" for hurt in proof.hurt for image in hurt.images]
    lines = [f"  {fmt.inline(image)} cannot be pulled" for image in images]
    lines = lines or [f"  {loss.repository} {loss.what} {loss.subject}" for loss in proof.losses]
    for line in fmt.first(lines, len(lines), _SHOWN):
        console.say(line)
    if result.mended is not None and not result.mended.loss_count:
        console.say("All of it was brought back, and is proven to be there.")
    elif result.plan.backing is not None:
        if result.mended is not None:
            console.warn(f"{fmt.count(result.mended.loss_count, 'thing')} did not come back")
        if result.proof.hurt:
            console.say("This brings it back:")
        for line in result.commands:
            console.say(f"  {line}")
        for hurt in proof.hurt:
            for tag in hurt.retagged:
                console.say(f"  {hurt.repository}:{tag} is to point to {hurt.tags[tag]} again")
    else:
        console.warn(
            "no vault was asked to stand behind this registry",
            hint="Is there one? regvault find DIGEST --vault VAULT",
        )
