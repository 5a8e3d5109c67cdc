"""Why a Kafka cluster does not take, or give, what it is asked for.

kafka-python raises the same error whatever is wrong with a connection, and tells its loggers why
(seen with 3.0.12): they are listened to.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from regvault.errors import CredentialError, NotFoundError, RegvaultError, TemporaryError
from regvault.model.stream import RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.kafka.settings import KafkaSettings

__all__ = [
    "HINT_READING",
    "HINT_SENDING",
    "explain",
    "is_absent",
    "no_topic",
    "overheard",
    "unreachable",
]

HINT_READING: Final = "Does it run, and can this host reach it? Then run the same command again."
"""Where something is only asked, or read."""

HINT_SENDING: Final = (
    "Nothing is lost: it is tried again. What is not delivered stays in the spool."
)
"""Where a spool is sent."""

_REJECTED = {
    "MessageSizeTooLargeError",
    "RecordListTooLargeError",
    "InvalidRecordError",
    "InvalidTimestampError",
    "PolicyViolationError",
}
_DENIED = {
    "TopicAuthorizationFailedError": "may not write to, or read, the topic",
    "GroupAuthorizationFailedError": "may not use the consumer group",
    "ClusterAuthorizationFailedError": "may not write idempotently to the cluster",
    "TransactionalIdAuthorizationFailedError": "may not use the transactional id",
    "SaslAuthenticationFailedError": "is not who the user claims to be",
}
_MISSING = {"UnknownTopicOrPartitionError", "UnknownTopicIdError", "InvalidTopicError"}
#: What librdkafka calls these; other names are told as they are.
_AS_KAFKA_PYTHON = {
    "MSG_SIZE_TOO_LARGE": "MessageSizeTooLargeError",
    "_MSG_SIZE_TOO_LARGE": "MessageSizeTooLargeError",
    "RECORD_LIST_TOO_LARGE": "RecordListTooLargeError",
    "INVALID_RECORD": "InvalidRecordError",
    "INVALID_TIMESTAMP": "InvalidTimestampError",
    "POLICY_VIOLATION": "PolicyViolationError",
    "TOPIC_AUTHORIZATION_FAILED": "TopicAuthorizationFailedError",
    "GROUP_AUTHORIZATION_FAILED": "GroupAuthorizationFailedError",
    "CLUSTER_AUTHORIZATION_FAILED": "ClusterAuthorizationFailedError",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "TransactionalIdAuthorizationFailedError",
    "SASL_AUTHENTICATION_FAILED": "SaslAuthenticationFailedError",
    "_AUTHENTICATION": "SaslAuthenticationFailedError",
    "UNKNOWN_TOPIC_OR_PART": "UnknownTopicOrPartitionError",
    "UNKNOWN_TOPIC_ID": "UnknownTopicIdError",
    "TOPIC_EXCEPTION": "InvalidTopicError",
    "_UNKNOWN_TOPIC": "UnknownTopicOrPartitionError",
    "_UNKNOWN_PARTITION": "UnknownTopicOrPartitionError",
}
#: Parts of what the loggers say, with what it means.
_HEARD = (
    ("hostname mismatch", "the certificate of the broker is of another host"),
    ("ip address mismatch", "the certificate of the broker is of another host"),
    ("certificate verify failed", "the certificate of the broker is not signed by who is trusted"),
    ("certificate_required", "the broker wants a certificate of the client"),
    ("certificate required", "the broker wants a certificate of the client"),
    ("bad_certificate", "the broker does not take the certificate of the client"),
    ("bad certificate", "the broker does not take the certificate of the client, or there is none"),
    ("unknown_ca", "the broker does not know who signed the certificate of the client"),
    ("unknown ca", "the broker does not know who signed the certificate of the client"),
    ("saslauthenticationfailed", "user, password or token are wrong"),
    ("authentication failed", "user, password or token are wrong"),
    ("authentication error", "user, password or token are wrong"),
    ("unsupportedsaslmechanism", "the broker has another SASL mechanism"),
)


def explain(error: BaseException, what: str, hint: str = HINT_READING) -> Exception:
    """Return what an error of a library means.

    Args:
        error: of kafka-python, or a KafkaException of confluent-kafka.
        what: the topic or the cluster, for messages.
        hint: where it is worth trying again.

    Returns:
        a RejectedError, of one record alone; or a RegvaultError, of all.
    """
    if isinstance(error, (RegvaultError, RejectedError)):
        return error
    name, text = _name_of(error)
    if name in _REJECTED:
        return RejectedError(text or name)
    if name in _DENIED:
        return CredentialError(
            f"{what}: the user {_DENIED[name]}",
            hint="Grant it (WRITE and DESCRIBE for a producer, READ for a consumer and its group).",
        )
    if name in _MISSING:
        return no_topic(what)
    return TemporaryError(f"{what}: {name}: {text[:300]}", hint=hint)


def _name_of(error: BaseException) -> tuple[str, str]:
    """Return what kafka-python calls an error, and its text."""
    if type(error).__name__ == "KafkaException" and error.args:
        name = error.args[0].name()
        return _AS_KAFKA_PYTHON.get(name, name), error.args[0].str()
    return type(error).__name__, str(error)


def no_topic(what: str) -> NotFoundError:
    """Return what there is to say where a topic is not there."""
    return NotFoundError(
        f"{what}: there is no such topic, or this user may not see it",
        hint="Make it, with as many replicas as the cluster bears (regvault makes none), and "
        "grant DESCRIBE.",
    )


def is_absent(settings: KafkaSettings, topic: str) -> bool:
    """Return whether the cluster is sure to show no topic of this name.

    kafka-python (3.0.12) waits in vain for one that is not there, and does not say why.
    """
    import kafka
    from kafka.errors import KafkaError

    try:
        admin = kafka.KafkaAdminClient(**settings.for_kafka_python(), bootstrap_timeout_ms=5000)
        try:
            return topic not in admin.list_topics()
        finally:
            admin.close()
    except (KafkaError, OSError):
        return False


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.heard) < 1000:
            self.heard.append(record.getMessage()[:1000])


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Listen to what kafka-python tells its loggers meanwhile."""
    logger = logging.getLogger("kafka.net")
    ear = _Ear()
    level = logger.level
    logger.addHandler(ear)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield ear.heard
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)


def unreachable(
    settings: KafkaSettings, heard: list[str], hint: str = HINT_READING
) -> RegvaultError:
    """Return why no broker could be talked to; `hint` where it is worth trying again."""
    what = f"Kafka at {','.join(settings.servers)}"
    for line in reversed(heard):
        low = line.lower()
        for part, reason in _HEARD:
            if part in low:
                return CredentialError(
                    f"{what}: {reason}", hint="Look at the certificates, the user and its secret."
                )
    spoke = any("broker version identified" in line.lower() for line in heard)
    if settings.mechanism is not None and spoke:
        # kafka-python is told no more than that: the connection ends within the handshake.
        return CredentialError(
            f"{what}: it ends the connection when it is told who this is: user, password, token or "
            "mechanism are wrong",
            hint=f"This is {settings.mechanism}. The broker's own log says more.",
        )
    refused = any("refused" in line.lower() for line in heard)
    reason = "no broker listens there" if refused else "no broker answers"
    return TemporaryError(f"{what}: {reason}", hint=hint)
