"""What time it is on a cluster: the active controller reports when it last fetched from itself, which is now.

DescribeQuorum (KIP-595, timestamps since version 1, KIP-836) needs Describe on the cluster; LeaderState of Kafka's raft
package fills in the present time for the leader itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kio.schema.describe_quorum.v1.request import DescribeQuorumRequest, PartitionData, TopicData
from kio.schema.describe_quorum.v1.response import DescribeQuorumResponse
from kio.schema.errors import ErrorCode
from kio.schema.types import TopicName
from kio.static.primitive import i32

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

DESCRIBE_QUORUM: Final = 55
_METADATA_TOPIC: Final = TopicName("__cluster_metadata")


def offers_time(connection: Connection) -> bool:
    """Return whether brokers of this version report it: none with ZooKeeper does, nor any before Kafka 3.3."""
    return connection.versions.offers(DESCRIBE_QUORUM, 1)


async def controller_time_ms(connection: Connection) -> int | None:
    """Return the wall clock of the active controller (Unix, ms); None if the cluster does not report it.

    Raises:
        KafkaError: The connection failed.
    """
    if not offers_time(connection):
        return None
    request = DescribeQuorumRequest(
        topics=(TopicData(topic_name=_METADATA_TOPIC, partitions=(PartitionData(partition_index=i32(0)),)),)
    )
    answer = await connection.call(request, DescribeQuorumResponse)
    if answer.error_code is not ErrorCode.none:
        return None
    for partition in (partition for topic in answer.topics for partition in topic.partitions):
        for voter in partition.current_voters:
            if voter.replica_id == partition.leader_id and int(voter.last_fetch_timestamp) > 0:
                return int(voter.last_fetch_timestamp)
    return None
