"""What both uses of librdkafka share: its logger, and a first answer of the cluster."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from regvault.audit.kafka.reasons import HINT_READING, unreachable
from regvault.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Collection

    from regvault.audit.kafka.settings import KafkaSettings

__all__ = ["metadata", "quiet"]

_CONNECT_S = 10.0
_TRY_S = 1.0


def metadata(
    client: Any, settings: KafkaSettings, heard: Collection[str], hint: str = HINT_READING
) -> Any:
    """Return what a cluster says of itself and its topics.

    Args:
        client: of librdkafka.
        settings: how the cluster is reached.
        heard: what its `error_cb` is told, which says why it is not.
        hint: where it is worth trying again.

    Raises:
        CredentialError: a certificate, the user or its secret is wrong.
        TemporaryError: no broker answers.
    """
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            return client.list_topics(timeout=_TRY_S)
        except KafkaException as error:
            client.poll(0)
            found = unreachable(settings, [*heard, str(error)], hint)
            hopeless = isinstance(found, CredentialError) or "listens" in found.message
            if hopeless or time.monotonic() > deadline:
                raise found from error


def quiet() -> logging.Logger:
    """Return a logger for what librdkafka says: errors are told by who meets them."""
    logger = logging.getLogger("regvault.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
