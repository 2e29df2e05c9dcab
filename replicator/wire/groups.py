"""Committed offsets of consumer groups (OffsetFetch), read from the group's coordinator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode
from kio.schema.offset_fetch.v7.request import OffsetFetchRequest
from kio.schema.offset_fetch.v7.response import OffsetFetchResponse
from kio.schema.types import GroupId

from replicator.model.names import TopicPartition
from replicator.wire.faults import refused
from replicator.wire.transactions import GROUP_KEY, coordinator, patiently

if TYPE_CHECKING:
    from replicator.wire.cluster import Cluster

_PATIENCE_SECONDS = 5.0
_NONE = -1


async def committed_offsets(cluster: Cluster, group: str) -> dict[TopicPartition, int]:
    """Return what a group has committed, of all its topics; a group that does not exist has committed nothing.

    Offsets of a transaction that is still open do not count.

    Raises:
        KafkaError: The cluster refuses, or cannot be reached.
        TimedOut: The group's coordinator did not become ready.
    """

    async def once() -> dict[TopicPartition, int]:
        connection = await coordinator(cluster, group, GROUP_KEY)
        answer = await connection.call(OffsetFetchRequest(group_id=GroupId(group), topics=None), OffsetFetchResponse)
        if answer.error_code is ErrorCode.group_id_not_found:
            return {}
        if answer.error_code is not ErrorCode.none:
            raise refused(cluster.spec, "OffsetFetch", int(answer.error_code), group)
        found: dict[TopicPartition, int] = {}
        for topic in answer.topics:
            for partition in topic.partitions:
                where = TopicPartition(str(topic.name), int(partition.partition_index))
                if partition.error_code is not ErrorCode.none:
                    raise refused(cluster.spec, "OffsetFetch", int(partition.error_code), where.topic)
                if int(partition.committed_offset) != _NONE:
                    found[where] = int(partition.committed_offset)
        return found

    return await patiently(once, f"OffsetFetch of {group}", _PATIENCE_SECONDS)
