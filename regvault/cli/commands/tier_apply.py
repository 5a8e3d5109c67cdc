"""`regvault tier apply`: do what was planned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import access_rules, ignore_option
from regvault.cli.commands.tier_plan import show_plan
from regvault.cli.options import (
    AMOUNT,
    endpoint_option,
    retry_lock_option,
    secret_ref,
    threads_option,
)
from regvault.cli.tier_access import access_option, max_lag_option, open_accesses
from regvault.cli.tier_options import needs_numpy, tier_command
from regvault.cli.tier_rules import rules_move
from regvault.cli.tier_vault import apply_to_vault
from regvault.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.cli.app import App
    from regvault.model.classes import ClassedStore
    from regvault.model.registry import RegistrySource
    from regvault.ops.tier.apply import Applied
    from regvault.ops.tier.planned import Header, Move

_DAY_US = 86_400 * 10**6
#: Of S3, and of a registry on disks: what goes there is asked nothing.
_HOTTEST = frozenset({"STANDARD", "hot"})
#: On a bucket: they wait for the network.
_THREADS = 16
_VAULT_STAYS = "stay: the newest snapshots need them by now, or somebody may, or nobody at all"
_MEND_VAULT = "The next snapshot stores it anew, if the registry has it; else: regvault repair"


@tier_command(
    "apply",
    examples=[
        ("What was planned, and looked at", "regvault tier apply plan.jsonl"),
        (
            "By cron, for no more than 5 dollars a run",
            "regvault tier apply plan.jsonl --yes --max-cost 5",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 11, 12),
)
@click.argument("plan", metavar="PLAN", type=click.Path())
@click.option(
    "--max-cost",
    metavar="MONEY",
    type=AMOUNT,
    help="Stop before the moves cost more than that, by the prices of the plan.",
)
@click.option(
    "--rate", metavar="N", type=click.FloatRange(min=0, min_open=True), help="Moves a second."
)
@click.option(
    "--journal",
    metavar="FILE",
    type=click.Path(),
    help="What is done is written there; PLAN.journal where it is left out. A run that was struck "
    "down goes on where it ended.",
)
@click.option(
    "--add-rules",
    is_flag=True,
    help="In a bucket that keeps versions: add the lifecycle rules that are needed. Others stay as "
    "they are.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Where the registry itself answers, such as http://127.0.0.1:5000: the first blob that "
    "goes to a cold mount is pulled from it, and brought back if that fails.",
)
@click.option(
    "--login",
    metavar="REF",
    help="USER:PASSWORD for that pull: file:/PATH or env:NAME.",
)
@click.option(
    "--unproven", is_flag=True, help="Do not pull what goes to a cold mount from the registry."
)
@access_option
@click.option(
    "--unchecked",
    is_flag=True,
    help="Do not ask again what was pulled since the plan was made.",
)
@max_lag_option
@ignore_option
@retry_lock_option
@endpoint_option
@threads_option
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def apply(
    app: App,
    plan: str,
    max_cost: float | None,
    rate: float | None,
    journal: str | None,
    add_rules: bool,
    url: str | None,
    login: str | None,
    unproven: bool,
    access: str | None,
    unchecked: bool,
    max_lag: float,
    ignored: tuple[str, ...],
    retry_lock: float,
    endpoint_url: str | None,
    threads: int | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """Move what PLAN says, as regvault tier plan has written it, and nothing else.

    Each object is looked at once more: it has to be what it was, and still cold, by what is known
    of accesses now, or what the newest snapshots of a vault need now. It is looked at again
    afterwards, and read. Exit code 3: stopped, at the
    ceiling or at what is not as it was planned; the report says which. What was done is written
    down, so the same command goes on.
    """
    needs_numpy()
    from regvault.assemble import open_source_store, threads_for
    from regvault.model.classes import ClassedStore
    from regvault.model.location import Role
    from regvault.ops.tier.apply import ApplyOptions
    from regvault.ops.tier.apply import apply as execute
    from regvault.ops.tier.journal import Journal
    from regvault.ops.tier.planned import PlanFile
    from regvault.registry.layout import BLOBS

    made = PlanFile(plan)
    header = made.header
    if header.kind == "vault":
        ended = apply_to_vault(
            app,
            made,
            journal or f"{plan}.journal",
            ApplyOptions(max_cost, rate, threads or _THREADS, archives=True, mend=_MEND_VAULT),
            endpoint_url=endpoint_url,
            wait_s=retry_lock,
            add_rules=add_rules,
            agree=lambda: _agree(app, header, yes=yes, dry_run=dry_run),
        )
        if ended is None:
            return 0
        _report(app, ended, header)
        return ended.exit_code
    place = app.registry(
        header.place, Role.SOURCE, endpoint_url=endpoint_url or header.endpoint or None
    )
    count = threads_for(place, asked=threads)
    store, source = open_source_store(place, threads=count)
    if (source.location, source.endpoint) != (header.location, header.endpoint):
        raise RefusedError(
            f"{plan} is for {header.location}, and {header.place} is {source.location} now",
            hint="Make a new plan: regvault tier plan",
        )
    if not isinstance(store, ClassedStore):
        raise UsageError(
            f"{source.location} has no storage classes",
            hint="Give a registry on disks a cheaper one: regvault tier mount",
        )
    show_plan(app, header)
    if dry_run:
        app.console.document({"plan": header.to_json(), "dry_run": True})
        return 0
    prove = _prover(store, header, url, login, unproven=unproven)
    app.confirm(
        f"Move {fmt.count(header.moves, 'blob')} ({fmt.size(header.nbytes)}) of "
        f"{fmt.inline(header.location)}?",
        yes=yes or not header.moves,
    )
    done = Journal(journal or f"{plan}.journal", header.id, replace=journal is None)
    try:
        is_used = (
            _never
            if unchecked or all(flow["to"] in _HOTTEST for flow in header.flows)
            else _rechecked(
                app, header, source, store, (access, ignored, endpoint_url), max_lag, count
            )
        )
        by_rules = rules_move(app, store, header, (BLOBS,), add=add_rules)
        with app.progress() as progress:
            progress.phase("Moving")
            result = execute(
                made.moves(),
                store,
                done,
                ApplyOptions(max_cost, rate, count, by_rules),
                is_used=is_used,
                prove=prove,
                progress=progress,
            )
        _reap(app, store)
    finally:
        done.close()
        source.close()
    _report(app, result, header)
    return result.exit_code


def _prover(
    store: ClassedStore, header: Header, url: str | None, login: str | None, *, unproven: bool
) -> Callable[[Move], None] | None:
    """Return what pulls a blob from the registry that has gone to a cold mount, if it has any.

    Raises:
        UsageError: nobody said where the registry answers.
    """
    from regvault.assemble.cold import has_cold_mounts
    from regvault.registry.pull import prove_pull

    if unproven or not has_cold_mounts(store):
        return None
    if url is None:
        if not any(flow["to"] != header.hot for flow in header.flows):
            return None
        raise UsageError(
            "a cold mount has another path where the registry runs, perhaps: a pull has to prove "
            "that it serves from there",
            hint="Say where the registry answers: --url http://127.0.0.1:5000; or go without: "
            "--unproven",
        )
    user, colon, password = ("", "", "")
    if login is not None:
        user, colon, password = secret_ref("--login", login).read().partition(":")
        if not colon:
            raise UsageError("--login: there is no USER:PASSWORD in it", hint="Both, with a colon.")
    credentials = (user, password) if colon else None

    def prove(move: Move) -> None:
        if move.target != header.hot:
            prove_pull(url, move.repository, move.digest, credentials)

    return prove


def _reap(app: App, store: ClassedStore) -> None:
    """Remove from cold mounts what the registry has no link to any more."""
    from regvault.assemble.cold import reap_cold_mounts

    found = reap_cold_mounts(store)
    if found is not None and found.removed:
        app.console.note(
            f"{fmt.count(found.removed, 'blob')} ({fmt.size(found.removed_bytes)}) that the "
            "registry has no link to any more were removed from its cold mounts."
        )


def _agree(app: App, header: Header, *, yes: bool, dry_run: bool) -> bool:
    """Show the plan of a vault, and ask; return whether it is to be done."""
    show_plan(app, header)
    if dry_run or not header.moves:
        app.console.document({"plan": header.to_json(), "dry_run": dry_run})
        return False
    app.confirm(
        f"Move {fmt.count(header.moves, 'object')} ({fmt.size(header.nbytes)})?",
        yes=yes,
    )
    return True


def _never(_: Move) -> bool:
    return False


def _rechecked(
    app: App,
    header: Header,
    source: RegistrySource,
    store: ClassedStore,
    told: tuple[str | None, tuple[str, ...], str | None],
    max_lag: float,
    threads: int,
) -> Callable[[Move], bool]:
    """Return what tells whether something was used since the plan was made."""
    from datetime import datetime

    from regvault.ops.tier.recheck import used_since

    access, ignored, endpoint_url = told
    access = access or header.access["source"]
    if access is None or access == "-":
        raise UsageError(
            "nobody tells what was pulled since the plan was made",
            hint="Name who does: --access; or go by the plan alone: --unchecked",
        )
    since = datetime.fromisoformat(header.access["until"] or header.created).timestamp()
    rules = access_rules(ignored)
    with open_accesses(app, access, rules, endpoint_url=endpoint_url) as accesses:
        lag = time.time_ns() // 1000 - accesses.coverage.end
        if lag > max_lag * 1e6 and any(flow["to"] not in _HOTTEST for flow in header.flows):
            raise RefusedError(
                f"what {access} knows of accesses ends {lag / _DAY_US:.1f} days ago",
                hint="Archive what happened since (regvault audit archive), or allow it: --max-lag",
            )
        with app.progress() as progress:
            used = used_since(
                accesses, source, store, int(since * 1e6), threads=threads, progress=progress
            )

    def is_used(move: Move) -> bool:
        return move.target not in _HOTTEST and used(move)

    return is_used


def _report(app: App, result: Applied, header: Header) -> None:
    app.console.document(result.to_json())
    say, vault = app.console.say, header.kind == "vault"
    currency = fmt.inline(header.prices["currency"])
    before = f" {fmt.number(result.before)} were done before." if result.before else ""
    say(
        f"{fmt.count(result.moved, 'object' if vault else 'blob')} moved, "
        f"{fmt.number(result.marked)} marked; {fmt.size(result.nbytes)} for "
        f"{fmt.amount(result.cost)} {currency} by the prices.{before}"
    )
    kinds = (
        (result.marked, "marked: lifecycle rules of the bucket move them within a day or two"),
        (result.there, "lay there already"),
        (result.used, _VAULT_STAYS if vault else "used since the plan was made: they stay"),
        (result.gone, "not there any more"),
        (result.damaged, "damaged: their bytes are not what their names say"),
        (result.written, "written since the plan was made: they stay, and want a new plan"),
        (result.left, "left"),
    )
    for count, what in kinds:
        if count:
            say(f"{fmt.number(count)} {what}.")
    for key, why in result.listed.items():
        app.console.warn_line(f"{key}: {why}")
    if result.stopped is not None:
        app.console.warn(f"stopped: {result.stopped}", hint=result.hint)
