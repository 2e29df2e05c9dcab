"""A flow that goes back begins in place: what applications wrote stays, and offsets are the same on both sides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from confluent_kafka import Producer

from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.state import records as state
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.takeover import Takeover, take_over
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.wire.cluster import Cluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    config_of,
    create,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import numbered, produce

PARTITIONS = 3


def way_back(lab: Lab, east: Kafka, west: Kafka, topic: str) -> Daemon:
    """Make a daemon that runs next to the old source; the flow it runs is the way back."""
    daemon = lab.daemon(east, west, topic, replication_factor=1)
    forth = dict(daemon.document["flows"][lab.flow])
    daemon.document["flows"][f"{lab.flow}-back"] = forth | {"from": "west", "to": "east", "reverse_of": lab.flow}
    daemon.document["daemon"]["site"] = "east"
    daemon.write()
    return daemon


def back(daemon: Daemon, lab: Lab) -> dict[str, Any]:
    """Return the status of the way back."""
    return next(flow for flow in daemon.status()["flows"] if flow["flow"] == f"{lab.flow}-back")


def commit_some(cluster: Kafka, topic: str, items: Iterable[dict[str, Any]]) -> None:
    """Write records in a transaction: its marker is an offset without a record, as a fence's is."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for item in items:
        producer.produce(topic, partition=0, **item)
    producer.commit_transaction(30)


async def turn(east: Kafka, west: Kafka, flow: str, topic: str, places: dict[int, OffsetPair]) -> None:
    """Record that the way back takes the topic over, as a switch does it; twice, as after a crash."""
    clusters = [
        Cluster(ClusterSpec(alias, parse_bootstrap(cluster.bootstrap)))
        for alias, cluster in (("east", east), ("west", west))
    ]
    old, new = clusters
    try:
        await asyncio.gather(old.open(), new.open())
        await asyncio.gather(old.refresh([topic]), new.refresh([topic]))
        log = StateLog(old)
        await log.read_to_end()
        record = state.find_flow(log.records, flow, new.cluster_id, old.cluster_id)
        assert record is not None
        step = Takeover(topic, topic, new.topics[topic].topic_id, old.topics[topic].topic_id, places)
        for _ in range(2):
            await take_over(log, record.uid, [step], epoch=0, reason="test", actor="test")
        mirror = state.get_mirror(log.records, record.uid, topic)
        assert mirror is not None
        assert len(mirror.resolutions) == 1
    finally:
        old.close()
        new.close()


@pytest.mark.long
def test_the_way_back_begins_in_place(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """It stands by until it is told, changes nothing meanwhile, and then copies exactly what came on the other side."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, numbered(600))
    forth = lab.daemon(east, west, topic_name, replication_factor=1).start()
    wait_copied(east, west, topic_name)
    assert forth.stop() == 0
    before, settings = bounds(east, topic_name), config_of(east, topic_name)
    assert before == bounds(west, topic_name)

    daemon = way_back(lab, east, west, topic_name).start(ready_seconds=0)
    wait_until("it stands by", lambda: "promoted" in str(back(daemon, lab)["reason"]))
    commit_some(west, topic_name, numbered(300, 600))
    time.sleep(1.0)
    assert daemon.stop() == 0
    assert bounds(east, topic_name) == before, "a way back that was not told changed the source"
    assert config_of(east, topic_name) == settings, "and its settings"

    places = {number: OffsetPair(end, end) for number, (_, end) in before.items()}
    asyncio.run(turn(east, west, f"{lab.flow}-back", topic_name, places))
    daemon.start()
    wait_copied(west, east, topic_name)
    produce(west, topic_name, numbered(100, 900))
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)
    assert sum(len(records) for records in read_all(east, topic_name).values()) == 1000
