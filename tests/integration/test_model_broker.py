"""A real broker answers the exchanges that the model of the simulation is held to (`tests.copy_world.exchanges`).

With REPLICATOR_RECORD_EXCHANGES set, what it answers is what both are held to from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace

import pytest

from replicator.devkit import Cluster as Kafka
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.wire.cluster import Cluster
from tests.copy_world.exchanges import Exchange, Observed, all_exchanges
from tests.integration.conftest import MakeCluster
from tests.integration.kafka_client import create
from tests.property.test_model_exchanges import RECORDED, plain

_OVERRIDES = {
    "producer.id.expiration.ms": "120000",
    "producer.id.expiration.check.interval.ms": "500",
    "transactional.id.expiration.ms": "604800000",
    "auto.leader.rebalance.enable": "false",
}
_SECONDS_MAX = 60.0


@pytest.mark.kafka
@pytest.mark.long
def test_a_real_broker_answers_as_is_recorded(make_cluster: MakeCluster, topic_name: str) -> None:
    """One by one, so that a difference is named."""
    kafka = make_cluster(brokers=2, overrides=_OVERRIDES)
    create(kafka, topic_name, replicas=2, max_message_bytes="1000", message_timestamp_after_max_ms="3600000")
    observed = plain(asyncio.run(_exchanged(kafka, topic_name)))
    if "REPLICATOR_RECORD_EXCHANGES" in os.environ:
        RECORDED.write_text(json.dumps(observed, indent=1) + "\n")

    recorded = json.loads(RECORDED.read_text())
    for (asked, answer), (told, kept) in zip(observed, recorded, strict=True):
        assert (asked, answer) == (told, kept)


async def _exchanged(kafka: Kafka, topic: str) -> Observed:
    host, _, port = kafka.bootstrap.split(",")[0].rpartition(":")
    where = TopicPartition(topic, 0)
    cluster = Cluster(replace(ClusterSpec("real", ((host, int(port)),)), request_timeout_seconds=20.0))
    await cluster.refresh([topic])

    async def expire() -> None:
        await asyncio.sleep(2.0)

    async def change_leader() -> None:
        before = cluster.leader(where)
        assert before is not None
        await asyncio.to_thread(kafka.stop_broker, before.node)
        await asyncio.to_thread(kafka.start_broker, before.node)
        deadline = time.monotonic() + _SECONDS_MAX
        while time.monotonic() < deadline:
            await cluster.refresh([topic])
            now = cluster.leader(where)
            # The one before has to follow by then: a leader takes nothing while it stands alone.
            if (
                now is not None
                and now.node != before.node
                and cluster.topics[topic].in_sync_min == len(cluster.brokers)
            ):
                return
            await asyncio.sleep(0.2)
        raise AssertionError("no other broker leads")

    try:
        return await all_exchanges(Exchange(cluster, where, lambda: time.time_ns() // 1_000_000, expire, change_leader))
    finally:
        cluster.close()
