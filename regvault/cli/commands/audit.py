"""`regvault audit`: events and logs of registries, into Kafka and into the vault."""

from __future__ import annotations

from regvault.cli.group import LazyCommand, group

_HERE = "regvault.cli.commands"


@group(
    "audit",
    {
        "serve": LazyCommand(
            f"{_HERE}.audit_serve:serve",
            "Take events of registries over HTTP, and make them durable before answering.",
        ),
        "tail": LazyCommand(
            f"{_HERE}.audit_tail:tail",
            "Read lines of log files into a spool, each once, as one event each.",
        ),
        "ship": LazyCommand(
            f"{_HERE}.audit_ship:ship",
            "Send the events of a spool to Kafka, each until it is there.",
        ),
        "archive": LazyCommand(
            f"{_HERE}.audit_archive:archive",
            "Put the events of a topic, or of a spool, into the vault, each once.",
        ),
        "replay": LazyCommand(
            f"{_HERE}.audit_replay:replay", "Put archived events of a time back into a topic."
        ),
        "query": LazyCommand(
            f"{_HERE}.audit_query:query",
            "Find events: archived ones, and those that are not archived yet.",
        ),
        "access": LazyCommand(
            f"{_HERE}.audit_access:access",
            "Show when manifests and blobs were last pulled, how often, and what is idle.",
        ),
        "verify": LazyCommand(
            f"{_HERE}.audit_verify:verify",
            "Prove that nothing was taken out of archived events, put in, changed or moved since.",
        ),
        "status": LazyCommand(
            f"{_HERE}.audit_status:status",
            "Show how far events are: what waits in spools for whom, how far the archive is.",
        ),
        "forget": LazyCommand(
            f"{_HERE}.audit_forget:forget",
            "Delete archived events that are older than they are to be kept.",
        ),
        "signals": LazyCommand(
            f"{_HERE}.audit_signals:signals",
            "Notice what is out of the ordinary in a spool, and put it there as events.",
        ),
        "erase": LazyCommand(
            f"{_HERE}.audit_erase:erase",
            "Throw away the key of MONTH: its archived events tell of nobody any more.",
        ),
    },
)
def audit() -> None:
    """Take events and logs of registries, stream them to Kafka, keep them, and ask them."""
