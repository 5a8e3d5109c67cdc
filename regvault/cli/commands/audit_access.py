"""`regvault audit access`: when things were pulled, how often, by how many; what is idle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_filters import is_csv, repo_filter
from regvault.cli.audit_options import access_rules, audit_command, ignore_option, needs_extra
from regvault.cli.options import DURATION, repo_option, vault_option
from regvault.cli.sheet import write_rows
from regvault.errors import UsageError
from regvault.oci.grammar import glob_matcher, is_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.cli.app import App
    from regvault.ops.audit.access.statistics import Counted
    from regvault.ops.audit.access.view import Access, AccessView
    from regvault.vault.vault import Vault

_COLUMNS = (
    "digest", "repository", "tag", "kind", "last_pull", "first_pull", "last_push", "pulls",
    "pulls_1d", "pulls_7d", "pulls_30d", "pulls_90d", "clients", "known_since", "idle_s",
    "frozen_s",
)  # fmt: skip


@audit_command(
    "access",
    examples=[
        ("What was not pulled for three months?", "regvault audit access --idle-for 90d"),
        ("Who needs this layer how much?", "regvault audit access --digest sha256:... --json"),
        (
            "Without what our mirror pulls",
            "regvault audit access --repo 'team/**' --ignore 'agent=mirror/*'",
        ),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@vault_option
@repo_option
@click.option(
    "--digest", "digests", metavar="D", multiple=True, help="Only this one; may be repeated."
)
@click.option(
    "--idle-for",
    metavar="DURATION",
    type=DURATION,
    help="Only what is known not to have been pulled or pushed for so long, such as 90d.",
)
@ignore_option
@click.option(
    "--aside",
    metavar="CHAIN",
    multiple=True,
    help="A chain of events that has ended, or tells nothing that others do not; may be repeated.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.pass_obj
def access(
    app: App,
    /,
    vault: str | None,
    endpoint_url: str | None,
    repos: tuple[str, ...],
    digests: tuple[str, ...],
    idle_for: float | None,
    ignored: tuple[str, ...],
    aside: tuple[str, ...],
    as_csv: bool,
) -> int:
    """Show when manifests and blobs were last pulled, how often, and what is idle.

    Only GETs by real clients count: no HEAD, no scanner, no replication, no probe, not regvault.
    Records of one request from several sources are one pull. What happened before the events begin
    is unknown, as is the time of gaps in them: that is not idle time. What was archived since the
    last time is counted first.

    A pull of which only the tag is known counts for what the tag was then, by earlier events; else
    it may have been of anything that the tag is in a snapshot. With --json each thing is a line,
    after a first one that says for which time it is known what happened; see docs/audit.md.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.ops.audit.access.statistics import AccessStatistics
    from regvault.vault.audit.chain import chains
    from regvault.vault.catalog import vault_cache

    as_csv = is_csv(app, as_csv)
    repos = repo_filter(repos, hint="For a digest: --digest.")
    for digest in digests:
        if not is_digest(digest):
            raise UsageError(f"{digest!r} is no digest", hint="One is sha256: and 64 hex digits.")
    rules = access_rules(ignored)
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    for chain in set(aside) - set(known := chains(opened)):
        raise UsageError(f"--aside: there is no chain {chain!r}", hint=", ".join(known) or None)
    cache = vault_cache(app.cache_base(), opened.id)
    statistics = AccessStatistics(opened, rules, cache=cache, say=app.console.note)
    try:
        with app.progress() as progress:
            done = statistics.bring_up_to_date(progress=progress)
        with statistics.view(aside) as view:
            rows = _rows(opened, view, repos, digests, idle_for)
            _show(app, view, rows, as_csv=as_csv)
    finally:
        statistics.close()
    return _report(app, done)


def _rows(
    vault: Vault,
    view: AccessView,
    repos: tuple[str, ...],
    digests: tuple[str, ...],
    idle_for: float | None,
) -> Iterator[dict[str, Any]]:
    """Yield what is asked for, by digest, repository and tag."""
    from regvault.ops.audit.access.open_tags import named_by_snapshots
    from regvault.ops.audit.access.view import Access

    named = named_by_snapshots(vault, view)
    whole: Access | None = None
    seen = set()
    for found in view.targets(glob_matcher(repos) if repos else None, digests):
        if found.digest is None:
            whole = found
        elif whole is None or whole.digest != found.digest:
            whole = view.of_digest(found.digest, named.get(found.digest, ()))
        seen.add(found.digest)
        if idle_for is None or view.idle_us(whole) >= idle_for * 1e6:
            yield view.to_json(found, whole)
    for digest in digests:
        if digest not in seen and not repos:
            whole = view.of_digest(digest, named.get(digest, ()))
            if idle_for is None or view.idle_us(whole) >= idle_for * 1e6:
                yield view.to_json(Access(digest, None, None, None), whole)


def _show(app: App, view: AccessView, rows: Iterator[dict[str, Any]], *, as_csv: bool) -> None:
    told = view.coverage_json()
    app.console.document({"coverage": told})
    if as_csv:
        write_rows(_COLUMNS, map(_flat, rows))
        return
    count = 0
    for row in rows:
        count += 1
        app.console.document(row)
        app.console.say(_text(app, row))
    for name, span in told["chains"].items() if len(told["chains"]) > 1 else ():
        first, last = app.console.time(span["since"]), app.console.time(span["until"])
        app.console.note(f"Chain {name} tells of what happened from {first} to {last}.")
    if not told["until"]:
        app.console.note("Nothing is known: no archived events tell of any time.")
        return
    since, until = (app.console.time(told[name]) for name in ("since", "until"))
    frozen = sum(last - first for first, last in view.coverage.gaps) / 1e6
    missing = f", but for {fmt.duration(frozen)}" if frozen else ""
    app.console.note(f"What happened is known from {since} to {until}{missing}.")
    if not count:
        app.console.note("Nothing is like that.")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    windows = {f"pulls_{name}": count for name, count in row["windows"].items()}
    return {**row, **windows, "clients": max(row["clients"].values(), default=0)}


def _text(app: App, row: dict[str, Any]) -> str:
    what = fmt.inline(row["repository"] or "-")
    what += fmt.inline(f"@{row['digest'][:19]}" if row["digest"] else f":{row['tag']}")
    if row["last_pull"]:
        last = f"last pulled {app.console.time(row['last_pull'])}"
    elif row["known_since"]:
        last = f"not pulled since {app.console.time(row['known_since'])}"
    else:
        last = "nothing is known"
    counts = "/".join(str(row["windows"][name]) for name in ("1d", "7d", "30d", "90d"))
    clients = fmt.count(max(row["clients"].values(), default=0), "client")
    frozen = f" ({fmt.duration(row['frozen_s'])} unknown)" if row["frozen_s"] else ""
    idle = f"idle {fmt.duration(row['idle_s'])}{frozen}"
    return f"{what}  {last}, {row['pulls']} times ({counts} in 1/7/30/90 days), {clients}, {idle}"


def _report(app: App, done: Counted) -> int:
    for key, why in done.damaged.items():
        app.console.warn_line(f"{key}: {why}", hint="See: regvault audit verify")
    return 4 if done.damaged else 0
