"""`regvault audit query`: who pushed this, who pulled that, what did they do."""

from __future__ import annotations

import csv
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from regvault.cli.audit_options import (
    audit_command,
    event_time,
    given,
    kafka_options,
    kafka_settings,
    needs_extra,
    wants_kafka,
)
from regvault.cli.options import repo_option, vault_option
from regvault.errors import UsageError
from regvault.oci.grammar import is_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.cli.app import App
    from regvault.model.event import Event
    from regvault.ops.audit.query import Events
    from regvault.ops.audit.select import Wanted
    from regvault.vault.vault import Vault

_COLUMNS = ("time", "action", "repository", "tag", "digest", "actor", "address", "status")


@audit_command(
    "query",
    examples=[
        ("Who pushed this tag?", "regvault audit query --repo team/app --tag v1 --action push"),
        ("Who pulled anything with this layer?", "regvault audit query --blast-radius sha256:..."),
        ("What did they do last night?", "regvault audit query --actor ci --since '12 hours ago'"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@vault_option
@click.option(
    "--spool",
    metavar="DIR",
    multiple=True,
    type=click.Path(file_okay=False, exists=True),
    help="Ask this spool too, for what is not archived yet; may be repeated.",
)
@kafka_options(required=False)
@repo_option
@click.option("--tag", "tags", metavar="T", multiple=True, help="With this tag; may be repeated.")
@click.option(
    "--digest",
    "digests",
    metavar="D",
    multiple=True,
    help="About this digest, or a manifest or an index that contains it; may be repeated.",
)
@click.option("--exact", is_flag=True, help="Only the digest itself, not what contains it.")
@click.option("--actor", "actors", metavar="A", multiple=True, help="By this user.")
@click.option("--address", "addresses", metavar="IP", multiple=True, help="From this address.")
@click.option("--action", "actions", metavar="A,B", multiple=True, help="Such as pull,push,delete.")
@click.option("--status", metavar="S", multiple=True, help="Such as 401, 4xx or 400-499.")
@click.option("--since", metavar="TIME", help="Such as 2026-11-20, or '3 hours ago'.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option(
    "--who-pulled",
    metavar="D",
    help="Who pulled this digest, or anything that contains it: by user and address.",
)
@click.option(
    "--blast-radius",
    metavar="D",
    help="The same, by image, with when it was pushed and deleted: what an incident needs.",
)
@click.option("--timeline", is_flag=True, help="All that happened to it, in order.")
@click.option(
    "--separate", is_flag=True, help="Do not put the records of one request together into one."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Print the first N.")
@click.pass_obj
def query(
    app: App,
    /,
    vault: str | None,
    endpoint_url: str | None,
    spool: tuple[str, ...],
    who_pulled: str | None,
    blast_radius: str | None,
    timeline: bool,
    exact: bool,
    separate: bool,
    as_csv: bool,
    limit: int | None,
    **options: Any,
) -> int:
    """Find events: archived ones, and those that are not archived yet.

    With --spool and --kafka those are asked too that are on their way. What is given is all asked
    for at once; of an option that is repeated, any. Records of one request from several sources (a
    notification, a registry's log, a proxy's) are one event, which keeps each. With --json each
    event is a line, as `docs/events.md` says.
    """
    needs_extra("cryptography")
    from regvault.ops.audit.query import Events

    if who_pulled and blast_radius and given("who_pulled") is given("blast_radius"):
        raise UsageError("--who-pulled and --blast-radius exclude each other", hint="Give one.")
    if given("who_pulled"):  # what is configured then counts for nothing
        blast_radius = None
    elif given("blast_radius"):
        who_pulled = None
    opened = _vault(app, vault, endpoint_url, needed=not (spool or options["kafka"]))
    events = Events(opened, list(_live(opened, spool, options)), cache_base=app.cache_base())
    wanted = _wanted(app, options, who_pulled or blast_radius)
    if wanted.digests and not exact:
        wanted = events.with_containers(wanted)
    if (who_pulled or blast_radius) and not timeline:
        from regvault.cli.audit_pullers import show_pullers

        found = show_pullers(app, events, wanted, by_image=bool(blast_radius), as_csv=as_csv)
    else:
        some = events.find(wanted) if separate else events.requests(wanted)
        found = _show(app, some, as_csv=as_csv, limit=limit)
    if not found:
        app.console.note("No event is like that.")
    return _report(app, events)


def _vault(app: App, text: str | None, endpoint_url: str | None, *, needed: bool) -> Vault | None:
    from regvault.assemble import open_vault

    if text is None and not (app.config and app.config.vaults) and not needed:
        return None
    return open_vault(app.vault(text, endpoint_url=endpoint_url))


def _live(
    vault: Vault | None, spools: tuple[str, ...], options: dict[str, Any]
) -> Iterator[Callable[[], Iterator[Event]]]:
    from regvault.ops.audit.live import in_stream

    for directory in spools:
        yield partial(_in_spool, directory)
    if wants_kafka(options):
        from regvault.audit.kafka.clients import open_source

        settings = kafka_settings(options)
        yield lambda: in_stream(open_source(settings, options["topic"], group=None), vault)


def _in_spool(directory: str) -> Iterator[Event]:
    from regvault.audit.spool import Reader
    from regvault.ops.audit.live import in_spool

    return in_spool(Reader(directory))


def _wanted(app: App, options: dict[str, Any], about: str | None) -> Wanted:
    from regvault.model.event import ACTIONS
    from regvault.ops.audit.select import Wanted

    digests = {*options["digests"], *([about] if about else [])}
    for digest in digests:
        if not is_digest(digest):
            raise UsageError(f"{digest!r} is no digest", hint="One is sha256: and 64 hex digits.")
    actions = {part for value in options["actions"] for part in value.split(",") if part}
    unknown = actions - ACTIONS.keys()
    if unknown:
        raise UsageError(f"no such action: {min(unknown)!r}", hint=", ".join(ACTIONS))
    return Wanted(
        repos=tuple(options["repos"]),
        digests=frozenset(digests),
        tags=frozenset(options["tags"]),
        actors=frozenset(options["actors"]),
        addresses=frozenset(options["addresses"]),
        actions=frozenset(actions),
        statuses=tuple(map(_status, options["status"])),
        since="" if not options["since"] else event_time(app, "--since", options["since"]),
        until="9999" if not options["until"] else event_time(app, "--until", options["until"]),
    )


def _status(text: str) -> range:
    low, dash, high = text.partition("-")
    try:
        if text.lower().endswith("xx") and len(text) == 3:
            return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
        return range(int(low), int(high if dash else low) + 1)
    except ValueError:
        raise UsageError(f"{text!r} is no status", hint="401, 4xx or 400-499") from None


def _show(app: App, found: Iterator[Event], *, as_csv: bool, limit: int | None) -> int:
    count = 0
    writer = csv.writer(sys.stdout) if as_csv else None
    if writer is not None:
        writer.writerow(_COLUMNS)
    for event in found:
        count += 1
        if writer is not None:
            writer.writerow(["" if event[name] is None else event[name] for name in _COLUMNS])
        elif app.json:
            app.console.document(event)
        else:
            app.console.say(_text(app, event))
        if count == limit:
            break
    return count


def _text(app: App, event: Event) -> str:
    what = event["repository"] or "-"
    if event["tag"]:
        what += f":{event['tag']}"
    if event["digest"]:
        what += f"@{event['digest'][:19]}"
    who = event["actor"] or "-"
    where = event["address"] or "-"
    status = "" if event["status"] is None else f" {event['status']}"
    reason = f" ({event['reason']})" if event.get("reason") else ""
    when = app.console.time(event["time"])
    return f"{when}  {event['action']:<8} {what}  {who} {where}{status}{reason}"


def _report(app: App, events: Events) -> int:
    archived = events.archived
    if archived is None:
        return 0
    if archived.expired:
        app.console.note(
            f"What came in until {archived.expired[:19]}Z is not kept any more (audit forget)."
        )
    if archived.erased:
        app.console.note("Some events tell of nobody any more: the key of their month was erased.")
    for key, why in archived.damaged.items():
        app.console.warn(f"{key}: {why}", hint="See: regvault audit verify")
    return 4 if archived.damaged else 0
