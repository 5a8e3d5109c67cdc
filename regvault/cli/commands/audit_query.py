"""`regvault audit query`: who pushed this, who pulled that, what did they do."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_filters import (
    address_filter,
    is_csv,
    repo_filter,
    status_filter,
    time_filter,
)
from regvault.cli.audit_live import in_spools, topic_of
from regvault.cli.audit_options import audit_command, given, kafka_options, needs_extra
from regvault.cli.options import repo_option, vault_option
from regvault.cli.sheet import write_rows
from regvault.errors import UsageError
from regvault.oci.grammar import is_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.cli.app import App
    from regvault.cli.audit_live import Topic
    from regvault.model.event import Event
    from regvault.ops.audit.query import Events
    from regvault.ops.audit.select import Wanted
    from regvault.vault.vault import Vault

_COLUMNS = (
    "time", "action", "repository", "tag", "digest", "actor", "address", "status", "source",
    "useragent", "duration_ms", "reason", "reconstructed",
)  # fmt: skip
#: Of a line of a log that nothing else is known of, characters that are shown.
_RAW_SHOWN = 120


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
    type=click.Path(),
    help="Ask this spool too, for what is not archived yet; may be repeated.",
)
@kafka_options(required=False)
@click.option("--no-kafka", is_flag=True, help="Do not ask Kafka, where it is configured.")
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
@click.option("--newest", metavar="N", type=click.IntRange(1), help="Print the last N.")
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
    newest: int | None,
    **options: Any,
) -> int:
    """Find events: archived ones, and those that are not archived yet.

    With --spool and --kafka those are asked too that are on their way. What is given is all asked
    for at once; of an option that is repeated, any. Records of one request from several sources (a
    notification, a registry's log, a proxy's) are one event, which keeps each. With --json each
    event is a line, as `docs/events.md` says.

    Where Kafka cannot be reached the other places answer, and it ends with 3.
    """
    needs_extra("cryptography")
    from regvault.ops.audit.query import Events

    if who_pulled and blast_radius and given("who_pulled") is given("blast_radius"):
        raise UsageError("--who-pulled and --blast-radius exclude each other", hint="Give one.")
    if given("who_pulled"):  # what is configured then counts for nothing
        blast_radius = None
    elif given("blast_radius"):
        who_pulled = None
    if limit and newest and given("limit") is given("newest"):
        raise UsageError("--limit and --newest exclude each other", hint="Give one.")
    if given("limit"):
        newest = None
    elif newest:
        limit = None
    as_csv = is_csv(app, as_csv)
    live = in_spools(spool)
    of_kafka = options["kafka"] and not options["no_kafka"]
    opened = _vault(app, vault, endpoint_url, needed=not (spool or of_kafka))
    topic = topic_of(options, opened, alone=opened is None and not spool)
    events = Events(opened, live if topic is None else [*live, topic], cache_base=app.cache_base())
    wanted = _wanted(app, options, who_pulled or blast_radius)
    if wanted.digests and not exact:
        wanted = events.with_containers(wanted)
    if (who_pulled or blast_radius) and not timeline:
        from regvault.cli.audit_pullers import show_pullers

        found = show_pullers(app, events, wanted, by_image=bool(blast_radius), as_csv=as_csv)
    else:
        some = events.find(wanted) if separate else events.requests(wanted)
        some = iter(deque(some, newest)) if newest else islice(some, limit)
        found = _show(app, some, as_csv=as_csv)
    if not found:
        app.console.note("No event is like that.")
    return _report(app, events, topic)


def _vault(app: App, text: str | None, endpoint_url: str | None, *, needed: bool) -> Vault | None:
    from regvault.assemble import open_vault

    if text is None and not (app.config and app.config.vaults) and not needed:
        return None
    return open_vault(app.vault(text, endpoint_url=endpoint_url))


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
    since, until = time_filter(app, options["since"], options["until"])
    return Wanted(
        repos=repo_filter(options["repos"], hint="For a tag: --tag. For a digest: --digest."),
        digests=frozenset(digests),
        tags=frozenset(options["tags"]),
        actors=frozenset(options["actors"]),
        addresses=address_filter(options["addresses"]),
        actions=frozenset(actions),
        statuses=tuple(map(status_filter, options["status"])),
        since=since,
        until=until,
    )


def _show(app: App, found: Iterator[Event], *, as_csv: bool) -> int:
    if as_csv:
        return write_rows(_COLUMNS, found)
    count = 0
    for event in found:
        count += 1
        app.console.document(event)
        app.console.say(_text(app, event))
    return count


def _text(app: App, event: Event) -> str:
    what = event["repository"] or "-"
    if event["tag"]:
        what += f":{event['tag']}"
    if event["digest"]:
        what += f"@{event['digest'][:19]}"
    who = f"{fmt.inline(event['actor'] or '-')} {fmt.inline(event['address'] or '-')}"
    status = "" if event["status"] is None else f" {event['status']}"
    when = app.console.time(event["time"])
    about = f"{fmt.inline(event['action']):<8} {fmt.inline(what)}"
    return f"{when}  {about}  {who}{fmt.inline(status)}{fmt.inline(_more(event))}"


def _more(event: Event) -> str:
    """Return what else there is to say of an event in one line."""
    told = [event["signal"], event.get("state")] if event.get("signal") else []
    more = "".join(f" {each}" for each in told if each)
    reason = event.get("reason")
    if not reason and event["action"] == "log":
        reason = (event["raw"] or "")[:_RAW_SHOWN]
    if reason:
        more += f" ({reason})"
    if event["status"] == 401 and _asks(event):
        more += " (only asked how to log in)"
    return f"{more} (reconstructed)" if event.get("reconstructed") else more


def _asks(event: Event) -> bool:
    """Return whether a 401 is no failed login, but what every client is told first."""
    from regvault.audit.signals.failures import is_question

    return event["actor"] is None and not event.get("erased") and is_question(event)


def _report(app: App, events: Events, topic: Topic | None) -> int:
    code = 0
    if topic is not None and topic.problem is not None:
        code = 3
        app.console.warn_line(
            f"{topic.problem}: what is only there is missing in this answer",
            hint="Ask again when it can be reached; --no-kafka asks without it.",
        )
    archived = events.archived
    if archived is None:
        return code
    if archived.expired:
        app.console.note(
            f"What came in until {archived.expired[:19]}Z is not kept any more (audit forget)."
        )
    if archived.erased:
        app.console.note("Some events tell of nobody any more: the key of their month was erased.")
    for key, why in archived.damaged.items():
        app.console.warn_line(f"{key}: {why}", hint="See: regvault audit verify")
    return 4 if archived.damaged else code
