"""The questions a preflight asks a cluster beyond those of the data path. None of them changes anything."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from kio.schema.create_topics.v5 import request as create_request
from kio.schema.create_topics.v5.response import CreateTopicsResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.list_offsets.v6 import request as offsets_request
from kio.schema.list_offsets.v6.response import ListOffsetsResponse
from kio.schema.metadata.v10.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v10.response import MetadataResponse
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i8, i16, i32, i32Timedelta, i64

from replicator.core.acl.rights import Operation, operations_of
from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.side import Side
from replicator.errors import AuthorizationFailed, KafkaError, ReplicatorError
from replicator.model.batch import LOG_APPEND_TIME_BIT
from replicator.model.names import TopicPartition
from replicator.model.text import said
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.versions import DESCRIBE_PRODUCERS, FETCH

if TYPE_CHECKING:
    from replicator.core.topics.plan import CreateTopic
    from replicator.wire.connection import Connection
    from replicator.wire.groups import Groups

_TRANSACTION_KEY = i8(1)
_CREATE_SECONDS = 10
_AT_ONCE_MAX = 8

_SPOKEN = ((18, "4.1"), (17, "3.9"), (16, "3.7"), (15, "3.5"), (13, "3.1"), (12, "2.8"))
"""Fetch version to the first Kafka version that had it."""


class Found(NamedTuple):
    """Where a time is in a log: the first record at or after it. `offset` -1: there is none."""

    offset: int
    timestamp_ms: int


class Refusal(NamedTuple):
    """Why a topic could not be created, were it tried: Kafka's code, and the broker's words."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Edges:
    """What the first and the last batch of a partition look like.

    Attributes:
        transactional: One of them is a transaction marker, or belongs to a transaction.
        stamped: The broker stamps the records (LogAppendTime).
    """

    transactional: bool = False
    stamped: bool = False


def spoken_version(connection: Connection) -> str:
    """Return the newest Kafka version whose protocol a broker speaks for sure."""
    offers = connection.versions.offers
    found = next((name for version, name in _SPOKEN if offers(FETCH, version)), "2.8")
    return "4.0" if found == "3.9" and not offers(FETCH, 3) else found


def offers_producers(connection: Connection) -> bool:
    """Return whether a broker tells which producers it remembers."""
    return connection.versions.offers(DESCRIBE_PRODUCERS, 0)


async def topic_operations(cluster: Cluster, names: Sequence[str]) -> dict[str, frozenset[Operation] | None]:
    """Return what this user may do to each topic, as far as the cluster tells; missing topics are left out."""
    if not names:
        return {}
    request = MetadataRequest(
        topics=tuple(MetadataRequestTopic(topic_id=None, name=TopicName(name)) for name in names),
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=True,
    )
    answer = await (await cluster.any_connection()).call(request, MetadataResponse)
    told: dict[str, frozenset[Operation] | None] = {}
    for topic in answer.topics:
        if topic.error_code is ErrorCode.none:
            told[str(topic.name)] = operations_of(int(topic.topic_authorized_operations))
        elif topic.error_code is ErrorCode.topic_authorization_failed:
            told[str(topic.name)] = frozenset()
    return told


async def group_operations(groups: Groups, names: Sequence[str]) -> dict[str, frozenset[Operation] | None]:
    """Return what this user may do to consumer groups, as far as the cluster tells; they need not exist.

    Raises:
        KafkaError: The cluster cannot be asked.
    """
    told: dict[str, frozenset[Operation] | None] = {}
    for name, bits in (await groups.operations(names)).items():
        if isinstance(bits, AuthorizationFailed):
            told[name] = frozenset()
        elif not isinstance(bits, KafkaError):
            told[name] = operations_of(bits)
    return told


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
    if cluster.controller_id in cluster.brokers:  # with ZooKeeper only the controller answers
        connection = await cluster.connection(cluster.controller_id, Purpose.CONTROL)
    answer = await connection.call(request, CreateTopicsResponse)
    return {
        str(topic.name): Refusal(int(topic.error_code), said(topic.error_message or topic.error_code.name))
        for topic in answer.topics
        if topic.error_code is not ErrorCode.none
    }


