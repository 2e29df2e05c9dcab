"""Start offsets of share groups (KIP-932): read with DescribeShareGroupOffsets, set with AlterShareGroupOffsets (4.1+).

A share group commits nothing: it has one start offset per partition, below which everything is acknowledged.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

from kio.schema.alter_share_group_offsets.v0 import request as alter_request
from kio.schema.alter_share_group_offsets.v0.response import AlterShareGroupOffsetsResponse
from kio.schema.describe_share_group_offsets.v0 import request as describe_request
from kio.schema.describe_share_group_offsets.v0.response import DescribeShareGroupOffsetsResponse
from kio.schema.errors import ErrorCode
from kio.schema.types import GroupId, TopicName
from kio.static.primitive import i32, i64

from replicator.model.names import TopicPartition
from replicator.model.status.groups import Committed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicator.errors import KafkaError
    from replicator.wire.cluster import Cluster
    from replicator.wire.messages.groups import Commits, Groups
    from replicator.wire.transport.connection import Connection

_DESCRIBE_OFFSETS: Final = 90
_ALTER_OFFSETS: Final = 91
_GROUPS_PER_REQUEST = 100
_NONE = -1


async def offers_share_offsets(cluster: Cluster) -> bool:
    """Return whether the cluster's brokers support reading and setting start offsets.

    Raises:
        KafkaError: No broker can be reached.
    """
    versions = (await cluster.any_connection()).versions
    return versions.offers(_DESCRIBE_OFFSETS, 0) and versions.offers(_ALTER_OFFSETS, 0)


async def share_starts(groups: Groups, names: Iterable[str]) -> dict[str, Commits | KafkaError]:
    """Return the start offsets of share groups for all their topics, or why they cannot be read.

    Raises:
        KafkaError: The cluster cannot be reached.
        TimedOut: A coordinator did not become ready.
    """
    return await groups.by_coordinator(names, _GROUPS_PER_REQUEST, "DescribeShareGroupOffsets", _starts)


async def alter_share_starts(
    groups: Groups, group: str, starts: Mapping[TopicPartition, Committed]
) -> dict[TopicPartition, int]:
    """Set start offsets of a share group without members; return Kafka's error code per partition.

    A broker refuses it (NON_EMPTY_GROUP) if the group has members.

    Raises:
        KafkaError: The cluster cannot be reached.
        TimedOut: The coordinator did not become ready.
    """
    return await groups.ask(group, "AlterShareGroupOffsets", partial(_alter, group=group, starts=starts))


async def _starts(connection: Connection, names: Sequence[str]) -> dict[str, Commits | ErrorCode]:
    request = describe_request.DescribeShareGroupOffsetsRequest(
        groups=tuple(
            describe_request.DescribeShareGroupOffsetsRequestGroup(group_id=GroupId(name), topics=None)
            for name in names
        )
    )
    answer = await connection.call(request, DescribeShareGroupOffsetsResponse)
    found: dict[str, Commits | ErrorCode] = {}
    for group in answer.groups:
        if group.error_code not in {ErrorCode.none, ErrorCode.group_id_not_found}:
            found[str(group.group_id)] = group.error_code
            continue
        found[str(group.group_id)] = {
            TopicPartition(str(topic.topic_name), int(one.partition_index)): Committed(int(one.start_offset))
            for topic in group.topics
            for one in topic.partitions
            if one.error_code is ErrorCode.none and int(one.start_offset) != _NONE
        }
    return found


async def _alter(
    connection: Connection, group: str, starts: Mapping[TopicPartition, Committed]
) -> dict[TopicPartition, int]:
    by_topic: dict[str, list[TopicPartition]] = defaultdict(list)
    for where in starts:
        by_topic[where.topic].append(where)
    request = alter_request.AlterShareGroupOffsetsRequest(
        group_id=GroupId(group),
        topics=tuple(
            alter_request.AlterShareGroupOffsetsRequestTopic(
                topic_name=TopicName(topic),
                partitions=tuple(
                    alter_request.AlterShareGroupOffsetsRequestPartition(
                        partition_index=i32(where.partition), start_offset=i64(starts[where].offset)
                    )
                    for where in parts
                ),
            )
            for topic, parts in by_topic.items()
        ),
    )
    answer = await connection.call(request, AlterShareGroupOffsetsResponse)
    if answer.error_code is not ErrorCode.none:
        return dict.fromkeys(starts, int(answer.error_code))
    return {
        TopicPartition(str(topic.topic_name), int(one.partition_index)): int(one.error_code)
        for topic in answer.responses
        for one in topic.partitions
    }
