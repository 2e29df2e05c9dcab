"""Carries out planned changes to topics of a target, and waits until they have taken effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.backoff import Backoff
from replicator.core.topics.plan import GrowTopic, SetConfigs
from replicator.engine.state import records as state
from replicator.errors import BrokerRefused
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicator.admin.topics import TopicAdmin
    from replicator.core.topics.ownership import OwnedTopic
    from replicator.core.topics.plan import CreateTopic
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

_TOPIC_ALREADY_EXISTS = 36
_INVALID_PARTITIONS = 37
_PRODUCE_BY_ID = 13
"""Produce names topics by id from this version on: what is meant for a deleted topic never reaches its successor."""
_LEADERS_SECONDS_MAX = 20.0
_LEADERS_PAUSE_SECONDS = (0.02, 0.5)

log = get_logger(__name__)


class TargetTopics:
    """The topics of one target."""

    def __init__(self, cluster: Cluster, admin: TopicAdmin) -> None:
        self._cluster = cluster
        self._admin = admin
        self._before: dict[str, frozenset[bytes]] = {}

    async def note_old_ids(self, names: Collection[str]) -> None:
        """Note the topic ids that brokers still report for names about to be created: those are other topics.

        Raises:
            KafkaError: A broker refuses.
        """
        self._before = await self._cluster.ids_shown(names)

    async def create(self, step: CreateTopic) -> OwnedTopic | None:
        """Create a topic; None if somebody else was faster: then its owner has to be proven.

        Raises:
            KafkaError: The target refuses, or cannot be asked.
        """
        try:
            made = await self._admin.create_topic(
                step.name,
                step.partitions,
                step.replication_factor,
                step.configs,
                before=self._before.get(step.name, frozenset()),
            )
        except BrokerRefused as error:
            if error.code != _TOPIC_ALREADY_EXISTS:
                raise
            return None
        log.info("topic created", topic=step.name, partitions=step.partitions)
        return made

    async def carry_out(self, topic: OwnedTopic, step: GrowTopic | SetConfigs) -> None:
        """Carry out one step of a plan on a topic of ours; another daemon of the flow being faster is no error.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            KafkaError: The target refuses, or cannot be asked.
        """
        if isinstance(step, GrowTopic):
            try:
                await self._admin.create_partitions(topic, step.total)
            except BrokerRefused as error:
                if error.code != _INVALID_PARTITIONS or not await self._is_as_large(step):
                    raise
            log.info("topic grown", topic=step.name, partitions=step.total)
        else:
            await self._admin.alter_configs(topic, step.values, step.delete)
            log.info("topic configured", topic=step.name, set=dict(step.values), removed=step.delete)

    async def _is_as_large(self, step: GrowTopic) -> bool:
        """Return whether another daemon of this flow was faster."""
        topic = await self._cluster.describe(step.name)
        return topic is not None and topic.partition_count >= step.total

    async def await_leaders(self, owned: OwnedTopic, partitions: int) -> Topic | None:
        """Wait until a new topic, or new partitions, have known leaders; None if it takes too long.

        A broker that lags behind may still describe a deleted topic of that name: that is waited out.
        """
        loop = asyncio.get_running_loop()
        deadline, backoff = loop.time() + _LEADERS_SECONDS_MAX, Backoff(*_LEADERS_PAUSE_SECONDS)
        while loop.time() < deadline:
            topic = await self._cluster.describe(owned.name)
            if topic is not None and owned.is_still(topic.topic_id) and topic.partition_count >= partitions:
                nodes = {leader.node for leader in topic.leaders.values()}
                if nodes <= self._cluster.brokers.keys():
                    return topic
            await asyncio.sleep(backoff.next_seconds())
        return None

    async def delete(self, topic: OwnedTopic) -> None:
        """Delete a topic, and wait until it is gone.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            KafkaError: The target refuses, or the topic still exists after a while.
        """
        await self._admin.delete_topic(topic)
        log.warning("topic deleted", topic=topic.name, id=state.uuid_text(topic.topic_id))
        self._before[topic.name] = self._before.get(topic.name, frozenset()) | {topic.topic_id}
        await self._await_gone(topic.name, topic.topic_id)

    async def _await_gone(self, name: str, doomed: bytes) -> None:
        """Wait until a deleted topic is gone, and until nothing sent to it by name can reach its successor.

        Raises:
            BrokerRefused: It still exists after a while; the next pass looks again.
        """
        loop = asyncio.get_running_loop()
        deadline, backoff = loop.time() + _LEADERS_SECONDS_MAX, Backoff(*_LEADERS_PAUSE_SECONDS)
        while (topic := await self._cluster.describe(name)) is not None and topic.topic_id == doomed:
            if loop.time() >= deadline:
                alias = self._cluster.spec.alias
                raise BrokerRefused(f"{name} is not deleted yet", cluster=alias, code=0, api="Metadata", retryable=True)
            await asyncio.sleep(backoff.next_seconds())
        if (await self._cluster.any_connection()).versions.produce < _PRODUCE_BY_ID:
            await asyncio.sleep(self._cluster.spec.doubt_seconds)
