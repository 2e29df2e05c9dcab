"""What only the leader of a partition knows, as a real one tells it."""

from __future__ import annotations

import asyncio

import pytest
from kio.schema.errors import ErrorCode

from replicator.engine.logs.reading import ends_in_hole, read_once
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster
from replicator.wire.messages import control
from tests.integration.conftest import MakeCluster
from tests.integration.kafka_client import create
from tests.integration.load import produce


@pytest.mark.long
def test_what_a_leader_keeps_itself_and_which_epoch_it_is_in(make_cluster: MakeCluster, topic_name: str) -> None:
    """Where its own part of a log begins, without a remote tier; and that it is in no later epoch than it is in."""
    broker = make_cluster(brokers=1)
    create(broker, topic_name, 1)
    produce(broker, topic_name, [{"value": b"%d" % number, "partition": 0} for number in range(10)])

    async def ask() -> None:
        where = TopicPartition(topic_name, 0)
        cluster = Cluster(ClusterSpec("east", (tuple_of(broker.bootstrap),)))
        await cluster.open()
        await cluster.refresh([topic_name])
        side = Side(cluster, cluster.topic_ids)
        connection = await cluster.leader_connection(where)
        leader = cluster.leader(where)
        assert leader is not None

        assert await control.local_starts(connection, [where]) == {where: control.OffsetResult(0, 0)}
        assert not await ends_in_hole(side, where, 4, 10, isolation=Isolation.READ_UNCOMMITTED)
        assert not await ends_in_hole(side, where, 10, 10, isolation=Isolation.READ_UNCOMMITTED)
        await read_once(side, connection, where, 4, leader_epoch=leader.epoch)
        with pytest.raises(BrokerRefused) as caught:
            await read_once(side, connection, where, 4, leader_epoch=leader.epoch + 1)
        assert caught.value.code == ErrorCode.unknown_leader_epoch
        cluster.close()

    asyncio.run(ask())


def tuple_of(bootstrap: str) -> tuple[str, int]:
    """Return the first address."""
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    return host, int(port)