async def may_use_transactional_id(cluster: Cluster, transactional_id: str) -> bool:
    """Return whether this user may describe a transactional id; whether it may write cannot be asked."""
    request = FindCoordinatorRequest(key=transactional_id, key_type=_TRANSACTION_KEY)
    answer = await (await cluster.any_connection()).call(request, FindCoordinatorResponse)
    return answer.error_code is not ErrorCode.transactional_id_authorization_failed


async def offsets_at(
    cluster: Cluster, partitions: Iterable[TopicPartition], timestamp_ms: int
) -> dict[TopicPartition, Found]:
    """Return where a time is in each log (or its end, start: -1, -2); partitions without a leader are left out.

    Raises:
        KafkaError: A broker cannot be asked.
    """
    by_node: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for where in partitions:
        leader = cluster.leader(where)
        if leader is not None:
            by_node[leader.node][where.topic].append(where.partition)
    answers = await asyncio.gather(*(_offsets_of(cluster, node, part, timestamp_ms) for node, part in by_node.items()))
    return {where: found for answer in answers for where, found in answer.items()}


async def _offsets_of(
    cluster: Cluster, node: int, partitions: Mapping[str, Sequence[int]], timestamp_ms: int
) -> dict[TopicPartition, Found]:
    request = offsets_request.ListOffsetsRequest(
        replica_id=BrokerId(-1),
        isolation_level=i8(0),
        topics=tuple(
            offsets_request.ListOffsetsTopic(
                name=TopicName(topic),
                partitions=tuple(
                    offsets_request.ListOffsetsPartition(partition_index=i32(at), timestamp=i64(timestamp_ms))
                    for at in indexes
                ),
            )
            for topic, indexes in partitions.items()
        ),
    )
    connection = await cluster.connection(node, Purpose.CONTROL)
    answer = await connection.call(request, ListOffsetsResponse)
    return {
        TopicPartition(str(topic.name), int(part.partition_index)): Found(int(part.offset), int(part.timestamp))
        for topic in answer.topics
        for part in topic.partitions
        if part.error_code is ErrorCode.none
    }


async def edges(
    cluster: Cluster, starts: Mapping[TopicPartition, Found], ends: Mapping[TopicPartition, Found]
) -> dict[TopicPartition, Edges]:
    """Read the first and the last batch of each partition that holds something; those that cannot be read are left out.

    One read each, of at most 1 MiB: the caller bounds how many partitions are asked for.
    """
    room = asyncio.Semaphore(_AT_ONCE_MAX)

    async def one(where: TopicPartition) -> tuple[TopicPartition, Edges | None]:
        async with room:
            try:
                return where, await _edges_of(cluster, where, starts[where].offset, ends[where].offset)
            except ReplicatorError:
                return where, None

    wanted = [where for where in starts if where in ends and ends[where].offset > starts[where].offset]
    return {where: found for where, found in await asyncio.gather(*map(one, wanted)) if found is not None}


async def end_of_fillers(cluster: Cluster, where: TopicPartition, filler_id: int, start: int, end: int) -> int:
    """Return the offset where the filler batches end that a log begins with; `start` where it begins with none.

    Fillers stand together at the front, so a few reads find their end.

    Raises:
        ReplicatorError: The log cannot be read.
    """
    connection = await cluster.leader_connection(where)
    side = Side(cluster, cluster.topic_ids)
    low, high, probe = start, end, start
    while low < high:
        _, headers = await read_batches(side, connection, where, probe)
        here = next((header for header in headers if header.next_offset > probe), None)
        if here is None or here.producer_id != filler_id:
            high = probe
        else:
            low = here.next_offset
        if high <= start:
            return start
        probe = (low + high) // 2
    return low


async def _edges_of(cluster: Cluster, where: TopicPartition, start: int, end: int) -> Edges:
    connection = await cluster.leader_connection(where)
    side = Side(cluster, cluster.topic_ids)
    _, first = await read_batches(side, connection, where, start)
    _, last = await read_batches(side, connection, where, end - 1)
    both = [*first[:1], *last[-1:]]
    return Edges(
        transactional=any(header.is_control or header.is_transactional for header in both),
        stamped=any(header.attributes & LOG_APPEND_TIME_BIT for header in both if not header.is_control),
    )
