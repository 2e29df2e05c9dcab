"""Control requests as plain functions: names and numbers in, names and numbers out, errors of ours.

Each speaks the one version that brokers from 2.8 to 4.x accept (see `versions`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kio.schema.delete_records.v2 import request as delete_request
from kio.schema.delete_records.v2.response import DeleteRecordsResponse
from kio.schema.describe_producers.v0 import request as producers_request
from kio.schema.describe_producers.v0.response import DescribeProducersResponse
from kio.schema.errors import ErrorCode
from kio.schema.list_offsets.v6 import request as offsets_request
from kio.schema.list_offsets.v6.response import ListOffsetsResponse
from kio.schema.list_offsets.v8 import request as local_request
from kio.schema.list_offsets.v8.response import ListOffsetsResponse as LocalOffsetsResponse
from kio.schema.offset_for_leader_epoch.v4 import request as epoch_request
from kio.schema.offset_for_leader_epoch.v4.response import OffsetForLeaderEpochResponse
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i8, i32, i32Timedelta, i64

from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.protocol.faults import broker_error, first_of, missing_answer
from replicator.wire.protocol.versions import DESCRIBE_PRODUCERS, LIST_OFFSETS, LIST_OFFSETS_LOCAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from replicator.core.topics.ownership import OwnedTopic
    from replicator.model.security import ClusterSpec
    from replicator.wire.transport.connection import Connection

T = TypeVar("T")

EARLIEST = -2
LATEST = -1
_EARLIEST_LOCAL = -4
_PARTITIONS_MAX = 1000
"""A request for more partitions is divided: encoding 10,000 in one piece holds the event loop for 0.1 s."""
_CLIENT = BrokerId(-1)


class OffsetResult(NamedTuple):
    """A number, or the broker's error code.

    Attributes:
        error: The code, 0 for none.
        value: The number.
        timestamp_ms: Time of the record at that offset (Unix), if a time was asked for; else -1.
    """

    error: int
    value: int
    timestamp_ms: int = -1


class ProducerEntry(NamedTuple):
    """What a broker remembers about one producer on one partition (DescribeProducers).

    `open_since_offset` is where its open transaction begins on this partition, -1 if it has none.
    """

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp: int
    open_since_offset: int = -1


def _by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = defaultdict(list)
    for where in partitions:
        grouped[where.topic].append(where.partition)
    return grouped


def _offsets(
    asked: Collection[TopicPartition], answer: ListOffsetsResponse | LocalOffsetsResponse
) -> dict[TopicPartition, OffsetResult]:
    return _only_asked(
        asked,
        {
            TopicPartition(str(topic.name), int(item.partition_index)): OffsetResult(
                int(item.error_code), int(item.offset), int(item.timestamp)
            )
            for topic in answer.topics
            for item in topic.partitions
        },
    )


def _only_asked(asked: Collection[TopicPartition], found: Mapping[TopicPartition, T]) -> dict[TopicPartition, T]:
    """Return what a response says about the partitions asked for; it may lack some of them, and contain others."""
    return {where: found[where] for where in asked if where in found}


def answer_for(answers: Mapping[TopicPartition, T], where: TopicPartition, cluster: ClusterSpec, api: str) -> T:
    """Return what a response says about one partition.

    Raises:
        ProtocolError: It says nothing.
    """
    if where not in answers:
        raise missing_answer(cluster, api, str(where))
    return answers[where]


async def _divided(
    partitions: Iterable[TopicPartition],
    ask: Callable[[Sequence[TopicPartition]], Awaitable[dict[TopicPartition, T]]],
) -> dict[TopicPartition, T]:
    """Ask about many partitions in several requests, all in flight at once; return the responses as one.

    Raises:
        KafkaError: One of them failed; the others have ended by then.
    """
    wanted = tuple(partitions)
    if len(wanted) <= _PARTITIONS_MAX:
        return await ask(wanted)
    asked: list[asyncio.Future[dict[TopicPartition, T]]] = []
    try:
        for at in range(0, len(wanted), _PARTITIONS_MAX):
            asked.append(asyncio.ensure_future(ask(wanted[at : at + _PARTITIONS_MAX])))
            await asyncio.sleep(0)  # this one is encoded now, and other tasks get a turn before the next one is
        answers = await asyncio.gather(*asked)
    finally:
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return {where: value for answer in answers for where, value in answer.items()}


async def list_offsets(
    connection: Connection, partitions: Iterable[TopicPartition], timestamp: int, *, isolation: Isolation
) -> dict[TopicPartition, OffsetResult]:
    """Return where logs of one leader start (`EARLIEST`) or end (`LATEST`), or reach a time, as clients see them.

    The end is the high watermark, or with `read_committed` the last stable offset; not the leader's log end.

    Args:
        connection: To the leader.
        partitions: Partitions to ask about.
        timestamp: One of the two, or a time (Unix, ms): that asks for the first record at or after it, -1 for none.
        isolation: With `read_committed` only what lies below the last stable offset counts.

    Returns:
        What the response says about each; a partition that the response does not mention is left out.

    Raises:
        KafkaError: The broker cannot be asked.
    """
    return await _divided(partitions, lambda some: _list_offsets(connection, some, timestamp, isolation=isolation))


async def _list_offsets(
    connection: Connection, wanted: Sequence[TopicPartition], timestamp: int, *, isolation: Isolation
) -> dict[TopicPartition, OffsetResult]:
    request = offsets_request.ListOffsetsRequest(
        replica_id=_CLIENT,
        isolation_level=i8(isolation.level),
        topics=tuple(
            offsets_request.ListOffsetsTopic(
                name=TopicName(topic),
                partitions=tuple(
                    offsets_request.ListOffsetsPartition(partition_index=i32(index), timestamp=i64(timestamp))
                    for index in indexes
                ),
            )
            for topic, indexes in _by_topic(wanted).items()
        ),
    )
    return _offsets(wanted, await connection.call(request, ListOffsetsResponse))


async def local_starts(
    connection: Connection, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, OffsetResult]:
    """Return the local log start of each partition: where the part begins that is not only in a remote tier.

    Without tiered storage, that is the log start. Empty if the broker does not support the request.
    """
    if not connection.versions.offers(LIST_OFFSETS, LIST_OFFSETS_LOCAL):
        return {}
    return await _divided(partitions, lambda some: _local_starts(connection, some))


async def _local_starts(connection: Connection, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, OffsetResult]:
    request = local_request.ListOffsetsRequest(
        replica_id=_CLIENT,
        isolation_level=i8(Isolation.READ_UNCOMMITTED.level),
        topics=tuple(
            local_request.ListOffsetsTopic(
                name=TopicName(topic),
                partitions=tuple(
                    local_request.ListOffsetsPartition(partition_index=i32(index), timestamp=i64(_EARLIEST_LOCAL))
                    for index in indexes
                ),
            )
            for topic, indexes in _by_topic(wanted).items()
        ),
    )
    return _offsets(wanted, await connection.call(request, LocalOffsetsResponse))


async def describe_producers(
    connection: Connection, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]] | None:
    """Return (error code, producers) per partition, or None if the broker does not support the request."""
    if not connection.versions.offers(DESCRIBE_PRODUCERS, 0):
        return None
    return await _divided(partitions, lambda some: _describe_producers(connection, some))


async def _describe_producers(
    connection: Connection, wanted: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, tuple[ProducerEntry, ...]]]:
    request = producers_request.DescribeProducersRequest(
        topics=tuple(
            producers_request.TopicRequest(name=TopicName(topic), partition_indexes=tuple(map(i32, indexes)))
            for topic, indexes in _by_topic(wanted).items()
        )
    )
    answer = await connection.call(request, DescribeProducersResponse)
    found = {
        TopicPartition(str(topic.name), int(item.partition_index)): (
            int(item.error_code),
            tuple(
                ProducerEntry(
                    int(producer.producer_id),
                    int(producer.producer_epoch),
                    int(producer.last_sequence),
                    int(producer.last_timestamp),
                    int(producer.current_txn_start_offset),
                )
                for producer in item.active_producers
            ),
        )
        for topic in answer.topics
        for item in topic.partitions
    }
    return _only_asked(wanted, found)


async def epoch_ends(
    connection: Connection, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[int, int, int]]:
    """Return (error code, epoch, end offset) of the largest leader epoch not above the given one (KIP-101)."""
    return await _divided(epochs, lambda some: _epoch_ends(connection, some, epochs))


async def _epoch_ends(
    connection: Connection, wanted: Sequence[TopicPartition], epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[int, int, int]]:
    grouped = _by_topic(wanted)
    request = epoch_request.OffsetForLeaderEpochRequest(
        replica_id=_CLIENT,
        topics=tuple(
            epoch_request.OffsetForLeaderTopic(
                topic=TopicName(topic),
                partitions=tuple(
                    epoch_request.OffsetForLeaderPartition(
                        partition=i32(index), leader_epoch=i32(epochs[TopicPartition(topic, index)])
                    )
                    for index in indexes
                ),
            )
            for topic, indexes in grouped.items()
        ),
    )
    answer = await connection.call(request, OffsetForLeaderEpochResponse)
    found = {
        TopicPartition(str(topic.topic), int(item.partition)): (
            int(item.error_code),
            int(item.leader_epoch),
            int(item.end_offset),
        )
        for topic in answer.topics
        for item in topic.partitions
    }
    return _only_asked(wanted, found)


async def delete_records(connection: Connection, topic: OwnedTopic, number: int, before_offset: int) -> None:
    """Move a partition's log start to `before_offset`.

    The request has no topic ids: check just before it that the name still belongs to that topic
    (`engine.state.ownership.confirm`).

    Raises:
        KafkaError: The broker refuses.
    """
    partition = delete_request.DeleteRecordsPartition(partition_index=i32(number), offset=i64(before_offset))
    request = delete_request.DeleteRecordsRequest(
        topics=(delete_request.DeleteRecordsTopic(name=TopicName(topic.name), partitions=(partition,)),),
        timeout=i32Timedelta.parse(timedelta(seconds=connection.cluster.request_timeout_seconds)),
    )
    answer = await connection.call(request, DeleteRecordsResponse)
    found = (one for each in answer.topics for one in each.partitions)
    code = first_of(found, connection.cluster, "DeleteRecords", f"{topic.name}-{number}").error_code
    if code is not ErrorCode.none:
        denied = code is ErrorCode.topic_authorization_failed
        what = str(topic.name) if denied else f"{topic.name}-{number}"
        raise broker_error(connection.cluster, "DeleteRecords", int(code), what)
