"""What `regvault doctor` looks at of the audit stream: what is named, else what is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.cli.audit_options import kafka_settings, needs_extra
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.cli.app import App
    from regvault.config.places import VaultPlace
    from regvault.ops.doctor import SpoolSubject, TopicSubject

__all__ = ["named_stream"]

#: Commands whose Kafka is looked at: of the first that has one.
_STREAMING = ("ship", "serve", "archive")


def named_stream(
    app: App,
    kafka: dict[str, Any],
    spools: Sequence[str],
    vaults: Sequence[VaultPlace],
    *,
    everything: bool,
) -> tuple[list[TopicSubject], list[SpoolSubject]]:
    """Return the topic and the spools that are meant.

    Args:
        app: the run.
        kafka: the options of Kafka by their names. What is not given is as configured.
        spools: directories that are given.
        vaults: those that are looked at too.
        everything: nothing at all is named: what is configured is meant.

    Raises:
        UsageError: only one of `--kafka` and `--topic` is known, or they do not fit together.
    """
    from regvault.assemble.subjects import spool_subject, topic_subject

    audit = None if app.config is None else app.config.audit
    wanted = bool(kafka["kafka"] or kafka["topic"])
    if audit is not None and (wanted or everything):
        known = [each for each in _STREAMING if audit.value(each, "kafka")]
        of = known[0] if known else _STREAMING[0]
        kafka = {name: value or audit.value(of, name) for name, value in kafka.items()}
        wanted = wanted or bool(kafka["kafka"] and kafka["topic"])
    topics = []
    if wanted:
        if not (kafka["kafka"] and kafka["topic"]):
            raise UsageError("--kafka and --topic go together", hint="Give both, or neither.")
        settings = kafka_settings(kafka)
        place = _archive(app, vaults)
        topics = [topic_subject(settings, kafka["topic"], kafka["dead_letter_topic"], place)]
    limit = None if audit is None else audit.value("serve", "spool_size")
    if everything and audit is not None:
        places = (audit.value(each, "spool") for each in ("serve", "tail", "ship", "archive"))
        spools = list(dict.fromkeys(place for place in places if place))
    if spools:
        needs_extra()
    return topics, [spool_subject(directory, limit) for directory in spools]


def _archive(app: App, vaults: Sequence[VaultPlace]) -> VaultPlace | None:
    """Return the vault that the archive is in, as far as that is known."""
    if len(vaults) == 1:
        return vaults[0]
    named = None if app.config is None else app.config.audit.value("archive", "vault")
    if named is None and (app.config is None or len(app.config.vaults) != 1):
        return None
    return app.vault(named)
