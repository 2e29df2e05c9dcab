"""Logs of every shape, made on real brokers, and how a copy of one is judged."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from tests.integration.harness import QUIET, Kafka, Record, create, produce, read_all, wait_copied, wait_until


@contextmanager
def transactional(cluster: Kafka, name: str) -> Iterator[Producer]:
    """Give a transactional producer."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": name, "linger.ms": 0, **QUIET})
    producer.init_transactions(30)
    yield producer


def transactions(cluster: Kafka, topic: str, count: int, partitions: int, name: str, seed: int = 1) -> None:
    """Write transactions over all partitions; about a third is aborted."""
    chance = random.Random(seed)  # noqa: S311 - test data
    with transactional(cluster, name) as producer:
        for number in range(count):
            producer.begin_transaction()
            for at in range(chance.randrange(1, 6)):
                producer.produce(topic, b"%d-%d" % (number, at), b"k", chance.randrange(partitions))
            producer.flush(30)
            if chance.random() < 0.3:
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)


def same_records(source: Kafka, target: Kafka, topic: str, seconds: float = 90.0) -> dict[int, list[Record]]:
    """Wait until both ends are equal; both kinds of readers of the target see what a committed one of the source does.

    A time that the source's broker gave is kept as the record's own: its kind is all that differs.
    """
    wait_copied(source, target, topic, seconds=seconds)
    there = read_all(source, topic, committed=True)
    plain = {number: [each._replace(timestamp_type=1) for each in records] for number, records in there.items()}
    assert read_all(target, topic, committed=True) == plain
    assert read_all(target, topic) == plain
    return there


def compacted(cluster: Kafka, topic: str, partitions: int = 1) -> None:
    """Create a topic that is cleaned as soon as a segment is closed."""
    create(
        cluster,
        topic,
        partitions,
        cleanup_policy="compact",
        segment_ms="500",
        min_cleanable_dirty_ratio="0.0",
        delete_retention_ms="0",
        max_compaction_lag_ms="500",
    )


def cleaned(cluster: Kafka, topic: str, records_max: int) -> None:
    """Wait until the cleaner has left fewer records than that."""

    def few() -> bool:
        produce(cluster, topic, [{"key": b"again", "value": b"%f" % time.time()}])  # rolls the segment
        return sum(map(len, read_all(cluster, topic).values())) < records_max

    wait_until("the cleaner ran", few, 120, every=1.0)
