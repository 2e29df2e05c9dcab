"""Logs that do not start at 0, or hold nothing."""

from __future__ import annotations

from tests.integration.corpus.plain import creates
from tests.integration.corpus.shape import Shape
from tests.integration.corpus.transactional import transactions
from tests.integration.kafka_client import Kafka, bounds, create, delete_below
from tests.integration.load import numbered, produce

HIGH = 120_000
_BULK = {"batch.size": 900_000, "linger.ms": 200, "batch.num.messages": 50_000, "compression.type": "lz4"}


def inside_a_batch(cluster: Kafka, topic: str) -> None:
    """Delete the first records of a batch, in each of two partitions, plain and compressed."""
    create(cluster, topic, 2)
    for partition, codec in enumerate(("none", "lz4")):
        produce(cluster, topic, numbered(100, partition=partition), **{"linger.ms": 200, "compression.type": codec})
        delete_below(cluster, topic, 37 + partition, partition)


def inside_a_transaction(cluster: Kafka, topic: str) -> None:
    """Delete what stands before the middle of transactions: the start may be a record or a marker."""
    create(cluster, topic, 2)
    transactions(cluster, topic, 30, 2, f"{topic}-before", seed=5)
    for partition, (_, end) in bounds(cluster, topic).items():
        delete_below(cluster, topic, end // 2, partition)


def between_batches(cluster: Kafka, topic: str) -> None:
    """Delete whole batches; in the second partition everything."""
    create(cluster, topic, 2)
    for partition in range(2):
        produce(cluster, topic, numbered(30, partition=partition))
        produce(cluster, topic, numbered(30, 30, partition=partition))
    delete_below(cluster, topic, 30)
    delete_below(cluster, topic, 60, 1)


def high(cluster: Kafka, topic: str) -> None:
    """Write and delete more than is copied in a moment."""
    create(cluster, topic, 2)
    produce(cluster, topic, ({"value": b"old"} for _ in range(HIGH)), **_BULK)
    produce(cluster, topic, numbered(20))
    delete_below(cluster, topic, HIGH)


def more(cluster: Kafka, topic: str, round_: int) -> None:
    """Write some records to both partitions."""
    for partition in range(2):
        produce(cluster, topic, numbered(40, 1000 * (1 + round_), partition=partition))


def nothing(_cluster: Kafka, _topic: str, _round: int) -> None:
    """Write nothing."""


STARTS: dict[str, Shape] = {
    "starts-inside-a-batch": Shape(inside_a_batch, more),
    "starts-inside-a-transaction": Shape(inside_a_transaction, more),
    "starts-between-batches": Shape(between_batches, more),
    "starts-high": Shape(high, more),
    "empty": Shape(creates(2), nothing),
    "emptied": Shape(between_batches, nothing),
}
