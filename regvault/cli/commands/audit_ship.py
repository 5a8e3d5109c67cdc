"""`regvault audit ship`: a spool's events to Kafka."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import (
    audit_command,
    kafka_options,
    kafka_settings,
    open_spool,
    spool_options,
)

if TYPE_CHECKING:
    from regvault.audit.ship import Shipped
    from regvault.cli.app import App


@audit_command(
    "ship",
    examples=[
        (
            "What is there, from cron",
            "regvault audit ship --spool /var/spool/regvault --kafka kafka1:9092 --topic registry",
        ),
        (
            "All the time, with SCRAM over TLS",
            "regvault audit ship --follow --kafka-ca ca.pem --kafka-mechanism SCRAM-SHA-512 ...",
        ),
    ],
    exit_codes=(0, 1, 2, 5, 6, 10, 12),
)
@spool_options
@kafka_options(required=True)
@click.option(
    "--dead-letter-topic",
    metavar="T",
    help="Where goes what the topic does not take, and what is no event; else TOPIC.dead.",
)
@click.option("--follow", is_flag=True, help="Stay and send what comes; else end when all is sent.")
@click.pass_obj
def ship(
    app: App,
    /,
    spool: str,
    spool_size: float,
    dead_letter_topic: str | None,
    follow: bool,
    **options: Any,
) -> int:
    """Send the events of a spool to Kafka, each until it is there.

    Events of one repository stay in order. Each is acknowledged by all in-sync replicas before the
    spool lets go of it; what was not known to be there when a run ended is sent again by the next,
    with the same id.

    With --follow it waits for a broker that is away, however long; without, it gives up soon, and
    nothing is lost: the next run goes on.
    """
    from regvault.audit.kafka.clients import open_sink
    from regvault.audit.ship import Shipper

    app.follows = follow
    settings = kafka_settings({**options, "dead_letter_topic": dead_letter_topic})
    opened = open_spool(spool, spool_size)
    shipper = Shipper(
        opened,
        lambda: open_sink(settings),
        options["topic"],
        dead_letters=dead_letter_topic,
        report=app.console.warn_line,
    )
    stop = threading.Event()
    shipped = shipper.run(stop, follow=follow)
    app.console.document(shipped.to_json())
    _show(app, shipped, options["topic"])
    return 0


def _show(app: App, shipped: Shipped, topic: str) -> None:
    app.console.say(f"{fmt.count(shipped.sent, 'event')} sent to {topic}.")
    if shipped.dead:
        app.console.note(f"{fmt.count(shipped.dead, 'event')} of them went to the dead letters.")
    if shipped.gaps:
        app.console.warn(
            f"the spool is damaged at {fmt.count(shipped.gaps, 'place')}; events of action "
            "`gap` say where",
            hint="Look at the disk. What else is in the spool is sent.",
        )
