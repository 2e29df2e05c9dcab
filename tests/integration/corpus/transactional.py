"""Transactions in their V1 form (librdkafka's) and in V2: committed, aborted, left open, interleaved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from confluent_kafka import Producer

from replicator.model.names import TopicPartition
from replicator.wire.batches.records import NewRecord
from tests.integration.corpus.plain import T0_MS, creates
from tests.integration.corpus.raw import v2_producers
from tests.integration.corpus.shape import Shape
from tests.integration.kafka_client import QUIET, Kafka
from tests.integration.load import numbered, produce

PARTITIONS = 4


@contextmanager
def transactional(cluster: Kafka, name: str) -> Iterator[Producer]:
    """Give a transactional producer. What it leaves open stays open for 15 minutes."""
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "transactional.id": name,
            "transaction.timeout.ms": 900_000,
            "linger.ms": 0,
            **QUIET,
        }
    )
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


def ended(cluster: Kafka, topic: str, round_: int) -> None:
    """Write transactions one after the other, and plain records behind them in one partition."""
    transactions(cluster, topic, 30, PARTITIONS, f"{topic}-{round_}", seed=round_)
    produce(cluster, topic, numbered(20, partition=1))


def left_open(cluster: Kafka, topic: str, round_: int) -> None:
    """Leave a transaction open, with records of others behind it; the next round's producer aborts it."""
    transactions(cluster, topic, 5, 2, f"{topic}-others", seed=round_)
    with transactional(cluster, f"{topic}-open") as producer:
        produce(cluster, topic, numbered(5, 10 * round_))
        producer.begin_transaction()
        for partition in range(2):
            producer.produce(topic, b"open", b"k", partition)
        assert producer.flush(30) == 0
        produce(cluster, topic, numbered(5, 10 * round_ + 5))
    transactions(cluster, topic, 5, 2, f"{topic}-others", seed=100 + round_)


def interleaved(cluster: Kafka, topic: str, round_: int) -> None:
    """Let three transactions and a plain producer take turns in one partition, so that their batches alternate."""
    chance = random.Random(round_)  # noqa: S311 - test data
    with ExitStack() as stack:
        producers = [stack.enter_context(transactional(cluster, f"{topic}-{number}")) for number in range(3)]
        working: set[int] = set()
        for turn in range(80):
            at = chance.randrange(4)
            if at == len(producers):
                produce(cluster, topic, numbered(1, turn, partition=turn % 2))
                continue
            producer = producers[at]
            if at not in working:
                producer.begin_transaction()
                working.add(at)
            elif chance.random() < 0.3:
                (producer.commit_transaction if chance.random() < 0.6 else producer.abort_transaction)(30)
                working.discard(at)
                continue
            producer.produce(topic, b"%d of %d" % (turn, at), b"k", turn % 2)
            producer.flush(30)
        for at in working:
            producers[at].abort_transaction(30)


def ended_v2(cluster: Kafka, topic: str, round_: int) -> None:
    """Write V2 transactions of two producers over all partitions, several batches in flight, in every codec."""
    asyncio.run(_ended_v2(cluster, topic, round_))


async def _ended_v2(cluster: Kafka, topic: str, round_: int) -> None:
    chance = random.Random(round_)  # noqa: S311 - test data
    names = (f"{topic}-a", f"{topic}-b")
    async with v2_producers(cluster, topic, *names) as producers:
        for number in range(20):
            for name in names:
                for partition in chance.sample(range(PARTITIONS), chance.randrange(1, PARTITIONS)):
                    batches = [
                        [
                            NewRecord(T0_MS + number, b"%d" % at, b"%d of " % number + name.encode())
                            for at in range(size)
                        ]
                        for size in (chance.randrange(1, 20) for _ in range(chance.randrange(1, 6)))
                    ]
                    await producers[name].write(TopicPartition(topic, partition), batches, number % 5)
            for name in names:
                await producers[name].end(commit=chance.random() < 0.6)


TRANSACTIONAL: dict[str, Shape] = {
    "transactions": Shape(creates(PARTITIONS), ended),
    "transactions-open": Shape(creates(2), left_open),
    "transactions-interleaved": Shape(creates(2), interleaved),
    "transactions-v2": Shape(creates(PARTITIONS), ended_v2),
}
