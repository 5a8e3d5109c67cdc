"""`regvault audit replay`: archived events back into a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_filters import time_filter
from regvault.cli.audit_options import audit_command, kafka_options, kafka_settings
from regvault.cli.options import vault_option, yes_option

if TYPE_CHECKING:
    from regvault.cli.app import App


@audit_command(
    "replay",
    examples=[
        (
            "Into a new cluster",
            "regvault audit replay --since 2026-11-01 --until 2026-12-01 --kafka k:9092 --topic t",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@vault_option
@click.option("--since", metavar="TIME", required=True, help="The first time, such as 2026-11-20.")
@click.option("--until", metavar="TIME", help="The time before which events happened; else now.")
@kafka_options(required=True, client=False)  # librdkafka cannot keep every timestamp
@yes_option
@click.pass_obj
def replay(
    app: App,
    /,
    vault: str | None,
    endpoint_url: str | None,
    since: str,
    until: str | None,
    yes: bool,
    **options: Any,
) -> int:
    """Put archived events of a time back into a topic.

    Of a new cluster, or of a rebuilt one. They are exactly what they were: values, keys, timestamps
    and headers, in their order. The topic must exist; what it has already is not looked at, and a
    second replay sends all again, with the same ids. What it does not take is said, and holds up no
    other. Of a month that was erased they tell of nobody, and are not from the future.
    """
    from regvault.assemble import open_vault
    from regvault.audit.kafka.producer import KafkaProducerSink
    from regvault.ops.audit.replay import HINT
    from regvault.ops.audit.replay import replay as execute

    settings = kafka_settings(options)
    first, last = time_filter(app, since, until)
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    where = f"{options['topic']} at {','.join(settings.servers)}"
    app.confirm(f"Send the archived events since {since} to {where}?", yes=yes, hint="Give --yes.")
    with app.progress() as progress:
        done = execute(
            opened,
            lambda: KafkaProducerSink(settings, hint=HINT),
            options["topic"],
            since=first,
            until=last,
            progress=progress,
        )
    app.console.document(done.to_json())
    app.console.say(f"{fmt.count(done.sent, 'event')} sent to {where}.")
    if done.expired:
        app.console.note(
            f"What came in until {done.expired[:19]}Z is not kept any more (audit forget)."
        )
    if done.erased:
        app.console.note(f"{fmt.count(done.erased, 'event')} of them tell of nobody any more.")
    if done.rejected:
        app.console.warn_line(
            f"the topic does not take {fmt.count(done.rejected, 'event')}: {done.reason[:300]}",
            hint="They are in the archive still: regvault audit query shows them.",
        )
    return 3 if done.rejected else 0
