"""`regvault tier gc`: have a registry collect its garbage, and prove that nothing is lost."""

from __future__ import annotations

import re
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
from regvault.cli.tier_gc_text import show_plan, show_result
from regvault.cli.tier_options import prices_option, tier_command
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.cli.app import App
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.tier.garbage import GarbageOptions, GarbagePlan
    from regvault.ops.tier.garbage.proof import Proof
    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

#: What has distribution delete manifests, too.
_DELETES_UNTAGGED = re.compile(
    r"\bgarbage-collect(?:\s+\S+)*?\s+(?:-m|--delete-untagged(?!=false))(?![\w-])"
)
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
    """Have the registry at SOURCE collect its garbage; prove that no image lost anything.

    What no manifest reaches is storage that is paid for nothing. The plan lists it. Then, while no
    snapshot of the registry and no prune runs, COMMAND is run, and after that every blob, link and
    tag of every image is looked for again. A vault must have all that images need, so that what is
    taken wrongly can come back; the commands that bring it back are printed, or done (--repair).

    Nobody may push meanwhile: a registry takes what is being pushed for garbage. Make it read-only,
    or stop it; regvault looks twice whether something changes. Restart it afterwards: it caches.
    """
    from regvault.assemble import open_source_store, open_vault, threads_for
    from regvault.assemble.cold import reap_cold_mounts
    from regvault.config.price_files import load_prices
    from regvault.model.location import Role
    from regvault.ops.tier.garbage import GarbageOptions, collect_garbage, plan_garbage
    from regvault.ops.tier.garbage import parse_command as parse

    command = parse(collect, here=not dry_run)
    if not untagged and _DELETES_UNTAGGED.search(collect):
        raise UsageError(
            "--collect deletes manifests that no tag reaches, and --untagged is not given",
            hint="With --untagged they are part of the plan; else leave its -m out.",
        )
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
    store, registry_source = open_source_store(place, threads=count)
    with closing(registry_source) as live:
        opened = None if where is None else open_vault(where, beside=place)
        backed = None if opened is None else _backed(app, opened, live, registry or place.name)
        with app.progress() as progress:
            plan = plan_garbage(
                live, options, progress=progress, backed=backed, cache_base=app.cache_base()
            )
        try:
            if dry_run or plan.empty:
                return _only_planned(app, plan, dry_run=dry_run)
            show_plan(app, plan)
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
            app.console.document({**result.to_json(), "dry_run": False})
            show_result(app, result)
            # What it let go of in a cold mount is marked now, and removed by a later run.
            reap_cold_mounts(store)
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

    target = app.registry(source, Role.TARGET, endpoint_url=endpoint_url)

    def mend(proof: Proof) -> None:
        to, existing = open_target(target, threads=options.threads)
        with closing(to):
            digests = {digest for hurt in proof.hurt for digest in hurt.digests}
            if digests:
                chosen = RestoreOptions(
                    globs=tuple(hurt.repository for hurt in proof.hurt if hurt.digests),
                    digests=tuple(sorted(digests)),
                    referrers=False,
                    threads=options.threads,
                )
                objects = vault.object_list(root)
                with closing(_catalog(app, vault, root)) as catalog:
                    reader = BlobReader(vault.store, catalog, objects)
                    with closing(
                        Restorer(vault, root, objects, reader, to, existing, chosen, progress)
                    ) as restorer:
                        restorer.execute(restorer.plan())
            for hurt in proof.hurt:
                # Where they pointed just now, whatever the snapshot says.
                history = sorted(hurt.tags.items())
                to.put_links(hurt.repository, layers=(), revisions=(), history=history)
                to.put_tags(hurt.repository, hurt.tags, only_new=hurt.tags)
            to.finish()

    return mend


def _catalog(app: App, vault: Vault, root: Root) -> Catalog:
    from regvault.vault.catalog import Catalog, vault_cache

    catalog = Catalog(vault.store, vault_cache(app.cache_base(), vault.id), vault.seal)
    catalog.prepare(root.counts.blobs)
    return catalog


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
    show_plan(app, plan)
    if plan.empty:
        app.console.say("There is nothing to free.")
        return 0
    refusals = plan.refusals()
    for refusal in refusals:
        app.console.warn(f"it would not begin: {refusal.message}", hint=refusal.hint)
    return 5 if refusals else 0
