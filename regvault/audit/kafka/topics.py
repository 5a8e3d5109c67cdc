"""What a cluster says of a topic, for `doctor`: nothing is written, and no group is joined."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from regvault.audit.kafka.reasons import explain, no_topic, overheard, unreachable
from regvault.errors import CredentialError
from regvault.model.doctor import TopicFacts

if TYPE_CHECKING:
    from regvault.audit.kafka.settings import KafkaSettings

__all__ = ["Topics"]

_CONNECT_MS = 10_000
_NOT_ALLOWED = 29  # TOPIC_AUTHORIZATION_FAILED
_DESCRIBE_CONFIGS = "DESCRIBE_CONFIGS"


class Topics:
    """The topics of a cluster, seen with the rights of one user. Close it."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            CredentialError: a certificate, the user or its secret is wrong.
            TemporaryError: no broker answers.
        """
        import kafka
        from kafka.errors import KafkaError

        self._where = f"Kafka at {','.join(settings.servers)}"
        logging.getLogger("kafka").addHandler(logging.NullHandler())
        with overheard() as heard:
            try:
                self._admin: Any = kafka.KafkaAdminClient(
                    **settings.for_kafka_python(), bootstrap_timeout_ms=_CONNECT_MS
                )
            except (KafkaError, OSError) as error:
                raise unreachable(settings, [*heard, str(error)]) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.close()

    def cluster(self) -> tuple[str, int]:
        """Return the id of the cluster, and how many brokers it has. Raises RegvaultError."""
        found = self._ask(self._admin.describe_cluster, what=self._where)
        return str(found.get("cluster_id", "")), len(found["brokers"])

    def facts(self, topic: str) -> TopicFacts:
        """Return what is said of a topic.

        Raises:
            NotFoundError: there is none.
            CredentialError: this user may not see it, or any of that name.
            TemporaryError: the cluster does not say.
        """
        import kafka.errors
        from kafka.admin import ConfigResource

        where = f"{self._where}, topic {topic}"
        (found,) = self._ask(self._admin.describe_topics, [topic], what=where)
        code = found["error_code"]
        if code == _NOT_ALLOWED:
            raise CredentialError(
                f"{where}: this user may not see whether there is such a topic",
                hint="Grant DESCRIBE, which READ and WRITE bring along.",
            )
        if code:
            error = kafka.errors.for_code(code)()
            raise self._explained(error, where)
        if not found["partitions"]:
            raise no_topic(where)
        rights = found.get("authorized_operations")
        asked = self._ask(
            self._admin.describe_configs,
            [ConfigResource("TOPIC", topic)],
            config_filter="all",
            what=where,
        )
        told = asked["topic"][topic]
        # Whoever may not read them is told of none.
        settings = {name: str(each["value"]) for name, each in told.items()} if told else None
        parts = found["partitions"]
        return TopicFacts(
            partitions=len(parts),
            leaderless=sum(part["leader_id"] < 0 for part in parts),
            replication=min(len(part["replica_nodes"]) for part in parts),
            behind=sum(len(part["isr_nodes"]) < len(part["replica_nodes"]) for part in parts),
            rights=None if rights is None else frozenset(rights),
            settings=settings,
        )

    def offsets(self, topic: str, partitions: int) -> dict[str, tuple[int, int]]:
        """Return the first offset of each partition and the one after its last.

        Raises:
            RegvaultError: the cluster does not say.
        """
        from kafka import TopicPartition
        from kafka.admin import OffsetSpec

        where = f"{self._where}, topic {topic}"
        parts = [TopicPartition(topic, number) for number in range(partitions)]
        ask = self._admin.list_partition_offsets
        first = self._ask(ask, dict.fromkeys(parts, OffsetSpec.EARLIEST), what=where)
        last = self._ask(ask, dict.fromkeys(parts, OffsetSpec.LATEST), what=where)
        return {str(p.partition): (first[p].offset, last[p].offset) for p in parts}

    def _ask(self, call: Any, *arguments: Any, what: str, **more: Any) -> Any:
        from kafka.errors import KafkaError

        try:
            return call(*arguments, **more)
        except (KafkaError, OSError) as error:
            raise self._explained(error, what) from error

    @staticmethod
    def _explained(error: BaseException, what: str) -> Exception:
        return explain(error, what)
