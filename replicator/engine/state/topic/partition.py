"""Access to the one partition of `replicator.state`, which checks that it is still the topic found there first."""

from __future__ import annotations

from replicator.errors import BrokerRefused, KafkaError, StateLost
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import control
from replicator.wire.protocol.codes import ErrorCode
from replicator.wire.protocol.faults import broker_error
from replicator.wire.topology import NO_TOPIC_ID
from replicator.wire.transport.connection import Connection

WHERE = TopicPartition(STATE_TOPIC, 0)

log = get_logger(__name__)


class StateTopic:
    """The state topic of one cluster, for reading and writing its log.

    Args:
        cluster: The cluster with the topic.

    Attributes:
        lost: Why nothing can be read or changed any more, once the topic was deleted; None while it exists.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.lost: str | None = None
        self._cluster = cluster
        self._topic_id: bytes | None = None

    async def connection(self, purpose: Purpose) -> Connection:
        """Return a connection to the topic's leader.

        Args:
            purpose: What it is for; each has a connection of its own.

        Raises:
            KafkaError: It has no leader, the leader does not answer, or the topic is gone.
        """
        leader = self._cluster.leader(WHERE)
        if leader is None:
            gone = await self._cluster.gone([STATE_TOPIC])  # a broker that has just started may not know it yet
            if self._topic_id is not None and gone:
                raise self._is_lost("it was deleted")
            leader = self._cluster.leader(WHERE)
        self._check()
        if leader is None:
            raise BrokerRefused(
                f"{STATE_TOPIC} of cluster {self._cluster.spec.alias!r} has no leader",
                cluster=self._cluster.spec.alias,
                code=int(ErrorCode.leader_not_available),
                api="Metadata",
                retryable=True,
            )
        try:
            return await self._cluster.connection(leader.node, purpose)
        except KafkaError:
            # Another broker may lead by now; the dead one cannot say so.
            await self._cluster.refresh([STATE_TOPIC])
            raise

    def _check(self) -> None:
        """Return if the topic is the one that was read so far: what is remembered of a different one is meaningless.

        Raises:
            BrokerRefused: It was deleted, and a different topic has its name by now.
        """
        topic = self._cluster.topics.get(STATE_TOPIC)
        if topic is None:
            return
        if topic.topic_id == NO_TOPIC_ID:  # before Kafka 2.8, or in the middle of an upgrade: it gets one later
            self.lost = None
            return
        if self._topic_id is None:
            self._topic_id = topic.topic_id
        if self._topic_id != topic.topic_id:
            raise self._is_lost("it was deleted and created again")
        self.lost = None

    @property
    def is_gone(self) -> str:
        """The sentence that every text about the loss of this topic starts with."""
        return f"{STATE_TOPIC} of cluster {self._cluster.spec.alias!r} is gone"

    def _is_lost(self, why: str) -> BrokerRefused:
        alias = self._cluster.spec.alias
        error = StateLost(
            self.is_gone,
            cluster=alias,
            code=int(ErrorCode.unknown_topic_or_partition),
            api="Metadata",
            why=f"{why}: which flows copy to {alias}, and which topics are mirrors, is no longer recorded anywhere",
            next_step="restart the daemons, which create it again; then resume each topic that has records: replicator "
            "mirror resolve FLOW '*' --how accept (docs/RUNBOOK.md: `replicator.state` was lost)",
            retryable=True,
        )
        text = f"{error}; next: {error.next_step}"
        if text != self.lost:
            log.error("state topic lost", why=str(error), next=error.next_step)
        self.lost = text
        return error

    async def listed(self, connection: Connection, timestamp: int, *, isolation: Isolation) -> control.OffsetResult:
        """Return the log's start or end.

        Raises:
            KafkaError: The leader does not say.
        """
        answers = await control.list_offsets(connection, [WHERE], timestamp, isolation=isolation)
        return control.answer_for(answers, WHERE, self._cluster.spec, "ListOffsets")

    async def broker_error(self, api: str, code: int, message: str = "") -> KafkaError:
        """Return the error for a refusal; a retryable one refreshes the leader.

        Args:
            api: What was refused.
            code: Kafka's error code.
            message: The broker's message, if there was one.
        """
        error = broker_error(self._cluster.spec, api, code, STATE_TOPIC, message)
        if error.retryable:
            await self._cluster.refresh([STATE_TOPIC])
        return error
