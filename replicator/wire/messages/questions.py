"""What a preflight asks a cluster beyond the requests of the data path. It changes nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from kio.schema.create_topics.v5 import request as create_request
from kio.schema.create_topics.v5.response import CreateTopicsResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.metadata.v10.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v10.response import MetadataResponse
from kio.schema.types import TopicName
from kio.static.primitive import i8, i16, i32, i32Timedelta

from replicator.core.acl.rights import Operation, operations_of
from replicator.model.spec import Isolation
from replicator.model.text import said
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages.control import OffsetResult, list_offsets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.core.topics.plan import CreateTopic
    from replicator.model.names import TopicPartition

_TRANSACTION_KEY = i8(1)
_CREATE_SECONDS = 10


class Found(NamedTuple):
    """Where a time lies in a log: the first record at or after it. `offset` is -1 if there is none."""

    offset: int
    timestamp_ms: int


class Refusal(NamedTuple):
    """Why a topic could not be created: Kafka's code, and the broker's words."""

    code: int
    message: str


async def topic_operations(cluster: Cluster, names: Sequence[str]) -> dict[str, frozenset[Operation] | None]:
    """Return what this user may do to each topic, as far as the cluster reports it; missing topics are left out."""
    if not names:
        return {}
    request = MetadataRequest(
        topics=tuple(MetadataRequestTopic(topic_id=None, name=TopicName(name)) for name in names),
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=True,
    )
    answer = await (await cluster.any_connection()).call(request, MetadataResponse)
    found: dict[str, frozenset[Operation] | None] = {}
    for topic in answer.topics:
        if topic.error_code is ErrorCode.none:
            found[str(topic.name)] = operations_of(int(topic.topic_authorized_operations))
        elif topic.error_code is ErrorCode.topic_authorization_failed:
            found[str(topic.name)] = frozenset()
    return found


async def creation_refusals(cluster: Cluster, topics: Sequence[CreateTopic]) -> dict[str, Refusal]:
    """Ask whether topics could be created (a dry run of CreateTopics); return those that could not.

    Raises:
        KafkaError: The cluster cannot be asked.
    """
    if not topics:
        return {}
    request = create_request.CreateTopicsRequest(
        topics=tuple(
            create_request.CreatableTopic(
                name=TopicName(topic.name),
                num_partitions=i32(topic.partitions),
                replication_factor=i16(topic.replication_factor),
                assignments=(),
                configs=tuple(
                    create_request.CreatableTopicConfig(name=name, value=value) for name, value in topic.configs.items()
                ),
            )
            for topic in topics
        ),
        timeout=i32Timedelta.parse(timedelta(seconds=_CREATE_SECONDS)),
        validate_only=True,
    )
    connection = await cluster.any_connection()
    if cluster.controller_id in cluster.brokers:  # with ZooKeeper, only the controller answers
        connection = await cluster.connection(cluster.controller_id, Purpose.CONTROL)
    answer = await connection.call(request, CreateTopicsResponse)
    return {
        str(topic.name): Refusal(int(topic.error_code), said(topic.error_message or topic.error_code.name))
        for topic in answer.topics
        if topic.error_code is not ErrorCode.none
    }


async def may_use_transactional_id(cluster: Cluster, transactional_id: str) -> bool:
    """Return whether this user may describe a transactional id; no request tells whether it may write."""
    request = FindCoordinatorRequest(key=transactional_id, key_type=_TRANSACTION_KEY)
    answer = await (await cluster.any_connection()).call(request, FindCoordinatorResponse)
    return answer.error_code is not ErrorCode.transactional_id_authorization_failed


async def offsets_at(
    cluster: Cluster, partitions: Iterable[TopicPartition], timestamp_ms: int
) -> dict[TopicPartition, Found]:
    """Return where a time lies in each log (-1 and -2 ask for its end and start).

    Partitions without a leader are left out, and so are those that a response does not mention.

    Raises:
        KafkaError: A broker cannot be asked.
    """
    by_node: dict[int, list[TopicPartition]] = defaultdict(list)
    for where in partitions:
        leader = cluster.leader(where)
        if leader is not None:
            by_node[leader.node].append(where)

    async def ask(node: int, led: list[TopicPartition]) -> dict[TopicPartition, OffsetResult]:
        connection = await cluster.connection(node, Purpose.CONTROL)
        return await list_offsets(connection, led, timestamp_ms, isolation=Isolation.READ_UNCOMMITTED)

    answers = await asyncio.gather(*(ask(node, led) for node, led in by_node.items()))
    return {
        where: Found(found.value, found.timestamp_ms)
        for answer in answers
        for where, found in answer.items()
        if not found.error
    }
