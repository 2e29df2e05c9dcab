"""A daemon copies between real clusters, and an independent reader finds the same records at the same offsets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as Place

from tests.integration.harness import (
    Kafka,
    Lab,
    assert_equal,
    bounds,
    create,
    delete_below,
    numbered,
    partition_count,
    produce,
    wait_copied,
    wait_until,
)

QUICK = {"request_timeout": "2s", "doubt_margin": "500ms"}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ODD: tuple[dict[str, Any], ...] = (
    {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("b", None), ("a", b"2"), ("a", b"1"), ("", b"")]},
    {"key": None, "value": b"no key"},
    {"key": b"tombstone", "value": None},
    {"key": b"", "value": b""},
    {"key": None, "value": None, "headers": [("only", None)]},
    {"key": b"\xff\x00", "value": bytes(range(256)), "headers": [("z", b"\x00" * 300)]},
)


def mixed(seed: int, count: int, partitions: int) -> list[dict[str, Any]]:
    """Return odd records, small ones and large ones over all partitions, with times that go up and down."""
    chance = random.Random(seed)  # noqa: S311 - test data
    items = []
    for number in range(count):
        item: dict[str, Any] = (
            dict(ODD[number % len(ODD)]) if number % 3 == 0 else {"key": b"%d" % number, "value": b"%d" % number}
        )
        if chance.random() < 0.05:
            item["value"] = chance.randbytes(chance.choice((1_000, 30_000)))
        item["partition"] = chance.randrange(partitions)
        item["timestamp"] = 1_700_000_000_000 + chance.randrange(-(10**9), 10**9)
        items.append(item)
    return items


def test_every_codec_and_odd_record_arrives_as_it_was(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Twelve partitions with batches of all codecs, of one record and of many, before and while the daemon runs."""
    create(east, topic_name, 12)
    for number, codec in enumerate(CODECS):
        produce(east, topic_name, mixed(number, 600, 12), **{"compression.type": codec, "linger.ms": 50})
    daemon = lab.daemon(east, west, topic_name).start()
    for number, codec in enumerate(CODECS):
        single = {"compression.type": codec, "batch.num.messages": 1, "linger.ms": 0}
        produce(east, topic_name, mixed(100 + number, 150, 12), **single)

    found = assert_equal(east, west, topic_name)

    assert sum(map(len, found.values())) == 750 * len(CODECS)
    assert partition_count(west, topic_name) == 12
    wait_until("the status agrees", lambda: daemon.flow()["lag_records"] == 0)
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"


def test_large_batches(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Batches of 900 KB, single records of 900 KB, and batches of 10,000 records."""
    create(east, topic_name, 2)
    chance = random.Random(5)  # noqa: S311 - test data
    big = {"batch.size": 990_000, "linger.ms": 100, "message.max.bytes": 1_000_000}
    produce(east, topic_name, [{"value": chance.randbytes(30_000)} for _ in range(200)], **big)
    produce(east, topic_name, [{"value": chance.randbytes(900_000)} for _ in range(5)], **big)
    tiny = big | {"compression.type": "zstd", "batch.num.messages": 10_000}
    produce(east, topic_name, numbered(50_000, partition=1), **tiny)
    lab.daemon(east, west, topic_name).start()

    found = assert_equal(east, west, topic_name)

    assert [len(records) for records in found.values()] == [205, 50_000]


async def test_times_of_zero_and_none(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """1970, and records without any time (-1), which librdkafka cannot write."""
    times = [0, 1, -1, 5_000, -1, 0]
    create(east, topic_name)
    producer = AIOKafkaProducer(bootstrap_servers=east.bootstrap)
    await producer.start()
    for time_ms in times:
        await producer.send_and_wait(topic_name, b"%d" % time_ms, partition=0, timestamp_ms=time_ms)
    await producer.stop()
    lab.daemon(east, west, topic_name).start()

    wait_copied(east, west, topic_name)

    sides = [await _times(cluster, topic_name, len(times)) for cluster in (east, west)]
    assert sides[0] == sides[1]
    assert [time_ms for _, time_ms, _ in sides[0]] == times


async def _times(cluster: Kafka, topic: str, count: int) -> list[tuple[int, int, bytes]]:
    reader = AIOKafkaConsumer(bootstrap_servers=cluster.bootstrap, enable_auto_commit=False)
    await reader.start()
    try:
        reader.assign([Place(topic, 0)])
        await reader.seek_to_beginning()
        found = [await reader.getone() for _ in range(count)]
        return [(record.offset, record.timestamp, record.value) for record in found]
    finally:
        await reader.stop()


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
