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
    },
)
def audit() -> None:
    """Take events and logs of registries, stream them to Kafka, keep them, and ask them."""
