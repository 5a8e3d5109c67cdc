"""Events that `regvault audit query` finds outside the archive: in spools, and in Kafka."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from regvault.cli.audit_options import given, kafka_settings, require_spool, wants_kafka
from regvault.errors import TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.model.event import Event
    from regvault.vault.vault import Vault

__all__ = ["Topic", "in_spools", "topic_of"]


class Topic:
    """A topic to ask, which may not be reached: the other places answer then.

    Attributes:
        problem: why it was not asked to its end, or None.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, vault: Vault | None, *, alone: bool
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: how Kafka is reached.
            topic: its name.
            vault: what it has archived is left out.
            alone: no other place is asked, so there is no answer without it.
        """
        self._settings = settings
        self._topic = topic
        self._vault = vault
        self._alone = alone
        self.problem: str | None = None

    def __call__(self) -> Iterator[Event]:
        """Yield its events that are not archived. Raises TemporaryError where it is asked alone."""
        from regvault.audit.kafka.clients import open_source
        from regvault.ops.audit.live import in_stream

        try:
            yield from in_stream(open_source(self._settings, self._topic, group=None), self._vault)
        except TemporaryError as error:
            if self._alone:
                raise
            self.problem = error.message


def topic_of(options: dict[str, Any], vault: Vault | None, *, alone: bool) -> Topic | None:
    """Return the topic that is to be asked, or None.

    Args:
        options: those of `kafka_options`, by their names, and `no_kafka`.
        vault: whose archive is asked too.
        alone: no other place is asked.

    Raises:
        UsageError: the options do not fit together.
    """
    if options["no_kafka"]:
        if given("kafka") or given("topic"):
            raise UsageError("--no-kafka excludes --kafka and --topic", hint="Give one.")
        return None
    if not wants_kafka(options):
        return None
    return Topic(kafka_settings(options), options["topic"], vault, alone=alone)


def in_spools(directories: tuple[str, ...]) -> list[Callable[[], Iterator[Event]]]:
    """Return what yields the events of each spool. Raises NotFoundError where one is none."""
    for directory in directories:
        require_spool(directory)
    return [partial(_in_spool, directory) for directory in directories]


def _in_spool(directory: str) -> Iterator[Event]:
    from regvault.audit.spool import Reader
    from regvault.ops.audit.live import in_spool

    return in_spool(Reader(directory))
