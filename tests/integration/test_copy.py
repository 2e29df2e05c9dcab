"""Logs that begin far above 0 are seeded, whatever happens on the way there."""

from __future__ import annotations

import random

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    create,
    delete_below,
    partition_count,
    wait_until,
)
from tests.integration.load import numbered, produce

QUICK = {"request_timeout": "2s", "doubt_margin": "500ms"}


@pytest.mark.long
def test_a_log_that_begins_far_above_zero(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The mirror is seeded up to the source's start; a daemon killed on the way there is no harm."""
    create(east, topic_name, 2)
    bulk = {"batch.size": 900_000, "linger.ms": 100, "batch.num.messages": 50_000, "compression.type": "lz4"}
    produce(east, topic_name, ({"value": b"old"} for _ in range(250_000)), **bulk)
    produce(east, topic_name, numbered(500))
    produce(east, topic_name, numbered(10, partition=1))
    delete_below(east, topic_name, 250_000)
    daemon = lab.daemon(east, west, topic_name, clients=QUICK)
    daemon.start(ready_seconds=0)
    wait_until("the seed begins", lambda: _end(west, topic_name) > 0, every=0.01)
    daemon.kill()
    daemon.start()
    daemon.wait_state(topic_name, "ACTIVE")
    produce(east, topic_name, numbered(500, 500))

    found = assert_equal(east, west, topic_name)

    assert [records[0].offset for records in found.values()] == [250_000, 0]
    assert [len(records) for records in found.values()] == [1000, 10]
    assert bounds(west, topic_name)[0] == (250_000, 251_000)


def _end(cluster: Kafka, topic: str) -> int:
    return bounds(cluster, topic)[0][1] if partition_count(cluster, topic) else 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_seed_killed_many_times(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Five partitions that begin at some hundred thousand; the daemon dies every half second on the way."""
    create(east, topic_name, 5)
    bulk = {"batch.size": 900_000, "linger.ms": 100, "batch.num.messages": 50_000, "compression.type": "lz4"}
    for partition in range(5):
        produce(east, topic_name, ({"value": b"old", "partition": partition} for _ in range(200_000)), **bulk)
        produce(east, topic_name, numbered(100, partition=partition))
        delete_below(east, topic_name, 200_000, partition)
    daemon = lab.daemon(east, west, topic_name)
    chance = random.Random(3)  # noqa: S311 - moments of kills
    for _ in range(8):
        daemon.start(ready_seconds=0)
        grace = 0.5 + 4 * chance.random()
        with pytest.raises(AssertionError):
            wait_until("never", lambda: False, grace)
        daemon.kill()
    daemon.start()
    daemon.wait_state(topic_name, "ACTIVE")

    found = assert_equal(east, west, topic_name)

    assert [records[0].offset for records in found.values()] == [200_000] * 5
