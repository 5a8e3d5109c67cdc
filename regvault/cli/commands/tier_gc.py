"""`regvault tier gc`: have a registry collect its garbage, and prove that nothing is lost."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.options import (
    DURATION,
    LOCATION,
    dry_run_option,
    retry_lock_option,
    threads_option,
    vault_option,
    yes_option,
)
from regvault.cli.tier_options import prices_option, tier_command
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.cli.app import App
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.tier.garbage import GarbageOptions, GarbagePlan, GarbageResult
    from regvault.ops.tier.garbage.proof import Proof
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

_SHOWN = 20
_COLLECT = "registry garbage-collect /etc/distribution/config.yml"
_IN_A_CONTAINER = "docker exec registry registry garbage-collect -m /etc/distribution/config.yml"


@tier_command(
    "gc",
    examples=[
        (
            "What would go, and what it saves",
            f"regvault tier gc prod --collect '{_COLLECT}' --dry-run",
        ),
        (
            "A registry in a container, by night, with what has no tag any more",
            f"regvault tier gc fs:/srv/registry --untagged --yes --collect '{_IN_A_CONTAINER}'",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@click.argument("source", type=LOCATION)
@click.option(
    "--collect",
    metavar="COMMAND",
    required=True,
    help="The registry's own garbage collection, with its arguments. No shell is run.",
)
@click.option(
    "--untagged",
    is_flag=True,
    help="COMMAND deletes manifests that no tag reaches, too (garbage-collect -m).",
)
@vault_option
@click.option(
    "--registry",
    metavar="NAME",
    help="Its name in the vault; else that of the registry last read from SOURCE.",
)
@click.option(
    "--without-vault",
    is_flag=True,
    help="Go on where no vault could bring back what is taken wrongly.",
)
@click.option(
    "--allow-fresh",
    is_flag=True,
    help="Go on beside uploads in flight, and blobs younger than an hour that nothing names yet.",
)
@click.option(
    "--still-for",
    metavar="DURATION",
    type=DURATION,
    default=10.0,
    help="How long nothing may change before COMMAND is run, such as 1m; 10s where it is left out.",
)
@click.option(
    "--timeout", metavar="DURATION", type=DURATION, help="End COMMAND after so long, such as 6h."
)
@click.option("--repair", is_flag=True, help="Bring back what was lost, at once, from the vault.")
@prices_option
@dry_run_option
@yes_option
@retry_lock_option
@threads_option
@click.pass_obj
def gc(
    app: App,
    source: str,
    collect: str,
    untagged: bool,
    vault: str | None,
    endpoint_url: str | None,
    registry: str | None,
    without_vault: bool,
    allow_fresh: bool,
    still_for: float,
    timeout: float | None,
    repair: bool,
    prices: str,
    dry_run: bool,
    yes: bool,
    retry_lock: float,
    threads: int | None,
) -> int:
    """Have the registry at SOURCE collect its garbage, and prove that no image lost anything.

    What no manifest reaches is storage that is paid for nothing. The plan lists it. Then, while no
    snapshot of the registry and no prune runs, COMMAND is run, and after that every blob, link and
    tag of every image is looked for again. A vault must have all that images need, so that what is
    taken wrongly can come back; the commands that bring it back are printed, or done (--repair).

    Nobody may push meanwhile: a registry takes what is being pushed for garbage. Make it read-only,
    or stop it; regvault looks twice whether something changes. Restart it afterwards: it caches.
    """
    from regvault.assemble import open_source, open_vault, threads_for
    from regvault.config.price_files import load_prices
    from regvault.model.location import Role
    from regvault.ops.tier.garbage import GarbageOptions, collect_garbage, plan_garbage
    from regvault.ops.tier.garbage import parse_command as parse

    command = parse(collect, here=not dry_run)
    if repair and without_vault:
        raise UsageError(
            "--repair brings back what was lost from a vault, and --without-vault has none",
            hint="Leave one of them out.",
        )
    place = app.registry(source, Role.SOURCE, endpoint_url=endpoint_url)
    where = None if without_vault else app.vault(vault, endpoint_url=endpoint_url)
    count = threads_for(*[each for each in (place, where) if each is not None], asked=threads)
    options = GarbageOptions(
        load_prices(prices),
        untagged=untagged,
        allow_fresh=allow_fresh,
        without_vault=without_vault,
        threads=count,
        quiet_s=still_for,
        wait_s=retry_lock,
        timeout_s=timeout,
    )
    with closing(open_source(place, threads=count)) as live:
        opened = None if where is None else open_vault(where, beside=place)
        backed = None if opened is None else _backed(app, opened, live, registry or place.name)
        with app.progress() as progress:
            plan = plan_garbage(
                live, options, progress=progress, backed=backed, cache_base=app.cache_base()
            )
        try:
            if dry_run or plan.empty:
                return _only_planned(app, plan, dry_run=dry_run)
            _show_plan(app, plan)
            refusals = plan.refusals()
            if not refusals:
                app.confirm(f"Run {fmt.inline(collect)}?", yes=yes)
            with app.progress() as progress:
                mend = None
                if repair and backed is not None:
                    mend = _mender(app, *backed, source, endpoint_url, options, progress)
                result = collect_garbage(
                    plan, live, command, progress=progress, vault=opened, mend=mend
                )
            if plan.backing is not None and where is not None:
                restore = _restore_words(app, plan.backing.root, place, where, endpoint_url)
                result.commands = result.proof.commands(restore)
            _finish(app, result)
            return result.exit_code()
        finally:
            plan.close()


def _backed(
    app: App, vault: Vault, source: RegistrySource, registry: str | None
) -> tuple[Vault, Root]:
    """Return the vault with its newest complete snapshot of the registry.

    Raises:
        NotFoundError: it has none.
    """
    from regvault.errors import NotFoundError
    from regvault.ops.snapshot.choose import choose_registry

    source.check()
    chosen = choose_registry(vault, source, registry)
    if not chosen.known:
        raise NotFoundError(
            f"the vault at {vault.store.location} has no snapshot of {source.location}",
            hint="Take one: regvault snapshot SOURCE --vault VAULT. Where it has another name "
            "there: --registry NAME. To go on without: --without-vault",
        )
    return vault, app.snapshot(vault, f"{chosen.registry}@latest")


def _mender(
    app: App,
    vault: Vault,
    root: Root,
    source: str,
    endpoint_url: str | None,
    options: GarbageOptions,
    progress: Progress,
) -> Callable[[Proof], None]:
    """Return what restores to a registry what it lost."""
    from regvault.assemble import open_target
    from regvault.model.location import Role
    from regvault.ops.restore import RestoreOptions, Restorer
    from regvault.vault.blobs import BlobReader
    from regvault.vault.catalog import Catalog, vault_cache

    target = app.registry(source, Role.TARGET, endpoint_url=endpoint_url)

    def mend(proof: Proof) -> None:
        chosen = RestoreOptions(
            globs=tuple(hurt.repository for hurt in proof.hurt),
            tags=tuple(sorted({tag for hurt in proof.hurt for tag in hurt.tags})),
            digests=tuple(sorted({digest for hurt in proof.hurt for digest in hurt.digests})),
            referrers=False,
            threads=options.threads,
        )
        to, existing = open_target(target, threads=options.threads)
        catalog = Catalog(vault.store, vault_cache(app.cache_base(), vault.id), vault.seal)
        objects = vault.object_list(root)
        catalog.prepare(root.counts.blobs)
        reader = BlobReader(vault.store, catalog, objects)
        restorer = Restorer(vault, root, objects, reader, to, existing, chosen, progress)
        try:
            restorer.execute(restorer.plan())
        finally:
            restorer.close()
            catalog.close()
            to.close()

    return mend


def _restore_words(
    app: App, root: Root, place: RegistryPlace, where: VaultPlace, endpoint_url: str | None
) -> list[str]:
    """Return the words of a restore from a snapshot into a registry, as one would type them."""
    words = ["regvault"]
    if app.config_path is not None:
        words += ["--config", app.config_path]
    words += ["restore", str(root.name), "--vault", where.name or str(where.location)]
    words += ["--to", place.name or str(place.location)]
    if endpoint_url is not None:
        words += ["--endpoint-url", endpoint_url]
    if app.identity is not None:
        words += ["--identity", str(app.identity)]
    return words


def _only_planned(app: App, plan: GarbagePlan, *, dry_run: bool) -> int:
    app.console.document({"plan": plan.to_json(), "dry_run": dry_run})
    _show_plan(app, plan)
    if plan.empty:
        app.console.say("There is nothing to free.")
        return 0
    refusals = plan.refusals()
    for refusal in refusals:
        app.console.warn(f"it would not begin: {refusal.message}", hint=refusal.hint)
    return 5 if refusals else 0


def _show_plan(app: App, plan: GarbagePlan) -> None:
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
        f"{_money(plan.saved)} {fmt.inline(prices.currency)} a month in {fmt.inline(prices.hot)} "
        f"({fmt.inline(prices.name)}, {fmt.inline(prices.as_of)})."
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


def _finish(app: App, result: GarbageResult) -> None:
    """Print what came of it, and what is to be done."""
    console, proof, plan = app.console, result.proof, result.plan
    console.document({**result.to_json(), "dry_run": False})
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
            f"Proven: all {fmt.count(proof.blobs, 'blob')} that images need are there, "
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
    elif result.commands:
        if result.mended is not None:
            console.warn(f"{fmt.count(result.mended.loss_count, 'thing')} did not come back")
        console.say("This brings it back:")
        for line in result.commands:
            console.say(f"  {line}")
    else:
        console.warn(
            "no vault was asked to stand behind this registry",
            hint="Is there one? regvault find DIGEST --vault VAULT",
        )


def _money(amount: float) -> str:
    return "< 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"
