"""`regvault info`: one screen about a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import vault_at_option, vault_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App
    from regvault.ops.info import Info, Issue, RegistryInfo


@command(
    "info",
    examples=[
        ("One screen", "regvault info --vault s3://backup/registry"),
        ("For monitoring", "regvault info --json | jq -r .status"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@vault_option
@vault_at_option
@click.pass_obj
def info(app: App, vault: str | None, endpoint_url: str | None, vault_at: str | None) -> int:
    """Show what can be restored, how large it is, what is healthy and what is not.

    Each registry has a status: ok, warning, or error (something cannot be restored, or the vault is
    damaged). Exit code 4 means that something of the vault cannot be read, or that a verification
    found it damaged and none as deep has found it whole since; 3 any other error, such as that
    nothing can be restored; with warnings alone it is 0.

    Only roots, records and object lists are read; `regvault verify` proves the rest.
    """
    from datetime import UTC, datetime

    from regvault.assemble import open_vault
    from regvault.ops.info import info as look

    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url, at=vault_at))
    with app.progress() as progress:
        progress.phase("Reading roots and object lists")
        result = look(opened, now=datetime.now(UTC))
    app.console.document(result.to_json())
    _show(app, result)
    return result.exit_code()


def _show(app: App, result: Info) -> None:
    say = app.console.say
    stored = "?" if result.stored_bytes is None else fmt.size(result.stored_bytes)
    say(f"Vault {result.location}: {result.status}")
    say(f"  id          {result.id}, created {app.console.time(result.created)}, format 1")
    say(f"  stored      {stored} for all snapshots")
    if result.locks is not None:
        until = result.locks["until"]
        when = f"all until {app.console.time(until)}" if until else "not all"
        span = fmt.duration(float(result.locks["seconds"]))
        say(f"  locked      {when} ({result.locks['mode']}, {span} at a time)")
    _issues(app, result.issues)
    for each in result.registries:
        say()
        say(f"Registry {each.title}: {each.status}")
        for label, text in _lines(app, each, result):
            say(f"  {label:<11} {text}")
        _issues(app, each.issues)


def _lines(app: App, each: RegistryInfo, result: Info) -> Iterable[tuple[str, str]]:
    time = app.console.time
    others = [
        f"{count} {word}"
        for count, word in (
            (each.held, "held"),
            (each.incomplete, "incomplete"),
            (each.forgotten, "forgotten"),
        )
        if count
    ]
    more = f" ({', '.join(others)})" if others else ""
    if each.first is not None and each.latest is not None:
        when = f"{time(each.first.started)} to {time(each.latest.started)}"
        yield "restorable", f"{fmt.count(each.restorable, 'snapshot')}, {when}{more}"
    else:
        yield "restorable", f"nothing{more}"
    if each.longest_gap_s is not None and each.usual_gap_s is not None:
        yield (
            "interval",
            f"usually {fmt.duration(each.usual_gap_s)}, at most {fmt.duration(each.longest_gap_s)}",
        )
    root = each.newest
    if root is not None:
        age = fmt.duration((result.now - root.started_at).total_seconds())
        state = "held" if any(issue.code == "held" for issue in each.issues) else "complete"
        state = state if root.complete else "incomplete"
        yield "newest", f"{root.name}, {age} ago, {state}"
        counts = root.counts
        holds = f"{fmt.count(counts.repositories, 'repository')}, {fmt.count(counts.tags, 'tag')}"
        holds += f", {fmt.count(counts.revisions, 'revision')}, {fmt.size(counts.nbytes)}"
        yield "holds", holds
    stored = "?" if each.stored_bytes is None else fmt.size(each.stored_bytes)
    newest = f", {fmt.size(root.objects.nbytes)} for the newest" if root else ""
    yield "stored", f"{stored} for its snapshots{newest}"
    last = each.last_verified
    if last is None:
        yield "verified", "never"
    else:
        found = fmt.count(last.problems, "problem") if last.problems else "no problems"
        through = f", up to {each.title}@{last.through}" if last.through else ""
        yield "verified", f"{time(last.at)} ({last.depth}): {found}{through}"
    if each.archive is not None and each.archive.promised:
        yield (
            "archived",
            (
                f"{fmt.count(each.archive.promised, 'object')} that it needs, "
                f"{fmt.size(each.archive.promised_bytes)}, which come back as was promised"
            ),
        )
    if each.restore_seconds is None or each.restore_rate is None:
        yield "restore", "time unknown; measured by: regvault verify --read-data"
    else:
        rate = f"at the measured {fmt.size(round(each.restore_rate))}/s"
        yield "restore", f"about {fmt.duration(each.restore_seconds)} {rate}"


def _issues(app: App, issues: list[Issue]) -> None:
    for issue in issues:
        app.console.say(f"  {issue.severity + ':':<11} {issue.message}")
        if issue.hint:
            app.console.say(f"  {'':<11} {issue.hint}")
