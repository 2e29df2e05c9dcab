"""Changes topics of a target as they were planned, and waits until it has happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.topic_plan import CreateTopic, Fault, GrowTopic, SetConfigs
from replicator.engine import state
from replicator.engine.look import offsets_of
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.model.states import Reason
from replicator.obs.logs import get_logger
from replicator.wire import control
from replicator.wire.cluster import Purpose

if TYPE_CHECKING:
    from replicator.admin.topics import TopicAdmin
    from replicator.wire.cluster import Cluster, Topic

_TOPIC_ALREADY_EXISTS = 36
_INVALID_PARTITIONS = 37
_PRODUCE_BY_ID = 13
"""From this version of Produce on a topic is named by its id: nothing meant for a deleted one reaches its successor."""
_LEADERS_SECONDS_MAX = 20.0

log = get_logger(__name__)


class TargetTopics:
    """The topics of one target."""

    def __init__(self, cluster: Cluster, admin: TopicAdmin) -> None:
        self._cluster = cluster
        self._admin = admin

    async def carry_out(self, step: object) -> None:
        """Do one step of a plan; that another daemon of the flow was faster is no error.

        Raises:
            KafkaError: The target refuses, or cannot be asked.
        """
        admin = self._admin
        if isinstance(step, CreateTopic):
            try:
                await admin.create_topic(step.name, step.partitions, step.replication_factor, step.configs)
            except BrokerRefused as error:
                if error.code != _TOPIC_ALREADY_EXISTS:  # another daemon of this flow was faster
                    raise
            log.info("topic created", topic=step.name, partitions=step.partitions)
        elif isinstance(step, GrowTopic):
            try:
                await admin.create_partitions(step.name, step.total)
            except BrokerRefused as error:
                if error.code != _INVALID_PARTITIONS or not await self._is_as_large(step):
                    raise
            log.info("topic grown", topic=step.name, partitions=step.total)
        elif isinstance(step, SetConfigs):
            await admin.alter_configs(step.name, step.values, step.delete)
            log.info("topic configured", topic=step.name, set=dict(step.values), removed=step.delete)

    async def _is_as_large(self, step: GrowTopic) -> bool:
        """Return whether another daemon of this flow was faster."""
        topic = await self._cluster.describe(step.name)
        return topic is not None and topic.partition_count >= step.total

    async def await_leaders(self, name: str, partitions: int) -> Topic | None:
        """Wait for a new topic, or new partitions, to be known with leaders; None where it takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LEADERS_SECONDS_MAX
        while loop.time() < deadline:
            topic = await self._cluster.describe(name)
            if topic is not None and topic.partition_count >= partitions:
                nodes = {leader.node for leader in topic.leaders.values()}
                if nodes <= self._cluster.brokers.keys():
                    return topic
            await asyncio.sleep(0.02)
        return None

    async def delete(self, name: str, doomed: bytes) -> None:
        """Delete a topic of that id, and wait until it is gone.

        Raises:
            KafkaError: The target refuses, or it is still there after a while.
        """
        await self._admin.delete_topic(name)
        log.warning("topic deleted", topic=name, id=state.uuid_text(doomed))
        await self._await_gone(name, doomed)

    async def _await_gone(self, name: str, doomed: bytes) -> None:
        """Wait until a deleted topic is gone, and until nothing that was sent by its name can reach the next one.

        Raises:
            BrokerRefused: It is still there after a while; the next pass looks again.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LEADERS_SECONDS_MAX
        while (topic := await self._cluster.describe(name)) is not None and topic.topic_id == doomed:
            if loop.time() >= deadline:
                alias = self._cluster.spec.alias
                raise BrokerRefused(f"{name} is not deleted yet", cluster=alias, code=0, api="Metadata", retryable=True)
            await asyncio.sleep(0.1)
        if (await self._cluster.any_connection()).versions.produce < _PRODUCE_BY_ID:
            await asyncio.sleep(self._cluster.spec.doubt_seconds)

    async def not_virgin(self, topic: Topic) -> Fault | None:
        """Return why a topic that stood there before us is no mirror of ours.

        Where it ever held a record, offsets would not be the source's.

        Raises:
            KafkaError: The target cannot be asked.
        """
        for partition, leader in topic.leaders.items():
            connection = await self._cluster.connection(leader.node, Purpose.CONTROL)
            where = TopicPartition(topic.name, partition)
            end = (await offsets_of(connection, [where], control.LATEST))[where]
            if end > 0:
                return Fault(
                    Reason.FOREIGN_WRITER,
                    f"{topic.name} already exists on the target and is not a mirror of this flow: "
                    f"partition {partition} ends at {end}",
                )
        return None
