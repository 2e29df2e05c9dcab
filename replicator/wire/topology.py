"""A cluster's metadata as values."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v10.response import MetadataResponse, MetadataResponseTopic
from kio.schema.types import TopicName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

NO_TOPIC_ID = bytes(16)
PARTITIONS_AT_ONCE = 2_000
"""How many partitions are taken before other tasks get a turn."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader of a partition, and its leader epoch. `node` is -1 while there is none."""

    node: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as the cluster last described it.

    `in_sync_min` is the size of the smallest ISR; `leaderless` maps each partition without a leader to the brokers that
    have a replica of it.
    """

    name: str
    topic_id: bytes
    leaders: Mapping[int, Leader]
    replication_factor: int
    in_sync_min: int = 0
    leaderless: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def partition_count(self) -> int:
        """Number of partitions."""
        return len(self.leaders)


def metadata_request(names: Iterable[str] | None, *, operations: bool = False) -> MetadataRequest:
    """Return the request for topics by name; None: for all topics."""
    return MetadataRequest(
        topics=None
        if names is None
        else tuple(MetadataRequestTopic(topic_id=None, name=TopicName(name)) for name in names),
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=operations,
        include_topic_authorized_operations=False,
    )


async def described(answer: MetadataResponse) -> dict[str, Topic]:
    """Return the topics of a response; for a large cluster in pieces, so that other tasks get their turn."""
    brokers = {int(broker.node_id) for broker in answer.brokers}
    described: dict[str, Topic] = {}
    partitions_taken = 0
    for one in answer.topics:
        if one.error_code is ErrorCode.none:
            described[str(one.name)] = _topic(one, brokers)
            partitions_taken += len(one.partitions)
            if partitions_taken > PARTITIONS_AT_ONCE:
                partitions_taken = 0
                await asyncio.sleep(0)
    return described


def _topic(answer: MetadataResponseTopic, brokers: Collection[int]) -> Topic:
    partitions = {int(item.partition_index): item for item in answer.partitions}
    return Topic(
        str(answer.name),
        answer.topic_id.bytes if answer.topic_id else NO_TOPIC_ID,
        {index: Leader(int(item.leader_id), int(item.leader_epoch)) for index, item in partitions.items()},
        len(answer.partitions[0].replica_nodes) if answer.partitions else 0,
        min((len(item.isr_nodes) for item in answer.partitions), default=0),
        {
            index: tuple(map(int, item.replica_nodes))
            for index, item in partitions.items()
            if int(item.leader_id) not in brokers
        },
    )
