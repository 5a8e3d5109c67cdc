"""`regvault audit archive`: events into the vault."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import (
    access_rules,
    audit_command,
    given,
    ignore_option,
    kafka_options,
    kafka_settings,
    needs_extra,
    require_spool,
)
from regvault.cli.locking import keep_locked
from regvault.cli.options import DURATION, vault_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.cli.app import App
    from regvault.model.stream import EventSource
    from regvault.ops.audit.archive import Archived

_DAY_S = 86_400.0


@audit_command(
    "archive",
    examples=[
        (
            "What is in the topic, from cron",
            "regvault audit archive --kafka kafka1:9092 --topic registry --vault offsite",
        ),
        (
            "Without Kafka",
            "regvault audit archive --spool /var/spool/regvault --vault offsite",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@kafka_options(required=False)
@click.option(
    "--group",
    metavar="G",
    default="regvault-archive",
    show_default=True,
    help="The consumer group in Kafka.",
)
@click.option(
    "--spool",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True),
    help="Archive this spool, in place of a topic.",
)
@vault_option
@click.option(
    "--segment",
    "segment_s",
    metavar="DURATION",
    type=DURATION,
    default="1h",
    show_default=True,
    help="How long one segment is kept open, an hour at most.",
)
@ignore_option
@click.option("--follow", is_flag=True, help="Stay and archive what comes; else end when all is.")
@click.pass_obj
def archive(
    app: App,
    /,
    spool: str | None,
    group: str,
    vault: str | None,
    endpoint_url: str | None,
    segment_s: float,
    ignored: tuple[str, ...],
    follow: bool,
    **options: Any,
) -> int:
    """Put the events of a topic, or of a spool, into the vault, each once.

    They are kept in segments of at most an hour, compressed; each is a link of a chain, which is
    signed where the vault is: nothing can be taken out, changed or put in afterwards without a
    trace. How far the chain is in each partition is in its links, so a run that is killed neither
    loses nor doubles an event. Repeats, which carry the same id, are left out for 8 days. Several
    that follow share the partitions of a topic.

    Access statistics, which `audit access` shows, are kept up to date on the way; what goes wrong
    with them is said, and holds nothing up.

    What tells of persons is encrypted with a key of its month, which lies apart from all that is
    locked: once it is deleted in all copies, that month tells of nobody any more.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault, threads_for
    from regvault.ops.audit.access.beside import beside_archiving
    from regvault.ops.audit.archive import Archiver
    from regvault.vault.catalog import vault_cache

    if not 1 <= segment_s <= 3600:
        raise UsageError("--segment: between 1s and 1h", hint="One is 15m.")
    app.follows = follow
    place = app.vault(vault, endpoint_url=endpoint_url)
    rules = access_rules(ignored)
    opened = open_vault(place)
    cache = vault_cache(app.cache_base(), opened.id)
    count = beside_archiving(opened, rules, cache=cache, say=app.console.note)
    threads = threads_for(place)
    locks = _Locks(lambda: keep_locked(app, opened, threads=threads))

    def linked() -> None:
        count()
        locks.keep()

    archiver = Archiver(
        opened,
        _source(options, group, spool, follow=follow),
        cache=cache,
        segment_s=segment_s,
        say=app.console.note,
        linked=linked,
    )
    done = archiver.run(threading.Event(), follow=follow)
    app.console.document({**done.to_json(), "locks": locks.found})
    return _show(app, done) or locks.code


class _Locks:
    """Extends locks where that is due: asked after each link, done once a day."""

    def __init__(self, extend: Callable[[], tuple[dict[str, Any] | None, int]]) -> None:
        self.found: dict[str, Any] | None = None
        self.code = 0
        self._extend = extend
        self._next = 0.0

    def keep(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _DAY_S
            self.found, self.code = self._extend()


def _source(options: dict[str, Any], group: str, spool: str | None, *, follow: bool) -> EventSource:
    of_kafka = given("kafka") or given("topic")
    if spool is not None and not (of_kafka and not given("spool")):
        if of_kafka:
            raise UsageError("--spool is given, and --kafka too", hint="Archive one of them.")
        from regvault.audit.spool import Spool
        from regvault.audit.spool.source import SpoolSource

        require_spool(spool)
        return SpoolSource(Spool(spool))
    if not (options["kafka"] and options["topic"]):
        raise UsageError(
            "nothing to archive is named", hint="Give --kafka and --topic, or --spool."
        )
    from regvault.audit.kafka.clients import open_source

    return open_source(kafka_settings(options), options["topic"], group=group, shared=follow)


def _show(app: App, done: Archived) -> int:
    console = app.console
    count = fmt.count(done.events, "event")
    segments = fmt.count(done.segments, "segment")
    console.say(f"{count} archived in {segments}, {fmt.size(done.nbytes)}.")
    if done.repeats:
        console.note(f"{fmt.count(done.repeats, 'repeat')} left out.")
    for gap in done.gaps:
        console.warn(
            f"{gap['next'] - gap['first']} records of partition {gap['partition']} were gone "
            "before they could be archived",
            hint="Archive more often, or keep them longer in Kafka.",
        )
    return 3 if done.gaps else 0
